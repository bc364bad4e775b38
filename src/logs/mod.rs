//! The archive of task logs and reports: the places where a stock Druid overlord reads them.
//!
//! * [`location`]: which store, read from Druid's own property names (pure);
//! * [`properties`]: how those are read (pure);
//! * [`layout`]: the keys of everything that is kept for a task (pure);
//! * [`parts`]: the pieces of a log that is still written, and what a log is composed of (pure);
//! * [`store`]: the client of a store, with its credentials, retries and time-outs;
//! * [`archive`]: what is done with a store for all tasks, [`task_archive`] for one.
//!
//! `docs/logs.md` says the same to an administrator.

pub mod archive;
pub mod layout;
pub mod location;
pub mod parts;
pub mod properties;
pub mod store;
pub mod task_archive;
mod upload;

#[cfg(test)]
mod fixtures;
