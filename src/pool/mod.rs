//! Pools of Indexers: JVMs of Druid that are started before their tasks.
//!
//! A pass over an `IndexerPool` compares its Indexers with those that are wanted ([`decide::plan`]), creates and deletes
//! pods, and writes the status.

pub mod controller;
pub mod decide;
mod demand;
pub mod pods;
pub mod work;

mod cordoned;
mod effects;
mod memories;
mod observe;
mod secrets;
mod watchdog;

#[cfg(test)]
pub(crate) mod fixtures;
