//! The store of logs: its client, who owns what is under an id, and what is done for one task or for all.

pub mod archive;
pub(crate) mod claims;
pub mod client;
pub mod ownership;
pub mod task_archive;
pub(crate) mod upload;
