//! Identities of a `VirtualMiddleManager`, and assigned tasks (data only).

use std::fmt;

/// Ordinal of one of a `VirtualMiddleManager`'s identities, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u16);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "identity {}", self.0)
    }
}

/// A task that the overlord assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Id of the task.
    pub id: String,
    /// The task as JSON text, with all numbers as sent.
    pub json: String,
}
