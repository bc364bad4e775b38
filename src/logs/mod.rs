//! The logs and reports of tasks: how they leave their pods, and the archive, where a stock Druid overlord reads them.
//!
//! * [`location`]: which store, read from Druid's own property names, by [`properties`] (pure);
//! * [`layout`]: the keys of everything that is kept for a task (pure);
//! * [`parts`]: the pieces of a log that is still written, and what a log is composed of (pure); [`rebuild`]: which they
//!   are (pure);
//! * [`store`]: the client of a store, with its credentials, retries and time-outs;
//! * [`claim`]: whose log stands under a Druid id (pure), which `claims` keeps in a store and [`place`] obtains;
//! * [`ours`]: how our lines in a log are told from a task's (pure);
//! * [`archive`]: what is done with a store for all tasks, [`task_archive`] for one.
//!
//! * [`record`]: a finished task in the history (data only), which [`journal`] writes and [`history`] reads.
//!
//! How they leave a pod:
//!
//! * [`follower`]: the operator reads logs through the API server; [`state`] is what it is asked and says (data only);
//! * [`report`]: the report at the end of a log that somebody follows (pure);
//! * [`sidecar`]: the program beside the peon; [`sidecar_config`] is what it is told (pure), [`sidecar_files`] what it
//!   finds, [`verdict`] what it says (pure);
//! * [`shares`]: what a process has only so much of, shared by namespaces;
//! * [`pace`]: when it does what, [`chain`]: which parts are its own (pure);
//! * [`spool`]: the file that the peon writes, [`plain_file`]: how its files are opened.
//!
//! `docs/logs.md` says the same to an administrator.

pub mod format;
pub mod history;
pub mod store;

pub mod server;

pub mod follower;
pub mod shares;
pub mod sidecar;

#[cfg(test)]
pub(crate) mod fixtures;
