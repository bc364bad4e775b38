//! What is said of a task to the overlord (pure).
//!
//! A task is RUNNING from its assignment on, whether its peon runs or waits for a node. Where it can be called is said
//! once its pod was ready. Its end is said when verdict and log are durable: the overlord then reads the log where it
//! was archived, and no more here.

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::conditions::{self, COMPLETE, FAILED, LOGS_ARCHIVED, logs};
use crate::api::{
    ANNOTATION_AVAILABILITY_GROUP, ANNOTATION_DATA_SOURCE, ANNOTATION_REQUIRED_CAPACITY, ANNOTATION_TASK_ID,
    ANNOTATION_TASK_TYPE, PeonTaskStatus,
};
use crate::druid::worker::{TaskAnnouncement, TaskLocation, TaskResource, TaskState, TaskStatus};

/// How long the end of a task is held back, counted from its completion, while a store does not take its log. After it
/// the overlord is told, since whoever waits for the task needs its data more than its log.
pub const LOG_PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// A task that ran for nobody knows how long.
const NO_DURATION: i64 = -1;

/// What Druid's own noop task calls its datasource, for tasks that name none.
const NO_DATA_SOURCE: &str = "none";

/// What a task says of itself, and what never changes. It stands in the annotations of its PeonTask, so that no payload
/// has to be read for it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its id.
    pub id: String,
    /// Its type.
    pub task_type: String,
    /// Its datasource.
    pub data_source: String,
    /// What it takes of its worker.
    pub resource: TaskResource,
}

impl Card {
    /// The card of a task that says no more than this of itself.
    #[must_use]
    pub fn new(id: &str, task_type: &str, data_source: Option<&str>) -> Self {
        Self {
            id: id.to_owned(),
            task_type: task_type.to_owned(),
            data_source: data_source.unwrap_or(NO_DATA_SOURCE).to_owned(),
            resource: TaskResource {
                availability_group: id.to_owned(),
                required_capacity: 1,
            },
        }
    }

    /// Reads the annotations of a PeonTask; `None` for one that has no task id, which nobody assigned.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        let annotations = metadata.annotations.as_ref()?;
        let text = |key: &str| annotations.get(key).map(String::as_str);
        let mut card = Self::new(
            text(ANNOTATION_TASK_ID)?,
            text(ANNOTATION_TASK_TYPE).unwrap_or_default(),
            text(ANNOTATION_DATA_SOURCE),
        );
        if let Some(group) = text(ANNOTATION_AVAILABILITY_GROUP) {
            group.clone_into(&mut card.resource.availability_group);
        }
        if let Some(capacity) = text(ANNOTATION_REQUIRED_CAPACITY).and_then(|c| u32::from_str(c).ok()) {
            card.resource.required_capacity = capacity.max(1);
        }
        Some(card)
    }

    /// The annotations that [`Self::of`] reads.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let capacity = self.resource.required_capacity.to_string();
        [
            (ANNOTATION_TASK_ID, &self.id),
            (ANNOTATION_TASK_TYPE, &self.task_type),
            (ANNOTATION_DATA_SOURCE, &self.data_source),
            (ANNOTATION_AVAILABILITY_GROUP, &self.resource.availability_group),
            (ANNOTATION_REQUIRED_CAPACITY, &capacity),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
    }

    /// The task runs, or will.
    #[must_use]
    pub fn running(&self, location: Option<&TaskLocation>) -> TaskAnnouncement {
        self.announcement(TaskState::Running, NO_DURATION, None, location)
    }

    /// The task has ended.
    #[must_use]
    pub fn ended(&self, location: Option<&TaskLocation>, end: &End) -> TaskAnnouncement {
        let state = if end.success {
            TaskState::Success
        } else {
            TaskState::Failed
        };
        self.announcement(state, end.duration, end.message.clone(), location)
    }

    fn announcement(
        &self,
        status: TaskState,
        duration: i64,
        error_msg: Option<String>,
        location: Option<&TaskLocation>,
    ) -> TaskAnnouncement {
        TaskAnnouncement {
            id: self.id.clone(),
            task_type: self.task_type.clone(),
            status,
            task_status: TaskStatus {
                id: self.id.clone(),
                status,
                duration,
                error_msg,
                location: TaskLocation::unknown(),
            },
            task_resource: self.resource.clone(),
            task_location: location.cloned().unwrap_or_else(TaskLocation::unknown),
            task_data_source: self.data_source.clone(),
        }
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Whether it ended well.
    pub success: bool,
    /// Milliseconds that it ran; -1 where it never did.
    pub duration: i64,
    /// Why it failed.
    pub message: Option<String>,
}

impl End {
    /// A task that failed by what happened here, having run since then.
    #[must_use]
    pub fn failed(message: &str, since: Option<Timestamp>, now: Timestamp) -> Self {
        Self {
            success: false,
            duration: duration(since, Some(now)),
            message: Some(message.to_owned()),
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
        end: End,
        /// When that is said at the latest, its log being on its way; `None` where nothing is waited for.
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
        let (condition, success) = match (verdict(COMPLETE), verdict(FAILED)) {
            (Some(complete), _) => (complete, true),
            (None, Some(failed)) => (failed, false),
            (None, None) => return Self::Running,
        };
        let [started, completed] =
            [&status.start_time, &status.completion_time].map(|t| t.as_ref().map(|t| t.0));
        let message = format!("{}: {}", condition.reason, condition.message.trim());
        let since = completed.unwrap_or(condition.last_transition_time.0);
        Self::Ended {
            end: End {
                success,
                duration: duration(started, completed),
                message: (!success).then_some(message),
            },
            not_before: log_is_awaited(status)
                .then(|| since.checked_add(LOG_PATIENCE).ok())
                .flatten(),
        }
    }
}

/// Where nobody keeps logs the condition is not there at all.
fn log_is_awaited(status: &PeonTaskStatus) -> bool {
    conditions::find(&status.conditions, LOGS_ARCHIVED)
        .is_some_and(|c| c.status != "True" && c.reason != logs::GAVE_UP)
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
