//! `PeonTask`: one Druid task, run as a pod.

// Printer columns have types in common.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempts::{AttemptRecord, Stop};
use super::placement::{Placement, PoolRef};
use super::registration::Registration;
use super::retry::RetryPolicy;
use super::rules;
use super::run_status::RunStatus;
use super::schema;
use super::submission::{Submission, SubmissionState};
use super::task_from::TaskFrom;
use super::task_object::TaskObject;

/// One Apache Druid ingestion task. The operator creates a ConfigMap and a pod for it in the same namespace, with the
/// cpu and memory that the task asks for. A PeonTask runs once: to run a task again, create another one. Deleting it
/// stops the peon.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "peon.dev",
    version = "v1alpha1",
    kind = "PeonTask",
    plural = "peontasks",
    singular = "peontask",
    shortname = "pt",
    namespaced,
    status = "PeonTaskStatus",
    derive = "PartialEq",
    doc = "One Apache Druid ingestion task, run as a pod with the cpu and memory that it asks for.",
    selectable = ".spec.middleManagerRef.name",
    selectable = ".status.phase",
    selectable = ".status.taskId",
    selectable = ".status.taskType",
    selectable = ".status.dataSource",
    printcolumn(name = "Type", type_ = "string", json_path = ".status.taskType"),
    printcolumn(name = "DataSource", type_ = "string", json_path = ".status.dataSource"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Attempts", type_ = "integer", json_path = ".status.attempt"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".status.memory"),
    printcolumn(name = "Exit-Code", type_ = "integer", json_path = ".status.exitCode"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "CPU", type_ = "string", json_path = ".status.cpu", priority = 1),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.nodeName", priority = 1),
    printcolumn(name = "Pod", type_ = "string", json_path = ".status.run.pod", priority = 1),
    printcolumn(
        name = "Task-Id",
        type_ = "string",
        json_path = ".status.taskId",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::on_creation("(has(self.task) ? 1 : 0) + (has(self.taskJson) ? 1 : 0) + (has(self.taskFrom) ? 1 : 0) == 1")
        .message("give exactly one of task, taskJson and taskFrom"),
    validation = rules::on_creation("!has(self.middleManagerRef) || !has(self.registration) || self.registration != 'External'")
        .message("a task with middleManagerRef is registered by the VirtualMiddleManager: leave registration out"),
    validation = rules::immutable(),
    validation = Rule::new("!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)")
        .message("a cancelled task stays cancelled: create another PeonTask").field_path(".cancel")
)]
pub struct PeonTaskSpec {
    /// The Druid task as sent to the overlord: a JSON object with a `type`. Its `id` is the Druid task id. Without an
    /// `id` the operator adds one and changes nothing else: the name of the PeonTask or, with `middleManagerRef`, its
    /// name and uid, since an overlord accepts an id only once. At most 100 KiB and 64 levels of nesting. Integers are
    /// exact up to 64 bits; other numbers are stored as 64-bit floating point. Give exactly one of `task`, `taskJson`
    /// and `taskFrom`. Immutable. Example: `{type: noop, runTime: 1000}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::task")]
    pub task: Option<TaskObject>,

    /// The Druid task as JSON text, preserved byte for byte: for tasks with numbers that a Kubernetes object would
    /// round. At most 100 KiB. No default: give exactly one of `task`, `taskJson` and `taskFrom`. Immutable. Example:
    /// `{"type": "noop", "id": "nightly"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 102_400))]
    pub task_json: Option<String>,

    /// The Druid task in ConfigMaps or Secrets, for tasks of up to 16 MiB and for tasks that contain secrets.
    /// `kubectl peon submit` creates the chunks. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::task_from")]
    pub task_from: Option<TaskFrom>,

    /// The PeonTemplate of the same namespace that provides the pod's image, Druid properties and defaults. Default:
    /// the template with the highest `priority` whose `match` fits the task, else the template named `default`.
    /// Immutable. Example: `{name: large}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<TemplateRef>,

