//! `registration`: how the overlord learns of a task.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the overlord learns of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Registration {
    /// Through `middleManagerRef`.
    #[default]
    Managed,
    /// By other means, under the same id.
    External,
}

impl Registration {
    /// Whether it is `Managed`, the default.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        *self == Self::Managed
    }
}
