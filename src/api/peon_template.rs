//! `PeonTemplate`: common settings of one kind of tasks.

// Printer columns have types in common.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::retry::RetryPolicy;
use super::schema;

/// Common settings of PeonTasks: image, Druid properties, defaults and pod template. A change applies to tasks that
/// have no pod yet.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "peon.dev",
    version = "v1alpha1",
    kind = "PeonTemplate",
    plural = "peontemplates",
    singular = "peontemplate",
    shortname = "ptpl",
    namespaced,
    status = "PeonTemplateStatus",
    derive = "PartialEq",
    doc = "What PeonTasks of one kind have in common: image, Druid properties, defaults and pod template.",
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image"),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".spec.resources.limits.memory"
    ),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(name = "Running", type_ = "integer", json_path = ".status.running"),
    printcolumn(
        name = "Waiting",
        type_ = "integer",
        json_path = ".status.waiting",
        priority = 1
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct PeonTemplateSpec {
    /// The Druid image. It must contain Druid under `/opt/druid`, and `java` and `sh` on the path, as the public image
    /// does. Default: the image of the peon's container in `template`, then the operator's `druid.indexer.image`, then
    /// `docker.io/apache/druid:33.0.0`. Example: `docker.io/apache/druid:33.0.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,

    /// Cpu and memory of tasks that set none in their spec or context. Memory in bytes as a Kubernetes quantity, cpu in
    /// cores. Default: the resources of the peon's container in `template`, then the operator's
    /// `druid.indexer.default.pod.memory` and `.cpu`, then `2G` and `1`. Example: `{limits: {memory: 4Gi, cpu: "2"}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<ResourceRequirements>,

    /// Options of the peon's JVM, one per item, added after the operator's and before those of the task's context and
    /// of the PeonTask; of several options of one kind the last one wins. Default: none. Example:
    /// `["-XX:+UseParallelGC"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::java_opts")]
    pub java_opts: Vec<String>,

    /// Folders and JARs on the class path of the peon, before Druid's libraries: absolute paths in the image, or of a volume
    /// that `template` mounts. A folder with `runtime.properties` would replace the peon's. Default: none. Example:
    /// `[/opt/hadoop-conf]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::class_path")]
    pub class_path: Vec<String>,

    /// Host under which other processes call the peon: its `druid.host`, and that of the location that an overlord is told.
    /// `{address}` stands for the pod's address, `{dashedAddress}` for the same with `-` for each `.` and `:`,
    /// `{namespace}` for its namespace. For certificates with names, as with TLS between all processes. Default:
    /// `{address}`. Example: `{dashedAddress}.{namespace}.pod.cluster.local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,

    /// Druid properties of the peon. They override the operator's `druid.indexer.fork.property.*` and are overridden by
    /// the same keys in a task's context. Lines of a MiddleManager's file (`druid.indexer.fork.property.*`,
    /// `druid.indexer.runner.javaOpts`) mean what they mean there. They are written to a ConfigMap: put secrets into
    /// `propertiesFrom`. Default: none. Example: `{druid.zk.service.host: "zookeeper:2181"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,

    /// A pod template that the peon's pod is merged into; containers, environment variables, volumes and mounts are
    /// merged by name. The peon is the container named `peon`, else the first one; its variables `druid_*` are Druid
    /// properties, as in the public image. Every field of a pod may be given; the operator sets the peon's command,
    /// configuration, cpu and memory. Default: none. Example:
    /// `{spec: {nodeSelector: {pool: ingestion}}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_template")]
    pub template: Option<serde_json::Map<String, serde_json::Value>>,

    /// Fields of security contexts that the operator does not set, where the cluster chooses them, as some do with
    /// users and groups: `runAsNonRoot`, `runAsUser`, `runAsGroup`, `fsGroup`, `seccompProfile` of the pod,
    /// `allowPrivilegeEscalation`, `capabilities` of the peon's container. Default: none, every one is set. Example:
    /// `[runAsUser, runAsGroup, fsGroup]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::security_defaults")]
    pub omit_security_defaults: Vec<SecurityDefault>,

    /// Further Druid properties, from ConfigMaps and Secrets: each key is a property, and one that ends in `.properties` is
    /// a whole file. The peon reads them from a file in its pod; they appear in no log. Every other source overrides them. Later entries override earlier ones.
    /// Default: none. Example: `[{secretRef: {name: metadata-store}}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::properties_from")]
    pub properties_from: Vec<PropertiesSource>,

    /// Which tasks without `templateRef` use this template. Without it: only tasks that name the template and, if it is
    /// named `default`, tasks that no other template matches. Default: none. Example: `{types: [index_kafka]}`.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Match>")]
    pub matches: Option<Match>,

    /// If several templates match a task, the one with the highest priority is used; among equals, the first by name.
    /// Default: 0. Example: `10`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,

    /// Most tasks of this template that have a pod at the same time. Others wait, in the order of their creation. At
    /// least 1. Default: no limit. Example: `20`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_running: Option<u32>,

    /// What happens to a new PeonTask if one of the same name with the same Druid id and payload succeeded before, such as
    /// one from Git whose finished object was deleted. `Rerun`: it runs. `Skip`: it is complete at once, without a pod.
    /// `Skip` needs the history, so an operator that archives logs, and does not concern tasks with `middleManagerRef`,
    /// which are the overlord's. Default: `Rerun`. Example: `Skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<AfterSuccess>")]
    pub after_success: Option<AfterSuccess>,

    /// How the JVM and its buffers are sized from the memory limit. Default of each field: its own. Example:
    /// `{ingestionMemory: Bytes}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Sizing>")]
    pub sizing: Option<Sizing>,

    /// Limits on what tasks may ask for or change. Default of each field: its own. Example: `{maxMemory: 16Gi}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Overrides>")]
    pub overrides: Option<Overrides>,

    /// Collection of the peons' logs and reports. Default of each field: its own. Example: `{collect: Sidecar}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Logs>")]
    pub logs: Option<Logs>,

    /// When a failed attempt is followed by another one. Default of each field: its own. Example: `{rerun: Always}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<RetryPolicy>")]
    pub retry: Option<RetryPolicy>,

    /// `startDeadlineSeconds` of tasks that set none. In seconds. Default: none, a task waits indefinitely. Example:
    /// `3600`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::seconds")]
    pub start_deadline_seconds: Option<u32>,

    /// `activeDeadlineSeconds` of tasks that set none. In seconds. Streaming tasks run until their supervisor ends
    /// them: leave the field out of their template. Default: none. Example: `14400`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::seconds")]
    pub active_deadline_seconds: Option<u32>,

    /// `ttlSecondsAfterFinished` of tasks that set none. In seconds, 0 to 315360000, or -1 for never. Default: 3600.
    /// Example: `86400`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 315_360_000))]
    pub ttl_seconds_after_finished: Option<i32>,
}

/// What happens to a task that succeeded before as another PeonTask of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AfterSuccess {
    /// It runs.
    #[default]
    Rerun,
    /// It is complete at once.
    Skip,
}

