//! `VirtualMiddleManager`: workers of one overlord.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Most identities of a VirtualMiddleManager.
pub const MOST_IDENTITIES: u16 = 32;

/// Workers that an overlord takes for MiddleManagers. Each task that the overlord assigns to one of them becomes a
/// PeonTask in the same namespace.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "peon.dev",
    version = "v1alpha1",
    kind = "VirtualMiddleManager",
    plural = "virtualmiddlemanagers",
    singular = "virtualmiddlemanager",
    shortname = "vmm",
    namespaced,
    status = "VirtualMiddleManagerStatus",
    derive = "PartialEq",
    // Services are named after it.
    validation = kube::core::Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')")
        .message("the name must begin with a letter, have at most 52 letters, digits and '-', and no '.'"),
    // The StatefulSet of the announcing pods is named after it, too, and Kubernetes makes a label of that name and a hash.
    validation = kube::core::Rule::new("!has(self.spec.discovery.kubernetes) || self.metadata.name.size() <= 48")
        .message("with discovery.kubernetes the name must have at most 48 letters, digits and '-'"),
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
    validation = Rule::new("has(self.authRef) != self.allowAnonymous")
        .message("clients that reach the workers without credentials can run code here: set authRef to a Secret with the username and password of Druid's escalator, or allowAnonymous: true where a NetworkPolicy admits only the overlord; not both"),
    validation = Rule::new("has(self.tlsRef) == has(oldSelf.tlsRef) && self.advertise == oldSelf.advertise")
        .message("tlsRef cannot be turned on or off, and advertise cannot be changed: the workers would have other addresses, and the overlord kills what comes back under another address; make another VirtualMiddleManager, disable the workers of this one, and delete it once they are idle"),
    validation = Rule::new("has(self.discovery.kubernetes) == has(oldSelf.discovery.kubernetes)")
        .message("discovery cannot be changed between zookeeper and kubernetes: the overlord of one does not see the workers of the other; make another VirtualMiddleManager, and delete this one once its workers are idle")
)]
pub struct VirtualMiddleManagerSpec {
    /// Where the overlord discovers workers. No default. Example: `{zookeeper: {hosts: "zookeeper:2181"}}`.
    #[schemars(schema_with = "schema::described::<Discovery>")]
    pub discovery: Discovery,

    /// The overlord, which the workers ask about the state of tasks. No default. Example:
    /// `{url: "http://overlord:8090"}`.
    #[schemars(schema_with = "schema::described::<Overlord>")]
    pub overlord: Overlord,

    /// Number of workers that the overlord sees, each with its own host and port. The overlord puts no two replicas of
    /// a streaming task on one worker: use at least as many identities as the largest `replicas`. 1 to 32. When the
    /// number is reduced, the last identities accept no more tasks and are withdrawn when their tasks have ended.
    /// Default: 2. Example: `3`.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = MOST_IDENTITIES))]
    pub identities: u16,

    /// Task slots of each identity. At least 1. Default: 10. Example: `50`.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100_000))]
    pub capacity: u32,

    /// Category of the workers, by which the overlord's `selectStrategy` chooses tasks for them. Default:
    /// `_default_worker_category`. Example: `kubernetes`.
    #[serde(default = "default_category")]
    #[schemars(length(min = 1, max = 255))]
    pub category: String,

    /// Version of the workers, which the overlord compares with `druid.indexer.runner.minWorkerVersion`. Default: `0`.
    /// Example: `1`.
    #[serde(default = "zero")]
    #[schemars(length(min = 1, max = 63))]
    pub version: String,

    /// The host under which the overlord reaches the workers. `ServiceDNS`: the DNS name of their Service. `ClusterIP`:
    /// the address of their Service, for overlords that cannot resolve the cluster's names. Default: `ServiceDNS`.
    /// Example: `ClusterIP`.
    #[serde(default)]
    pub advertise: Advertise,

