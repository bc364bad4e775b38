//! A task that is claimed on an Indexer (pure).
//!
//! | known | next |
//! |---|---|
//! | SUCCESS was announced, or FAILED and no attempt follows | the verdict |
//! | FAILED was announced, and an attempt follows | record the cause, delete the pod, await the proof of its death |
//! | the pod is dead | the verdict by its evidence, or the next attempt |
//! | a stop is recorded | shut the task down, again and again; delete the pod once nothing is to be waited for |
//! | it had the task and has it no more, or another JVM answers | record that, delete the pod |
//! | it never announced the task | post it, to this Indexer and no other |
//! | a stop is recorded, and a shared Indexer certainly never received the task | as if the pod were dead |
//! | it announced the task | it runs; of a short one in a shared Indexer, only the end is written ([`BRIEF`]) |
//! | it does not answer | wait: the pool gives it up, or it answers again |
//!
//! The pod of an Indexer that runs several tasks is never deleted here: where the table says so, the task waits. Its pool
//! gives such an Indexer no further task once a stop is not confirmed in time, and deletes it when the others have ended.
//!
//! Nothing is posted without a recorded claim on the Indexer's pod, nor after a recorded stop, nor to a pod that is
//! ending. A claim ends with a verdict, or with the proof that the pod is dead.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::conclude::{Conclusion, EndedRun, again, follows, written_off};
use super::plan::{Action, Step, look_again, settle, settle_until, signed, task_id};
use super::retry::may_rerun;
use super::status::Draft;
use super::verdict::{Outcome, Verdict, judge_worker};
use super::with_run::{NOT_RESTARTABLE, await_proof, death, ending, with_record};
use super::without_run::{until_deadline, what_it_waits_for};
use super::{deadlines, log_collection};
use crate::api::reason::{Cause, Waiting};
use crate::api::{Phase, Stop, TaskSlot, conditions};
use crate::druid::payload::is_streaming;
use crate::druid::worker::TaskStatus;
use crate::indexer::decide::meaning::Meaning;
use crate::indexer::decide::post::Posted;
use crate::task::run::death::Death;
use crate::task::run::pod::evidence::Container;
use crate::task::run::pod::run::StopPod;
use crate::task::run::worker::{GRACE_SECONDS, WorkerRun};
use crate::task::snapshot::Snapshot;

/// When a request to an Indexer is repeated whose effect was not announced, in case no answer of the Indexer wakes the
/// task before.
const AGAIN: Duration = Duration::from_secs(5);
/// When the task is checked again while its Indexer does not answer.
const SILENT: Duration = Duration::from_secs(30);
/// How long after it was given its slot the start of a task in a shared Indexer need not be recorded: the end of one that
/// takes less is all that is written, which saves a third of the writes.
const BRIEF: Duration = Duration::from_secs(2);
/// Most tasks of others that one pass shuts down.
const MOST_STRANGERS: usize = 3;
/// The message from the claim to the announcement, so that a POST alone costs no write.
pub(crate) const CLAIMED: &str = "the task was given to an Indexer, which is about to start it";

