//! Runs of a task.

pub mod pod;
