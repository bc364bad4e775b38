//! The PeonTask controller.
//!
//! A pass over a task: [`controller`] observes the caches into a [`snapshot`], [`plan`] says the next step,
//! [`act`] performs it and puts the outcome into the snapshot, until the plan settles; then the status is
//! written if it differs. Everything but `act`, `controller` and `watch` is pure.

pub mod act;
pub mod admit;
pub mod controller;
pub mod departed;
pub mod evidence;
#[cfg(test)]
mod fixtures;
pub mod grace;
pub mod jvm;
pub mod ladder;
pub mod line;
pub mod overrides;
pub mod plan;
pub mod pod;
pub mod pod_template;
pub mod properties_file;
pub mod quantity;
pub mod resources;
pub mod retention;
pub mod retry_policy;
pub mod rungs;
pub mod select;
pub mod settings;
pub mod sizing;
pub mod slots;
pub mod snapshot;
pub mod status;
pub mod template_shape;
pub mod verdict;
pub mod waiting;
pub mod watch;
