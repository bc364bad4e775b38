//! `IndexerPool`: Druid Indexers that are started before their tasks.

// Printer columns have types in common.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::peon_template::Match;
use super::pool_scaling::{PoolAutoscaling, PoolScaling};
pub use super::pool_sizing::PoolSizing;
use super::pool_slots::{PoolOutOfMemory, PoolOverflow, PoolQuarantine, PoolSlots};
use super::pool_watchdog::{PoolRecycle, PoolWatchdog};
use super::schema;
use super::virtual_middle_manager::SecretRef;

/// Most Indexers of a pool.
pub const MOST_INDEXERS: u32 = 1000;
/// Most idle Indexers of a pool.
pub const MOST_IDLE: u32 = 200;
/// Most Indexers in the list of the status.
pub const MOST_LISTED: usize = 20;

/// A pool of Druid Indexers, each a JVM in a pod of its own that is started before its task. Their overlord does not
/// see them: it assigns tasks to the workers of the VirtualMiddleManager.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "peon.dev",
    version = "v1alpha1",
    kind = "IndexerPool",
    plural = "indexerpools",
    singular = "indexerpool",
    shortname = "ipool",
    namespaced,
    status = "IndexerPoolStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    // Pods are named after it.
    validation = kube::core::Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?$')")
        .message("the name must have at most 52 lower-case letters, digits and '-', and no '.': pods are named after it"),
    doc = "Druid Indexers that are started before their tasks, and that the overlord does not see.",
    printcolumn(name = "Idle", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.maxIndexers"),
    printcolumn(name = "Indexers", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Warm", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Busy", type_ = "integer", json_path = ".status.busyReplicas"),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".spec.resources.limits.memory",
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
#[x_kube(validation = kube::core::Rule::new("self.middleManagerRef == oldSelf.middleManagerRef")
    .message("middleManagerRef is immutable: create another IndexerPool").field_path(".middleManagerRef"))]
#[x_kube(validation = kube::core::Rule::new("(self.mode == 'Single') == has(self.maxIndexers)")
    .message("maxIndexers is required with mode Single, and has no meaning with Shared: replicas is the number of Indexers"))]
#[x_kube(validation = kube::core::Rule::new("self.mode == 'Shared' || !has(self.slots)")
    .message("slots has no meaning with mode Single: an Indexer runs one task"))]
#[x_kube(validation = kube::core::Rule::new("self.mode == 'Shared' || !has(self.autoscaling)")
    .message("autoscaling has no meaning with mode Single: replicas is the number of idle Indexers"))]
#[x_kube(validation = kube::core::Rule::new("self.mode == 'Shared' || !has(self.recycle) || !has(self.recycle.maxTasks)")
    .message("recycle.maxTasks has no meaning with mode Single: an Indexer runs one task"))]
#[x_kube(validation = kube::core::Rule::new("self.mode == 'Shared' || !has(self.maxExpectedSeconds)")
    .message("maxExpectedSeconds has no meaning with mode Single: an Indexer runs one task"))]
#[x_kube(validation = kube::core::Rule::new("self.mode == 'Shared' || !has(self.recycle) || !has(self.recycle.liveHeapPercent)")
    .message("recycle.liveHeapPercent has no meaning with mode Single: an Indexer runs one task"))]
#[x_kube(validation = kube::core::Rule::new("self.mode == 'Shared' || !has(self.watchdog)")
    .message("watchdog has no meaning with mode Single: an Indexer runs one task"))]
pub struct IndexerPoolSpec {
    /// The PeonTemplate of the Indexers: image, properties, JVM options and pod template. Resources, sizes of the JVM
    /// and the collection of logs are the pool's own. Default: `{name: default}`. Example: `{name: ingestion}`.
    #[serde(default)]
    #[schemars(schema_with = "schema::described::<PoolTemplateRef>")]
    pub template_ref: PoolTemplateRef,

    /// The VirtualMiddleManager of the same namespace whose overlord assigns the tasks. Immutable. No default. Example:
    /// `{name: ingestion}`.
    #[schemars(schema_with = "schema::described::<PoolManagerRef>")]
    pub middle_manager_ref: PoolManagerRef,

