//! peon-operator runs Apache Druid ingestion tasks as Kubernetes pods.
//!
//! The crate is split into rooms, each a module:
//!
//! * [`api`]: the custom resources, their conditions, reasons and names;
//! * [`druid`]: what is known about Druid alone: task payloads, status files, properties;
//! * [`apiserver`]: the client of the API server, how objects are decoded, what answers mean;
//! * [`payload`]: task payloads in one object or in chunks;
//! * [`process`]: leader election, probes, shutdown, the log of a process;
//! * [`logs`]: what a task's log and report go through, and where they are kept;
//! * [`task`]: the `PeonTask` controller;
//! * [`middle_manager`]: the workers that an overlord takes PeonTasks for;
//! * [`cli`]: `kubectl peon`;
//! * [`app`]: how all this is put together to a process.
//!
//! `docs/architecture.md` draws the state machine and says which room may import which.

pub mod api;
pub mod apiserver;
pub mod app;
pub mod cli;
pub mod clock;
pub mod digest;
pub mod druid;
pub mod logs;
pub mod metrics;
pub mod middle_manager;
pub mod payload;
pub mod process;
pub mod quantity;
#[cfg(test)]
mod simulation;
pub mod task;
