//! What one pass over a `VirtualMiddleManager` knows (data only).

use serde_json::Value;

use super::objects::Surroundings;
use crate::api::VirtualMiddleManager;

/// Everything that a pass knows of a `VirtualMiddleManager`. The first part is there when the pass begins. The second
/// part is empty at first and is filled with the outcomes of the steps; after each step the plan is made anew.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    /// The object from the cache.
    pub manager: &'a VirtualMiddleManager,
    /// The operator's settings.
    pub surroundings: &'a Surroundings,

    /// The applied Services, by ordinal.
    pub services: Vec<Value>,
    /// The applied `ServiceAccount`, roles and role bindings.
    pub account: Vec<Value>,
    /// The applied `StatefulSet` of the announcing pods.
    pub announcing_pods: Option<Value>,
    /// The applied Deployment.
    pub deployment: Option<Value>,
    /// The Services that the object owns, once they have been listed, without those that were deleted since.
    pub owned_services: Option<Vec<OwnedService>>,
    /// An object with a needed name belongs to something else; the message names it.
    pub name_conflict: Option<String>,
}

/// A Service that a `VirtualMiddleManager` owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedService {
    /// Name of the Service.
    pub name: String,
    /// Uid of the Service.
    pub uid: Option<String>,
}

impl<'a> Snapshot<'a> {
    /// The snapshot at the beginning of a pass.
    #[must_use]
    pub fn new(manager: &'a VirtualMiddleManager, surroundings: &'a Surroundings) -> Self {
        Self {
            manager,
            surroundings,
            services: Vec::new(),
            account: Vec::new(),
            announcing_pods: None,
            deployment: None,
            owned_services: None,
            name_conflict: None,
        }
    }
}