    /// How tasks share Indexers. `Single`: an Indexer runs exactly one task and is then deleted. `Shared`: an Indexer runs
    /// several tasks at the same time, and the next ones after them. Default: `Single`. Example: `Shared`.
    #[serde(default)]
    #[schemars(schema_with = "schema::described::<PoolMode>")]
    pub mode: PoolMode,

    /// Which tasks of the VirtualMiddleManager may run in the pool; tasks that name the pool in `poolRef` may in any
    /// case. Default: all. Example: `{types: [index, kill]}`.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Match>")]
    pub matches: Option<Match>,

    /// Whether brokers query what streaming tasks in the pool have not published. With `Queries` the pods of the
    /// VirtualMiddleManager announce the Indexers to brokers and coordinators, and streaming tasks may run in the pool. Has no
    /// effect with `discovery.kubernetes`: the condition `QueriesServed` says so. Default: `None`. Example: `Queries`.
    #[serde(default)]
    #[schemars(schema_with = "schema::described::<PoolServing>")]
    pub serving: PoolServing,

    /// If several pools may run a task, the one with the highest priority does that has an idle Indexer; among equals,
    /// the one with the least memory, then the first by name. Default: 0. Example: `10`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,

    /// `Single`: number of idle Indexers that are kept. `Shared`: number of Indexers, which `kubectl scale`, a
    /// `HorizontalPodAutoscaler` or KEDA may change; it has no effect with `autoscaling`. 0 to 200. Default: 1. Example: `4`.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = MOST_IDLE))]
    pub replicas: u32,

    /// The operator decides how many Indexers there are, by the tasks that have slots or wait for one. Only with `Shared`.
    /// Default: `replicas` is the number. Example: `{max: 10}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<PoolAutoscaling>")]
    pub autoscaling: Option<PoolAutoscaling>,

    /// Most Indexers at the same time, idle ones and those with a task. 1 to 1000. Required with `Single`, and only there:
    /// with `Shared`, `replicas` is the number. No default. Example: `20`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MOST_INDEXERS))]
    pub max_indexers: Option<u32>,

    /// How many tasks an Indexer runs at the same time (`druid.worker.capacity` is the sum). Only with `Shared`. Default of
    /// each field: its own. Example: `{heavy: 4, light: 4}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<PoolSlots>")]
    pub slots: Option<PoolSlots>,

    /// Tasks that are expected to run longer run elsewhere: an Indexer that is to be replaced has to wait for them, and so do
    /// all others in it. What is expected is the mean duration of the last ten tasks of the same type and datasource that
    /// succeeded, as far as their PeonTasks were there since the operator began. Streaming tasks, and tasks of which nothing
    /// is known, run in the pool. In seconds; only with `Shared`. 1 to 31536000. Default: 600. Example: `3600`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_expected_seconds: Option<u32>,

    /// What a task does that no Indexer has room for, unless its placement is `Pool`. Default of each field: its own.
    /// Example: `{afterSeconds: 30}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<PoolOverflow>")]
    pub overflow: Option<PoolOverflow>,

    /// Cpu and memory of each Indexer. A memory limit is required: heap, direct memory and the memory of a task are
    /// computed from it. Memory in bytes and cpu in cores, as Kubernetes quantities. No default. Example:
    /// `{limits: {memory: 2Gi, cpu: "1"}}`.
    #[schemars(schema_with = "schema::resources")]
    pub resources: ResourceRequirements,

    /// Cpu request of an Indexer without a task, in cores as a Kubernetes quantity; only the request is lowered. With its
    /// task it gets the request of `resources`, in place, where the cluster can resize pods (`pods/resize`, Kubernetes
    /// 1.33); elsewhere it has that from the start. Default: `50m`. Example: `100m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub idle_cpu: Option<Quantity>,

    /// Sizes of the JVM that are not computed from the memory limit. Default of each field: its own. Example:
    /// `{lookups: 100Mi}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<PoolSizing>")]
    pub sizing: Option<PoolSizing>,

    /// Which certificates of the Indexers the operator trusts, where the template's properties enable their port for TLS
    /// (`druid.enableTlsPort`). Default of each field: its own. Example: `{caRef: {name: druid-ca}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<PoolTls>")]
    pub tls: Option<PoolTls>,

