//! What is said of a task to the overlord (pure).
//!
//! A task is RUNNING from its assignment on, whether its peon runs or waits for a node. Where it can be called is said
//! once its pod was ready. Its end is said when verdict and log are durable: the overlord then reads the log where it
//! was archived, and no more here.

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::conditions::{self, COMPLETE, FAILED, LOGS_ARCHIVED};
use crate::api::reason::LogsArchived;
use crate::api::{
    ANNOTATION_AVAILABILITY_GROUP, ANNOTATION_DATA_SOURCE, ANNOTATION_REQUIRED_CAPACITY, ANNOTATION_TASK_ID,
    ANNOTATION_TASK_TYPE, PeonTaskStatus,
};
use crate::druid::worker::{End, TaskAnnouncement, TaskFacts, TaskLocation, TaskResource};

/// How long the end of a task is held back, counted from its completion, while a store does not take its log. After it
/// the overlord is told, since whoever waits for the task needs its data more than its log.
pub const LOG_PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// A task that ran for nobody knows how long.
const NO_DURATION: i64 = -1;

/// What Druid's own noop task calls its datasource, for tasks that name none.
const NO_DATA_SOURCE: &str = "none";

/// What is known of a task that says no more than this of itself.
#[must_use]
pub fn facts(id: &str, task_type: &str, data_source: Option<&str>) -> TaskFacts {
    TaskFacts {
        id: id.to_owned(),
        task_type: task_type.to_owned(),
        data_source: data_source.unwrap_or(NO_DATA_SOURCE).to_owned(),
        resource: TaskResource::one(id),
    }
}

/// What stays the same of a task, from the annotations of its PeonTask; so no payload has to be read for it again.
/// `None` for one that has no task id, which nobody assigned.
#[must_use]
pub fn facts_of(metadata: &ObjectMeta) -> Option<TaskFacts> {
    let annotations = metadata.annotations.as_ref()?;
    let text = |key: &str| annotations.get(key).map(String::as_str);
    let mut facts = facts(
        text(ANNOTATION_TASK_ID)?,
        text(ANNOTATION_TASK_TYPE).unwrap_or_default(),
        text(ANNOTATION_DATA_SOURCE),
    );
    if let Some(group) = text(ANNOTATION_AVAILABILITY_GROUP) {
        group.clone_into(&mut facts.resource.availability_group);
    }
    if let Some(capacity) = text(ANNOTATION_REQUIRED_CAPACITY).and_then(|c| u32::from_str(c).ok()) {
        facts.resource.required_capacity = capacity.max(1);
    }
    Some(facts)
}

/// The annotations that [`facts_of`] reads.
#[must_use]
pub fn annotations(facts: &TaskFacts) -> BTreeMap<String, String> {
    let capacity = facts.resource.required_capacity.to_string();
    [
        (ANNOTATION_TASK_ID, &facts.id),
        (ANNOTATION_TASK_TYPE, &facts.task_type),
        (ANNOTATION_DATA_SOURCE, &facts.data_source),
        (ANNOTATION_AVAILABILITY_GROUP, &facts.resource.availability_group),
        (ANNOTATION_REQUIRED_CAPACITY, &capacity),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.clone()))
    .collect()
}

/// The task runs, or will.
#[must_use]
pub fn running(facts: &TaskFacts, location: Option<&TaskLocation>) -> TaskAnnouncement {
    let location = location.cloned().unwrap_or_else(TaskLocation::unknown);
    TaskAnnouncement::running(facts.clone(), location)
}

/// The task has ended.
#[must_use]
pub fn ended(facts: &TaskFacts, location: Option<&TaskLocation>, ended: &Ended) -> TaskAnnouncement {
    let location = location.cloned().unwrap_or_else(TaskLocation::unknown);
    TaskAnnouncement::ended(facts.clone(), ended.end.clone(), ended.duration, location)
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Well or badly.
    pub end: End,
    /// Milliseconds that it ran; -1 where it never did.
    pub duration: i64,
}

impl Ended {
    /// A task that failed by what happened here, having run since then.
    #[must_use]
    pub fn failed(message: &str, since: Option<Timestamp>, now: Timestamp) -> Self {
        Self {
            end: End::Failed(message.to_owned()),
            duration: duration(since, Some(now)),
        }
    }
}

/// How far a task has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It has no verdict.
    Running,
    /// It has one.
    Ended {
        /// How it ended.
        ended: Ended,
        /// The end is not announced before this time, since its log is on its way; `None`: at once. When the log has come the
        /// status says so, and this is `None`, too.
        not_before: Option<Timestamp>,
    },
}

impl Progress {
    /// Reads the status of a PeonTask.
    #[must_use]
    pub fn of(status: Option<&PeonTaskStatus>) -> Self {
        let Some(status) = status else {
            return Self::Running;
        };
        let verdict = |type_| conditions::find(&status.conditions, type_).filter(|c| c.status == "True");
        let (condition, end) = match (verdict(COMPLETE), verdict(FAILED)) {
            (Some(complete), _) => (complete, End::Success),
            (None, Some(failed)) => {
                let message = format!("{}: {}", failed.reason, failed.message.trim());
                (failed, End::Failed(message))
            }
            (None, None) => return Self::Running,
        };
        let [started, completed] =
            [&status.start_time, &status.completion_time].map(|t| t.as_ref().map(|t| t.0));
        let since = completed.unwrap_or(condition.last_transition_time.0);
        Self::Ended {
            ended: Ended {
                end,
                duration: duration(started, completed),
            },
            not_before: log_is_awaited(status)
                .then(|| since.checked_add(LOG_PATIENCE).ok())
                .flatten(),
        }
    }
}

/// Where nobody keeps logs the condition is not there at all. A log that nobody has begun to read may come long after: its
/// place is behind other logs, which may be those of tasks that run for days.
fn log_is_awaited(status: &PeonTaskStatus) -> bool {
    let condition = conditions::find(&status.conditions, LOGS_ARCHIVED);
    condition.is_some_and(|c| {
        c.status != "True"
            && match LogsArchived::parse(&c.reason) {
                Some(LogsArchived::GaveUp | LogsArchived::FollowerCap) => false,
                Some(
                    LogsArchived::Archived
                    | LogsArchived::Gap
                    | LogsArchived::NoLog
                    | LogsArchived::IdConflict
                    | LogsArchived::Collecting
                    | LogsArchived::StoreFailed,
                )
                | None => true,
            }
    })
}

fn duration(since: Option<Timestamp>, until: Option<Timestamp>) -> i64 {
    let (Some(since), Some(until)) = (since, until) else {
        return NO_DURATION;
    };
    let milliseconds = until.as_millisecond().saturating_sub(since.as_millisecond());
    // Clocks differ.
    milliseconds.max(0)
}

#[cfg(test)]
#[path = "announcement_tests.rs"]
mod tests;