    /// Cpu and memory of the peon's container. If only the limit or only the request is given, the other one is the
    /// same. Memory in bytes as a Kubernetes quantity, cpu in cores. Default: the task context's
    /// `druid.peon.pod.memory` and `druid.peon.pod.cpu`, then the template, then the operator's
    /// `druid.indexer.default.pod.memory` and `.cpu`, then `2G` and `1`. Immutable. Example:
    /// `{limits: {memory: 4Gi, cpu: "2"}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<ResourceRequirements>,

    /// Options of the peon's JVM, one per item, added after those of the operator, the template and the task's context;
    /// of several options of one kind the last one wins. Heap and direct memory are derived from the memory limit
    /// unless given here. Default: none. Immutable. Example: `["-Xmx1g", "-Ddruid.processing.numThreads=2"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::java_opts")]
    pub java_opts: Vec<String>,

    /// How the overlord learns of the task. `Managed`: through `middleManagerRef`; every task but `noop` requests locks
    /// from the overlord and would wait indefinitely if the overlord did not know it, so without `middleManagerRef` it
    /// is refused with the reason `NeedsOverlord`. `External`: the task was registered with its overlord by other means,
    /// under the same id; excludes `middleManagerRef`. Default: `Managed`. Immutable. Example: `External`.
    #[serde(default, skip_serializing_if = "Registration::is_managed")]
    pub registration: Registration,

    /// The VirtualMiddleManager of the same namespace through which the overlord knows the task. A VirtualMiddleManager
    /// creates a PeonTask for each task that the overlord assigns to it. It submits PeonTasks that others create to the
    /// overlord if its `submissions` allow that. Default: none. Immutable. Example: `{name: ingestion}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub middle_manager_ref: Option<MiddleManagerRef>,

    /// Where the task runs. `Auto`: in an idle Indexer of an IndexerPool that may run it, else in its own pod. `Pod`: in
    /// its own pod. `Pool`: in an Indexer; it waits until one is idle. A task that no overlord assigned runs in its own
    /// pod. Default: the task context's `druid.peon.placement`, then `Auto`. A change applies to the next attempt.
    /// Example: `Pod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Placement>")]
    pub placement: Option<Placement>,

    /// The IndexerPool of the same namespace that may run the task, and no other; not used with `placement: Pod`.
    /// Default: any that may. A change applies to the next attempt. Example: `{name: warm}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolRef>,

    /// Suspends the task: no pod is created, and a running peon is stopped if the task may be run again. Set it to
    /// false to resume with a new attempt. Default: false. Example: `true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,

    /// Cancels the task: its peon is asked to stop and is killed after the pod's grace period. Cannot be undone.
    /// Default: false. Example: `true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,

    /// Seconds that an attempt may wait for its peon to start, whatever the cause; time suspended by `suspend` does not
    /// count. Then the task fails with the reason `StartDeadline`. At least 1. Default: the template's, else none.
    /// Example: `3600`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::seconds")]
    pub start_deadline_seconds: Option<u32>,

    /// Seconds that an attempt's pod may be active, counted from when its node accepted it. Then the peon is stopped
    /// and the task fails with the reason `Deadline`. For a pod that already exists this can be reduced, not extended.
    /// At least 1. Default: the template's, else none. Example: `14400`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::seconds")]
    pub active_deadline_seconds: Option<u32>,

    /// Seconds after which a finished task is deleted, with its pods and their logs: 0 to 315360000, or -1 for never.
    /// Default: the template's, else 3600. Example: `86400`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 315_360_000))]
    pub ttl_seconds_after_finished: Option<i32>,

    /// When a failed attempt is followed by another one. Default of each field: the template's. Immutable. Example:
    /// `{rerun: Always}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<RetryPolicy>")]
    pub retry: Option<RetryPolicy>,
}

