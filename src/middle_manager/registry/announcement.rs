//! Announcements of a task to the overlord (pure).
//!
//! A task is RUNNING from its assignment on, whether its peon runs or waits for a node. Its location is announced once
//! its pod was ready. Its end is announced when verdict and log are durable: from then on the overlord reads the log
//! from the archive, and no longer here.

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

/// How long the end of a task is held back, counted from its completion, while a store does not accept its log. After
/// that the end is announced, since clients that wait for the task need its data more than its log.
pub const LOG_PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// Duration of a task whose running time is unknown.
const NO_DURATION: i64 = -1;

/// Datasource for tasks that name none; Druid's own noop task uses it.
const NO_DATA_SOURCE: &str = "none";

/// Facts about a task of which only these are known.
#[must_use]
pub fn facts(id: &str, task_type: &str, data_source: Option<&str>) -> TaskFacts {
    TaskFacts {
        id: id.to_owned(),
        task_type: task_type.to_owned(),
        data_source: data_source.unwrap_or(NO_DATA_SOURCE).to_owned(),
        resource: TaskResource::one(id),
    }
}

/// The constant facts about a task, from the annotations of its PeonTask, so that its payload need not be read again.
/// `None` for a PeonTask without a task id, which was not assigned.
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

/// The annotations read by [`facts_of`].
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

/// Announcement of a task that runs, or will run.
#[must_use]
pub fn running(facts: &TaskFacts, location: Option<&TaskLocation>) -> TaskAnnouncement {
    let location = location.cloned().unwrap_or_else(TaskLocation::unknown);
    TaskAnnouncement::running(facts.clone(), location)
}

/// Announcement of a task that has ended.
#[must_use]
pub fn ended(facts: &TaskFacts, location: Option<&TaskLocation>, ended: &Ended) -> TaskAnnouncement {
    let location = location.cloned().unwrap_or_else(TaskLocation::unknown);
    TaskAnnouncement::ended(facts.clone(), ended.end.clone(), ended.duration, location)
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Success or failure.
    pub end: End,
    /// Duration in milliseconds; -1 if the task never ran.
    pub duration: i64,
}

impl Ended {
    /// A task that failed for a reason outside of it, having run since `since`.
    #[must_use]
    pub fn failed(message: &str, since: Option<Timestamp>, now: Timestamp) -> Self {
        Self {
            end: End::Failed(message.to_owned()),
            duration: duration(since, Some(now)),
        }
    }
}

/// Progress of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The task has no verdict.
    Running,
    /// The task has a verdict.
    Ended {
        /// How it ended.
        ended: Ended,
        /// The end is not announced before this time, since its log is still being archived; `None`: announce at once.
        /// When the log is archived the status says so, and this is `None`, too.
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

/// Without log collection the condition is absent. A log whose reading has not begun may be archived much later: it
/// queues behind other logs, which may belong to tasks that run for days.
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
