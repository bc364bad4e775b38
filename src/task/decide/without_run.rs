//! A task without a pod: what prevents a pod, and how it gets one (pure).

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::plan::{
    Action, Settlement, Step, described, look_again, look_live, read_payload, settle, settle_until, signed,
    task_id,
};
use super::status::Draft;
use super::with_worker::CLAIMED;
use super::{after_success, deadlines};
use crate::api::reason::{Acceptance, Cause, Follows, Waiting};
use crate::api::{PeonTaskStatus, Phase, Placement, RunKind, SubmissionState, conditions, names};
use crate::apiserver::classify::refusal::{Creation, Refusal};
use crate::task::accept::placement::{self, Choice};
use crate::task::accept::{Accepted, Refused, accept, payload};
use crate::task::aggregates::slots::Slot;
use crate::task::run::elsewhere::Standing;
use crate::task::snapshot::{Live, Snapshot};
use kube::ResourceExt;

/// When a task is placed again that no pool may run.
const NO_POOL: Duration = Duration::from_secs(30);
/// When a new task that waits for an Indexer says so.
const FULL: Duration = Duration::from_secs(2);
/// How often a task that waits for a name to become free checks again.
pub(crate) const NAME_CONFLICT: Duration = Duration::from_secs(5);

/// Chunks are created after their PeonTask. A task younger than this waits for them without a write, and they are not
/// requested at first sight; timestamps are whole seconds.
const BEING_CREATED: SignedDuration = SignedDuration::from_secs(2);
/// When such a task is checked again: its chunks usually follow within some milliseconds.
const SOON: Duration = Duration::from_millis(50);
/// How long a payload may be incomplete before it is no longer expected to be completed, generously. An overlord tries
/// an assignment three times, for a minute each, and gives up a task that is not announced within
/// `druid.indexer.runner.taskAssignmentTimeout`, five minutes; a client that creates chunks needs seconds.
const INCOMPLETE: SignedDuration = SignedDuration::from_mins(10);
/// Least and most time between two reads of an incomplete payload.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// The current attempt has no pod and never had one, as far as is known.
pub(crate) fn start(snapshot: &Snapshot, now: Timestamp) -> Step {
    let ended_elsewhere = snapshot
        .task
        .submission()
        .is_some_and(|s| matches!(s.state, SubmissionState::Succeeded | SubmissionState::Failed));
    if snapshot.task.spec.cancel && !ended_elsewhere {
        return give_up(
            snapshot,
            now,
            Cause::Cancelled,
            "spec.cancel was set before the peon started",
        );
    }
    let deadline = (!snapshot.task.spec.suspend)
        .then(|| deadlines::start(snapshot))
        .flatten();
    if deadline.is_some_and(|d| deadlines::until(d, now).is_none()) {
        let message = format!("startDeadlineSeconds passed: {}", what_it_waits_for(snapshot));
        return give_up(snapshot, now, Cause::StartDeadline, &message);
    }
    until_deadline(begin(snapshot, now), deadline, now)
}

/// Schedules the next pass no later than the deadline.
pub(crate) fn until_deadline(step: Step, deadline: Option<Timestamp>, now: Timestamp) -> Step {
    let Some(left) = deadline.map(|d| deadlines::until(d, now).unwrap_or(Duration::from_millis(100))) else {
        return step;
    };
    match step {
        Step::Settle(mut settlement) if !is_final(settlement.status.as_ref()) => {
            settlement.requeue = Some(settlement.requeue.map_or(left, |r| r.min(left)));
            Step::Settle(settlement)
        }
        other => other,
    }
}

fn is_final(status: Option<&PeonTaskStatus>) -> bool {
    status.is_some_and(|s| matches!(s.phase, Some(Phase::Succeeded | Phase::Failed)))
}

/// What the task waits for according to its status.
pub(crate) fn what_it_waits_for(snapshot: &Snapshot) -> String {
    let status = snapshot.task.status.as_ref();
    status
        .and_then(|s| conditions::find(&s.conditions, conditions::READY))
        .map_or_else(
            || "what it waited for is unknown".to_owned(),
            |c| format!("{}: {}", c.reason, c.message),
        )
}

