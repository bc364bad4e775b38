//! The logs and reports of tasks: how they leave their pods, and the archive, where a stock Druid overlord reads them.
//!
//! * [`mod@format`]: names and formats of everything that is stored (pure): where ([`format::location`]), under which keys
//!   ([`format::layout`]), in which parts, whose, and the record of a finished task;
//! * [`store`]: the client of a store, who owns what is under an id, what is done for one task and for all;
//! * [`follower`]: the operator reads logs through the API server;
//! * [`sidecar`]: the program beside the peon;
//! * [`history`]: finished tasks, written and read; [`server`]: the archive over HTTP;
//! * [`fair_share`]: what a process has only so much of, shared by namespaces.
//!
//! `docs/logs.md` says the same to an administrator.

pub mod format;
pub mod history;
pub mod store;

pub mod server;

pub mod fair_share;
pub mod follower;
pub mod sidecar;

#[cfg(test)]
pub(crate) mod fixtures;
