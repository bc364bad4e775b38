//! The process's part of the status (pure).

pub mod status;
