//! Decisions about leadership (pure).

pub mod lease;