    /// Seconds that a task may take to stop (`druid.indexer.task.gracefulShutdownTimeout`), then its thread is
    /// interrupted. 1 to 3600. Default: 30. Example: `60`.
    #[serde(default = "kill_grace")]
    #[schemars(range(min = 1, max = 3600))]
    pub kill_grace_seconds: u32,

    /// When an Indexer is replaced by a new one, with `Single` an idle one. Default: of each field its own. Example:
    /// `{maxAgeSeconds: 43200}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<PoolRecycle>")]
    pub recycle: Option<PoolRecycle>,

    /// When an Indexer gets no task for now, because its heap is full. Only with `Shared`. Default of each field: its own.
    /// Example: `{cordonLivePercent: 90}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<PoolWatchdog>")]
    pub watchdog: Option<PoolWatchdog>,

    /// What may disturb the Indexers. Default: of each field its own. Example: `{blockWhileBusy: false}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<PoolDisruption>")]
    pub disruption: Option<PoolDisruption>,
}

fn one() -> u32 {
    1
}

fn kill_grace() -> u32 {
    30
}

/// Reference to a PeonTemplate of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolTemplateRef {
    /// Name of the PeonTemplate. Default: `default`. Example: `ingestion`.
    #[serde(default = "default_template")]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn default_template() -> String {
    "default".to_owned()
}

impl Default for PoolTemplateRef {
    fn default() -> Self {
        Self {
            name: default_template(),
        }
    }
}

/// Reference to a VirtualMiddleManager of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolManagerRef {
    /// Name of the VirtualMiddleManager. No default. Example: `ingestion`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How tasks share Indexers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PoolMode {
    /// An Indexer runs exactly one task and is then deleted.
    #[default]
    Single,
    /// An Indexer runs several tasks at the same time, and the next ones after them.
    Shared,
}

/// Whether brokers query what streaming tasks in a pool have not published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PoolServing {
    /// They do not. A streaming task runs in the pool only if `match.types` names its type, or the task names the pool.
    #[default]
    None,
    /// They do: the Indexers are announced to them.
    Queries,
}

impl PoolServing {
    /// As in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Queries => "Queries",
        }
    }
}

/// Which certificates of Indexers the operator trusts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("self.validateHostnames || has(self.caRef)")
    .message("validateHostnames: false needs caRef: else the certificate of any host of a public CA would do"))]
pub struct PoolTls {
    /// Secret of the same namespace whose key `ca.crt` holds the CA certificates that are trusted, in PEM. Default:
    /// `overlord.caRef` of the VirtualMiddleManager; without it, the CA certificates of the operator's image. Example:
    /// `{name: druid-ca}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretRef>,

    /// Whether a certificate has to name the address of the Indexer's pod. The same choice as Druid's own
    /// `druid.client.https.validateHostnames`: with false, any certificate of the CA is accepted. Needs `caRef` if false.
    /// Default: true. Example: `false`.
    #[serde(default = "yes")]
    pub validate_hostnames: bool,
}

fn yes() -> bool {
    true
}

/// What may disturb the Indexers of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolDisruption {
    /// Whether evictions wait until an Indexer has no task: a `PodDisruptionBudget` over all Indexers refuses them, and the
    /// operator deletes idle Indexers on nodes that are cordoned. Default: true, if the operator may watch nodes. Example:
    /// `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_while_busy: Option<bool>,
}