/// A field of a security context that the operator sets unless a template gives or omits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecurityDefault {
    /// `true`, of the pod.
    RunAsNonRoot,
    /// The user of Druid's image, of the pod.
    RunAsUser,
    /// The group of Druid's image, of the pod.
    RunAsGroup,
    /// The group of the pod's volumes.
    FsGroup,
    /// `RuntimeDefault`, of the pod.
    SeccompProfile,
    /// `false`, of the peon's container.
    AllowPrivilegeEscalation,
    /// All are dropped, of the peon's container.
    Capabilities,
}

impl SecurityDefault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::RunAsNonRoot,
        Self::RunAsUser,
        Self::RunAsGroup,
        Self::FsGroup,
        Self::SeccompProfile,
        Self::AllowPrivilegeEscalation,
        Self::Capabilities,
    ];

    /// Name of the field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunAsNonRoot => "runAsNonRoot",
            Self::RunAsUser => "runAsUser",
            Self::RunAsGroup => "runAsGroup",
            Self::FsGroup => "fsGroup",
            Self::SeccompProfile => "seccompProfile",
            Self::AllowPrivilegeEscalation => "allowPrivilegeEscalation",
            Self::Capabilities => "capabilities",
        }
    }
}

/// Whether tasks can use a PeonTemplate, and how many of them do. Written by the operator that leads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeonTemplateStatus {
    /// `Ready`: tasks can use the template; its reason and message say what is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// Tasks of this template that have a pod, or a slot of `spec.maxRunning` for one. Updated every few seconds.
    /// Example: `7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,

    /// Tasks that wait for a slot of `spec.maxRunning`, with the reason `MaxRunning`. Updated every few seconds.
    /// Example: `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u32>,

    /// The generation of the PeonTemplate that was last processed. Example: `3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Collection of the peons' logs and reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Logs {
    /// How logs and reports get to the store named by the operator's `druid.indexer.logs.*`. `Follower`: the operator
    /// reads them through the API server. `Sidecar`: a container in the pod reads them. `None`: they are not stored.
    /// Default: `Follower`. Example: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Collect>")]
    pub collect: Option<Collect>,

    /// Properties of the sidecar: the store's credentials, from Secrets, under Druid's names. The operator's
    /// `druid.indexer.logs.*` override them. The operator's own credentials are never given to a pod. Default: none,
    /// the sidecar uses the pod's identity. Example: `[{secretRef: {name: log-store}}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::properties_from")]
    pub properties_from: Vec<PropertiesSource>,
}

