//! `status.run` of a PeonTask: where its current attempt runs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{conditions, schema};

/// Where the current attempt of a task runs. After the verdict it names the last attempt's, without the location.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// `Pod`: in its own pod. `Worker`: in an Indexer of an IndexerPool. `Elsewhere`: on another worker of its overlord.
    /// Example: `Pod`.
    pub kind: RunKind,

    /// Name of the IndexerPool of a `Worker`. Example: `warm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pool: Option<String>,

    /// Name of the pod: the attempt's own, or the Indexer's. Read its log with `kubectl peon logs <peontask>`. Example: `nightly-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pod: Option<String>,

    /// Uid of the pod. Example: `8f3c2a52-6c0e-4a55-9d3d-2f1f7c1f0a11`.
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub pod_uid: Option<String>,

    /// Address of the peon while it runs. Example: `10.1.2.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub host: Option<String>,

    /// Port of the peon for HTTP, while it runs. Example: `8100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<i32>,

    /// Port of the peon for HTTPS, while it runs; absent without TLS. Example: `8300`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub tls_port: Option<i32>,

    /// The slot that the task has of a shared Indexer. `Heavy`: for tasks that hold rows in memory. `Light`: for tasks that
    /// leave them to their subtasks, or read none. Absent in an Indexer that runs this task alone. Example: `Heavy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<TaskSlot>")]
    pub slot: Option<TaskSlot>,

    /// How many bytes of rows the task is estimated to hold in memory at the same time, in a slot of a shared Indexer: heavy
    /// tasks go to the Indexer with the least. Example: `181403648`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub estimated_bytes: Option<i64>,

    /// Stands for the availability group of a task in a shared Indexer, such as that of the replicas of a streaming task: no
    /// two tasks of one group run in the same Indexer. Example: `6b86b273ff34fce19d6b804eff5a3f57`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub availability_group: Option<String>,
    /// When the task got the slot: it wrote nothing into the Indexer's log before. Example: `2026-11-21T09:55:37Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_time: Option<Time>,

    /// Why it runs there, where a pool could have run it, or did. Example: `no Indexer of the pool warm was idle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
}

/// The kind of place where an attempt runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunKind {
    /// In its own pod.
    #[default]
    Pod,
    /// In an Indexer of an IndexerPool. The pod is the Indexer's.
    Worker,
    /// On another worker of its overlord.
    Elsewhere,
}

/// The kind of slot of a shared Indexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TaskSlot {
    /// For a task that holds rows in memory.
    Heavy,
    /// For a task that leaves the rows to its subtasks, or has none.
    Light,
}

impl RunStatus {
    /// A run in this pod, whose location is not known yet.
    #[must_use]
    pub fn in_pod(name: &str, uid: &str) -> Self {
        Self {
            kind: RunKind::Pod,
            pod: Some(name.to_owned()),
            pod_uid: Some(uid.to_owned()),
            ..Self::default()
        }
    }

    /// The decision for the attempt's own pod, before the pod is created, and why.
    #[must_use]
    pub fn to_be_in_pod(name: &str, reason: &str) -> Self {
        Self {
            kind: RunKind::Pod,
            pod: Some(name.to_owned()),
            reason: Some(conditions::cut(reason, 256)),
            ..Self::default()
        }
    }

    /// A run in the Indexer of this pool that has this pod. Writing this is the claim: nothing is sent to an Indexer
    /// that the status does not name.
    #[must_use]
    pub fn in_indexer(pool: &str, pod: &str, uid: &str, address: (&str, u16)) -> Self {
        let (host, port) = address;
        Self {
            kind: RunKind::Worker,
            pool: Some(pool.to_owned()),
            host: Some(host.to_owned()),
            port: Some(port.into()),
            ..Self::in_pod(pod, uid)
        }
    }

    /// A run on another worker.
    #[must_use]
    pub fn elsewhere() -> Self {
        Self {
            kind: RunKind::Elsewhere,
            ..Self::default()
        }
    }

    /// The run has ended: its location is unknown.
    pub fn end(&mut self) {
        self.host = None;
        self.port = None;
        self.tls_port = None;
    }
}
