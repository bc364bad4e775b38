//! The logs and reports of tasks: how they are collected from pods, and the archive, where a stock Druid overlord reads
//! them.
//!
//! * [`mod@format`]: names and formats of everything stored (pure): location ([`format::location`]), keys
//!   ([`format::layout`]), parts, owners, and the record of a finished task;
//! * [`store`]: the client of a store, ownership of the objects under an id, operations on one task and on all;
//! * [`follower`]: the operator reads logs through the API server;
//! * [`sidecar`]: the program beside the peon;
//! * [`history`]: finished tasks, written and read; [`server`]: the archive over HTTP;
//! * [`fair_share`]: limited resources of a process, shared by namespaces.
//!
//! `docs/logs.md` is the administrator's documentation.

pub mod fair_share;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod follower;
pub mod format;
pub mod history;
pub mod server;
pub mod sidecar;
pub mod store;
