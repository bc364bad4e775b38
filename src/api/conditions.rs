//! Conditions of a PeonTask and their reasons: documented API (`docs/reasons.md`), never renamed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// The task is valid, has a template and fits its memory.
pub const ACCEPTED: &str = "Accepted";
/// The peon's JVM was started.
pub const STARTED: &str = "Started";
/// Final: Druid reported SUCCESS for this task.
pub const COMPLETE: &str = "Complete";
/// Final: the task failed; the reason is the cause.
pub const FAILED: &str = "Failed";
/// The log and the report are where a stock overlord reads them, and outlive the pod.
pub const LOGS_ARCHIVED: &str = "LogsArchived";
/// The task is in the history, which outlives it.
pub const RECORDED: &str = "Recorded";
/// For kstatus (`kubectl wait`, Flux, Argo CD): running well, or complete.
pub const READY: &str = "Ready";
/// Held by `spec.suspend`.
pub const SUSPENDED: &str = "Suspended";
/// For kstatus: progress is expected without anybody's help.
pub const RECONCILING: &str = "Reconciling";
/// For kstatus: failed, or waiting for somebody to act.
pub const STALLED: &str = "Stalled";

/// Reasons of `Accepted`.
pub mod accepted {
    /// The task is valid and its settings fit.
    pub const VALID: &str = "Valid";
    /// The payload or its settings cannot run; the message says what to change. Final.
    pub const INVALID_TASK: &str = "InvalidTask";
    /// The named PeonTemplate, or the one named `default`, does not exist.
    pub const NO_TEMPLATE: &str = "NoTemplate";
    /// The PeonTemplate cannot be used; the message says what to change in it.
    pub const INVALID_TEMPLATE: &str = "InvalidTemplate";
    /// The task asks for more than its template allows; the message says of what.
    pub const LIMIT_EXCEEDED: &str = "LimitExceeded";
    /// A chunk of the payload is missing; the message names it. Final once nobody is expected to complete it any more.
    pub const PAYLOAD_INCOMPLETE: &str = "PayloadIncomplete";
    /// The overlord has not assigned the task to its VirtualMiddleManager yet.
    pub const NOT_ASSIGNED: &str = "NotAssigned";
    /// The VirtualMiddleManager submits no tasks.
    pub const SUBMISSIONS_DISABLED: &str = "SubmissionsDisabled";
    /// The VirtualMiddleManager submits no tasks of this type.
    pub const TYPE_NOT_LISTED: &str = "TypeNotListed";
    /// The overlord does not let the user of `submissions.auth` submit the task; the message is its own. It is tried again.
    pub const NOT_AUTHORIZED: &str = "NotAuthorized";
    /// The overlord refuses the task; the message is its own. Final.
    pub const SUBMISSION_REFUSED: &str = "SubmissionRefused";
    /// The overlord to which the task is to be submitted does not answer.
    pub const OVERLORD_UNREACHABLE: &str = "OverlordUnreachable";
    /// The overlord has another task of this id. Final.
    pub const ID_CONFLICT: &str = "IdConflict";
    /// The task needs an overlord and nobody is said to have registered it there. Final.
    pub const NEEDS_OVERLORD: &str = "NeedsOverlord";
}

/// Reasons of `Started` while it is False: what the task waits for.
pub mod waiting {
    /// The pod exists; the scheduler and the kubelet are at work.
    pub const STARTING: &str = "Starting";
    /// No node can take the pod.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// A ResourceQuota refuses the ConfigMap or the pod.
    pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
    /// The image cannot be pulled.
    pub const IMAGE_PULL: &str = "ImagePull";
    /// A ConfigMap, Secret or volume that the pod names is missing or unusable.
    pub const CONTAINER_CONFIG: &str = "ContainerConfig";
    /// The container runtime cannot create or start the container.
    pub const CONTAINER_START: &str = "ContainerStart";
    /// An object with the name that this task needs belongs to something else.
    pub const NAME_CONFLICT: &str = "NameConflict";
    /// The API server refuses to create the ConfigMap or the pod for now.
    pub const NOT_CREATED: &str = "NotCreated";
    /// An attempt ended and the next one is about to be made.
    pub const RETRYING: &str = "Retrying";
    /// As many tasks of the template as it allows have a pod.
    pub const MAX_RUNNING: &str = "MaxRunning";
    /// The operator asked the peon to stop.
    pub const STOPPING: &str = "Stopping";
    /// Nobody can tell whether the peon is dead: its node does not answer.
    pub const AWAITING_NODE_PROOF: &str = "AwaitingNodeProof";
}

