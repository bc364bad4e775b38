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

mod adopt;
pub mod announce;
pub mod announcement;
pub mod applied;
pub mod assignment;
pub mod backend;
pub mod backlog;
pub mod bind;
mod body;
mod complete;
pub mod controller;
pub mod credentials;
mod departed;
pub mod documents;
mod doubts;
mod drain;
mod entries;
pub mod equipment;
#[cfg(test)]
mod fixtures;
pub mod forget;
pub mod history;
pub mod judge;
mod keep;
pub mod known;
pub mod line;
mod lists;
#[cfg(test)]
mod made_up;
#[cfg(test)]
mod model;
pub mod mounted;
pub mod moves;
pub mod objects;
pub mod orders;
pub mod overlord;
pub mod pods;
mod problem;
pub mod process;
pub mod provenance;
pub mod reachability;
pub mod report;
pub mod room;
pub mod routes;
pub mod serve;
mod standing;
pub mod submission;
pub mod submit;
pub mod task_log;
pub mod task_queue;
pub mod tasks;
pub mod upkeep;
mod verify;
pub mod view;
pub mod zookeeper;
