//! Where a task runs.

pub mod pod;
