//! Whether the pod template of a PeonTemplate has the shape that a pod is built from (pure).
//!
//! The API server would refuse the pod too, but then the task would fail. Here the template is reported as invalid, and
//! the task waits until it is corrected. The API server checks the rest.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::api::names;

/// Checks names, labels, annotations and the lists that are merged.
///
/// # Errors
/// Names the path that is wrong.
pub fn check(template: Option<&Map<String, Value>>) -> Result<(), String> {
    let Some(template) = template else { return Ok(()) };
    if let Some(metadata) = object(template, "template", "metadata")? {
        strings(metadata, "labels", |value| {
            (!names::is_label_value(value))
                .then_some("which is not a label value (at most 63 letters, digits, - _ .)")
        })?;
        strings(metadata, "annotations", |_| None)?;
    }
    let Some(spec) = object(template, "template", "spec")? else {
        return Ok(());
    };
    let mut seen = HashSet::new();
    for list in ["initContainers", "containers"] {
        for (path, container) in items(spec, "template.spec", list)? {
            unique(container, &path, &mut seen)?;
            for (path, variable) in items(container, &path, "env")? {
                text(variable, &path, "name")?;
            }
            let mut paths = HashSet::new();
            for (path, mount) in items(container, &path, "volumeMounts")? {
                text(mount, &path, "name")?;
                let at = text(mount, &path, "mountPath")?;
                if !paths.insert(at.trim_end_matches('/')) {
                    return Err(format!("{path}.mountPath: another volume is mounted at {at}"));
                }
            }
        }
    }
    let mut seen = HashSet::new();
    for (path, volume) in items(spec, "template.spec", "volumes")? {
        unique(volume, &path, &mut seen)?;
    }
    Ok(())
}

/// The field `name`, which has to be an object if it is given.
fn object<'a>(
    of: &'a Map<String, Value>,
    path: &str,
    name: &str,
) -> Result<Option<&'a Map<String, Value>>, String> {
    match of.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(format!("{path}.{name} is not an object")),
    }
}

/// Items of a list, each with its path.
type Items<'a> = Vec<(String, &'a Map<String, Value>)>;

/// The objects of the list `name`.
fn items<'a>(of: &'a Map<String, Value>, path: &str, name: &str) -> Result<Items<'a>, String> {
    let path = format!("{path}.{name}");
    let list = match of.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(list) => list.as_array().ok_or_else(|| format!("{path} is not a list"))?,
    };
    let item = |(at, item): (usize, &'a Value)| {
        let path = format!("{path}[{at}]");
        let map = item
            .as_object()
            .ok_or_else(|| format!("{path} is not an object"))?;
        Ok((path, map))
    };
    list.iter().enumerate().map(item).collect()
}

fn text<'a>(of: &'a Map<String, Value>, path: &str, name: &str) -> Result<&'a str, String> {
    let given = of
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty());
    given.ok_or_else(|| format!("{path} has no {name}"))
}

/// An item with a unique name.
fn unique<'a>(item: &'a Map<String, Value>, path: &str, seen: &mut HashSet<&'a str>) -> Result<(), String> {
    let name = text(item, path, "name")?;
    if !names::is_dns_label(name) {
        return Err(format!(
            "{path}.name is {name:?}, it must be at most 63 lower-case letters, digits and -"
        ));
    }
    if !seen.insert(name) {
        return Err(format!("{path}.name: the name {name} is used twice"));
    }
    Ok(())
}

