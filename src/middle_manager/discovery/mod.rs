//! Announces the workers where an overlord discovers them.

pub mod announce;
pub mod zookeeper;
