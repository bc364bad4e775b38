//! The logs and reports of tasks: how they leave their pods, and where they outlive them.
//!
//! * [`location`]: which store, read from Druid's own property names, by [`properties`] (pure);
//! * [`layout`]: the keys of everything that is kept for a task (pure);
//! * [`parts`]: the pieces of a log that is still written, and what a log is composed of (pure);
//! * [`store`]: the client of a store, with its credentials, retries and time-outs;
//! * [`archive`]: what is done with a store for all tasks, [`task_archive`] for one;
//! * [`followers`]: the operator reads logs through the API server: [`source`] opens a stream, [`reader`], [`cut`],
//!   [`mark`] and [`chain`] make the container's bytes of it (pure), [`collect`] brings them through a [`spool`] to the
//!   archive;
//! * [`report`]: `report.json` behind a log (pure);
//! * [`sidecar_config`], [`verdict`]: what a sidecar in the pod is told, and what it says (pure).
//!
//! `docs/logs.md` says the same to an administrator.

pub mod archive;
pub mod chain;
pub mod collect;
pub mod cut;
pub mod followers;
pub mod layout;
pub mod location;
pub mod mark;
pub mod parts;
pub mod properties;
pub mod reader;
pub mod report;
pub mod sidecar_config;
pub mod source;
pub mod spool;
pub mod state;
pub mod store;
pub mod task_archive;
mod upload;
pub mod verdict;

#[cfg(test)]
mod fixtures;