/// State of the Indexers of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IndexerPoolStatus {
    /// `Ready`: as many Indexers are warm as are kept idle; its reason says what is missing. `Reconciling`: Indexers
    /// start, or are replaced. `Stalled`: a change of the pool, its template or the cluster is needed. `QueriesServed`: with
    /// `serving: Queries`, whether Indexers are announced to brokers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// Indexers whose pod exists and has not ended. Updated at most every ten seconds. Example: `5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,

    /// The pods of the Indexers, for what scales them (`scale`): with `Shared`, unless `autoscaling` is given. Example:
    /// `peon.dev/pool=small`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub selector: Option<String>,

    /// With `autoscaling`: how many Indexers are aimed at, and why. Example: `{desiredReplicas: 4}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<PoolScaling>")]
    pub scaling: Option<PoolScaling>,

    /// Indexers that can take a task: ready, and proven hidden from the overlord; those that are to be replaced count,
    /// too. Updated at most every ten seconds.
    /// Example: `4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<u32>,

    /// Indexers that have a task, or had one; with `Shared`, those that have tasks. Updated at most every ten seconds.
    /// Example: `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_replicas: Option<u32>,

    /// Tasks that have a slot of a shared Indexer. Updated at most every ten seconds. Example: `7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,

    /// Indexers of the current pool and template. Updated at most every ten seconds. Example: `5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_replicas: Option<u32>,

    /// The first 20 Indexers by name. Updated at most every ten seconds. Example: `[{pod: warm-8k2fq, state: Ready}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = MOST_LISTED),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"])
    )]
    pub indexers: Vec<IndexerStatus>,

    /// The last three shared Indexers that ran out of memory. Example: `[]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub out_of_memory: Vec<PoolOutOfMemory>,

    /// Kinds of tasks that run alone for a day, because they ran in two of the last three shared Indexers that ran out of
    /// memory. Example: `[]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub quarantine: Vec<PoolQuarantine>,

    /// Whether the overlord sees Indexers, as far as the VirtualMiddleManager has checked. Written by its pod. Example:
    /// `{hidden: [8f3c2a52-6c0e-4a55-9d3d-2f1f7c1f0a11]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<IndexerDiscovery>")]
    pub discovery: Option<IndexerDiscovery>,

    /// The generation of the IndexerPool that was last processed. Example: `3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// One Indexer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IndexerStatus {
    /// Name of its pod. Example: `warm-8k2fq`.
    #[schemars(length(max = 63))]
    pub pod: String,

    /// `Starting`: its JVM starts, or it is not yet proven that the overlord does not see it. `Ready`: it can take a
    /// task. `Used`: it has a task, or had one, and is deleted once the task's verdict and log are stored; with `Shared`, it
    /// has tasks and does not answer. `Cordoned`: it gets no task for now. `Draining`: it gets no further task and is deleted when its tasks have ended.
    /// `Outdated`: another one takes its place. `Failed`: it ended. `Terminating`: its pod is being deleted. Example:
    /// `Ready`.
    #[schemars(schema_with = "schema::described::<IndexerState>")]
    pub state: IndexerState,

    /// Tasks that have one of its slots, if it is shared. Example: `3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,

    /// How much of its heap the last full garbage collection left in use, of G1 also the last marking, in percent; if it is
    /// shared and there was one. Example: `41`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_percent: Option<u32>,

    /// Details, where there are any. Example: `0/3 nodes are available: 3 Insufficient memory.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
}

/// State of an Indexer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IndexerState {
    /// Its JVM starts, or it is not yet proven that the overlord does not see it.
    #[default]
    Starting,
    /// It can take a task.
    Ready,
    /// It has a task, or had one.
    Used,
    /// It gets no task for now, because its heap is full.
    Cordoned,
    /// It gets no further task and is deleted when its tasks have ended.
    Draining,
    /// Another one takes its place: it was made from an earlier pool or template, is too old, or its node is cordoned.
    Outdated,
    /// It ended.
    Failed,
    /// Its pod is being deleted.
    Terminating,
}

impl IndexerState {
    /// As in the API and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Ready => "Ready",
            Self::Used => "Used",
            Self::Cordoned => "Cordoned",
            Self::Draining => "Draining",
            Self::Outdated => "Outdated",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
        }
    }
}

/// What was found of the Indexers in Druid's discovery and at the overlord. Pods are named by uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IndexerDiscovery {
    /// Indexers whose own announcement offers no worker, and that the overlord does not list as workers. Example:
    /// `[8f3c2a52-6c0e-4a55-9d3d-2f1f7c1f0a11]`.
    // Written also if it is empty: server-side apply makes `null` of an object whose last field goes, which is refused.
    #[serde(default)]
    #[schemars(length(max = MOST_INDEXERS), inner(length(max = 64)))]
    pub hidden: Vec<String>,

    /// Indexers whose announcement offers a worker, or that the overlord lists as workers: the overlord assigns tasks to
    /// them. Example: `[]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_INDEXERS), inner(length(max = 64)))]
    pub visible: Vec<String>,

    /// Indexers that are ready, and whose announcement was not found for two minutes: they are replaced. Example: `[]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_INDEXERS), inner(length(max = 64)))]
    pub unannounced: Vec<String>,

    /// What was found, or why nothing could be checked. Example: `10.1.2.3:8091 announces workerNodeService`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
}
