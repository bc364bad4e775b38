//! The manifests of `config/samples`, fitted to a cluster.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::testbed::{druid::Druid, images::CLASS_ARCHIVE};

const TEMPLATE: &str = include_str!("../../../../config/samples/peontemplate.yaml");
const NOOP: &str = include_str!("../../../../config/samples/noop.yaml");
const INDEX_PARALLEL: &str = include_str!("../../../../config/samples/index-parallel.yaml");

const SUBMITTED: &str = include_str!("../../../../config/samples/submitted.yaml");

fn read(sample: &str) -> Result<Value> {
    serde_yaml::from_str(sample).context("a sample is not YAML")
}

/// The template, with this image and this Druid's ZooKeeper.
///
/// # Errors
/// When the sample is not YAML.
pub fn template(druid: &Druid, image: &str) -> Result<Value> {
    let mut template = read(TEMPLATE)?;
    template["spec"]["image"] = json!(image);
    template["spec"]["properties"]["druid.zk.service.host"] = json!(druid.zookeeper());
    Ok(template)
}

/// A template without deep storage.
#[must_use]
pub fn without_storage(mut template: Value) -> Value {
    template["spec"]["template"] = json!({
        "spec": {"containers": [{"name": "peon", "imagePullPolicy": "IfNotPresent"}]},
    });
    template
}

/// A template whose JVMs use the class-data archive of the Druid image that is built here.
#[must_use]
pub fn with_class_archive(mut template: Value) -> Value {
    if let Some(options) = template["spec"]["javaOpts"].as_array_mut() {
        options.push(json!(format!("-XX:SharedArchiveFile={CLASS_ARCHIVE}")));
    }
    template
}

/// The noop task under this name.
///
/// # Errors
/// When the sample is not YAML.
pub fn noop(name: &str) -> Result<Value> {
    let mut task = read(NOOP)?;
    task["metadata"]["name"] = json!(name);
    Ok(task)
}

/// The ingestion that a VirtualMiddleManager submits, under this name, into this datasource.
///
/// # Errors
/// When the sample is not YAML.
pub fn submitted(name: &str, datasource: &str) -> Result<Value> {
    let mut task = read(SUBMITTED)?;
    task["metadata"]["name"] = json!(name);
    task["spec"]["task"]["spec"]["dataSchema"]["dataSource"] = json!(datasource);
    Ok(task)
}

/// The ingestion under this name, with this task id, into this datasource.
///
/// # Errors
/// When the sample is not YAML.
pub fn index_parallel(name: &str, id: &str, datasource: &str) -> Result<Value> {
    let mut task = read(INDEX_PARALLEL)?;
    task["metadata"]["name"] = json!(name);
    task["spec"]["task"]["id"] = json!(id);
    task["spec"]["task"]["spec"]["dataSchema"]["dataSource"] = json!(datasource);
    Ok(task)
}

/// An IndexerPool of this name with this spec.
#[must_use]
pub fn pool(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool", "metadata": {"name": name}, "spec": spec})
}