/// Ends a task that has no pod: it first checks that no pod was created unseen.
fn give_up(snapshot: &Snapshot, now: Timestamp, cause: Cause, message: &str) -> Step {
    if snapshot.outcomes.live.is_none() {
        return look_live(snapshot);
    }
    settle(Draft::of(&snapshot.task, now).fail(cause, message))
}

/// A task that runs on another worker: the overlord, which is told of a cancellation, decides how it ended.
pub(crate) fn follow_elsewhere(snapshot: &Snapshot, now: Timestamp) -> Step {
    begin(snapshot, now)
}

fn not_assigned(standing: Standing, draft: Draft) -> Step {
    settle(match standing {
        Standing::Waits(reason, message) => draft.refuse(reason, &message),
        Standing::Elsewhere(message) => draft.run_elsewhere(&message),
        Standing::Succeeded(message) => draft.succeed_elsewhere(&message),
        Standing::Refused(reason, message) => draft.refuse_for_good(reason, &message),
        Standing::Failed(cause, message) => draft.fail(cause, &message),
    })
}

fn begin(snapshot: &Snapshot, now: Timestamp) -> Step {
    if snapshot.task.task_from().is_some() && snapshot.outcomes.payload.is_none() {
        return read_payload(snapshot, is_just_created(snapshot, now));
    }
    if let Some(step) = recall_rung(snapshot) {
        return step;
    }
    let accepted = accept(snapshot);
    let draft = described(snapshot, accepted.as_ref(), now);
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(refused) if refused.reason == Acceptance::NotAssigned => {
            let manager = snapshot.task.middle_manager().unwrap_or_default();
            return not_assigned(Standing::of(&snapshot.task, manager), draft);
        }
        Err(refused) => return not_accepted(snapshot, draft, &refused, now),
    };
    let suspended = snapshot.task.status.as_ref().and_then(|s| s.phase) == Some(Phase::Suspended);
    if snapshot.task.spec.suspend {
        return if snapshot.outcomes.live.is_none() && !suspended {
            // A pod may have been created unseen.
            look_live(snapshot)
        } else {
            settle(draft.suspend())
        };
    }
    if suspended {
        return settle(draft.resume());
    }
    if let Some(left) = backoff(snapshot, now) {
        return look_again(Some(left));
    }
    if let Some(step) = until_subtasks_end(snapshot, &draft) {
        return step;
    }
    if let Some(step) = after_success::step(snapshot, &draft) {
        return step;
    }
    if let Some(max) = snapshot.template_spec().and_then(|t| t.max_running) {
        match &snapshot.outcomes.slot {
            None => {
                let template = accepted.template_name().to_owned();
                return Step::Act(Action::TakeSlot { template, max });
            }
            Some(Slot::Taken) => {}
            Some(Slot::Wait { .. }) => {
                let message = format!(
                    "{max} tasks of the PeonTemplate {} run already, which is its maxRunning",
                    accepted.template_name()
                );
                return settle(draft.wait(Phase::Pending, Waiting::MaxRunning, &message));
            }
        }
    }
    place(snapshot, &accepted, draft, now)
}

