//! Announces the workers where an overlord discovers them.

pub mod announce;
pub mod kubernetes;
pub mod service;
pub mod zookeeper;
