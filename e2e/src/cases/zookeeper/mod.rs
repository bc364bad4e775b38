//! Servers of ZooKeeper on this machine, and the cases that announce workers there.
//!
//! The cases run the program `announce`, which has the virtual MiddleManager's own code, and look at what it did with a
//! client that has nothing to do with it, or with Druid's own. They need no cluster.

mod cases;
mod druid;
mod program;
pub(in crate::cases) mod server;
mod wire;

pub use cases::CASES;
