//! The virtual MiddleManager: a process that an overlord takes for workers, and whose only act is to create PeonTasks.
//!
//! One process serves all identities of a `VirtualMiddleManager`, each on a port of its own: [`routes`] speak Druid's
//! worker protocol, [`history`] remembers what was said, [`line`] holds the polls that wait for more.

pub mod announcement;
pub mod assignment;
pub mod backend;
pub mod bind;
mod body;
pub mod controller;
pub mod credentials;
mod departed;
mod entries;
#[cfg(test)]
mod fixtures;
pub mod forget;
pub mod history;
pub mod judge;
pub mod line;
pub mod objects;
mod problem;
pub mod report;
pub mod routes;
pub mod serve;
mod keep;
pub mod known;
pub mod line;
mod lists;
#[cfg(test)]
mod made_up;
#[cfg(test)]
mod model;
pub mod moves;
pub mod objects;
pub mod orders;
pub mod pods;
mod problem;
pub mod reachability;
pub mod routes;
pub mod serve;
pub mod task_log;
pub mod tasks;
pub mod upkeep;
pub mod view;