    /// Where payloads of assigned tasks are stored. `Secret`: in Secrets, since payloads may contain credentials.
    /// `Inline`: in the PeonTask up to 100 KiB, else in ConfigMaps. An assignment is then one write instead of two, and
    /// everyone who may read PeonTasks or ConfigMaps may read the payload. Default: `Secret`. Example: `Inline`.
    #[serde(default)]
    pub payload: PayloadPlace,

    /// Largest assignment accepted, in bytes, both as sent and as JSON; larger ones are answered with 413. An
    /// assignment larger than a PeonTask's limit of 16 MiB is accepted and fails at once. 1024 to 268435456. Default:
    /// 67108864 (64 MiB). Example: `16777216`.
    #[serde(default = "task_bytes")]
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub max_task_bytes: u32,

    /// Credentials between overlord and workers: a Secret of type `kubernetes.io/basic-auth` with the `username` and
    /// `password` of Druid's escalator (`druid.escalator.internalClientUsername`). Requests without them are refused.
    /// Required, unless `allowAnonymous` is set. Default: none. Example: `{name: druid-escalator}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_ref: Option<SecretRef>,

    /// Whether requests without credentials are served. Any client that reaches the workers can then run any code with
    /// the rights and Secrets that the namespace's PeonTemplates give to tasks: allow only the overlord with a
    /// `NetworkPolicy`. Excludes `authRef`. Default: false. Example: `true`.
    #[serde(default)]
    pub allow_anonymous: bool,

    /// Certificate of the workers: a Secret of type `kubernetes.io/tls`. With it the workers are announced with TLS
    /// only. The certificate must be valid for every announced host. Default: none. Example: `{name: workers-tls}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ref: Option<SecretRef>,

    /// Submission of PeonTasks with `middleManagerRef` that users created. Default: none are submitted. Example:
    /// `{enabled: true, taskTypes: [kill]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Submissions>")]
    pub submissions: Option<Submissions>,

    /// Labels added to the PeonTasks that the VirtualMiddleManager creates. Default: none. Example: `{team: ads}`.
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

/// Where the overlord discovers workers: a union, exactly one of its fields is given.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.zookeeper) != has(self.kubernetes)")
        .message("discovery takes exactly one of zookeeper and kubernetes")
)]
pub struct Discovery {
    /// Discovery by ZooKeeper (`druid.discovery.type=curator`). Excludes `kubernetes`. No default. Example:
    /// `{hosts: "zookeeper:2181"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<ZooKeeper>")]
    pub zookeeper: Option<ZooKeeper>,

    /// Discovery by Druid's Kubernetes extension (`druid.discovery.type=k8s`), for a Druid cluster without ZooKeeper in
    /// the namespace of the VirtualMiddleManager. Each identity is announced on a pod of its own. Needs the chart's
    /// `middleManagers.kubernetesDiscovery`. Excludes `zookeeper`. No default. Example:
    /// `{clusterIdentifier: analytics}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<KubernetesDiscovery>")]
    pub kubernetes: Option<KubernetesDiscovery>,
}

/// Discovery by Druid's Kubernetes extension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesDiscovery {
    /// The Druid cluster: `druid.discovery.k8s.clusterIdentifier`. No default. Example: `analytics`.
    #[schemars(length(min = 2, max = 63), regex(pattern = r"^[a-z0-9][a-z0-9-]*[a-z0-9]$"))]
    pub cluster_identifier: String,
}

/// The ZooKeeper ensemble of a Druid cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZooKeeper {
    /// Hosts and ports, separated by commas: `druid.zk.service.host`. No default. Example: `zookeeper:2181`.
    #[schemars(length(min = 1, max = 2048))]
    pub hosts: String,

    /// Base path of Druid's nodes: `druid.zk.paths.base`. Default: `/druid`. Example: `/druid`.
    #[serde(default = "default_base", skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub base_path: String,

    /// Session timeout in seconds, 2 to 600: `druid.zk.service.sessionTimeoutMs`. Default: 30. Example: `60`.
    #[serde(default = "default_session")]
    #[schemars(range(min = 2, max = 600))]
    pub session_timeout_seconds: u32,

    /// Digest credentials, for Druid clusters that use ACLs (`druid.zk.service.acl=true`): a Secret with the `username`
    /// and `password`. Default: none. Example: `{name: zookeeper-digest}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_ref: Option<SecretRef>,
}