/// Decides once for each attempt between an Indexer of a pool and a pod of its own, and writes the decision before
/// anything is done: of two processes only one can write it. Where no pool is concerned, the pod's name is enough.
fn place(snapshot: &Snapshot, accepted: &Accepted<'_>, mut draft: Draft, now: Timestamp) -> Step {
    let is_for_pool = accepted.placement == Placement::Pool;
    let name = accepted.attempt(snapshot.attempt(), &accepted.names()).name();
    let run = snapshot
        .task
        .status
        .as_ref()
        .and_then(|status| status.run.as_ref());
    let is_decided = run.is_some_and(|run| run.kind == RunKind::Pod && run.pod.as_ref() == Some(&name));
    if is_decided || snapshot.may_have_pod || snapshot.pools.is_empty() && !is_for_pool {
        return create(snapshot, accepted, draft, now);
    }
    let in_pod = |mut draft: Draft, why: &str| {
        draft.to_be_in_pod(snapshot.attempt(), &name, why);
        settle(draft.wait(
            Phase::Pending,
            Waiting::Starting,
            "the pod is about to be created",
        ))
    };
    let expected = match snapshot.outcomes.expected {
        Some(expected) => expected,
        None if asks_for_duration(snapshot, accepted) => {
            let kind = placement::kind(accepted);
            return Step::Act(Action::RecallDuration { kind });
        }
        None => None,
    };
    let case = placement::Case {
        task: &snapshot.task,
        accepted,
        expected,
    };
    let (names, overflows_after) = match placement::choose(&case, &snapshot.pools) {
        Choice::Pod(why) => return in_pod(draft, &why.unwrap_or_default()),
        Choice::Wait(reason, message) => {
            return settle_until(draft.wait(Phase::Pending, reason, &message), Some(NO_POOL));
        }
        Choice::Pools {
            names,
            overflows_after,
        } => (names, overflows_after),
    };
    let created = snapshot.task.metadata.creation_timestamp.as_ref();
    let overflow = overflows_after.map(|after| {
        let created = created.map_or(now, |created| created.0);
        created.checked_add(signed(after)).unwrap_or(now)
    });
    let left = overflow.and_then(|overflow| deadlines::until(overflow, now));
    let waits = overflow.is_none() || left.is_some();
    if let Some(left) = snapshot.pools_open_in {
        return look_again(Some(left));
    }
    let all = names.join(", ");
    match &snapshot.outcomes.given {
        None => Step::Act(Action::TakeIndexer { pools: names, waits }),
        Some(Some(given)) => {
            let offer = snapshot.pools.iter().find(|pool| pool.name == given.pool);
            draft.in_indexer(snapshot.attempt(), given, offer.map(|offer| &**offer), expected);
            settle(draft.wait(Phase::Starting, Waiting::Starting, CLAIMED))
        }
        // A slot is usually free again within moments.
        Some(None) if left.is_some() && is_just_created(snapshot, now) => {
            look_again(left.map(|left| left.min(FULL)))
        }
        Some(None) if waits => {
            let message = format!("no Indexer has room of the pools that may run the task: {all}");
            settle_until(draft.wait(Phase::Pending, Waiting::PoolFull, &message), left)
        }
        Some(None) => in_pod(
            draft,
            &format!("no Indexer had room of the pools that may run the task: {all}"),
        ),
    }
}

/// Whether a pool asks how long the task is expected to run.
fn asks_for_duration(snapshot: &Snapshot, accepted: &Accepted<'_>) -> bool {
    let is_asked = snapshot.pools.iter().any(|pool| pool.longest.is_some());
    is_asked && !accepted.payload.is_streaming() && accepted.placement != Placement::Pod
}

/// Subtasks of the attempt before report to the task's id, and what they report would be published with what the next
/// attempt's subtasks report: it begins when they have ended.
fn until_subtasks_end(snapshot: &Snapshot, draft: &Draft) -> Option<Step> {
    if snapshot.attempt() == 1 {
        return None;
    }
    match snapshot.outcomes.live_subtasks {
        None => Some(Step::Act(Action::CountSubtasks {
            task_id: task_id(snapshot),
        })),
        Some(0) => None,
        Some(alive) => {
            let message = format!(
                "{alive} subtasks of the attempt before have not ended yet; what they report would be published twice"
            );
            Some(settle(draft.clone().wait(
                Phase::Pending,
                Waiting::Retrying,
                &message,
            )))
        }
    }
}

/// A subtask is never run again under its id: the memory that earlier ones needed is looked up.
fn recall_rung(snapshot: &Snapshot) -> Option<Step> {
    let recorded = snapshot.task.status.as_ref().and_then(|s| s.memory_step);
    if recorded.or(snapshot.outcomes.rung).is_some() {
        return None;
    }
    let subtask = payload(snapshot).ok()?.subtask_key()?;
    Some(Step::Act(Action::RecallRung { subtask }))
}

