//! The PeonTask controller.
//!
//! A pass over a task: [`controller`] observes the caches into a [`snapshot`], [`plan`] says the next step,
//! [`act`] performs it and puts the outcome into the snapshot, until the plan settles; then the status is
//! written if it differs. Everything but `act`, `controller` and `watch` is pure.

pub mod act;
pub mod admit;
#[cfg(test)]
mod assigned_tests;
mod conclude;
pub mod controller;
pub mod deadlines;
pub mod death;
pub mod departed;
pub mod event_budget;
pub mod evidence;
mod finished;
#[cfg(test)]
pub(crate) mod fixtures;
mod follow;
pub mod grace;
#[cfg(test)]
pub(crate) mod histories;
pub mod jvm;
pub mod keep_log;
pub mod ladder;
pub mod launch;
pub mod ledger;
pub mod line;
pub mod log_plan;
pub mod look;
pub mod overrides;
#[cfg(test)]
mod passes_tests;
pub mod payload_volume;
pub mod plan;
pub mod pod;
pub mod pod_template;
pub mod properties_file;
pub mod record;
pub mod resources;
pub mod retention;
pub mod retry;
pub mod retry_policy;
pub mod room;
pub mod rungs;
pub mod select;
pub mod settings;
pub mod shares;
pub mod sizing;
pub mod slots;
pub mod snapshot;
mod start;
pub mod status;
pub mod status_patch;
pub mod submission;
pub mod template_secrets;
pub mod template_shape;
pub mod verdict;
pub mod waiting;
pub mod watch;
