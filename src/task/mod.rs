//! The PeonTask controller.
//!
//! A pass over a task: [`controller`] copies the caches into a [`snapshot`], [`decide`] returns the next step,
//! [`effects`] performs it and puts the outcome into the snapshot, until nothing is left to do; then the status is
//! written if it differs. [`accept`], [`decide`], [`run`] and [`aggregates`] are pure.

pub mod accept;
pub mod aggregates;
#[cfg(test)]
mod assigned_tests;
pub(crate) mod cached_pods;
pub mod cached_task;
pub mod controller;
mod counts;
pub mod decide;
pub mod departed_pods;
pub mod effects;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod indexers;
pub mod run;
pub mod snapshot;
pub mod template_status;
pub mod watch;