/// Reference to a PeonTemplate of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateRef {
    /// Name of the PeonTemplate. No default. Example: `large`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Reference to a VirtualMiddleManager of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MiddleManagerRef {
    /// Name of the VirtualMiddleManager. No default. Example: `ingestion`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The task's state as observed by the operator. The conditions are authoritative, the phase is their summary.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.submission) || has(self.submission)")
        .message("status.submission cannot be removed")
)]
pub struct PeonTaskStatus {
    /// Summary of the conditions. `Pending`: not accepted yet, refused for now, or waiting for its pod to be created.
    /// `Starting`: the pod exists, the peon has not started. `Running`: the peon runs. `Suspended`: there is no peon.
    /// `Succeeded`: Druid reported SUCCESS; final. `Failed`: the reason is the cause; final. Example: `Running`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Phase>")]
    pub phase: Option<Phase>,

    /// Reason of the condition that determines the phase. Example: `OOMKilled`.
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

    /// The datasource that the task writes to; absent if the task names none. Example: `wikipedia`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub data_source: Option<String>,

    /// Hash of the task at its acceptance: `sha256:` and 64 hexadecimal digits. A task that no longer matches it is
    /// refused with the reason `InvalidTask`. Example:
    /// `sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub task_hash: Option<String>,

    /// Hash of the task that the peon is given, if the template's `sizing.ingestionMemory: Bytes` changed the task: `sha256:`
    /// and 64 hexadecimal digits. Example: `sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub effective_hash: Option<String>,

    /// Name of the PeonTemplate used for the current attempt. Example: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub template: Option<String>,

    /// Memory limit of the current attempt, in bytes as a Kubernetes quantity. Example: `2G`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub memory: Option<String>,

    /// Current cpu limit, in cores as a Kubernetes quantity. Example: `500m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cpu: Option<String>,

    /// Number of the current attempt, from 1; absent before the first pod. Example: `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub attempt: Option<u32>,

    /// The last attempts that ended, at most ten, without the current one. Example: `[{number: 1, cause: OOMKilled}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::attempts")]
    pub attempts: Vec<AttemptRecord>,

    /// Number of attempts that ended, by cause. Example: `{OOMKilled: 1}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u32>,

    /// Steps of the memory ladder that the current attempt is above the first one. Example: `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub memory_step: Option<u32>,

    /// Whether the task can be run again after its peon began, without writing anything twice. Example: `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safe_to_rerun: Option<bool>,

    /// On a subtask: identifies its supervisor's id and its spec's id. Later subtasks of the same spec use it to find
    /// out how much memory this one took. Example: `sha256:6b86b273ff34fce19d6b804eff5a3f57`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub subtask: Option<String>,

    /// On a subtask: the id of the Druid task that supervises it. Example:
    /// `index_parallel_wikipedia_bdpkgnoi_2026-11-21T01:31:38.123Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub supervisor_task_id: Option<String>,

    /// Since when the current attempt waits to start; `startDeadlineSeconds` counts from this time.
    /// Example: `2026-11-21T08:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_since: Option<Time>,

    /// Why the operator stops the current attempt. Example: `{cause: Cancelled}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,

    /// Where the current attempt runs; absent while it runs nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<RunStatus>")]
    pub run: Option<RunStatus>,

    /// Node of the current attempt's pod. Example: `worker-3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node_name: Option<String>,

    /// Exit code of the peon's container. It is not the verdict: Druid exits with 0 for failed tasks too. Example: `0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,

    /// When the peon's container started. Example: `2026-11-21T08:00:12Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When the peon's container ended or, if it never ran, when the task failed. Example: `2026-11-21T08:09:41Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// Progress with the overlord of a task that a user created for a VirtualMiddleManager. Example:
    /// `{state: Submitted}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::described::<Submission>")]
    pub submission: Option<Submission>,