/// How logs and reports get to their store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Collect {
    /// The operator reads them through the API server.
    #[default]
    Follower,
    /// A container in the pod reads them.
    Sidecar,
    /// They stay in the pod and are deleted with it.
    None,
}

/// Properties in a ConfigMap or a Secret; give exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PropertiesSource {
    /// A ConfigMap of the same namespace. Example: `{name: druid-common}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<SourceRef>")]
    pub config_map_ref: Option<SourceRef>,

    /// A Secret of the same namespace. Example: `{name: metadata-store}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<SourceRef>")]
    pub secret_ref: Option<SourceRef>,
}

/// Reference to a ConfigMap or Secret of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceRef {
    /// Name of the ConfigMap or Secret. No default. Example: `druid-common`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Whether the object may be missing. Default: false: the pod waits for it with the reason `ContainerConfig`.
    /// Example: `true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// Which tasks a template is for: tasks that fit every list that is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// Task types. Default: any. Example: `[index_kafka, index_kinesis]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub types: Vec<String>,

    /// Datasources. Default: any. Example: `[wikipedia]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub data_sources: Vec<String>,

    /// Allowed values of entries of `tags` in the task's context, by the entry's name. Default: any. Example:
    /// `{team: [ads, search]}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context_tags: BTreeMap<String, Vec<String>>,
}

/// How the JVM and its buffers are sized from the memory limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sizing {
    /// `Payload` leaves the task's memory settings unchanged. `Bytes` removes its limits in rows and sets
    /// `maxBytesInMemory` from the heap, so that a task with more memory spills less often. Default: `Payload`.
    /// Example: `Bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<IngestionMemory>")]
    pub ingestion_memory: Option<IngestionMemory>,

    /// Whether a task whose JVM cannot fit the memory limit is refused. Default: true. Example: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforce: Option<bool>,
}

/// The limit on the rows that a task keeps in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IngestionMemory {
    /// The limits in the task.
    #[default]
    Payload,
    /// A limit in bytes, derived from the heap.
    Bytes,
}

/// Limits on what tasks may ask for or change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overrides {
    /// The largest memory limit that a task may ask for in its spec or context, in bytes as a Kubernetes quantity.
    /// Retries do not exceed it either. Default: no limit. Example: `16Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub max_memory: Option<Quantity>,

    /// The largest cpu limit that a task may ask for in its spec or context, in cores as a Kubernetes quantity.
    /// Default: no limit. Example: `"4"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub max_cpu: Option<Quantity>,

    /// Which JVM options and Druid properties tasks may give in their spec or context. `Allow`: all but unknown options
    /// and those that read files, load code, run commands, write outside of `/tmp` and `/peon/tmp`, open the JVM to
    /// other processes, or print transmitted data. `Sizing`: only heap, direct memory, collector, threads, time zone and
    /// `druid.processing.*`. `Deny`: none. `Any`: every one; users who may create tasks can then read every file of the
    /// peon, including the template's Secrets. A task with an option that is not allowed waits with the reason
    /// `LimitExceeded`. Default: `Sizing` where the template gives the peon a Secret or a service account token, else
    /// `Allow`. Example: `Deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<JavaOpts>")]
    pub java_opts: Option<JavaOpts>,

    /// Whether tasks may give `retry`. `Allow`: they may. `Deny`: a task that does waits with the reason
    /// `LimitExceeded`. Default: `Allow`. Example: `Deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Permission>")]
    pub retry: Option<Permission>,
}

/// Which JVM options and Druid properties a task may give. A task with an option that is not allowed waits with the
/// reason `LimitExceeded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JavaOpts {
    /// All but unknown options and those that read files, load code, run commands, write outside of `/tmp` and
    /// `/peon/tmp`, open the JVM to other processes, or print transmitted data.
    Allow,
    /// Only heap, direct memory, collector, threads, time zone, and `druid.processing.*`.
    Sizing,
    /// None.
    Deny,
    /// Any. Users who may create tasks can then read every file of the peon, including the template's Secrets.
    Any,
}

/// Whether a task may change something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Permission {
    /// It may.
    #[default]
    Allow,
    /// It may not: a task that does waits with the reason `LimitExceeded`.
    Deny,
}
