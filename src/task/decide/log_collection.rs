//! When a task's log is requested, and what its status says about it (pure).

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::history_record::{self, With};
use super::plan::{Action, Step, settle_until, task_id};
use super::status::Draft;
use super::{current_run, deadlines};
use crate::api::conditions::{self, LOGS_ARCHIVED};
use crate::api::reason::{Acceptance, LogsArchived};
use crate::api::{Collect, PEON_CONTAINER, names};
use crate::druid::payload::is_streaming;
use crate::druid::properties::RuntimeProperties;
use crate::logs::format::shared_log::TaskLines;
use crate::logs::format::sidecar_config::{FLUSH_SECONDS, MAX_BYTES};
use crate::logs::format::state::{Heard, KeepLog, LogState};
use crate::task::accept::Refused;
use crate::task::run::pod::evidence::SidecarReport;
use crate::task::run::pod::log_plan::{LogPlan, SidecarPlan};
use crate::task::run::pod::run::LogSource;
use crate::task::run::worker::claim::WorkerClaim;
use crate::task::snapshot::Snapshot;

/// How long a verdict waits for the log, so that both are written at once.
const TOGETHER: SignedDuration = SignedDuration::from_secs(5);
/// How long the decision on another attempt waits for the log of the last one.
const UNTIL_READ: SignedDuration = SignedDuration::from_secs(10);
/// How often the state of a pending log is checked, in case no event reports it.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The state of a log in the status: status, reason and message of the condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Whether everything obtainable of the log is in the store.
    pub archived: bool,
    /// The reason.
    pub reason: LogsArchived,
    /// The message.
    pub message: String,
}

impl Word {
    fn of(state: &LogState) -> Self {
        let (archived, reason, message) = match state {
            LogState::Queued => (
                false,
                LogsArchived::FollowerCap,
                "all log followers of the operator or of this namespace are in use: the log is read when \
                 one is free"
                    .to_owned(),
            ),
            LogState::Collecting => (
                false,
                LogsArchived::Collecting,
                "the log is being read and written to the store".to_owned(),
            ),
            LogState::Failing { message } => (false, LogsArchived::StoreFailed, message.clone()),
            LogState::Archived { url, gaps, conflict } => {
                let missing = match gaps {
                    0 => String::new(),
                    gaps => format!(
                        ": parts of the log are missing in {gaps} places, which are marked in the log"
                    ),
                };
                match conflict {
                    Some(why) => (true, LogsArchived::IdConflict, format!("{url}{missing}; {why}")),
                    None if missing.is_empty() => (true, LogsArchived::Archived, url.clone()),
                    None => (true, LogsArchived::Gap, format!("{url}{missing}")),
                }
            }
            LogState::Nothing => (true, LogsArchived::NoLog, "the peon wrote nothing".to_owned()),
        };
        Self {
            archived,
            reason,
            message,
        }
    }
}

/// Which component reads the task's log; `None` if it is not archived.
fn reader(snapshot: &Snapshot) -> Option<Collect> {
    let collect = snapshot.template_spec().and_then(|t| t.logs.as_ref()?.collect);
    Some(collect.unwrap_or_default()).filter(|c| snapshot.keeps_logs && *c != Collect::None)
}

/// How the pod of an attempt takes part in log collection.
///
/// # Errors
/// `InvalidTemplate`, where the operator cannot make the sidecar that the template wants.
pub(crate) fn plan_of(snapshot: &Snapshot) -> Result<Option<LogPlan>, Refused> {
    match reader(snapshot) {
        None | Some(Collect::None) => Ok(None),
        Some(Collect::Follower) => Ok(Some(LogPlan::Follower)),
        Some(Collect::Sidecar) => {
            let given = snapshot
                .template_spec()
                .and_then(|t| t.logs.clone())
                .unwrap_or_default();
            Ok(Some(LogPlan::Sidecar(SidecarPlan {
                image: sidecar_image(&snapshot.operator)?,
                // Whether another attempt follows is not known before this one has ended.
                compose: false,
                flush_seconds: snapshot.operator.log_flush_seconds.unwrap_or(FLUSH_SECONDS),
                max_bytes: snapshot.operator.log_most_bytes.unwrap_or(MAX_BYTES),
                properties: snapshot.operator.logs.without_credentials(),
                properties_from: given.properties_from,
            })))
        }
    }
}