    /// The generation of the PeonTask that this status describes; -1 before an operator has processed the task.
    /// Example: `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The authoritative state of the task: `Accepted`, `Suspended`, `Started`, then `Complete` or `Failed`, which
    /// exclude each other and are final; and `Ready`, `Reconciling` and `Stalled` for tools that follow kstatus.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::task_conditions")]
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
    /// Suspended by `suspend`: there is no peon.
    Suspended,
    /// Druid reported SUCCESS. Final.
    Succeeded,
    /// The task failed; the reason of the condition `Failed` is the cause. Final.
    Failed,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Starting,
        Self::Running,
        Self::Suspended,
        Self::Succeeded,
        Self::Failed,
    ];

    /// The phase's name in a status and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Suspended => "Suspended",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

impl PeonTask {
    /// Name of the PeonTemplate in the task's `templateRef`.
    #[must_use]
    pub fn template_name(&self) -> Option<&str> {
        self.spec.template_ref.as_ref().map(|r| r.name.as_str())
    }

    /// Name of the VirtualMiddleManager in the task's `middleManagerRef`.
    #[must_use]
    pub fn middle_manager(&self) -> Option<&str> {
        self.spec.middle_manager_ref.as_ref().map(|r| r.name.as_str())
    }

    /// Whether an overlord has assigned the task to its VirtualMiddleManager.
    #[must_use]
    pub fn is_assigned(&self) -> bool {
        self.middle_manager().is_some()
            && self
                .metadata
                .labels
                .as_ref()
                .is_some_and(|l| l.contains_key(super::LABEL_IDENTITY))
    }

    /// Whether an overlord has assigned the task and is not done with it: the overlord may not know the verdict yet.
    #[must_use]
    pub fn overlord_waits(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        let said = annotations.and_then(|a| a.get(super::ANNOTATION_OVERLORD));
        self.is_assigned() && said.is_none_or(|said| said != super::FORGOTTEN)
    }

    /// Progress with the overlord, if a user created the task for a VirtualMiddleManager.
    #[must_use]
    pub fn submission(&self) -> Option<&Submission> {
        self.status.as_ref().and_then(|s| s.submission.as_ref())
    }

    /// Whether another worker of the overlord runs the task.
    #[must_use]
    pub fn runs_elsewhere(&self) -> bool {
        !self.is_assigned()
            && self
                .submission()
                .is_some_and(|s| s.state == SubmissionState::RunsElsewhere)
    }

    /// The chunks that contain the task for the peon. For a submitted task: the chunks that the overlord assigned,
    /// which only clients with access to the status can name. For any other task: those of the spec.
    #[must_use]
    pub fn task_from(&self) -> Option<&TaskFrom> {
        self.submission()
            .and_then(|s| s.assigned.as_ref())
            .or(self.spec.task_from.as_ref())
    }

    /// The id of a task whose payload has none. A submitted task gets a new id each time it is created, since an
    /// overlord accepts an id only once.
    #[must_use]
    pub fn default_task_id(&self) -> String {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        match (&self.spec.middle_manager_ref, &self.metadata.uid) {
            (Some(_), Some(uid)) => format!("{}_{uid}", super::names::label_value(name)),
            _ => name.to_owned(),
        }
    }

    /// Number of the current attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.status.as_ref().and_then(|s| s.attempt).unwrap_or(1)
    }

    /// Whether the task has a verdict.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.status.as_ref().is_some_and(|s| {
            super::conditions::is_true(&s.conditions, super::conditions::COMPLETE)
                || super::conditions::is_true(&s.conditions, super::conditions::FAILED)
        })
    }
}

impl PeonTaskStatus {
    /// Name of the current attempt's pod.
    #[must_use]
    pub fn pod_name(&self) -> Option<&str> {
        self.run.as_ref()?.pod.as_deref()
    }

    /// Uid of the current attempt's pod.
    #[must_use]
    pub fn pod_uid(&self) -> Option<&str> {
        self.run.as_ref()?.pod_uid.as_deref()
    }
}