/// The task is claimed on an Indexer.
pub(crate) fn follow_worker(snapshot: &Snapshot, run: WorkerRun, now: Timestamp) -> Step {
    let run = WorkerRun {
        pod: with_record(snapshot, run.pod),
        ..run
    };
    let evidence = &run.pod.evidence;
    let mut draft = Draft::of(&snapshot.task, now);
    draft.pod(
        snapshot.attempt(),
        &run.claim.pod,
        &run.claim.pod_uid,
        evidence.node.as_deref().filter(|_| run.claim.announced),
    );
    let death = death(snapshot, &run.pod, now);
    let no_run = run.no_run();
    let proof = match &death {
        _ if no_run.is_some() => no_run.clone().map(Ok),
        Death::Proven(proof) => Some(Ok(proof.clone())),
        Death::WrittenOff(doubt) => Some(Err(doubt.clone())),
        _ => None,
    };
    let announced = announced_end(&run);
    let stop = recorded_stop(snapshot);
    // The JVM goes on with other tasks, and this one has ended: nothing more will be known of it.
    let is_over = run.is_shared() && run.meaning == Meaning::Forgotten && stop.is_some();
    if announced.is_none() && proof.is_none() && !is_over {
        return match death {
            Death::No => alive(snapshot, &run, draft, now),
            unknown => await_proof(snapshot, &run.pod, draft, unknown),
        };
    }
    let log = run.log();
    if let Some(step) = log_collection::at_the_end(snapshot, &log) {
        return step;
    }
    if announced.is_some() && !run.claim.announced {
        draft.started(snapshot.slot_time());
    }
    let mut verdict = judge_worker(announced, evidence, &task_id(snapshot), stop);
    if announced.is_none() && run.is_shared() && no_run.is_none() {
        verdict = in_company(verdict);
    }
    if let (None, Some(Err(doubt))) = (announced, &proof) {
        verdict = written_off(verdict, doubt);
    }
    let ended = EndedRun {
        log: &log,
        began: run.may_have_begun() && no_run.is_none(),
        since: ended_at(snapshot, &run),
    };
    let next = match follows(snapshot, &ended, &draft, verdict, now) {
        Conclusion::Settled(end) => return end,
        Conclusion::Again(next) => next,
    };
    match (proof, stop) {
        (Some(proof), _) => again(snapshot, draft, &next, proof, now),
        // The pod takes what it announced with it.
        (None, None) => record(draft, next.cause, &next.message, now),
        (None, Some(_)) => match death {
            Death::No => delete(snapshot, &run, draft, now),
            unknown => await_proof(snapshot, &run.pod, draft, unknown),
        },
    }
}

/// What ended the JVM may have been another task's doing.
fn in_company(verdict: Verdict) -> Verdict {
    match verdict.outcome {
        Outcome::Failed { cause, message } => Verdict {
            outcome: Outcome::Failed {
                cause,
                message: format!("{message}; the JVM was shared with other tasks"),
            },
            ..verdict
        },
        Outcome::Succeeded => verdict,
    }
}

fn announced_end(run: &WorkerRun) -> Option<&TaskStatus> {
    match &run.meaning {
        Meaning::Ended(status) => Some(status),
        _ => None,
    }
}

fn recorded_stop(snapshot: &Snapshot) -> Option<&Stop> {
    snapshot.task.status.as_ref()?.stop.as_ref()
}

/// When the attempt ended, if its pod stays until the log was read.
fn ended_at(snapshot: &Snapshot, run: &WorkerRun) -> Option<Timestamp> {
    let evidence = &run.pod.evidence;
    if run.pod.gone || evidence.deletion_requested.is_some() {
        return None;
    }
    if let Container::Terminated(terminated) = &evidence.peon {
        return terminated.finished;
    }
    let started = snapshot.task.status.as_ref()?.start_time.as_ref();
    let started = started.map(|time| time.0).or_else(|| snapshot.slot_time())?;
    let ran = announced_end(run).map(|status| SignedDuration::from_millis(status.duration.max(0)))?;
    started.checked_add(ran).ok()
}

/// Records why the attempt is stopped. It is the verdict, unless SUCCESS is announced.
fn record(draft: Draft, cause: Cause, message: &str, now: Timestamp) -> Step {
    settle(draft.stop(Stop {
        cause: cause.to_string(),
        message: conditions::cut(message, 512),
        time: Time(now),
    }))
}

