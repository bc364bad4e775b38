//! `VirtualMiddleManager`: workers towards one overlord.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Most identities.
pub const MOST_IDENTITIES: u16 = 32;

/// Workers that an overlord takes for MiddleManagers. Each task that it assigns to one of them becomes a PeonTask of the
/// same namespace.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "peon.dev",
    version = "v1alpha1",
    kind = "VirtualMiddleManager",
    plural = "virtualmiddlemanagers",
    singular = "virtualmiddlemanager",
    shortname = "vmm",
    category = "druid",
    namespaced,
    status = "VirtualMiddleManagerStatus",
    derive = "PartialEq",
    // Services are named after it.
    validation = kube::core::Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')")
        .message("the name must begin with a letter, have at most 52 letters, digits and '-', and no '.'"),
    doc = "Workers that a Druid overlord takes for MiddleManagers and that run its tasks as PeonTasks.",
    printcolumn(name = "Identities", type_ = "integer", json_path = ".spec.identities"),
    printcolumn(name = "Capacity", type_ = "integer", json_path = ".spec.capacity"),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.used"),
    printcolumn(name = "Overlord", type_ = "string", json_path = ".status.leader"),
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
#[x_kube(
    validation = Rule::new("self.identities * self.capacity <= 1000000")
        .message("the overlord adds the capacities of all workers up as a 32-bit number: announce what the cluster can run"),
    validation = Rule::new("has(self.auth) != self.allowAnonymous")
        .message("whoever reaches the workers without credentials can run code here: set auth to a Secret with the username and password of Druid's escalator, or allowAnonymous: true where a NetworkPolicy keeps all but the overlord away; not both"),
    validation = Rule::new("has(self.tls) == has(oldSelf.tls) && self.advertise == oldSelf.advertise")
        .message("tls cannot be turned on or off, and advertise cannot be changed: the workers would have other addresses, and the overlord kills what comes back under another address; make another VirtualMiddleManager, disable the workers of this one, and delete it once they are idle")
)]
pub struct VirtualMiddleManagerSpec {
    /// Where the overlord looks for workers.
    #[schemars(schema_with = "schema::described::<Discovery>")]
    pub discovery: Discovery,

    /// The overlord, which is asked what became of tasks.
    #[schemars(schema_with = "schema::described::<Overlord>")]
    pub overlord: Overlord,

    /// Workers that the overlord sees, each with a host and port of its own. It puts no two replicas of a streaming task
    /// on one worker: at least as many as the largest `replicas`. 1 to 32. Of fewer than before, the last ones take no
    /// more tasks, and go when theirs have ended. Default: 2. Example: `3`.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = MOST_IDENTITIES))]
    pub identities: u16,

    /// Tasks that each identity takes at the same time. At least 1. Default: 10. Example: `50`.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100_000))]
    pub capacity: u32,

    /// Category of the workers, by which `selectStrategy` of the overlord chooses tasks for them.
    /// Default: `_default_worker_category`. Example: `kubernetes`.
    #[serde(default = "default_category")]
    #[schemars(length(min = 1, max = 255))]
    pub category: String,

    /// Version of the workers, which the overlord compares with `druid.indexer.runner.minWorkerVersion`. Default: `0`.
    #[serde(default = "zero")]
    #[schemars(length(min = 1, max = 63))]
    pub version: String,

    /// The host by which the overlord calls the workers: `ServiceDNS`, the name of their Service, or `ClusterIP`, its
    /// address, where the overlord resolves no names of the cluster. Default: `ServiceDNS`.
    #[serde(default)]
    pub advertise: Advertise,

    /// Where the payloads of assigned tasks are kept: `Secret`, since they may hold credentials, or `Inline` in the
    /// PeonTask where they are small. Default: `Secret`.
    #[serde(default)]
    pub payload: PayloadPlace,

    /// Largest assignment that is taken, in bytes, as it is sent and as JSON; larger ones are answered with 413. What is
    /// larger than a PeonTask can be, 16 MiB, is taken and fails at once. 1024 to 268435456. Default: 67108864 (64 MiB).
    #[serde(default = "task_bytes")]
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub max_task_bytes: u32,

    /// Credentials between overlord and workers: a Secret of type `kubernetes.io/basic-auth` with the `username` and
    /// `password` of Druid's escalator (`druid.escalator.internalClientUsername`). Requests without them are refused.
    /// Required, unless `allowAnonymous` is set. Default: none. Example: `{name: druid-escalator}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<SecretRef>,

