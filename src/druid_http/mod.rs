//! HTTP with processes of Druid, for the rooms that are clients of an overlord, of an Indexer, or servers of one.

pub mod connection;
pub mod credentials;
#[cfg(test)]
pub(crate) mod fixtures;
