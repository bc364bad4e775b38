//! The CRD manifests in the repository are those of the types, and explain themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use peon_operator::api::crds::manifests;
use peon_operator::api::{IndexerPool, PeonTask, PeonTemplate, VirtualMiddleManager};
use serde_json::Value;

#[test]
fn the_files_are_those_of_the_types() {
    let expected: BTreeMap<String, String> = manifests().unwrap().into_iter().collect();
    for folder in ["crds", "charts/peon-operator/files/crds"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let read = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        };
        let entries = fs::read_dir(path).unwrap();
        let found: BTreeMap<String, String> = entries.map(|e| read(e.unwrap())).collect();
        let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected), "files in {folder}");
        for (name, body) in &expected {
            // Not assert_eq: two manifests side by side help nobody.
            assert!(
                found[name] == *body,
                "{folder}/{name} is out of date: run `make generate`"
            );
        }
    }
}

/// Whether a value has all of another one.
fn contains(all: &Value, some: &Value) -> bool {
    match (all, some) {
        (Value::Object(all), Value::Object(some)) => some
            .iter()
            .all(|(key, value)| all.get(key).is_some_and(|there| contains(there, value))),
        _ => all == some,
    }
}

#[test]
fn the_reference_is_that_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api");
    for (name, page) in peon_operator::api::reference::pages() {
        let found = fs::read_to_string(folder.join(&name)).unwrap();
        assert!(
            found == page,
            "docs/api/{name} is out of date: run `make generate`"
        );
    }
}

#[test]
fn the_samples_are_objects_of_these_types() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/samples");
    for entry in fs::read_dir(samples).unwrap() {
        let path = entry.unwrap().path();
        let object: Value = serde_yaml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let read = match object["kind"].as_str() {
            Some("PeonTask") => {
                serde_json::from_value(object.clone()).map(|o: PeonTask| serde_json::to_value(o.spec))
            }
            Some("PeonTemplate") => {
                serde_json::from_value(object.clone()).map(|o: PeonTemplate| serde_json::to_value(o.spec))
            }
            Some("VirtualMiddleManager") => {
                // Its defaults are those of the schema, and are filled in.
                let read: VirtualMiddleManager = serde_json::from_value(object.clone()).unwrap();
                let read = serde_json::to_value(read.spec).unwrap();
                for (field, value) in object["spec"].as_object().unwrap() {
                    assert!(contains(&read[field], value), "{}: {field}", path.display());
                }
                continue;
            }
            Some("IndexerPool") => {
                // As before.
                let read: IndexerPool = serde_json::from_value(object.clone()).unwrap();
                let read = serde_json::to_value(read.spec).unwrap();
                for (field, value) in object["spec"].as_object().unwrap() {
                    assert!(contains(&read[field], value), "{}: {field}", path.display());
                }
                continue;
            }
            other => panic!("{}: {other:?}", path.display()),
        };
        // A field that is not one of the type is lost on the way.
        assert_eq!(read.unwrap().unwrap(), object["spec"], "{}", path.display());
    }
}

/// The name of each manifest and its CRD.
#[allow(clippy::unwrap_used)]
fn crds() -> Vec<(String, Value)> {
    let read = |(name, body): (String, String)| (name, serde_yaml::from_str(&body).unwrap());
    manifests().unwrap().into_iter().map(read).collect()
}

#[test]
fn no_kind_is_in_a_category() {
    // A category would let `kubectl delete <category> --all` address these objects with others.
    for (name, crd) in crds() {
        assert!(crd["spec"]["names"]["categories"].is_null(), "{name}");
    }
}

/// The immutability of a spec is one comparison of the whole: it would miss a field that is exchanged for a null.
#[test]
fn a_spec_has_no_nulls() {
    fn nullable(path: &str, schema: &Value, found: &mut Vec<String>) {
        if schema["nullable"] == true {
            found.push(path.to_owned());
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            nullable(&format!("{path}.{name}"), field, found);
        }
    }
    let (_, task) = &crds()[0];
    let spec = &task["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    nullable("spec", spec, &mut found);
    // The payload is kept as it is; its hash is in the status.
    assert_eq!(found, ["spec.task.context", "spec.task.id"]);
}

/// A rule on a field is not evaluated if the field is removed: the defaults see to it that status and conditions cannot be.
#[test]
fn what_protects_a_verdict_cannot_be_removed() {
    let (_, task) = &crds()[0];
    let status = &task["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    let conditions = &status["properties"]["conditions"];
    for schema in [status, conditions] {
        assert!(!schema["default"].is_null() && schema["nullable"].is_null());
    }
    let rules = conditions["x-kubernetes-validations"].as_array().unwrap();
    let messages: Vec<&str> = rules.iter().filter_map(|rule| rule["message"].as_str()).collect();
    assert_eq!(
        messages,
        [
            "Complete and Failed exclude each other",
            "Complete and Failed are final: a verdict cannot be changed"
        ]
    );
}

#[test]
fn a_new_task_has_no_invented_time() {
    for (name, crd) in crds() {
        assert!(!crd.to_string().contains("1970-"), "{name} defaults a time");
    }
    let (_, task) = &crds()[0];
    let status = &task["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"];
    let expected = serde_json::json!({
        "phase": "Pending", "reason": "WaitingForOperator", "observedGeneration": -1,
    });
    assert_eq!(*status, expected, "tools that follow kstatus wait for the task");
}
