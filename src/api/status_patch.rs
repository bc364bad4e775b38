//! Patches of a status (pure).

use serde_json::Value;

use super::PeonTaskStatus;

/// The JSON merge patch that turns the status `old` into `new`: fields that `new` does not have are removed by null.
///
/// # Errors
/// When a status cannot be written as JSON.
pub fn replacing(old: Option<&PeonTaskStatus>, new: &PeonTaskStatus) -> serde_json::Result<Value> {
    let old = serde_json::to_value(old)?;
    let mut patch = serde_json::to_value(new)?;
    remove_missing(&old, &mut patch);
    Ok(patch)
}

/// Adds to a merge patch a null for every field that `old` has and `patch` does not.
pub fn remove_missing(old: &Value, patch: &mut Value) {
    let (Value::Object(old), Value::Object(patch)) = (old, patch) else {
        return;
    };
    for (key, was) in old {
        remove_missing(was, patch.entry(key.clone()).or_insert(Value::Null));
    }
}