fn not_accepted(snapshot: &Snapshot, draft: Draft, refused: &Refused, now: Timestamp) -> Step {
    match refused.reason.follows() {
        Follows::End => settle(draft.refuse_for_good(refused.reason, &refused.message)),
        Follows::ChangeOrEnd => incomplete(snapshot, draft, refused, now),
        Follows::Change | Follows::Retry(_) | Follows::MoreMemory(_) | Follows::Resume => {
            settle(draft.refuse(refused.reason, &refused.message))
        }
    }
}

fn is_just_created(snapshot: &Snapshot, now: Timestamp) -> bool {
    let created = snapshot.task.metadata.creation_timestamp.as_ref();
    created.is_some_and(|t| now.duration_since(t.0).abs() < BEING_CREATED)
}

/// A chunk is missing, and no watch reports when it is created: it is looked for with growing intervals, and not for
/// ever, since the client that creates the chunks may be dead. A chunk that the operator may not read may well exist:
/// the task waits until the administrator grants the right.
fn incomplete(snapshot: &Snapshot, draft: Draft, refused: &Refused, now: Timestamp) -> Step {
    let task = &snapshot.task;
    let created = task.metadata.creation_timestamp.as_ref().map(|t| t.0);
    if is_just_created(snapshot, now) {
        return look_again(Some(SOON));
    }
    let conditions = task.status.as_ref().map(|s| s.conditions.as_slice());
    let noticed = conditions::find(conditions.unwrap_or_default(), conditions::ACCEPTED)
        .filter(|c| Acceptance::parse(&c.reason) == Some(Acceptance::PayloadIncomplete))
        .map_or(now, |c| c.last_transition_time.0);
    let (since, by) = if task.is_assigned() {
        (created.unwrap_or(noticed), "since the overlord assigned the task")
    } else {
        (noticed, "for ten minutes")
    };
    // A user's deadline takes precedence; a suspended task has none.
    let is_bounded = deadlines::start(snapshot).is_some() && !task.spec.suspend && !task.is_assigned();
    let has_end = !is_bounded && !refused.is_forbidden;
    let end = since.checked_add(INCOMPLETE).ok().filter(|_| has_end);
    let left = end.map(|end| deadlines::until(end, now));
    if left == Some(None) {
        if snapshot.outcomes.live.is_none() {
            return look_live(snapshot);
        }
        let message = format!(
            "{}: the payload was not completed {by}: submit the task again",
            refused.message
        );
        return settle(draft.refuse_for_good(refused.reason, &message));
    }
    let waited = Duration::try_from(now.duration_since(noticed)).unwrap_or_default();
    let pause = (waited / 4).clamp(LOOKS.0, LOOKS.1);
    let pause = left.flatten().map_or(pause, |left| left.min(pause));
    settle_until(draft.refuse(refused.reason, &refused.message), Some(pause))
}

/// The remaining delay before the next attempt.
fn backoff(snapshot: &Snapshot, now: Timestamp) -> Option<Duration> {
    let status = snapshot.task.status.as_ref()?;
    if status.attempt? == 1 {
        return None;
    }
    deadlines::until(status.pending_since.as_ref()?.0, now)
}

fn create(snapshot: &Snapshot, accepted: &Accepted<'_>, draft: Draft, now: Timestamp) -> Step {
    match &snapshot.outcomes.claim {
        None => match snapshot.held {
            Some(held) => look_again(Some(held)),
            None => create_config_map(snapshot, accepted),
        },
        Some(Creation::Refused(refusal)) => refused(snapshot, draft, refusal),
        Some(Creation::Created(_)) => create_pod(snapshot, accepted, draft),
        // The attempt was claimed before: by this operator before a restart, or by something else altogether.
        Some(Creation::Exists) => match &snapshot.outcomes.live {
            None => look_live(snapshot),
            Some(Live { config_map_owner, .. }) if *config_map_owner != snapshot.task.uid() => {
                name_conflict(snapshot, now, "ConfigMap")
            }
            Some(_) => create_pod(snapshot, accepted, draft),
        },
    }
}

