//! The virtual MiddleManager: a process that an overlord takes for workers, and whose only act is to create PeonTasks.
//!
//! * [`process`] serves all identities of a `VirtualMiddleManager`, each on a port of its own: [`routes`] speak Druid's
//!   worker protocol over [`serve`], bodies are read in a [`room`], [`history`] remembers what was said, [`mod@line`] holds
//!   the polls that wait for more;
//! * [`bind`] makes PeonTasks of what is assigned ([`assignment`]), [`tasks`] watches them, [`known`] is the book of it
//!   all, and [`announcement`] says what an overlord is to hear of each;
//! * [`announce`] and [`zookeeper`] put the workers where overlords look for them, [`forget`] asks the [`overlord`] what it
//!   is done with;
//! * [`submit`] submits PeonTasks that users created, as [`submission`] decides, until [`bind`] gives them what the overlord
//!   assigns, by its [`provenance`];
//! * [`controller`] is the operator's part: it keeps the [`objects`] of each `VirtualMiddleManager`.

pub mod discovery;
pub mod http;
pub mod server;
pub mod sync;

pub mod assign;
pub mod controller;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod made_up_objects;
#[cfg(test)]
mod model_api;
pub mod overlord;
pub mod registry;
pub mod submit;
