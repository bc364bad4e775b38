//! Deadlines of a task (pure).

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{PeonTask, PeonTaskStatus};
use crate::task::run::pod::evidence::Evidence;
use crate::task::snapshot::Snapshot;

/// Seconds until a finished task is deleted, by default.
const DEFAULT_TTL: u32 = 3600;
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
    let given = snapshot
        .task
        .spec
        .active_deadline_seconds
        .or_else(|| snapshot.template_spec().and_then(|t| t.active_deadline_seconds))?;
    after(evidence.taken?, given)
}

/// When a finished task is deleted.
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
    let then = after(completed, seconds)?;
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