fn create_config_map(snapshot: &Snapshot, accepted: &Accepted<'_>) -> Step {
    let names = accepted.names();
    let attempt = accepted.attempt(snapshot.attempt(), &names);
    Step::Act(Action::CreateConfigMap(Box::new(attempt.config_map())))
}

fn create_pod(snapshot: &Snapshot, accepted: &Accepted<'_>, mut draft: Draft) -> Step {
    let names = accepted.names();
    let attempt = accepted.attempt(snapshot.attempt(), &names);
    match &snapshot.outcomes.creation {
        None => Step::Act(Action::CreatePod(Box::new(attempt.pod()))),
        Some(Creation::Created(uid)) => {
            draft.pod(snapshot.attempt(), &attempt.name(), uid, None);
            settle(draft.wait(
                Phase::Starting,
                Waiting::Starting,
                "the pod was created; its node prepares it",
            ))
        }
        Some(Creation::Exists) if snapshot.outcomes.live.is_none() => look_live(snapshot),
        // It did not exist a moment ago: the next pass sees what it is.
        Some(Creation::Exists) => look_again(Some(Duration::from_secs(1))),
        Some(Creation::Refused(refusal)) => refused(snapshot, draft, refusal),
    }
}

fn refused(snapshot: &Snapshot, draft: Draft, refusal: &Refusal) -> Step {
    if snapshot.memory_step() > 0 && refusal.is_of_too_much_memory() {
        let (cause, message) = climbed_too_high(snapshot, refusal.message());
        return settle(draft.fail(cause, &message));
    }
    let (reason, message) = match refusal {
        Refusal::ForGood(message) => return settle(draft.fail(Cause::PodRefused, message)),
        Refusal::Quota(message) => (Waiting::QuotaExceeded, message),
        Refusal::Limit(message) | Refusal::ForNow(message) => (Waiting::NotCreated, message),
    };
    Step::Settle(Box::new(Settlement {
        status: Some(draft.wait(Phase::Pending, reason, message)),
        requeue: None,
        refused_for_now: true,
    }))
}

/// The cluster does not allow the memory of this step of the ladder: what the task ran out of before is its failure.
fn climbed_too_high(snapshot: &Snapshot, forbidden_by: &str) -> (Cause, String) {
    let attempts = snapshot.task.status.as_ref().map(|s| s.attempts.as_slice());
    let of_memory = attempts.unwrap_or_default().iter().rev().find_map(|attempt| {
        let cause = Cause::parse(&attempt.cause).filter(|cause| cause.needs_memory())?;
        Some((attempt, cause))
    });
    let number = snapshot.attempt();
    match of_memory {
        Some((attempt, cause)) => {
            let with = attempt.memory.as_ref();
            let with = with.map_or_else(String::new, |memory| format!(" with a memory limit of {memory}"));
            let message = format!(
                "attempt {}{with} ran out of memory, and attempt {number}, which would have more, is not allowed: \
                 {forbidden_by}",
                attempt.number
            );
            (cause, message)
        }
        None => (
            Cause::PodRefused,
            format!(
                "earlier subtasks of the same kind ran out of memory, and attempt {number} with as much as they needed \
                 is not allowed: {forbidden_by}"
            ),
        ),
    }
}

/// An object of this kind has the name of the attempt's.
pub(crate) fn name_conflict(snapshot: &Snapshot, now: Timestamp, kind: &str) -> Step {
    let draft = described(snapshot, accept(snapshot).as_ref(), now);
    let name = names::attempt(&snapshot.task.name_any(), snapshot.attempt());
    let message =
        format!("a {kind} of the same name, {name}, belongs to another owner: waiting until it is deleted");
    settle_until(
        draft.wait(Phase::Pending, Waiting::NameConflict, &message),
        Some(NAME_CONFLICT),
    )
}
