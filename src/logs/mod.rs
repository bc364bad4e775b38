//! The log and the report of a task: how they leave the pod and where they are kept.

pub mod pace;
pub mod plain_file;
pub mod report;
pub mod sidecar;
pub mod sidecar_config;
pub mod spool;
pub mod verdict;
