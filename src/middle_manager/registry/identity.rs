//! Identities of a `VirtualMiddleManager`, and what is assigned to them (data only).

/// Which of a `VirtualMiddleManager`'s identities: counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u16);

/// A task that the overlord assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Its id.
    pub id: String,
    /// The task as JSON text, with every number as it was sent.
    pub json: String,
}
