//! Reading and merging the pod template of a PeonTemplate, as JSON (pure); [`crate::task::accept::template_shape`] checked it.
//!
//! It is never decoded into a struct: fields of a newer Kubernetes version than this build knows must be preserved.

use serde_json::{Map, Value, json};

use crate::api::PEON_CONTAINER;

/// The peon's container in a pod template: the one named `peon`, else the first.
#[must_use]
pub fn peon_container(template: Option<&Map<String, Value>>) -> Option<&Map<String, Value>> {
    let containers = template?.get("spec")?.get("containers")?.as_array()?;
    containers.get(peon_index(containers))?.as_object()
}

fn peon_index(containers: &[Value]) -> usize {
    containers
        .iter()
        .position(|c| c.get("name").and_then(Value::as_str) == Some(PEON_CONTAINER))
        .unwrap_or(0)
}

/// Splits the containers of a pod's spec into the peon's and the others; adds a peon container if there is none.
#[must_use]
pub fn take_peon(spec: &mut Map<String, Value>) -> (Map<String, Value>, Vec<Value>) {
    let mut containers = match spec.remove("containers") {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let peon = if containers.is_empty() {
        None
    } else {
        Some(containers.remove(peon_index(&containers)))
    };
    match peon {
        Some(Value::Object(peon)) => (peon, containers),
        _ => (object(json!({ "name": PEON_CONTAINER })), containers),
    }
}

/// Adds the items of `ours` to the list `name` of `to`. An item with the same `key` is replaced or, with `keep`, left
/// as in the template.
pub fn merge_list(to: &mut Map<String, Value>, name: &str, key: &str, ours: Vec<Value>, keep: bool) {
    let mut list = match to.remove(name) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    // The paths `/a` and `/a/` are the same.
    let key_of = |item: &Value| {
        let key = item.get(key)?.as_str()?;
        Some(key.trim_end_matches('/').to_owned())
    };
    for item in ours {
        let ours = key_of(&item);
        match list.iter().position(|old| ours.is_some() && key_of(old) == ours) {
            Some(_) if keep => {}
            Some(at) => list[at] = item,
            None => list.push(item),
        }
    }
    to.insert(name.to_owned(), Value::Array(list));
}

/// Sets fields that `to` does not have, deeply: objects are merged, other existing values are preserved.
pub fn default_to(to: &mut Map<String, Value>, defaults: Value) {
    let Value::Object(defaults) = defaults else { return };
    for (key, default) in defaults {
        match to.get_mut(&key) {
            None => {
                to.insert(key, default);
            }
            Some(Value::Object(inner)) => default_to(inner, default),
            Some(_) => {}
        }
    }
}

/// The map of an object literal.
#[must_use]
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peon_is_the_container_of_that_name_else_the_first() {
        let mut spec = object(json!({"containers": [{"name": "a"}, {"name": "peon", "x": 1}]}));
        let (peon, others) = take_peon(&mut spec);
        assert_eq!(peon["x"], 1);
        assert_eq!(others, [json!({"name": "a"})]);
        let (peon, others) = take_peon(&mut object(json!({"containers": [{"name": "a"}, {"name": "b"}]})));
        assert_eq!(peon["name"], "a");
        assert_eq!(others, [json!({"name": "b"})]);
        assert_eq!(take_peon(&mut Map::new()).0["name"], "peon");
    }

    #[test]
    fn lists_merge_by_key() {
        let mut to = object(json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}));
        merge_list(
            &mut to,
            "env",
            "name",
            vec![json!({"name": "B", "value": "3"}), json!({"name": "C"})],
            false,
        );
        assert_eq!(
            to["env"],
            json!([{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C"}])
        );
        merge_list(
            &mut to,
            "env",
            "name",
            vec![json!({"name": "A", "value": "9"})],
            true,
        );
        assert_eq!(to["env"][0]["value"], "1");
    }
}
