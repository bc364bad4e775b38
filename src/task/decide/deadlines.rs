//! Deadlines of a task (pure).

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{PeonTask, PeonTaskStatus};
use crate::task::run::pod::evidence::Evidence;
use crate::task::snapshot::Snapshot;

/// Seconds until a finished task is deleted, by default.
const DEFAULT_TTL: i32 = 3600;
/// How long a task is not deleted, whatever its TTL, while a store does not accept its log or its history entry, or the
/// overlord that assigned it does not know its verdict.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// Since when the current attempt waits to be started.
#[must_use]
pub fn waiting_since(task: &PeonTask) -> Option<Timestamp> {
    let pending = task.status.as_ref().and_then(|s| s.pending_since.as_ref());
    pending.or(task.metadata.creation_timestamp.as_ref()).map(|t| t.0)
}

/// When the start deadline of the current attempt passes.
#[must_use]
pub fn start(snapshot: &Snapshot) -> Option<Timestamp> {
    let seconds = snapshot
        .task
        .spec
        .start_deadline_seconds
        .or_else(|| snapshot.template_spec().and_then(|t| t.start_deadline_seconds))?;
    after(waiting_since(&snapshot.task)?, seconds)
}

/// When the active deadline of the current attempt's pod passes.
#[must_use]
pub fn active(snapshot: &Snapshot, evidence: &Evidence) -> Option<Timestamp> {
    active_since(snapshot, evidence.taken)
}

/// When the active deadline of an attempt passes that runs since then.
#[must_use]
pub fn active_since(snapshot: &Snapshot, since: Option<Timestamp>) -> Option<Timestamp> {
    let given = snapshot
        .task
        .spec
        .active_deadline_seconds
        .or_else(|| snapshot.template_spec().and_then(|t| t.active_deadline_seconds))?;
    after(since?, given)
}

/// When a finished task is deleted; `None` for a task that does not expire (`ttlSecondsAfterFinished: -1`).
#[must_use]
pub fn deletion(snapshot: &Snapshot) -> Option<Timestamp> {
    let seconds = snapshot
        .task
        .spec
        .ttl_seconds_after_finished
        .or_else(|| {
            snapshot
                .template_spec()
                .and_then(|t| t.ttl_seconds_after_finished)
        })
        .unwrap_or(DEFAULT_TTL);
    let status = snapshot.task.status.as_ref()?;
    let completed = status.completion_time.as_ref()?.0;
    let then = after(completed, u32::try_from(seconds).ok()?)?;
    if snapshot.task.overlord_waits() {
        return Some(then.max(completed.checked_add(PATIENCE).ok()?));
    }
    Some(then)
}

/// Whether a store's time limit has passed since the task was complete.
#[must_use]
pub fn store_had_its_time(status: &PeonTaskStatus, now: Timestamp) -> bool {
    status
        .completion_time
        .as_ref()
        .and_then(|t| t.0.checked_add(PATIENCE).ok())
        .is_some_and(|then| then <= now)
}

fn after(since: Timestamp, seconds: u32) -> Option<Timestamp> {
    since
        .checked_add(SignedDuration::from_secs(i64::from(seconds)))
        .ok()
}

/// The time until `then`, at least a moment; `None` if it has passed.
#[must_use]
pub fn until(then: Timestamp, now: Timestamp) -> Option<Duration> {
    let left = Duration::try_from(then.duration_since(now)).ok()?;
    (!left.is_zero()).then(|| left.max(Duration::from_millis(100)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::task::fixtures::{at, recorded, snapshot, template};
    use crate::task::snapshot::Template;

    #[test]
    fn a_task_expires_by_its_own_ttl_then_by_its_templates() {
        // The task's, the template's, and when the task is deleted.
        let cases = [
            (None, None, Some(4600)),
            (Some(0), None, Some(1000)),
            (None, Some(5), Some(1005)),
            (Some(7), Some(5), Some(1007)),
            (Some(-1), None, None),
            (Some(-1), Some(5), None),
            (None, Some(-1), None),
            (Some(7), Some(-1), Some(1007)),
        ];
        for (own, given, expected) in cases {
            let mut task = recorded();
            task.spec.ttl_seconds_after_finished = own;
            if let Some(status) = &mut task.status {
                status.completion_time = Some(Time(at(1000)));
            }
            let given = given.map_or(json!({}), |ttl: i32| json!({"ttlSecondsAfterFinished": ttl}));
            let snapshot = Snapshot {
                template: Template::Found(Arc::new(template(given))),
                ..snapshot(task)
            };
            assert_eq!(
                deletion(&snapshot),
                expected.map(at),
                "{own:?} {:?}",
                snapshot.template
            );
        }
    }
}