    /// Whether requests without credentials are served. Whoever reaches the workers can then run any code with what the
    /// PeonTemplates of the namespace give to tasks: keep all but the overlord away with a `NetworkPolicy`. Not
    /// together with `auth`. Default: false. Example: `true`.
    #[serde(default)]
    pub allow_anonymous: bool,

    /// Certificate of the workers: a Secret of type `kubernetes.io/tls`. With it they are announced with TLS only. The
    /// certificate must hold every host that is announced. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<SecretRef>,

    /// PeonTasks with `middleManagerRef` that somebody else created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Submissions>")]
    pub submissions: Option<Submissions>,

    /// Labels of the PeonTasks that are created. Default: none. Example: `{team: ads}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub task_labels: BTreeMap<String, String>,
}

fn two() -> u16 {
    2
}

fn ten() -> u32 {
    10
}

fn task_bytes() -> u32 {
    64 << 20
}

fn zero() -> String {
    "0".to_owned()
}

fn default_category() -> String {
    "_default_worker_category".to_owned()
}

/// Where the overlord looks for workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// In ZooKeeper (`druid.discovery.type=curator`).
    #[schemars(schema_with = "schema::described::<ZooKeeper>")]
    pub zookeeper: ZooKeeper,
}

/// The ZooKeeper ensemble of a Druid cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZooKeeper {
    /// `druid.zk.service.host`: hosts and ports, separated by commas. Example: `zookeeper:2181`.
    #[schemars(length(min = 1, max = 2048))]
    pub hosts: String,

    /// `druid.zk.paths.base`. Default: `/druid`.
    #[serde(default = "default_base", skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub base_path: String,

    /// Milliseconds after which a silent session ends, `druid.zk.service.sessionTimeoutMs`. Default: 30000.
    #[serde(default = "default_session")]
    #[schemars(range(min = 2000, max = 600_000))]
    pub session_timeout_ms: u32,

    /// Where Druid writes with ACLs (`druid.zk.service.acl=true`): a Secret with the `username` and `password` of its
    /// digest. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<SecretRef>,
}

fn default_base() -> String {
    "/druid".to_owned()
}

fn default_session() -> u32 {
    30_000
}

/// The overlord as it is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overlord {
    /// URL of an overlord, or of a Service or router before several; redirects to the leader are followed.
    /// Example: `http://overlord:8090`.
    #[schemars(length(min = 8, max = 2048))]
    pub url: String,

    /// Secret whose key `ca.crt` is trusted for `https`. Default: what the image trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretRef>,
}

/// A Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How workers are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Advertise {
    /// By the DNS name of their Service.
    #[default]
    #[serde(rename = "ServiceDNS")]
    ServiceDns,
    /// By the address of their Service.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
}

/// Where payloads are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PayloadPlace {
    /// In Secrets that belong to the PeonTask.
    #[default]
    Secret,
    /// In the PeonTask where it is small, else in ConfigMaps.
    Inline,
}

/// PeonTasks that users create, and that are submitted to the overlord for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Submissions {
    /// Whether such tasks are submitted. Whoever may create a PeonTask here then has the rights of `auth` in Druid.
    /// Default: false. Example: `true`.
    #[serde(default)]
    pub enabled: bool,

    /// Types that are submitted. Default: none. Example: `[index_parallel, kill]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub task_types: Vec<String>,

    /// A Secret with the `username` and `password` of the Druid user that submits: not the escalator's. It needs
    /// `DATASOURCE` `READ` and `WRITE`. Default: none, and tasks are submitted without any credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<SecretRef>,
}

/// What the overlord sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMiddleManagerStatus {
    /// `Ready`: every identity is announced and asked for news. Its reason says what is missing. `OverlordAnswers`: the
    /// overlord answers what the workers ask it. `Authenticated`: whoever calls the workers needs credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// URL of the overlord that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,

    /// Slots in use, of all identities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u32>,

    /// Each identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<IdentityStatus>,

    /// The generation that was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// One identity as the overlord sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityStatus {
    /// `host:port`, by which the overlord knows it.
    pub address: String,
    /// Whether it stands in discovery.
    pub announced: bool,
    /// Whether it takes tasks.
    pub disabled: bool,
    /// Slots in use.
    pub used: u32,
    /// How far it has come on its way out, being beyond `spec.identities`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// When an overlord last asked, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_poll_time: Option<Time>,
    /// What went wrong last, while it is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far an identity has drained that is not wanted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Drain {
    /// It takes no tasks, and those that it has run to their end.
    Draining,
    /// They have ended, and the overlord knows: it is withdrawn.
    Drained,
}
