//! When a finished task is written to the history, and with which content (pure).
//!
//! The entry is written before the status that says so: clients that read `Recorded=True` find the entry.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::deadlines;
use super::plan::{Action, Step, look_again, settle_until};
use super::status::Draft;
use crate::api::conditions::{self, COMPLETE, FAILED, LOGS_ARCHIVED, RECORDED, cut};
use crate::api::reason::Recording;
use crate::api::{PeonTask, PeonTaskStatus, Phase};
use crate::logs::format::record::{Entry, LastWord, LogRecord, Record, Recorded, VERSION};
use crate::logs::format::success;
use crate::task::snapshot::Snapshot;

/// Interval of retries after a store refused an entry.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Most bytes of a verdict's message that are recorded.
const LONGEST_MESSAGE: usize = 1024;

/// The history step before a final status is written.
#[derive(Debug)]
pub(crate) enum With {
    /// There is no history.
    Nothing,
    /// Do this first.
    First(Step),
    /// The status can be written, with this result of the history.
    Say(Recorded),
}

/// Before a final status is written, the history entry is written.
pub(crate) fn with(snapshot: &Snapshot, status: impl FnOnce() -> PeonTaskStatus) -> With {
    match &snapshot.outcomes.recorded {
        _ if !snapshot.keeps_logs => With::Nothing,
        Some(recorded) => With::Say(recorded.clone()),
        None => With::First(put(&snapshot.task, &status())),
    }
}

/// The next step for a task that has its verdict, whose log is no longer pending, and that is not in the history,
/// unless it may be deleted.
pub(crate) fn after_verdict(snapshot: &Snapshot, now: Timestamp) -> Option<Step> {
    let status = snapshot.task.status.as_ref()?;
    if !snapshot.keeps_logs || is_settled(status) {
        return None;
    }
    let Some(recorded) = &snapshot.outcomes.recorded else {
        return Some(put(&snapshot.task, status));
    };
    let mut draft = Draft::of(&snapshot.task, now);
    draft.record(recorded);
    let failing = recorded.outcome.is_err() && !deadlines::store_had_its_time(status, now);
    let said = conditions::find(&status.conditions, RECORDED).is_some();
    Some(if failing && said {
        // The failure is reported once, and not again for each new error message of the store.
        look_again(Some(LOOK_AGAIN))
    } else {
        settle_until(draft.as_it_is(), failing.then_some(LOOK_AGAIN))
    })
}

/// Whether a finished task must not be deleted yet because it is not in the history.
#[must_use]
pub fn is_awaited(task: &PeonTask, now: Timestamp) -> bool {
    let status = task.status.as_ref();
    status.is_some_and(|s| !is_settled(s) && !deadlines::store_had_its_time(s, now))
}

/// The history entry for a task whose object is gone while its log was being read.
#[must_use]
pub fn last_word(task: &PeonTask) -> LastWord {
    let Some(status) = task.status.as_ref().filter(|_| task.is_final()) else {
        return LastWord::NoVerdict;
    };
    let has_log = conditions::is_true(&status.conditions, LOGS_ARCHIVED);
    if conditions::is_true(&status.conditions, RECORDED) && has_log {
        return LastWord::Recorded;
    }
    entry(task, status).map_or(LastWord::NoVerdict, |entry| LastWord::Final(Box::new(entry)))
}

fn is_settled(status: &PeonTaskStatus) -> bool {
    conditions::find(&status.conditions, RECORDED)
        .is_some_and(|c| c.status == "True" || Recording::parse(&c.reason) == Some(Recording::GaveUp))
}

fn put(task: &PeonTask, status: &PeonTaskStatus) -> Step {
    match entry(task, status) {
        Some(entry) => Step::Act(Action::Record(Box::new(entry))),
        // Another version wrote the status: the history cannot have it without a time.
        None => look_again(None),
    }
}

/// The entry of a task with this status; `None` if it is not complete.
fn entry(task: &PeonTask, status: &PeonTaskStatus) -> Option<Entry> {
    let completed = status.completion_time.as_ref()?.0;
    let find = |type_| conditions::find(&status.conditions, type_);
    let verdict = [COMPLETE, FAILED]
        .into_iter()
        .filter_map(find)
        .find(|c| c.status == "True");
    let log = find(LOGS_ARCHIVED).map(|c| LogRecord {
        archived: c.status == "True",
        reason: c.reason.clone(),
        url: None,
    });
    let record = Record {
        version: VERSION,
        namespace: task.namespace().unwrap_or_default(),
        name: task.name_any(),
        uid: task.uid().unwrap_or_default(),
        task_id: status.task_id.clone(),
        task_hash: status.task_hash.clone(),
        task_type: status.task_type.clone(),
        data_source: status.data_source.clone(),
        template: status.template.clone(),
        phase: status.phase.map(|p: Phase| p.as_str().to_owned()),
        reason: status.reason.clone(),
        message: verdict.map(|c| cut(&c.message, LONGEST_MESSAGE)),
        creation_time: task.metadata.creation_timestamp.clone(),
        start_time: status.start_time.clone(),
        completion_time: status.completion_time.clone(),
        attempt: status.attempt,
        attempts: status.attempts.clone(),
        retries: status.failures.clone(),
        exit_code: status.exit_code,
        node: status.node_name.clone(),
        memory: status.memory.clone(),
        cpu: status.cpu.clone(),
        log,
        report_url: None,
    };
    Some(Entry {
        // As the API server will return it: the key is made from it, and must be the same each time.
        completed: Timestamp::from_second(completed.as_second()).unwrap_or(completed),
        success: success(task, &record),
        record,
    })
}

/// By which name a success is found again. A task that did not run itself leaves that of the earlier one.
fn success(task: &PeonTask, record: &Record) -> Option<String> {
    let ran = record.attempt.is_some() && task.middle_manager().is_none();
    let succeeded = record.phase.as_deref() == Some(Phase::Succeeded.as_str());
    let (id, hash) = (record.task_id.as_ref()?, record.task_hash.as_ref()?);
    (ran && succeeded).then(|| success::key(&record.name, id, hash))
}

#[cfg(test)]
#[path = "history_record_tests.rs"]
mod tests;