/// Reason of `Started`: another worker of the overlord runs the task, which has no pod here.
pub const RUNS_ELSEWHERE: &str = "RunsElsewhere";

/// Reasons of `Suspended`.
pub mod suspended {
    /// True: there is no peon, and none will be started.
    pub const SUSPENDED: &str = "Suspended";
    /// False: the peon runs on, since the task may not be run again.
    pub const NOT_RESTARTABLE: &str = "NotRestartable";
    /// False: the task goes on.
    pub const RESUMED: &str = "Resumed";
}

/// Reasons of `LogsArchived`.
pub mod logs {
    /// True: all of it is there.
    pub const ARCHIVED: &str = "Archived";
    /// True: a part of it was rotated away before it was read; the log says where.
    pub const GAP: &str = "Gap";
    /// True: the peon wrote nothing.
    pub const NO_LOG: &str = "NoLog";
    /// True: it is there, and not under the task's id, which somebody else has.
    pub const ID_CONFLICT: &str = "IdConflict";
    /// False: it is being read and written.
    pub const COLLECTING: &str = "Collecting";
    /// False: as many logs are read as the operator reads at a time.
    pub const FOLLOWER_CAP: &str = "FollowerCap";
    /// False: the store refuses, or does not answer. It is tried again.
    pub const STORE_FAILED: &str = "StoreFailed";
    /// False: the store refused for a day. It is not tried again.
    pub const GAVE_UP: &str = "GaveUp";
}

/// Reasons of `Recorded`.
pub mod record {
    /// In the history only, in the place of a verdict's: the PeonTask was deleted before it had one.
    pub const DELETED: &str = "Deleted";
    /// True: the task is in the history.
    pub const RECORDED: &str = "Recorded";
    /// False: the store refuses, or does not answer. It is tried again.
    pub const STORE_FAILED: &str = "StoreFailed";
    /// False: the store refused for a day. It is not tried again.
    pub const GAVE_UP: &str = "GaveUp";
}

/// Reasons of `Failed`, the causes.
pub mod cause {
    /// Druid ran the task and reported FAILED; the message is Druid's.
    pub const TASK_FAILED: &str = "TaskFailed";
    /// A process of the peon exceeded the memory limit.
    pub const OOM_KILLED: &str = "OOMKilled";
    /// The JVM ran out of heap or direct memory (exit code 3).
    pub const JAVA_OUT_OF_MEMORY: &str = "JavaOutOfMemory";
    /// The kubelet evicted the pod to protect its node.
    pub const EVICTED: &str = "Evicted";
    /// The pod was removed through the eviction API, as `kubectl drain` does.
    pub const DRAINED: &str = "Drained";
    /// A pod of higher priority took its place.
    pub const PREEMPTED: &str = "Preempted";
    /// The node shut down.
    pub const NODE_SHUTDOWN: &str = "NodeShutdown";
    /// The node was lost.
    pub const NODE_LOST: &str = "NodeLost";
    /// The kubelet refused the pod (`OutOfcpu`, `NodeAffinity`, `UnexpectedAdmissionError`).
    pub const POD_REJECTED: &str = "PodRejected";
    /// The API server refused the pod or its ConfigMap as invalid or forbidden for good.
    pub const POD_REFUSED: &str = "PodRefused";
    /// `startDeadlineSeconds` passed before the peon started; the message says what it waited for.
    pub const START_DEADLINE: &str = "StartDeadline";
    /// `spec.cancel` was set.
    pub const CANCELLED: &str = "Cancelled";
    /// Of an attempt, never of a task: it was stopped by `spec.suspend`.
    pub const SUSPENDED: &str = "Suspended";
    /// `activeDeadlineSeconds` passed.
    pub const DEADLINE: &str = "Deadline";
    /// Somebody deleted the pod.
    pub const POD_DELETED: &str = "PodDeleted";
    /// The image's name is not valid.
    pub const IMAGE_PULL: &str = "ImagePull";
    /// The container could not be started.
    pub const CONTAINER_START: &str = "ContainerStart";
    /// The peon ended without saying how its task went.
    pub const NO_VERDICT: &str = "NoVerdict";