/// The pod lives, and no end of the task was announced.
fn alive(snapshot: &Snapshot, run: &WorkerRun, mut draft: Draft, now: Timestamp) -> Step {
    if let Some(step) = log_collection::while_it_runs(snapshot, run.log()) {
        return step;
    }
    if let Some(step) = shut_strangers_down(snapshot, run) {
        return step;
    }
    let repeat = (!run.strangers.is_empty())
        .then(|| now.checked_add(signed(AGAIN)).ok())
        .flatten();
    if let Some(stop) = recorded_stop(snapshot) {
        return until_deadline(stopping(snapshot, run, draft, stop, now), repeat, now);
    }
    if run.pod.evidence.deletion_requested.is_some() {
        // It may yet end and say so: the Indexer's pod waits before it stops.
        return ending(&run.pod.evidence, draft, now);
    }
    if let Some(message) = lost(&run.meaning) {
        return record(draft, Cause::NoVerdict, message, now);
    }
    let started = snapshot.task.status.as_ref().and_then(|s| s.start_time.as_ref());
    let started = started.map(|t| t.0).filter(|_| run.claim.announced);
    let starts = !run.claim.announced && !matches!(run.meaning, Meaning::Announced(_));
    let start_deadline = deadlines::start(snapshot).filter(|_| starts);
    let active_deadline = deadlines::active_since(snapshot, started);
    let passed = |deadline: Option<Timestamp>| deadline.is_some_and(|d| deadlines::until(d, now).is_none());
    let restartable = may_rerun(run.may_have_begun(), draft.nature(), &snapshot.policy());
    if snapshot.task.spec.cancel {
        return record(draft, Cause::Cancelled, "spec.cancel was set", now);
    }
    if snapshot.task.spec.suspend && restartable {
        return record(draft, Cause::Suspended, "spec.suspend was set", now);
    }
    if passed(start_deadline) {
        let message = format!("startDeadlineSeconds passed: {}", what_it_waits_for(snapshot));
        return record(draft, Cause::StartDeadline, &message, now);
    }
    if passed(active_deadline) {
        return record(draft, Cause::Deadline, "activeDeadlineSeconds passed", now);
    }
    draft.hold(snapshot.task.spec.suspend, NOT_RESTARTABLE);
    let brief = brief(snapshot, run, now);
    let next = match &run.meaning {
        Meaning::NotYet => post(snapshot, run, draft, now),
        Meaning::Announced(_) if brief.is_some() => look_again(brief),
        Meaning::Announced(location) => {
            draft.worker_location(location);
            draft.pod(
                snapshot.attempt(),
                &run.claim.pod,
                &run.claim.pod_uid,
                run.pod.evidence.node.as_deref(),
            );
            settle(draft.run(Some(started.unwrap_or(now))))
        }
        Meaning::Unreachable(_) => look_again(Some(SILENT)),
        // The others were dealt with, or are no meaning of a claim.
        Meaning::Unread
        | Meaning::NotPosted
        | Meaning::Ended(_)
        | Meaning::Forgotten
        | Meaning::NewJvm
        | Meaning::Stranger(_)
        | Meaning::Idle => look_again(Some(AGAIN)),
    };
    [start_deadline, active_deadline, repeat]
        .into_iter()
        .fold(next, |next, deadline| until_deadline(next, deadline, now))
}

/// How much longer the start of a task need not be recorded. Streaming tasks and those with subtasks, which have light
/// slots, are called by others, who learn from the record where.
fn brief(snapshot: &Snapshot, run: &WorkerRun, now: Timestamp) -> Option<Duration> {
    let task_type = snapshot.task.status.as_ref()?.task_type.as_deref();
    let is_called = run.claim.slot != Some(TaskSlot::Heavy) || task_type.is_some_and(is_streaming);
    if is_called || run.claim.announced {
        return None;
    }
    deadlines::until(snapshot.slot_time()?.checked_add(signed(BRIEF)).ok()?, now)
}

/// What it means that the Indexer has the task no more.
fn lost(meaning: &Meaning) -> Option<&'static str> {
    match meaning {
        Meaning::Forgotten => Some(
            "the Indexer no longer lists the task, and did not say how it ended; segments may already be published",
        ),
        Meaning::NewJvm => Some(
            "another JVM answers at the address of the Indexer, and the task's end was not announced; segments may \
             already be published",
        ),
        _ => None,
    }
}

/// What runs there and was not given to this Indexer came from a process that no longer leads: it is shut down, and
/// what the Indexer says of it means nothing.
fn shut_strangers_down(snapshot: &Snapshot, run: &WorkerRun) -> Option<Step> {
    let done = &snapshot.outcomes.shut_down;
    let mut strangers = run.strangers.iter().take(MOST_STRANGERS);
    let stranger = strangers.find(|id| run.answers() && !done.contains(id))?;
    Some(shut_down(run, stranger.clone()))
}

fn shut_down(run: &WorkerRun, task_id: String) -> Step {
    Step::Act(Action::ShutDown {
        pod_uid: run.claim.pod_uid.clone(),
        task_id,
    })
}

