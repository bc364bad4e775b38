//! `PeonTask`: one Druid task, run as a pod.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// One Apache Druid ingestion task. It becomes a ConfigMap and a pod of the same namespace with the cpu and
/// memory that it asks for. A PeonTask runs once: to run a task again, create another one. Deleting it stops
/// the peon.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "peon.dev",
    version = "v1alpha1",
    kind = "PeonTask",
    plural = "peontasks",
    singular = "peontask",
    shortname = "pt",
    category = "druid",
    namespaced,
    status = "PeonTaskStatus",
    derive = "PartialEq",
    doc = "One Apache Druid ingestion task, run as a pod with the cpu and memory that it asks for.",
    selectable = ".status.phase",
    selectable = ".status.taskId",
    selectable = ".status.taskType",
    selectable = ".status.dataSource",
    validation = Rule::new("!has(oldSelf.status) || has(self.status)").message("the status cannot be removed"),
    printcolumn(name = "Type", type_ = "string", json_path = ".status.taskType"),
    printcolumn(name = "DataSource", type_ = "string", json_path = ".status.dataSource"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".status.memory"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "CPU", type_ = "string", json_path = ".status.cpu", priority = 1),
    printcolumn(name = "Pod", type_ = "string", json_path = ".status.podName", priority = 1),
    printcolumn(name = "Task-Id", type_ = "string", json_path = ".status.taskId", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.templateRef) == has(oldSelf.templateRef) && (!has(self.templateRef) || self.templateRef == oldSelf.templateRef)")
        .message("templateRef is immutable: create another PeonTask").field_path(".templateRef"),
    validation = Rule::new("has(self.resources) == has(oldSelf.resources) && (!has(self.resources) || self.resources == oldSelf.resources)")
        .message("resources are immutable: create another PeonTask").field_path(".resources"),
    validation = Rule::new("has(self.javaOpts) == has(oldSelf.javaOpts) && (!has(self.javaOpts) || self.javaOpts == oldSelf.javaOpts)")
        .message("javaOpts are immutable: create another PeonTask").field_path(".javaOpts"),
    validation = Rule::new("has(self.unmanaged) == has(oldSelf.unmanaged) && (!has(self.unmanaged) || self.unmanaged == oldSelf.unmanaged)")
        .message("unmanaged is immutable: create another PeonTask").field_path(".unmanaged")
)]
pub struct PeonTaskSpec {
    /// The Druid task, as it would be sent to the overlord: a JSON object with a `type`. Its `id` is the task's
    /// id; without one, the name of the PeonTask becomes the id, the only thing that is ever added. At most
    /// 100 KiB. Whole numbers are exact up to 64 bits; others are kept as 64-bit floating point. Immutable.
    /// Example: `{type: noop, runTime: 1000}`.
    #[schemars(schema_with = "schema::task")]
    pub task: serde_json::Map<String, serde_json::Value>,

    /// The PeonTemplate of the same namespace that gives the pod its image, Druid properties and defaults.
    /// Default: the PeonTemplate named `default`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<TemplateRef>,

    /// The cpu and memory of the peon's container. Where only a limit or only a request is given, the other is
    /// the same. Memory in bytes as a Kubernetes quantity, cpu in cores. Default: the task context's
    /// `druid.peon.pod.memory` and `druid.peon.pod.cpu`, then the template, then the operator's
    /// `druid.indexer.default.pod.memory` and `.cpu`, then `2G` and `1`. Immutable.
    /// Example: `{limits: {memory: 4Gi, cpu: "2"}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<ResourceRequirements>,

    /// Options of the peon's JVM, one per item, added after those of the operator, the template and the task's
    /// context; the last one of a kind wins. Heap and direct memory are derived from the memory limit unless
    /// given here. Default: none. Immutable. Example: `["-Xmx1g", "-Ddruid.processing.numThreads=2"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::java_opts")]
    pub java_opts: Vec<String>,

    /// Says that somebody else registered the task with its overlord. Every task but `noop` asks the overlord
    /// for locks and would wait for ever if the overlord did not know it, so one without this is refused
    /// with the reason `NeedsOverlord`. Default: false. Immutable. Example: `true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmanaged: bool,
}

/// Names a PeonTemplate of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateRef {
    /// Name of the PeonTemplate. No default. Example: `large`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What the operator observed of the task. The conditions are the truth, the phase is their summary.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.conditions) && self.conditions.exists(c, c.type == 'Complete' && c.status == 'True') && self.conditions.exists(c, c.type == 'Failed' && c.status == 'True'))")
        .message("Complete and Failed exclude each other"),
    validation = Rule::new("!has(oldSelf.conditions) || oldSelf.conditions.all(o, !(o.type in ['Complete', 'Failed'] && o.status == 'True') || (has(self.conditions) && self.conditions.exists(n, n.type == o.type && n.status == 'True' && n.reason == o.reason && n.message == o.message)))")
        .message("Complete and Failed are final: a verdict cannot be changed")
)]
pub struct PeonTaskStatus {
    /// Summary of the conditions: `Pending`, `Starting`, `Running`, `Succeeded` or `Failed`. Example: `Running`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// Reason of the condition that the phase stands for. Example: `OOMKilled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,

    /// Id of the Druid task. Example: `index_parallel_wikipedia_bdpkgnoi_2026-11-21T01:31:38.123Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub task_id: Option<String>,

    /// Type of the Druid task. Example: `index_parallel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub task_type: Option<String>,

    /// The datasource that the task writes to; absent where the task names none. Example: `wikipedia`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub data_source: Option<String>,

    /// Hash of the task as it was accepted: `sha256:` and 64 hexadecimal digits. A task that does not match it
    /// any more is refused with the reason `InvalidTask`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub task_hash: Option<String>,

    /// Memory limit in force, in bytes as a Kubernetes quantity. Example: `2G`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub memory: Option<String>,

    /// Cpu limit in force, in cores as a Kubernetes quantity. Example: `500m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cpu: Option<String>,

    /// Name of the task's pod. Its log is read with `kubectl peon logs <peontask>`. Example: `nightly-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pod_name: Option<String>,

    /// Uid of the task's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub pod_uid: Option<String>,

    /// Exit code of the peon's container. It is no verdict: Druid exits with 0 for a failed task too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,

    /// When the peon's container started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When the peon's container ended, or, where it never ran, when the task was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// The generation of the PeonTask that this status belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The truth about the task: `Accepted`, `Started`, then `Complete` or `Failed`, which exclude each other and
    /// are final; and `Ready`, `Reconciling` and `Stalled` for tools that follow kstatus.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Summary of a PeonTask's conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Not accepted yet, refused for now, or waiting for its pod to be created.
    #[default]
    Pending,
    /// The pod exists; the peon has not started.
    Starting,
    /// The peon runs.
    Running,
    /// Druid reported SUCCESS. Final.
    Succeeded,
    /// The task failed; the reason of the condition `Failed` is the cause. Final.
    Failed,
}

impl Phase {
    /// The phase as it is written in a status and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

/// The template of tasks that name none.
const DEFAULT_TEMPLATE: &str = "default";

impl PeonTask {
    /// Name of the task's PeonTemplate.
    #[must_use]
    pub fn template_name(&self) -> &str {
        self.spec
            .template_ref
            .as_ref()
            .map_or(DEFAULT_TEMPLATE, |r| &r.name)
    }

    /// Whether a verdict stands.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.status.as_ref().is_some_and(|s| {
            super::conditions::is_true(&s.conditions, super::conditions::COMPLETE)
                || super::conditions::is_true(&s.conditions, super::conditions::FAILED)
        })
    }
}
