//! Druid's worker protocol from the overlord's side: the operator as the client of Indexers that no overlord sees.
//!
//! [`polls`] holds one long poll for each Indexer and keeps a [`decide::view::View`] of it; [`decide::meaning`] says
//! what the view means for a task. [`client`] sends the requests.

pub mod client;
pub mod decide;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod polls;
