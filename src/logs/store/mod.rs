//! The store of logs: its client, ownership of the objects under an id, and operations on one task or on all.

pub mod archive;
pub(crate) mod claims;
pub mod client;
pub mod ownership;
pub mod task_archive;
pub(crate) mod upload;