/// The image of a sidecar, which is the operator's.
///
/// # Errors
/// `InvalidTemplate`, if the operator does not know it.
pub(crate) fn sidecar_image(operator: &RuntimeProperties) -> Result<String, Refused> {
    operator.sidecar_image.clone().ok_or_else(|| {
        let message = "logs.collect is Sidecar, but the operator does not know its own image: set PEON_IMAGE of the operator";
        Refused::new(Acceptance::InvalidTemplate, message.into())
    })
}

/// How much the clocks of a node and of this process may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(10);

fn ask(snapshot: &Snapshot, source: LogSource, ended: bool, last: bool) -> Step {
    // An Indexer has no sidecar, and goes on after its task (`WorkerTaskManager` logs the end).
    let claimed = WorkerClaim::recorded(&snapshot.task).is_some();
    let sidecar = reader(snapshot) == Some(Collect::Sidecar) && !claimed;
    let seen = source.pod_uid.is_some();
    let shared = snapshot.task.status.as_ref().and_then(|status| {
        let run = status.run.as_ref().filter(|run| run.slot.is_some())?;
        Some(TaskLines {
            task_id: task_id(snapshot),
            pod_uid: run.pod_uid.clone()?,
            since: match &run.slot_time {
                Some(slot_time) => slot_time.0 - SKEW,
                // A task that got its slot from an earlier version.
                None => snapshot.task.metadata.creation_timestamp.as_ref()?.0 - SKEW,
            },
        })
    });
    Step::Act(Action::KeepLog(KeepLog {
        attempt: snapshot.attempt(),
        pod: source
            .pod
            .unwrap_or_else(|| names::attempt(&snapshot.task.name_any(), snapshot.attempt())),
        pod_uid: source
            .pod_uid
            .or_else(|| snapshot.task.status.as_ref()?.pod_uid().map(str::to_owned))
            .unwrap_or_default(),
        seen,
        container: source.container.unwrap_or_else(|| PEON_CONTAINER.to_owned()),
        started: source.started,
        sidecar,
        // The sidecar ends after the peon.
        ended: ended && (!sidecar || source.pod_ended),
        complete: source.sidecar.complete,
        last,
        lines: shared,
        last_line: claimed.then(|| format!("Task [{}] completed with status", task_id(snapshot))),
    }))
}

/// While the peon runs, and after it ran: requests its log.
pub(crate) fn while_it_runs(snapshot: &Snapshot, source: LogSource) -> Option<Step> {
    (source.begun && snapshot.outcomes.log.is_none() && reader(snapshot).is_some())
        .then(|| ask(snapshot, source, false, false))
}

/// The attempt has ended, and whether another one follows is not decided yet.
pub(crate) fn at_the_end(snapshot: &Snapshot, source: &LogSource) -> Option<Step> {
    (snapshot.outcomes.log.is_none() && reader(snapshot).is_some())
        .then(|| ask(snapshot, source.clone(), true, false))
}

/// The log step before the verdict is written.
pub(crate) enum BeforeVerdict {
    /// The log is not archived.
    Nothing,
    /// Do this first.
    First(Step),
    /// The verdict can be written, with this state of the log.
    Say(Word),
}

/// The verdict is known: it waits a moment for the log, counted from the attempt's end. Without an end it does not wait.
pub(crate) fn before_verdict(
    snapshot: &Snapshot,
    source: &LogSource,
    ended: Option<Timestamp>,
    now: Timestamp,
) -> BeforeVerdict {
    if reader(snapshot).is_none() {
        return BeforeVerdict::Nothing;
    }
    let Some(kept) = snapshot.outcomes.log.as_ref().filter(|k| k.last) else {
        return BeforeVerdict::First(ask(snapshot, source.clone(), true, true));
    };
    let word = Word::of(&kept.state);
    if let Some(ended) = ended.filter(|_| !word.archived)
        && let Some(left) = ended
            .checked_add(TOGETHER)
            .ok()
            .and_then(|then| deadlines::until(then, now))
    {
        return BeforeVerdict::First(super::plan::look_again(Some(left)));
    }
    BeforeVerdict::Say(word)
}

/// Whether the log of an attempt says something that decides what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InLog {
    /// It does.
    Said,
    /// It does not, or is not read.
    NotSaid,
    /// It was not read to its end, and may be for this long.
    Unread(Duration),
}

