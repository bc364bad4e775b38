//! Conditions of the custom resources: documented API, never renamed. Their reasons are in [`reason`](super::reason).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::reason::{LogsArchived, Reason};

/// The task is valid, has a template and fits its memory.
pub const ACCEPTED: &str = "Accepted";
/// The peon's JVM was started.
pub const STARTED: &str = "Started";
/// Final: Druid reported SUCCESS for this task.
pub const COMPLETE: &str = "Complete";
/// Final: the task failed; the reason is the cause.
pub const FAILED: &str = "Failed";
/// The log and the report are stored where a stock overlord reads them, and outlive the pod.
pub const LOGS_ARCHIVED: &str = "LogsArchived";
/// The task is in the history, which outlives it.
pub const RECORDED: &str = "Recorded";
/// For kstatus (`kubectl wait`, Flux, Argo CD): the task runs, or is complete. On a PeonTemplate: tasks can use it.
pub const READY: &str = "Ready";
/// Held by `spec.suspend`.
pub const SUSPENDED: &str = "Suspended";
/// For kstatus: progress is expected without intervention.
pub const RECONCILING: &str = "Reconciling";
/// For kstatus: failed, or waiting for intervention.
pub const STALLED: &str = "Stalled";

/// On a VirtualMiddleManager, written by its pod: every identity is announced in discovery and polled by an overlord.
pub const ANNOUNCED: &str = "Announced";
/// On a VirtualMiddleManager, written by its pod: whether the overlord answers the pod's requests (which overlord
/// leads, and what became of tasks).
pub const OVERLORD_ANSWERS: &str = "OverlordAnswers";
/// On a VirtualMiddleManager, written by the operator: whether clients of the workers need credentials.
pub const AUTHENTICATED: &str = "Authenticated";

/// On an IndexerPool with `serving: Queries`: whether its Indexers are announced to brokers and coordinators.
pub const QUERIES_SERVED: &str = "QueriesServed";

/// Longest message stored in a condition, in bytes. The API allows 32 KiB; a large status shortens messages further.
const LONGEST_MESSAGE: usize = 1024;

/// Finds a condition by type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether nothing more is read of the log of a task that has its verdict: it is archived, was given up, or is not archived
/// at all.
#[must_use]
pub fn log_is_settled(conditions: &[Condition]) -> bool {
    find(conditions, LOGS_ARCHIVED).is_none_or(|said| {
        said.status == "True" || LogsArchived::parse(&said.reason) == Some(LogsArchived::GaveUp)
    })
}

/// Whether the condition exists and is `True`.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True")
}

/// A list of conditions under construction. Setting a condition to its old status and reason preserves its transition
/// time, so that an unchanged status equals the old one and costs no write.
#[derive(Debug, Clone)]
pub struct Conditions {
    list: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Conditions {
    /// Starts from the current conditions.
    #[must_use]
    pub fn from(list: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            list: list.to_vec(),
            generation,
            now,
        }
    }

    /// Sets one condition.
    pub fn set(&mut self, type_: &str, status: bool, reason: &impl Reason, message: &str) {
        let reason = reason.name();
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

    /// The resulting list.
    #[must_use]
    pub fn into_list(self) -> Vec<Condition> {
        self.list
    }
}

/// Shortens `text` to at most `longest` bytes. Head and tail are preserved, since the cause may be at either end.
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
    use crate::api::reason::Waiting;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_unchanged_condition_keeps_its_time() {
        let mut first = Conditions::from(&[], Some(1), at(10));
        first.set(STARTED, false, &Waiting::Starting, "a");
        let first = first.into_list();
        let mut second = Conditions::from(&first, Some(1), at(20));
        second.set(STARTED, false, &Waiting::Starting, "a");
        assert_eq!(second.into_list(), first);
        let mut third = Conditions::from(&first, Some(1), at(30));
        third.set(STARTED, false, &Waiting::Unschedulable, "b");
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
