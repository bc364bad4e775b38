//! The log and the report of a task: how they leave the pod and where they are kept.

pub mod report;
pub mod sidecar_config;
pub mod verdict;
