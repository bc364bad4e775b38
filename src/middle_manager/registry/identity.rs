//! Identities of a `VirtualMiddleManager`, and assigned tasks (data only).

/// Ordinal of one of a `VirtualMiddleManager`'s identities, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u16);

/// A task that the overlord assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Id of the task.
    pub id: String,
    /// The task as JSON text, with all numbers as sent.
    pub json: String,
}
