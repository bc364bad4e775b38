//! The next step for a task (pure): the state machine drawn in `docs/architecture.md`.
//!
//! A pass asks for one step at a time. An action's outcome is put into the snapshot and the plan is made anew, so that
//! a decision never rests on an effect that has not happened. The pass ends with a settlement.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::Value;

use super::current_run::{CurrentRun, current_run};
use super::finished::{after_verdict, end_strays};
use super::status::Draft;
use super::with_run::follow;
use super::without_run::{name_conflict, start};
use crate::api::reason::{Acceptance, Waiting};
use crate::api::{PeonTask, PeonTaskStatus, Phase, TaskKind, conditions, names};
use crate::logs::format::record::Entry;
use crate::logs::format::state::KeepLog;
use crate::task::accept::{self, Accepted, Refused};
use crate::task::run::pod::run::StopPod;
use crate::task::snapshot::Snapshot;

/// How long a pod that was just created may be missing from the cache before the API server is asked.
pub(crate) const CACHE_LAG: Duration = Duration::from_secs(5);

/// The next step of a pass.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Perform this, record its outcome, plan again.
    Act(Action),
    /// Write this and end the pass.
    Settle(Box<Settlement>),
}

/// An effect.
#[derive(Clone, PartialEq)]
pub enum Action {
    /// Read and check the payload that `taskFrom` names.
    ReadPayload {
        /// Whether its chunks are probably being written just now, since the task is that young.
        just_created: bool,
    },
    /// Create the ConfigMap, which claims the attempt.
    CreateConfigMap(Box<ConfigMap>),
    /// Create the pod.
    CreatePod(Box<Value>),
    /// Get the ConfigMap and the pod with this name from the API server.
    LookLive {
        /// Their name.
        name: String,
    },
    /// List the Warning Events of the pod.
    ReadWarnings {
        /// Its name.
        pod: String,
        /// Its uid.
        uid: String,
    },
    /// Get the pod of an Indexer with this name from the API server.
    LookIndexer {
        /// Its name.
        pod: String,
    },
    /// Get an idle Indexer of the first of these pools that has one.
    TakeIndexer {
        /// Names of the pools.
        pools: Vec<String>,
        /// Whether the task waits for one.
        waits: bool,
    },
    /// Post the task to the Indexer that the status claims, within the time for which this process certainly leads.
    PostTask {
        /// Uid of the Indexer's pod.
        pod_uid: String,
    },
    /// Raise the cpu request of the pod of an Indexer that has its task now.
    ResizePod {
        /// Its name.
        pod: String,
        /// Its uid.
        uid: String,
        /// Its container.
        container: String,
        /// The request.
        cpu: String,
    },
    /// Ask an Indexer to stop a task.
    ShutDown {
        /// Uid of the Indexer's pod.
        pod_uid: String,
        /// The task's id.
        task_id: String,
    },
    /// Read the node of a pod.
    LookNode {
        /// The node, if known; else it is looked up in the pod's Events.
        node: Option<String>,
        /// Uid of the pod.
        pod_uid: String,
    },
    /// Take one of the slots that the template's `maxRunning` allows.
    TakeSlot {
        /// Name of the template.
        template: String,
        /// Number of slots.
        max: u32,
    },
    /// Count the subtasks of this task that have no verdict.
    CountSubtasks {
        /// Id of the task.
        task_id: String,
    },
    /// Look up how much memory earlier subtasks of this kind needed.
    RecallRung {
        /// `status.subtask`.
        subtask: String,
    },
    /// Look up how long earlier tasks of this kind took.
    RecallDuration {
        /// Type and datasource.
        kind: TaskKind,
    },
    /// Look up whether the task succeeded before, as another PeonTask of its name.
    FindSuccess {
        /// Name of the success in the history.
        success: String,
    },
    /// Request the log of an attempt, and its archiving once the attempt is the last.
    KeepLog(KeepLog),
    /// Write the finished task to the history, replacing its earlier entry.
    Record(Box<Entry>),
    /// Delete the pod with this uid and version: its peon is asked to stop and killed after the grace period. A pod
    /// that has changed since may have ended, and the report of its end must not be lost.
    DeletePod(StopPod),
    /// Let the kubelet end a pod whose peon has ended and whose sidecars have not. The object and its logs remain.
    EndPod {
        /// Its name.
        pod: String,
        /// Its uid.
        uid: String,
    },
    /// Delete the task with this uid: its retention time is over.
    DeleteTask {
        /// Its uid.
        uid: String,
    },
}

impl Action {
    /// Name for logs: an action's data may be secret.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ReadPayload { .. } => "read payload",
            Self::CreateConfigMap(_) => "create configmap",
            Self::CreatePod(_) => "create pod",
            Self::LookLive { .. } => "read the pod live",
            Self::ReadWarnings { .. } => "read warnings",
            Self::LookIndexer { .. } => "read the indexer's pod live",
            Self::TakeIndexer { .. } => "take indexer",
            Self::PostTask { .. } => "post task",
            Self::ResizePod { .. } => "resize pod",
            Self::ShutDown { .. } => "shut down",
            Self::LookNode { .. } => "read node",
            Self::TakeSlot { .. } => "take slot",
            Self::CountSubtasks { .. } => "count subtasks",
            Self::RecallRung { .. } => "look up the memory of earlier subtasks",
            Self::RecallDuration { .. } => "look up the duration of earlier tasks",
            Self::FindSuccess { .. } => "look up an earlier success",
            Self::KeepLog(_) => "collect log",
            Self::Record(_) => "record",
            Self::DeletePod(_) => "delete pod",
            Self::EndPod { .. } => "end pod",
            Self::DeleteTask { .. } => "delete task",
        }
    }
}

