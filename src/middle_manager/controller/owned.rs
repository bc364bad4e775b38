//! Whether an object that has a needed name belongs to the `VirtualMiddleManager` (pure).
//!
//! Names are made of that of the `VirtualMiddleManager`, and anybody may have used one before. What belongs to somebody
//! else is neither changed nor taken: its owner would lose it, and it would be deleted with the `VirtualMiddleManager`.

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::api::{OPERATOR, VirtualMiddleManager};

/// Why an object is not that `VirtualMiddleManager`'s to write; `None` where it is. `kind` is the object's kind.
pub(super) fn conflict(found: &DynamicObject, kind: &str, manager: &VirtualMiddleManager) -> Option<String> {
    let uid = manager.metadata.uid.as_ref();
    let owners = found.owner_references();
    if owners.iter().any(|owner| Some(&owner.uid) == uid) {
        return None;
    }
    let name = found.name_any();
    let controller = owners.iter().find(|owner| owner.controller == Some(true));
    Some(match controller.or(owners.first()) {
        Some(owner) if owner.kind == "VirtualMiddleManager" && owner.name == manager.name_any() => format!(
            "{kind} {name} belongs to an earlier VirtualMiddleManager of this name: it is waited for until the garbage \
             collector has removed it"
        ),
        Some(owner) => format!(
            "{kind} {name} exists and belongs to {} {}: it is left alone; rename the VirtualMiddleManager, or delete the {kind}",
            owner.kind, owner.name
        ),
        None => format!(
            "{kind} {name} exists and is not of this VirtualMiddleManager: it is left alone; rename the \
             VirtualMiddleManager, or delete the {kind}"
        ),
    })
}

/// The merge patch after which fields that were set by creating an object count as applied, so that a later apply can also
/// remove them; `None` where that is so. As `csaupgrade` of client-go.
pub(super) fn as_applied(found: &DynamicObject) -> Option<Value> {
    let fields = found.metadata.managed_fields.as_ref()?;
    let of = |operation: &str| {
        fields.iter().position(|entry| {
            entry.manager.as_deref() == Some(OPERATOR)
                && entry.operation.as_deref() == Some(operation)
                && entry.subresource.as_deref().unwrap_or_default().is_empty()
        })
    };
    let (created, None) = (of("Update")?, of("Apply")) else {
        return None;
    };
    let mut fields = fields.clone();
    fields.get_mut(created)?.operation = Some("Apply".to_owned());
    Some(json!({"metadata": {
        "uid": found.metadata.uid,
        "resourceVersion": found.metadata.resource_version,
        "managedFields": fields,
    }}))
}
