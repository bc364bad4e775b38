//! peon-operator runs Apache Druid ingestion tasks as Kubernetes pods.
//!
//! The crate is split into rooms, each a module:
//!
//! * [`api`]: the custom resources, their conditions, reasons and names;
//! * [`druid`]: knowledge about Druid alone: task payloads, status files, properties;
//! * [`druid_http`]: requests to Druid: credentials, certificates, bounded answers;
//! * [`apiserver`]: the client of the API server, decoding of objects, meaning of answers;
//! * [`payload`]: task payloads in one object or in chunks;
//! * [`process`]: leader election, probes, shutdown, the log of a process;
//! * [`logs`]: collecting and archiving tasks' logs and reports;
//! * [`indexer`]: the client of Indexers, which run tasks for the operator;
//! * [`task`]: the `PeonTask` controller;
//! * [`pool`]: Indexers that are started before their tasks;
//! * [`middle_manager`]: the workers that run an overlord's tasks as PeonTasks;
//! * [`cli`]: `kubectl peon`;
//! * [`app`]: composition of all this to a process.
//!
//! `docs/architecture.md` draws the state machine and says which room may import which.

pub mod api;
pub mod apiserver;
pub mod app;
pub mod cli;
pub mod clock;
pub mod digest;
pub mod druid;
pub mod druid_http;
pub mod indexer;
pub mod logs;
pub mod metrics;
pub mod middle_manager;
pub mod payload;
pub mod pool;
pub mod process;
pub mod quantity;
#[cfg(test)]
mod simulation;
pub mod task;
