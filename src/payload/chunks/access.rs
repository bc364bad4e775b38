//! Whether a ConfigMap or Secret may be used as a part of a task's payload (pure).
//!
//! Users who may create PeonTasks can name any object of the namespace in `taskFrom`, and a pod with it prints its
//! content. The hash does not protect the object: it is in the PeonTask that uses the object, for everybody who may
//! read that PeonTask. So the object itself has to permit the use: by an owner reference to this very PeonTask, which
//! everything that submits tasks writes, or by a label, with which its author permits it to every task of the
//! namespace.

use kube::core::ObjectMeta;

use crate::api::{GROUP, LABEL_PAYLOAD};

/// Whether an object with this metadata may be read for the PeonTask with this uid. Names do not count: another
/// PeonTask may have had the same one.
#[must_use]
pub fn may_be_read(metadata: &ObjectMeta, task_uid: Option<&str>) -> bool {
    let labels = metadata.labels.as_ref();
    let is_labelled = labels
        .and_then(|l| l.get(LABEL_PAYLOAD))
        .is_some_and(|v| v == "true");
    let mut owners = metadata.owner_references.iter().flatten();
    let is_owned = task_uid.is_some_and(|uid| {
        owners.any(|o| {
            let group = o.api_version.split_once('/').map(|(group, _)| group);
            group == Some(GROUP) && o.kind == "PeonTask" && o.uid == uid
        })
    });
    is_labelled || is_owned
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn may(metadata: &Value, uid: Option<&str>) -> bool {
        may_be_read(&serde_json::from_value(metadata.clone()).unwrap(), uid)
    }

    fn owned(api_version: &str, kind: &str, uid: &str) -> Value {
        json!({"name": "x", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "other"},
            {"apiVersion": api_version, "kind": kind, "name": "t", "uid": uid},
        ]})
    }

    #[test]
    fn an_object_is_read_for_its_owner_alone() {
        let chunk = owned("peon.dev/v1alpha1", "PeonTask", "uid-1");
        assert!(may(&chunk, Some("uid-1")));
        assert!(may(&owned("peon.dev/v1", "PeonTask", "uid-1"), Some("uid-1")));
        // A copy of the task, the task of the same name created again, and a task that does not exist yet.
        for uid in [Some("uid-2"), Some(""), None] {
            assert!(!may(&chunk, uid), "{uid:?}");
        }
        assert!(!may(
            &owned("peon.dev/v1alpha1", "PeonTemplate", "uid-1"),
            Some("uid-1")
        ));
        assert!(!may(&owned("v1", "PeonTask", "uid-1"), Some("uid-1")));
        assert!(!may(&json!({"name": "x"}), Some("uid-1")));
    }

    #[test]
    fn a_label_gives_an_object_to_all_tasks() {
        let labelled = |value: &str| json!({"name": "x", "labels": {"peon.dev/payload": value}});
        assert!(may(&labelled("true"), Some("uid-1")));
        for value in ["false", "", "True", "yes"] {
            assert!(!may(&labelled(value), Some("uid-1")), "{value}");
        }
        // The labels of a chunk can be set by whoever creates one, and say nothing.
        let other = json!({"name": "x", "labels": {"app.kubernetes.io/managed-by": "peon-operator", "peon.dev/task-uid": "uid-1"}});
        assert!(!may(&other, Some("uid-1")));
    }
}
