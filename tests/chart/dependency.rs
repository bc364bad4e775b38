//! The chart as a dependency of another one.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::render::{Objects, chart, render_chart};
use crate::values::copy_folder;

/// A chart that has this one as a dependency under a condition.
fn parent(name: &str, values: &str) -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if parent.exists() {
        fs::remove_dir_all(&parent).unwrap();
    }
    copy_folder(&chart(), &parent.join("charts/peon-operator"));
    let version = env!("CARGO_PKG_VERSION");
    let description = format!(
        "apiVersion: v2\nname: platform\nversion: 1.0.0\ndependencies:\n  - name: peon-operator\n    version: {version}\n    \
         condition: peon-operator.enabled\n"
    );
    fs::write(parent.join("Chart.yaml"), description).unwrap();
    fs::write(parent.join("values.yaml"), values).unwrap();
    parent
}

fn render_parent(name: &str, values: &str) -> Objects {
    render_chart(&parent(name, values), &[])
}

#[test]
fn a_parent_switches_it_on_and_gives_its_registry() {
    let objects = render_parent(
        "parent-on",
        "global: {imageRegistry: registry.example.com, storageClass: fast}\npeon-operator: {enabled: true}\n",
    );
    let image = objects.container()["image"].as_str().unwrap();
    assert!(
        image.starts_with("registry.example.com/peon-operator/"),
        "{image}"
    );
}

#[test]
fn a_parent_switches_it_off() {
    let objects = render_parent("parent-off", "peon-operator: {enabled: false}\n");
    assert!(objects.0.iter().all(Value::is_null), "{:?}", objects.0);
}
