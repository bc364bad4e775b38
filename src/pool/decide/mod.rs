//! What a pool needs (pure): the pod of an Indexer, which ones to create and delete, and the status.

pub mod budget;
pub mod connection;
pub mod failures;
pub mod heap;
pub mod idle_cpu;
pub mod indexer;
pub mod jvm;
pub mod offer;
pub mod plan;
pub mod quarantine;
pub mod queries;
pub mod revision;
pub mod scaling;
pub mod sizing;
pub mod status;
