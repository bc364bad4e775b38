//! peon-operator runs Apache Druid ingestion tasks as Kubernetes pods.
//!
//! The crate is split the way the work is:
//!
//! * [`api`]: the custom resources, their conditions, reasons and names;
//! * [`druid`]: what is known about Druid alone: task payloads, status files, properties;
//! * [`task`]: the `PeonTask` controller. `observe` reads the caches into a snapshot, `plan` decides (pure),
//!   `act` performs the only effects;
//! * [`kube`]: effects on the API server that every controller shares;
//! * [`logs`]: what a task's log and report go through, and where they are kept;
//! * [`run`]: the process: configuration, leader election, health, metrics, shutdown;
//! * [`middle_manager`]: the workers that an overlord takes PeonTasks for;
//! * [`cli`]: `kubectl peon`.
//!
//! `docs/architecture.md` draws the state machine and says which module may import what.

pub mod api;
pub mod cli;
pub mod druid;
pub mod kube;
pub mod logs;
pub mod middle_manager;
pub mod run;
pub mod task;
