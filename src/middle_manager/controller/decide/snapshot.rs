//! What one pass over a `VirtualMiddleManager` knows (data only).

use serde_json::Value;

use super::objects::Surroundings;
use crate::api::VirtualMiddleManager;

/// Everything that is known of a `VirtualMiddleManager`. The first part is there when the pass begins; the second is empty at
/// first and is filled with the outcomes of the steps, after each of which the plan is made anew.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    /// The object, as the cache has it.
    pub manager: &'a VirtualMiddleManager,
    /// What the operator knows beside.
    pub surroundings: &'a Surroundings,

    /// The Services that were applied, by ordinal.
    pub services: Vec<Value>,
    /// The `ServiceAccount` and `RoleBinding` that were applied.
    pub account: Vec<Value>,
    /// The Deployment that was applied.
    pub deployment: Option<Value>,
    /// The Services that belong to the object, once they have been listed, without those that were deleted since.
    pub owned_services: Option<Vec<OwnedService>>,
    /// An object of a needed name belongs to something else; the message names it.
    pub name_conflict: Option<String>,
}

/// A Service that belongs to a `VirtualMiddleManager`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedService {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Option<String>,
}

impl<'a> Snapshot<'a> {
    /// At the beginning of a pass.
    #[must_use]
    pub fn new(manager: &'a VirtualMiddleManager, surroundings: &'a Surroundings) -> Self {
        Self {
            manager,
            surroundings,
            services: Vec::new(),
            account: Vec::new(),
            deployment: None,
            owned_services: None,
            name_conflict: None,
        }
    }
}