/// A map of strings whose keys are qualified names.
fn strings(
    metadata: &Map<String, Value>,
    name: &str,
    wrong: impl Fn(&str) -> Option<&'static str>,
) -> Result<(), String> {
    let path = "template.metadata";
    for (key, value) in object(metadata, path, name)?.into_iter().flatten() {
        // Kubernetes accepts capitals in the domain of an annotation but not in that of a label.
        let key_of_kind = if name == "labels" {
            key.clone()
        } else {
            key.to_ascii_lowercase()
        };
        if !names::is_qualified_name(&key_of_kind) {
            return Err(format!(
                "{path}.{name}: {key:?} is not a name such as team or example.com/team"
            ));
        }
        let value = value
            .as_str()
            .ok_or_else(|| format!("{path}.{name}.{key} is {value}, it must be a string"))?;
        if let Some(wrong) = wrong(value) {
            return Err(format!("{path}.{name}.{key} is {value:?}, {wrong}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use super::*;
    use serde_json::json;

    fn checked(template: Value) -> Result<(), String> {
        check(template.as_object())
    }

    fn spec(spec: Value) -> Result<(), String> {
        checked(json!({ "spec": spec }))
    }

    #[test]
    fn wrong_shapes_are_named() {
        for (wrong, said) in [
            (json!([]), "template.spec is not an object"),
            (
                json!({"containers": {}}),
                "template.spec.containers is not a list",
            ),
            (
                json!({"containers": ["peon"]}),
                "template.spec.containers[0] is not an object",
            ),
            (json!({"volumes": [{}]}), "template.spec.volumes[0] has no name"),
            (
                json!({"containers": [{"name": "a", "env": {}}]}),
                "template.spec.containers[0].env is not a list",
            ),
            (
                json!({"initContainers": [{"name": "a", "env": [{}]}]}),
                "template.spec.initContainers[0].env[0] has no name",
            ),
            (
                json!({"containers": [{"name": "a", "volumeMounts": [{"name": "v"}]}]}),
                "template.spec.containers[0].volumeMounts[0] has no mountPath",
            ),
        ] {
            assert_eq!(spec(wrong), Err(said.into()));
        }
        assert_eq!(
            spec(json!({"containers": [{"name": "x"}], "newField": 1, "volumes": null})),
            Ok(())
        );
        assert_eq!(check(None), Ok(()));
    }

    #[test]
    fn names_are_names_and_stand_once() {
        for name in ["Peon", "a.b", "-a", "a_b", &"x".repeat(64)] {
            let error = spec(json!({"containers": [{ "name": name }]})).unwrap_err();
            assert!(error.contains("containers[0].name"), "{error}");
        }
        let error =
            spec(json!({"containers": [{"name": "a"}], "initContainers": [{"name": "a"}]})).unwrap_err();
        assert_eq!(
            error,
            "template.spec.containers[0].name: the name a is used twice"
        );
        let error = spec(json!({"volumes": [{"name": "a"}, {"name": "a"}]})).unwrap_err();
        assert_eq!(error, "template.spec.volumes[1].name: the name a is used twice");
        let twice = json!([{"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a/"}]);
        let error = spec(json!({"containers": [{"name": "a", "volumeMounts": twice}]})).unwrap_err();
        assert!(error.contains("another volume is mounted at /a/"), "{error}");
        let fine = json!({"containers": [{"name": "a", "env": [{"name": "A"}, {"name": "A"}]}], "volumes": [{"name": "a"}]});
        assert_eq!(spec(fine), Ok(()), "of a variable the last one counts");
    }

    #[test]
    fn labels_and_annotations_are_what_the_api_server_takes() {
        let metadata = |name: &str, map: Value| checked(json!({"metadata": { name: map }}));
        for map in [
            json!({"team": "a b"}),
            json!({"team": "x".repeat(64)}),
            json!({"team": 7}),
            json!({"-team": "a"}),
            json!({"Example.com/team": "a"}),
            json!({"a/b/c": "a"}),
            json!({"": "a"}),
            json!([]),
        ] {
            let error = metadata("labels", map).unwrap_err();
            assert!(error.starts_with("template.metadata.labels"), "{error}");
        }
        assert_eq!(
            metadata("labels", json!({"example.com/Team_1": "", "a": "A.b-c_d"})),
            Ok(())
        );
        assert_eq!(
            metadata("annotations", json!({"Example.com/text": "anything at all\n"})),
            Ok(())
        );
        assert!(metadata("annotations", json!({"example.com/number": 7})).is_err());
    }
}