/// Whether the log of an attempt that has ended says that the task published segments. A streaming task publishes several
/// times, and continues after the last one when it is run again.
pub(crate) fn publication(
    snapshot: &Snapshot,
    source: &LogSource,
    ended: Option<Timestamp>,
    now: Timestamp,
) -> InLog {
    let type_ = snapshot.task.status.as_ref().and_then(|s| s.task_type.as_deref());
    if type_.is_some_and(is_streaming) {
        return InLog::NotSaid;
    }
    let said = |sidecar: SidecarReport, heard: Heard| sidecar.published || heard.published;
    in_log(
        snapshot,
        source,
        ended.map(|ended| (ended, UNTIL_READ)),
        now,
        said,
    )
}

/// Whether the log of an attempt that has ended says that memory ran out.
pub(crate) fn out_of_memory(
    snapshot: &Snapshot,
    source: &LogSource,
    ended: Option<Timestamp>,
    now: Timestamp,
) -> InLog {
    let said = |sidecar: SidecarReport, heard: Heard| sidecar.out_of_memory || heard.out_of_memory;
    in_log(snapshot, source, ended.map(|ended| (ended, TOGETHER)), now, said)
}

/// What the log of an attempt that has ended says. It is waited for from the attempt's end on, for this time, and not
/// without an end.
fn in_log(
    snapshot: &Snapshot,
    source: &LogSource,
    ended: Option<(Timestamp, SignedDuration)>,
    now: Timestamp,
    said: impl Fn(SidecarReport, Heard) -> bool,
) -> InLog {
    let Some(reader) = reader(snapshot) else {
        return InLog::NotSaid;
    };
    let heard = snapshot
        .outcomes
        .log
        .as_ref()
        .map(|kept| kept.heard)
        .unwrap_or_default();
    if said(source.sidecar, heard) {
        return InLog::Said;
    }
    let whole = if reader == Collect::Sidecar && WorkerClaim::recorded(&snapshot.task).is_none() {
        source.pod_ended
    } else {
        heard.whole
    };
    let left = ended
        .filter(|_| !whole)
        .and_then(|(ended, patience)| ended.checked_add(patience).ok())
        .and_then(|then| deadlines::until(then, now));
    left.map_or(InLog::NotSaid, InLog::Unread)
}

/// The next step for a task that has its verdict and whose log is pending, unless the task may be deleted.
pub(crate) fn after_verdict(snapshot: &Snapshot, now: Timestamp) -> Option<Step> {
    let status = snapshot.task.status.as_ref()?;
    let said = conditions::find(&status.conditions, LOGS_ARCHIVED)?;
    if conditions::log_is_settled(&status.conditions) {
        return None;
    }
    if deadlines::store_had_its_time(status, now) {
        let word = Word {
            archived: false,
            reason: LogsArchived::GaveUp,
            message: format!(
                "archiving was given up a day after the task's end: {}",
                said.message
            ),
        };
        return Some(say(snapshot, &word, None, now));
    }
    // The operator may get access to the store again.
    reader(snapshot)?;
    let Some(kept) = &snapshot.outcomes.log else {
        let source = current_run::log_after_verdict(snapshot);
        return Some(ask(snapshot, source, true, true));
    };
    let word = Word::of(&kept.state);
    // The cause of waiting is written once, and not again whenever it changes.
    let worth_it = word.archived
        || LogsArchived::parse(&said.reason) == Some(LogsArchived::Collecting)
            && word.reason != LogsArchived::Collecting;
    Some(if worth_it {
        say(snapshot, &word, (!word.archived).then_some(LOOK_AGAIN), now)
    } else {
        super::plan::look_again(Some(LOOK_AGAIN))
    })
}

/// Writes it to a task that has its verdict. The history is written first, so that one status write contains both.
fn say(snapshot: &Snapshot, word: &Word, requeue: Option<Duration>, now: Timestamp) -> Step {
    let mut draft = Draft::of(&snapshot.task, now);
    draft.log(word);
    match history_record::with(snapshot, || draft.clone().as_it_is()) {
        With::First(step) => return step,
        With::Say(recorded) => draft.record(&recorded),
        With::Nothing => {}
    }
    settle_until(draft.as_it_is(), requeue)
}

#[cfg(test)]
#[path = "log_collection_tests.rs"]
mod tests;
