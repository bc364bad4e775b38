//! The virtual MiddleManager: a process that an overlord takes for workers, and whose only act is to create PeonTasks.
//!
//! One process serves all identities of a `VirtualMiddleManager`, each on a port of its own: [`routes`] speak Druid's
//! worker protocol, [`history`] remembers what was said, [`line`] holds the polls that wait for more.

pub mod backend;
mod body;
pub mod controller;
pub mod credentials;
#[cfg(test)]
mod fixtures;
pub mod history;
pub mod judge;
pub mod line;
pub mod objects;
mod problem;
pub mod report;
pub mod routes;
pub mod serve;