/// A stop is recorded. A shutdown that Druid receives before it has noticed the task is dropped, so it is repeated.
fn stopping(snapshot: &Snapshot, run: &WorkerRun, draft: Draft, stop: &Stop, now: Timestamp) -> Step {
    let nothing_to_wait_for = matches!(
        run.meaning,
        Meaning::NotPosted | Meaning::Forgotten | Meaning::NewJvm
    );
    // The other causes are ends that were recorded because the pod is deleted.
    let is_over = !Cause::parse(&stop.cause).is_some_and(Cause::is_stop);
    let due = stop.time.0.checked_add(signed(run.patience())).unwrap_or(now);
    let Some(left) = deadlines::until(due, now).filter(|_| !nothing_to_wait_for && !is_over) else {
        return delete(snapshot, run, draft, now);
    };
    if !run.answers() {
        return ending(&run.pod.evidence, draft, now);
    }
    let id = task_id(snapshot);
    if !snapshot.outcomes.shut_down.contains(&id) {
        return shut_down(run, id);
    }
    settle_until(draft.stopping(), Some(left.min(AGAIN)))
}

/// Deletes the pod, once; the kubelet's report of its end is the proof. The task was asked to stop before, or has ended:
/// the JVM has nothing left to do that its pod's grace period is for.
fn delete(snapshot: &Snapshot, run: &WorkerRun, draft: Draft, now: Timestamp) -> Step {
    let evidence = &run.pod.evidence;
    if run.is_shared() {
        return settle_until(draft.await_neighbours(&run.claim.pod), Some(SILENT));
    }
    if evidence.deletion_requested.is_some() || snapshot.outcomes.ended.contains(&evidence.pod_name) {
        return ending(evidence, draft, now);
    }
    Step::Act(Action::DeletePod(StopPod {
        grace_seconds: Some(GRACE_SECONDS),
        ..evidence.stop()
    }))
}

/// The Indexer has never announced the task. If it is not known what became of a POST, the same POST to the same Indexer
/// is harmless: a task that it has is not taken twice.
fn post(snapshot: &Snapshot, run: &WorkerRun, draft: Draft, now: Timestamp) -> Step {
    if !run.answers() || recorded_stop(snapshot).is_some() {
        return look_again(Some(AGAIN));
    }
    if snapshot.outcomes.waits_for_room {
        return look_again(None);
    }
    let wait = |message: &str| {
        let status = draft.clone().wait(Phase::Starting, Waiting::Starting, message);
        settle_until(status, Some(AGAIN))
    };
    match &snapshot.outcomes.posted {
        None => Step::Act(Action::PostTask {
            pod_uid: run.claim.pod_uid.clone(),
        }),
        Some(Posted::Accepted | Posted::Unknown(_)) => resize(snapshot, run).unwrap_or_else(|| wait(CLAIMED)),
        Some(Posted::NotReceived(why)) => wait(&format!(
            "the task cannot be posted to the Indexer yet: {}",
            conditions::cut(why, 256)
        )),
        // The credentials are the VirtualMiddleManager's: the task can do nothing about them.
        Some(Posted::Refused {
            status: status @ (401 | 403),
            why,
        }) => wait(&format!(
            "the Indexer refuses the user of the operator ({status}), who needs STATE WRITE: {}",
            conditions::cut(why, 256)
        )),
        Some(Posted::Refused { status, why }) => {
            let message = format!("the Indexer refuses the task ({status}): {why}");
            record(draft, Cause::NoVerdict, &message, now)
        }
    }
}

/// The task does not wait for its cpu, and runs also if it cannot be had.
fn resize(snapshot: &Snapshot, run: &WorkerRun) -> Option<Step> {
    let cpu = run.busy_cpu.clone().filter(|_| !snapshot.outcomes.resized)?;
    Some(Step::Act(Action::ResizePod {
        pod: run.claim.pod.clone(),
        uid: run.claim.pod_uid.clone(),
        container: run.pod.evidence.container.clone(),
        cpu,
    }))
}

#[cfg(test)]
mod history_tests;
#[cfg(test)]
pub(crate) mod planted_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
