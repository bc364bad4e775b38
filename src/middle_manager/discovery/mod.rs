//! How an overlord finds the workers.

pub mod announce;
pub mod zookeeper;
