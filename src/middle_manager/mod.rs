//! The virtual MiddleManager: a process that an overlord takes for workers, and whose only act is to create PeonTasks.
//!
//! One process serves all identities of a `VirtualMiddleManager`, each on a port of its own: [`routes`] speak Druid's
//! worker protocol, [`history`] remembers what was said, [`line`] holds the polls that wait for more.

pub mod announcement;
pub mod assignment;
pub mod backend;
pub mod bind;
pub mod controller;
mod departed;
mod entries;
#[cfg(test)]
mod fixtures;
pub mod forget;
pub mod judge;
mod keep;
pub mod known;
mod lists;
#[cfg(test)]
mod model;
pub mod moves;
pub mod objects;
pub mod orders;
pub mod pods;
pub mod reachability;
pub mod report;
pub mod task_log;
pub mod tasks;
pub mod upkeep;
pub mod view;
