//! The virtual MiddleManager: a process that an overlord takes for workers, and whose only act is to create PeonTasks.
//!
//! One process serves all identities of a `VirtualMiddleManager`, each on a port of its own: [`routes`] speak Druid's
//! worker protocol, [`history`] remembers what was said, [`line`] holds the polls that wait for more.

pub mod announce;
pub mod backend;
pub mod credentials;
pub mod overlord;
pub mod zookeeper;