/// An action's data is not printed.
impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The end of a pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The new status; `None` leaves it unchanged.
    pub status: Option<PeonTaskStatus>,
    /// Run another pass after this time even if nothing changes.
    pub requeue: Option<Duration>,
    /// The API server refused an object for now: the next attempt is delayed, longer each time.
    pub refused_for_now: bool,
}

pub(crate) fn settle(status: PeonTaskStatus) -> Step {
    settle_until(status, None)
}

pub(crate) fn settle_until(status: PeonTaskStatus, requeue: Option<Duration>) -> Step {
    Step::Settle(Box::new(Settlement {
        status: Some(status),
        requeue,
        refused_for_now: false,
    }))
}

pub(crate) fn look_again(requeue: Option<Duration>) -> Step {
    Step::Settle(Box::new(Settlement {
        status: None,
        requeue,
        refused_for_now: false,
    }))
}

/// The next step, given the snapshot at `now`.
#[must_use]
pub fn plan(snapshot: &Snapshot, now: Timestamp) -> Step {
    if snapshot.task.metadata.deletion_timestamp.is_some() {
        // The garbage collector deletes the pod with its owner.
        return look_again(None);
    }
    if let Some(step) = end_strays(snapshot) {
        return step;
    }
    if snapshot.task.is_final() {
        return after_verdict(snapshot, now);
    }
    if lags(snapshot) {
        return look_again(Some(CACHE_LAG));
    }
    match current_run(snapshot, now) {
        CurrentRun::Found(run) => follow(snapshot, run, now),
        CurrentRun::NotSeen => look_live(snapshot),
        CurrentRun::IndexerNotSeen(pod) => Step::Act(Action::LookIndexer { pod }),
        CurrentRun::Soon => look_again(Some(CACHE_LAG)),
        CurrentRun::Foreign => name_conflict(snapshot, now, "pod"),
        CurrentRun::None => start(snapshot, now),
    }
}

/// Whether the API server has another version of the task than the cache: the task may have a verdict by now, or a pod
/// that was recorded and is gone, or another attempt.
pub(crate) fn lags(snapshot: &Snapshot) -> bool {
    let outcomes = &snapshot.outcomes;
    let read = [outcomes.live.as_ref(), outcomes.indexer.as_deref()];
    read.into_iter()
        .flatten()
        .any(|live| live.task_version != snapshot.task.resource_version())
}

pub(crate) fn look_live(snapshot: &Snapshot) -> Step {
    Step::Act(Action::LookLive {
        name: names::attempt(&snapshot.task.name_any(), snapshot.attempt()),
    })
}

pub(crate) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// Reads the payload, unless there is no memory budget for it now. Of a task that was just created, the chunks may not
/// be written yet.
pub(crate) fn read_payload(snapshot: &Snapshot, just_created: bool) -> Step {
    if snapshot.outcomes.waits_for_room {
        look_again(None)
    } else {
        Step::Act(Action::ReadPayload { just_created })
    }
}

pub(crate) fn task_id(snapshot: &Snapshot) -> String {
    let recorded = snapshot.task.status.as_ref().and_then(|s| s.task_id.clone());
    recorded
        .or_else(|| accept::payload(snapshot).ok().map(|p| p.id.clone()))
        .unwrap_or_else(|| snapshot.task.name_any())
}

/// The current status, with the task's own fields and the settings that it would run with now.
pub(crate) fn described(
    snapshot: &Snapshot,
    accepted: Result<&Accepted<'_>, &Refused>,
    now: Timestamp,
) -> Draft {
    let mut draft = Draft::of(&snapshot.task, now);
    match accepted {
        Ok(accepted) => {
            draft.describe(&accepted.payload);
            draft.accept(&accepted.settings);
            draft.template(accepted.template_name());
            draft.step(snapshot.memory_step());
            draft.effective(accepted.effective_hash());
        }
        Err(_) => {
            if let Ok(payload) = accept::payload(snapshot) {
                draft.describe(&payload);
            }
        }
    }
    draft
}

/// Whether this status ends the task's current attempt: the last state of its pod is then no longer needed. A status
/// that names the first attempt for the first time ends none.
#[must_use]
pub fn ends_attempt(task: &PeonTask, new: &PeonTaskStatus) -> bool {
    let is_final = matches!(new.phase, Some(Phase::Succeeded | Phase::Failed));
    is_final || new.attempt.unwrap_or(1) != task.attempt()
}

/// The Warning for a change of status: reason and message, if it reports a problem that the old status did not have. That
/// an overlord has not assigned a task yet is none: every submitted task begins so.
#[must_use]
pub fn warning(old: Option<&PeonTaskStatus>, new: &PeonTaskStatus) -> Option<(String, String)> {
    let reason = new.reason.as_deref()?;
    if old.and_then(|s| s.reason.as_deref()) == Some(reason)
        || Acceptance::parse(reason) == Some(Acceptance::NotAssigned)
        || !(Waiting::parse(reason) == Some(Waiting::Retrying)
            || conditions::is_true(&new.conditions, conditions::STALLED))
    {
        return None;
    }
    let message = conditions::find(&new.conditions, conditions::READY).map(|c| c.message.clone());
    Some((reason.to_owned(), message.unwrap_or_default()))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
