//! Decisions about a PeonTask until it is assigned (pure).

pub mod applied;
pub mod backlog;
pub mod submission;
