//! Watches, long polls and requests to the overlord that synchronise the registry.

pub mod forget;
pub(crate) mod lists;
pub mod long_poll;
pub mod task_log;
pub mod tasks;
pub(crate) mod verify;
