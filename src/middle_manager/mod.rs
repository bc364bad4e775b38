//! The virtual MiddleManager: a process that an overlord takes for workers, and that only creates PeonTasks.
//!
//! * [`controller`]: the operator's part, which creates the objects of each `VirtualMiddleManager`;
//! * [`server`]: the process: ports, mounted configuration, status;
//! * [`http`]: Druid's worker protocol;
//! * [`registry`]: the tasks of all identities, and what each has announced of them (pure);
//! * [`sync`]: watches PeonTasks and pods, answers long polls, asks the overlord which tasks it is done with;
//! * [`assign`]: creates PeonTasks for assigned tasks; [`submit`]: submits PeonTasks that users created;
//! * [`indexers`]: proves that the Indexers of IndexerPools are hidden from the overlord;
//! * [`overlord`]: requests to the overlord; [`discovery`]: announces the workers where overlords discover them.

pub mod assign;
pub mod controller;
pub mod discovery;
#[cfg(test)]
mod fixtures;
pub mod http;
pub mod indexers;
#[cfg(test)]
mod model_api;
#[cfg(test)]
mod object_fixtures;
pub mod overlord;
pub mod registry;
pub mod server;
pub mod submit;
pub mod sync;

/// Field manager of what the process writes by server-side apply: its part of the status of the VirtualMiddleManager, and
/// `status.discovery` of IndexerPools.
pub const FIELD_MANAGER: &str = "peon-operator-middle-manager";
