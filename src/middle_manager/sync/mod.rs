//! Watches, long polls and the overlord kept in step with the registry.

pub mod forget;
pub(crate) mod lists;
pub mod long_poll;
pub mod task_log;
pub mod tasks;
pub(crate) mod verify;
