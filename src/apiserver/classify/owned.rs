//! Whether an existing object with a needed name belongs to the object that needs it (pure).
//!
//! Names are derived from that of the owner, and any user may have used one before. An object that belongs to something
//! else is neither changed nor adopted: its owner would lose it, and it would be deleted with the new owner.

use kube::core::DynamicObject;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::api::OPERATOR;

/// The owner of other objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// Uid of the owner, by which alone it is recognised.
    pub uid: Option<String>,
}

impl Owner {
    /// This object, as an owner.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            name: object.name_any(),
            uid: object.uid(),
        }
    }

    /// Whether it owns an object.
    #[must_use]
    pub fn owns<K: Resource>(&self, object: &K) -> bool {
        let mut owners = object.owner_references().iter();
        owners.any(|owner| Some(&owner.uid) == self.uid.as_ref())
    }

    /// Why an object must not be written for that owner; `None` if it may be. `kind` is the object's kind.
    #[must_use]
    pub fn conflict<K: Resource>(&self, found: &K, kind: &str) -> Option<String> {
        if self.owns(found) {
            return None;
        }
        let (name, mine) = (found.name_any(), &self.kind);
        let owners = found.owner_references();
        let controller = owners.iter().find(|owner| owner.controller == Some(true));
        Some(match controller.or(owners.first()) {
            Some(owner) if owner.kind == self.kind && owner.name == self.name => format!(
                "{kind} {name} belongs to an earlier {mine} of this name: waiting until the garbage \
                 collector has deleted it"
            ),
            Some(owner) => format!(
                "{kind} {name} exists and belongs to {} {}: it is not changed; rename the {mine}, or \
                 delete the {kind}",
                owner.kind, owner.name
            ),
            None => format!(
                "{kind} {name} exists and does not belong to this {mine}: it is not changed; rename the \
                 {mine}, or delete the {kind}"
            ),
        })
    }
}

/// The merge patch after which fields that were set by creating an object count as applied, so that a later apply can
/// also remove them; `None` if they do already. As `csaupgrade` of client-go.
#[must_use]
pub fn as_applied(found: &DynamicObject) -> Option<Value> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn object(metadata: Value) -> DynamicObject {
        let mut object = json!({"apiVersion": "v1", "kind": "Service"});
        object["metadata"] = metadata;
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_object_is_its_owners_by_uid_only() {
        let owner = Owner {
            kind: "Pool".into(),
            name: "a".into(),
            uid: Some("u".into()),
        };
        let of = |kind: &str, name: &str, uid: &str| json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}]);
        for (owners, said) in [
            (of("Pool", "a", "u"), None),
            (of("Pool", "a", "before"), Some("an earlier Pool of this name")),
            (of("Deployment", "shop", "x"), Some("belongs to Deployment shop")),
            (json!([]), Some("does not belong to this Pool")),
        ] {
            let found = object(json!({"name": "s", "ownerReferences": owners}));
            let conflict = owner.conflict(&found, "Service");
            assert_eq!(conflict.is_some(), said.is_some(), "{conflict:?}");
            assert_eq!(owner.owns(&found), said.is_none());
            let (conflict, said) = (conflict.unwrap_or_default(), said.unwrap_or_default());
            assert!(conflict.contains(said), "{conflict}");
        }
    }

    #[test]
    fn what_was_created_counts_as_applied_once() {
        let entry = |manager: &str, operation: &str| json!({"manager": manager, "operation": operation});
        for (fields, is_patched) in [
            (json!([entry(OPERATOR, "Update")]), true),
            (json!([entry("kubectl", "Update")]), false),
            (
                json!([entry(OPERATOR, "Update"), entry(OPERATOR, "Apply")]),
                false,
            ),
            (json!([]), false),
        ] {
            let found = object(json!({"name": "s", "uid": "u", "managedFields": fields}));
            let patch = as_applied(&found);
            assert_eq!(patch.is_some(), is_patched, "{fields}");
            if let Some(patch) = patch {
                assert_eq!(patch["metadata"]["managedFields"][0]["operation"], "Apply");
                assert_eq!(patch["metadata"]["uid"], "u");
            }
        }
    }
}