fn default_base() -> String {
    "/druid".to_owned()
}

fn default_session() -> u32 {
    30
}

/// Connection to the overlord.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overlord {
    /// URL of an overlord, or of a Service or router in front of several; redirects to the leader are followed.
    /// No default. Example: `http://overlord:8090`.
    #[schemars(length(min = 8, max = 2048))]
    pub url: String,

    /// Secret whose key `ca.crt` holds the CA certificates trusted for `https`. Default: the image's CA certificates.
    /// Example: `{name: overlord-ca}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretRef>,
}

/// Reference to a Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret. No default. Example: `druid-escalator`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The host that is announced for workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Advertise {
    /// The DNS name of their Service.
    #[default]
    #[serde(rename = "ServiceDNS")]
    ServiceDns,
    /// The address of their Service.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
}

/// Where payloads of assigned tasks are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PayloadPlace {
    /// In Secrets owned by the PeonTask.
    #[default]
    Secret,
    /// In the PeonTask if the payload has at most 100 KiB, else in ConfigMaps.
    Inline,
}

/// Submission of PeonTasks that users create to the overlord.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Submissions {
    /// Whether PeonTasks of users are submitted. Users who may create PeonTasks in this namespace then have the Druid
    /// rights of `authRef`. Default: false. Example: `true`.
    #[serde(default)]
    pub enabled: bool,

    /// Task types that are submitted. Default: none. Example: `[index_parallel, kill]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub task_types: Vec<String>,

    /// A Secret with the `username` and `password` of the Druid user that submits; it must not be the escalator's. The
    /// user needs `DATASOURCE` `READ` and `WRITE`. Default: none, tasks are submitted without credentials. Example:
    /// `{name: druid-submitter}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_ref: Option<SecretRef>,
}

/// State of the workers as the overlord sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMiddleManagerStatus {
    /// `Ready`: every identity is announced and polled by an overlord; its reason says what is missing.
    /// `OverlordAnswers`: the overlord answers the workers' requests. `Authenticated`: clients of the workers need
    /// credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// URL of the leading overlord. Example: `http://overlord:8090`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,

    /// Task slots in use, summed over all identities. Example: `7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u32>,

    /// State of each identity, by ordinal. Example: `[{ordinal: 0, address: "10.96.0.7:8091", announced: true}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["ordinal"]))]
    pub identities: Vec<IdentityStatus>,

    /// The generation of the VirtualMiddleManager that was last processed. Example: `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// One identity as the overlord sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityStatus {
    /// Ordinal of the identity, from 0. Example: `0`.
    #[schemars(range(min = 0, max = 65535))]
    pub ordinal: u16,
    /// `host:port` under which the overlord knows the identity. Example: `10.96.0.7:8091`.
    pub address: String,
    /// Whether the identity is announced in discovery. Example: `true`.
    pub announced: bool,
    /// Where it is announced: the pod that carries the announcement with `discovery.kubernetes`, else the path in
    /// ZooKeeper. Example: `ingestion-vmm-0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_at: Option<String>,
    /// Whether the identity is disabled: it then accepts no tasks. Example: `false`.
    pub disabled: bool,
    /// Task slots in use. Example: `3`.
    pub used: u32,
    /// Drain state of an identity beyond `spec.identities`. `Draining`: it accepts no tasks; those that it has run to
    /// their end. `Drained`: its tasks have ended and the overlord knows their verdicts; it is withdrawn. Absent for the
    /// others. Example: `Draining`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Drain>")]
    pub drain: Option<Drain>,
    /// When an overlord last polled the identity, at most five minutes late. Example: `2026-11-21T08:00:10Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_poll_time: Option<Time>,
    /// The last error, while it persists. Example: `ZooKeeper does not answer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Drain state of an identity that is no longer wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Drain {
    /// The identity accepts no tasks; those that it has run to their end.
    Draining,
    /// Its tasks have ended and the overlord knows their verdicts: the identity is withdrawn.
    Drained,
}
