//! The virtual MiddleManager: a process that an overlord takes for workers, and whose only act is to create PeonTasks.
//!
//! * [`controller`] is the operator's part: it makes the objects of each `VirtualMiddleManager`;
//! * [`server`] is the process behind them: ports, mounted configuration, status;
//! * [`http`] speaks Druid's worker protocol;
//! * [`registry`] has the tasks of all identities, and what each has told of them (pure);
//! * [`sync`] watches PeonTasks and pods, answers long polls, asks the overlord what it is done with;
//! * [`assign`] makes PeonTasks of what an overlord assigns, [`submit`] submits PeonTasks that users created;
//! * [`overlord`] sends requests to the overlord, [`discovery`] puts the workers where overlords look for them.

pub mod discovery;
pub mod http;
pub mod server;
pub mod sync;

pub mod assign;
pub mod controller;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod model_api;
#[cfg(test)]
mod object_fixtures;
pub mod overlord;
pub mod registry;
pub mod submit;
