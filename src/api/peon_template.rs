//! `PeonTemplate`: what tasks of one kind have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::schema;

/// What the PeonTasks that name it have in common: image, Druid properties, defaults and pod template. A change
/// applies to tasks that have no pod yet.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "peon.dev",
    version = "v1alpha1",
    kind = "PeonTemplate",
    plural = "peontemplates",
    singular = "peontemplate",
    shortname = "ptpl",
    category = "druid",
    namespaced,
    derive = "PartialEq",
    doc = "What PeonTasks of one kind have in common: image, Druid properties, defaults and pod template.",
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct PeonTemplateSpec {
    /// The Druid image; it must hold Druid under `/opt/druid` and `java` and `sh` on the path, as the public
    /// image does. Default: the image of the peon's container in `template`, then the operator's
    /// `druid.indexer.image`, then `docker.io/apache/druid:33.0.0`. Example: `docker.io/apache/druid:33.0.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,

    /// Cpu and memory of tasks that give none themselves or in their context. Memory in bytes as a Kubernetes
    /// quantity, cpu in cores. Default: the resources of the peon's container in `template`, then the operator's
    /// `druid.indexer.default.pod.memory` and `.cpu`, then `2G` and `1`.
    /// Example: `{limits: {memory: 4Gi, cpu: "2"}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<ResourceRequirements>,

    /// Options of the peon's JVM, one per item, added after the operator's and before those of the task's context
    /// and of the PeonTask; the last one of a kind wins. Default: none. Example: `["-XX:+UseParallelGC"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::java_opts")]
    pub java_opts: Vec<String>,

    /// Druid properties of the peon. They override the operator's `druid.indexer.fork.property.*` and are
    /// overridden by the same keys in a task's context. They end up in a ConfigMap: mount secrets through
    /// `template` instead. Default: none. Example: `{druid.zk.service.host: "zookeeper:2181"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,

    /// A pod template that the peon's pod is merged into: containers, environment variables, volumes and mounts by
    /// name. The peon is the container named `peon`, else the first. Every field of a pod may be given; the
    /// operator sets the peon's command, configuration and cpu and memory. Default: none.
    /// Example: `{spec: {nodeSelector: {pool: ingestion}}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_template")]
    pub template: Option<serde_json::Map<String, serde_json::Value>>,
}
