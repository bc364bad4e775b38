//! CRDs: those of `crds/`, and kept when the release goes.

use std::fs;

use serde_json::{Value, json};

use crate::render::{render, root, yaml};

#[test]
fn the_crds_are_those_of_the_repository_and_kept() {
    let objects = render(&[]);
    let files = fs::read_dir(root().join("crds")).unwrap();
    let files: Vec<Value> = files.map(|f| yaml(&f.unwrap().path())).collect();
    assert!(!files.is_empty());
    assert_eq!(objects.all("CustomResourceDefinition").len(), files.len());
    for mut file in files {
        let name = file["metadata"]["name"].as_str().unwrap().to_owned();
        let rendered = objects.named("CustomResourceDefinition", &name);
        let labels = rendered["metadata"]["labels"].clone();
        assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm");
        file["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        file["metadata"]["labels"] = labels;
        // Not assert_eq: two manifests side by side help nobody.
        assert!(
            plain(rendered.clone()) == plain(file),
            "{name} is not as in crds/"
        );
    }
}

/// Helm writes 0.0 as 0.
fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, plain(v))).collect(),
        other => other,
    }
}

/// Argo CD prunes what an application has no more, and does not heed Helm's annotation.
#[test]
fn the_crds_have_annotations_beside_helms_own() {
    let value = r#"crds.annotations={"argocd.argoproj.io/sync-options": "Prune=false"}"#;
    let objects = render(&[value]);
    let crds = objects.all("CustomResourceDefinition");
    assert!(!crds.is_empty());
    for crd in crds {
        let expected =
            json!({"helm.sh/resource-policy": "keep", "argocd.argoproj.io/sync-options": "Prune=false"});
        assert_eq!(crd["metadata"]["annotations"], expected);
    }
}

#[test]
fn the_crds_may_be_somebody_elses() {
    assert!(
        render(&["crds.install=false"])
            .all("CustomResourceDefinition")
            .is_empty()
    );
}