    /// The causes that can be followed by another attempt.
    pub const RETRIED: [&str; 12] = [
        TASK_FAILED,
        OOM_KILLED,
        JAVA_OUT_OF_MEMORY,
        EVICTED,
        DRAINED,
        PREEMPTED,
        NODE_SHUTDOWN,
        NODE_LOST,
        POD_REJECTED,
        POD_DELETED,
        CONTAINER_START,
        NO_VERDICT,
    ];
}

/// Reason of `Complete`.
pub const SUCCEEDED: &str = "Succeeded";

/// Longest message kept in a condition, in bytes. The API allows 32 KiB; a large status shortens them further.
const LONGEST_MESSAGE: usize = 1024;

/// Finds a condition by type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether the condition exists and is `True`.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True")
}

/// A list of conditions under construction: sets keep the transition time of what did not change, so that
/// an unchanged status is equal to the old one and costs no write.
#[derive(Debug, Clone)]
pub struct Conditions {
    list: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Conditions {
    /// Starts from the conditions in force.
    #[must_use]
    pub fn from(list: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            list: list.to_vec(),
            generation,
            now,
        }
    }

    /// Sets one condition.
    pub fn set(&mut self, type_: &str, status: bool, reason: &str, message: &str) {
        let status = if status { "True" } else { "False" };
        let message = cut(message, LONGEST_MESSAGE);
        let old = self.list.iter().position(|c| c.type_ == type_);
        let last_transition_time = old
            .map(|at| &self.list[at])
            .filter(|c| c.status == status && c.reason == reason)
            .map_or_else(|| Time(self.now), |c| c.last_transition_time.clone());
        let new = Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time,
        };
        match old {
            Some(at) => self.list[at] = new,
            None => self.list.push(new),
        }
    }

    /// Removes a condition that does not apply any more.
    pub fn remove(&mut self, type_: &str) {
        self.list.retain(|c| c.type_ != type_);
    }

    /// The reason of a condition.
    #[must_use]
    pub fn reason(&self, type_: &str) -> Option<&str> {
        find(&self.list, type_).map(|c| c.reason.as_str())
    }

    /// The finished list.
    #[must_use]
    pub fn into_list(self) -> Vec<Condition> {
        self.list
    }
}

/// Shortens `text` to at most `longest` bytes: head and tail stay, since causes stand at either end.
#[must_use]
pub fn cut(text: &str, longest: usize) -> String {
    const MARK: &str = " ... ";
    if text.len() <= longest {
        return text.to_owned();
    }
    let keep = (longest - MARK.len()) / 2;
    let head = (0..=keep)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    let tail = (text.len() - keep..=text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len());
    format!("{}{MARK}{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_unchanged_condition_keeps_its_time() {
        let mut first = Conditions::from(&[], Some(1), at(10));
        first.set(STARTED, false, waiting::STARTING, "a");
        let first = first.into_list();
        let mut second = Conditions::from(&first, Some(1), at(20));
        second.set(STARTED, false, waiting::STARTING, "a");
        assert_eq!(second.into_list(), first);
        let mut third = Conditions::from(&first, Some(1), at(30));
        third.set(STARTED, false, waiting::UNSCHEDULABLE, "b");
        assert_eq!(third.into_list()[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn long_messages_keep_both_ends_and_stay_utf8() {
        let text = format!("head{}tail", "ü".repeat(2000));
        let short = cut(&text, 1024);
        assert!(short.len() <= 1024);
        assert!(short.starts_with("head") && short.ends_with("tail"));
    }
}
