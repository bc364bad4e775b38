//! A task that has a pod: the pod's state is the task's (pure).

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::conclude::conclude;
use super::plan::{Action, Step, described, look_again, read_payload, settle, settle_until};
use super::retry::may_rerun;
use super::status::Draft;
use super::waiting::{Wait, Warnings, analyse, is_silent};
use super::with_worker::follow_worker;
use super::without_run::{follow_elsewhere, until_deadline, what_it_waits_for};
use super::{deadlines, log_collection};
use crate::api::conditions::{self, READY, STARTED};
use crate::api::reason::{Cause, Readiness, Waiting};
use crate::api::{Phase, Stop};
use crate::task::accept::accept;
use crate::task::run::Run;
use crate::task::run::death::{Death, Known};
use crate::task::run::pod::death::overdue;
use crate::task::run::pod::evidence::{Container, Evidence};
use crate::task::run::pod::run::PodRun;
use crate::task::snapshot::Snapshot;

/// How long the kubelet may report nothing about a container before the pod's Events are read: longer than a busy node
/// needs to get to it.
const SILENCE: Duration = Duration::from_secs(60);
/// Least and most time between two readings; in between, half the time that the kubelet has been silent.
const READINGS: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(300));
/// How long the server of a peon may need to answer: several times as long as a JVM on a busy node.
const UNANSWERED: SignedDuration = SignedDuration::from_mins(2);
/// Message if `suspend` cannot stop a peon.
pub(crate) const NOT_RESTARTABLE: &str =
    "the peon keeps running: the task may have written data, so it would not be run again (retry.rerun)";

/// The task has a run: its state is the task's.
pub(crate) fn follow(snapshot: &Snapshot, run: Run, now: Timestamp) -> Step {
    match run {
        Run::Pod(pod) => follow_pod(snapshot, &with_record(snapshot, *pod), now),
        Run::Worker(worker) => follow_worker(snapshot, *worker, now),
        Run::Elsewhere => follow_elsewhere(snapshot, now),
    }
}

fn follow_pod(snapshot: &Snapshot, run: &PodRun, now: Timestamp) -> Step {
    let evidence = &run.evidence;
    // After a restart the pod may exist while the status does not say so. Once the status does, it has the settings
    // that the pod was made with, and the template may have others by now.
    let status = snapshot.task.status.as_ref();
    let mut draft = if status.is_some_and(|s| s.pod_uid().is_some()) {
        Draft::of(&snapshot.task, now)
    } else if snapshot.task.task_from().is_some() && snapshot.outcomes.payload.is_none() {
        return read_payload(snapshot, false);
    } else {
        described(snapshot, accept(snapshot).as_ref(), now)
    };
    if !evidence.pod_uid.is_empty() {
        // While the pod starts, a write for the node alone is not worth it.
        let starts = matches!(evidence.peon, Container::Waiting { .. } | Container::Unknown);
        let node = evidence.node.as_deref().filter(|_| !starts);
        draft.pod(snapshot.attempt(), &evidence.pod_name, &evidence.pod_uid, node);
    }
    match death(snapshot, run, now) {
        Death::Proven(proof) => conclude(snapshot, run, draft, Ok(proof), now),
        Death::WrittenOff(doubt) => conclude(snapshot, run, draft, Err(doubt), now),
        Death::No => alive(snapshot, run, draft, now),
        unknown => await_proof(snapshot, run, draft, unknown),
    }
}

/// Since when the task waits for proof.
fn noticed(snapshot: &Snapshot) -> Option<Timestamp> {
    let conditions = &snapshot.task.status.as_ref()?.conditions;
    conditions::find(conditions, READY)
        .filter(|c| Readiness::parse(&c.reason) == Some(Readiness::AwaitingNodeProof))
        .map(|c| c.last_transition_time.0)
}

/// Whether the pod, its own or an Indexer's, is dead.
pub(crate) fn death(snapshot: &Snapshot, run: &PodRun, now: Timestamp) -> Death {
    let known = Known {
        node: snapshot.outcomes.node.as_ref(),
        noticed: noticed(snapshot),
        after_node_loss: snapshot.policy().after_node_loss(),
    };
    run.death(&known, now)
}

/// The next step towards proof of death, of a pod that is gone.
pub(crate) fn await_proof(snapshot: &Snapshot, run: &PodRun, draft: Draft, death: Death) -> Step {
    match death {
        Death::AskNode => Step::Act(Action::LookNode {
            node: run.evidence.node.clone(),
            pod_uid: snapshot
                .task
                .status
                .as_ref()
                .and_then(|s| s.pod_uid())
                .unwrap_or_default()
                .to_owned(),
        }),
        // The earlier message about the node remains until more is known.
        Death::AskLater(pause) if noticed(snapshot).is_some() => look_again(Some(pause)),
        Death::AskLater(pause) => {
            let message = "the pod is gone: the operator looks up the node that it ran on";
            settle_until(draft.await_node(message), Some(pause))
        }
        Death::Awaiting { message, look_again } => settle_until(draft.await_node(&message), Some(look_again)),
        Death::No | Death::Proven(_) | Death::WrittenOff(_) => look_again(None),
    }
}

/// Adds what the status records of the attempt and the pod does not show, or no longer shows.
pub(crate) fn with_record(snapshot: &Snapshot, mut run: PodRun) -> PodRun {
    if let Some(status) = &snapshot.task.status {
        let evidence = &mut run.evidence;
        if evidence.node.is_none() && evidence.pod_uid.is_empty() {
            evidence.node.clone_from(&status.node_name);
        }
        evidence.ran |= conditions::is_true(&status.conditions, STARTED);
    }
    run
}

fn alive(snapshot: &Snapshot, run: &PodRun, mut draft: Draft, now: Timestamp) -> Step {
    let evidence = &run.evidence;
    if let Some(step) = log_collection::while_it_runs(snapshot, run.log()) {
        return step;
    }
    let restartable = may_rerun(evidence.may_have_begun(), draft.nature(), &snapshot.policy());
    let stop = snapshot.task.status.as_ref().and_then(|s| s.stop.as_ref());
    let stop = if !restartable
        && evidence.deletion_requested.is_none()
        && stop.is_some_and(|s| Cause::parse(&s.cause) == Some(Cause::Suspended))
    {
        // It began after it was decided that it had not.
        draft.withdraw_stop();
        None
    } else {
        stop
    };
    if stop.is_some() || evidence.deletion_requested.is_some() {
        if evidence.deletion_requested.is_none() && !snapshot.outcomes.ended.contains(&evidence.pod_name) {
            return Step::Act(Action::DeletePod(evidence.stop()));
        }
        return ending(evidence, draft, now);
    }
    let starts = !matches!(evidence.peon, Container::Running { .. });
    let start_deadline = deadlines::start(snapshot).filter(|_| starts);
    let active_deadline = deadlines::active(snapshot, evidence);
    let passed = |deadline: Option<Timestamp>| deadline.is_some_and(|d| deadlines::until(d, now).is_none());
    let why = if snapshot.task.spec.cancel {
        Some((Cause::Cancelled, "spec.cancel was set".to_owned()))
    } else if snapshot.task.spec.suspend && restartable {
        Some((Cause::Suspended, "spec.suspend was set".to_owned()))
    } else if passed(start_deadline) {
        let message = format!("startDeadlineSeconds passed: {}", what_it_waits_for(snapshot));
        Some((Cause::StartDeadline, message))
    } else if passed(active_deadline) {
        Some((Cause::Deadline, "activeDeadlineSeconds passed".to_owned()))
    } else {
        None
    };
    if let Some((cause, message)) = why {
        return settle(draft.stop(Stop {
            cause: cause.to_string(),
            message: conditions::cut(&message, 512),
            time: Time(now),
        }));
    }
    draft.hold(snapshot.task.spec.suspend, NOT_RESTARTABLE);
    let next = match evidence.peon {
        Container::Running { started } => {
            draft.location(evidence.host.as_deref(), &evidence.endpoint);
            running(snapshot, evidence, draft, started, now)
        }
        _ => starting(snapshot, evidence, draft, now),
    };
    until_deadline(until_deadline(next, start_deadline, now), active_deadline, now)
}

/// The peon runs. Only the pod of an assigned task has a probe.
fn running(
    snapshot: &Snapshot,
    evidence: &Evidence,
    draft: Draft,
    started: Option<Timestamp>,
    now: Timestamp,
) -> Step {
    let is_called = snapshot.task.middle_manager().is_some();
    let due = started
        .filter(|_| is_called && evidence.unanswered)
        .map(|started| started + UNANSWERED);
    let left = due.map(|due| deadlines::until(due, now));
    match left {
        Some(None) => settle(draft.run_unanswered(started)),
        Some(left) => settle_until(draft.run(started), left),
        None => settle(draft.run(started)),
    }
}

/// The pod is being deleted, by the operator or by others.
pub(crate) fn ending(evidence: &Evidence, draft: Draft, now: Timestamp) -> Step {
    let Some(due) = overdue(evidence) else {
        return settle(draft.stopping());
    };
    if let Some(left) = deadlines::until(due, now) {
        return settle_until(draft.stopping(), Some(left));
    }
    let node = evidence.node.as_deref().unwrap_or("of the pod");
    let message = format!(
        "the pod's grace period is over and the node {node} has not reported its end: if the node is not \
         ready, bring it back, or once it is off, delete it or taint it out-of-service"
    );
    settle(draft.await_node(&message))
}

fn starting(snapshot: &Snapshot, evidence: &Evidence, draft: Draft, now: Timestamp) -> Step {
    if !is_silent(evidence) {
        return match analyse(evidence, &[]) {
            Wait::Never { cause, message } => settle(draft.fail(cause, &message)),
            Wait::For { reason, message } => settle(draft.wait(Phase::Starting, reason, &message)),
        };
    }
    let silent = evidence.scheduled.map_or(Duration::ZERO, |since| {
        Duration::try_from(now.duration_since(since)).unwrap_or_default()
    });
    let wait = |reason, message: &str, pause| {
        settle_until(draft.clone().wait(Phase::Starting, reason, message), Some(pause))
    };
    let begin = "the pod was created; its node prepares it";
    if silent < SILENCE {
        return wait(Waiting::Starting, begin, SILENCE.saturating_sub(silent));
    }
    let pause = (silent / 2).clamp(READINGS.0, READINGS.1);
    match &snapshot.outcomes.warnings {
        None => Step::Act(Action::ReadWarnings {
            pod: evidence.pod_name.clone(),
            uid: evidence.pod_uid.clone(),
        }),
        Some(Warnings::Read(warnings)) => match analyse(evidence, warnings) {
            Wait::Never { cause, message } => settle(draft.fail(cause, &message)),
            Wait::For { reason, message } => wait(reason, &message, pause),
        },
        // The result of the last reading remains until they are read again.
        Some(Warnings::Later) => match told(snapshot) {
            Some((reason, message)) => wait(reason, &message, pause),
            None => wait(Waiting::Starting, begin, pause),
        },
    }
}

/// The result of the pod's Events in the status, which is preserved while they are not read.
fn told(snapshot: &Snapshot) -> Option<(Waiting, String)> {
    let status = snapshot.task.status.as_ref()?;
    let started = conditions::find(&status.conditions, STARTED)?;
    match Waiting::parse(&started.reason)? {
        reason @ (Waiting::ContainerConfig | Waiting::ContainerStart) => {
            Some((reason, started.message.clone()))
        }
        Waiting::Starting
        | Waiting::Unschedulable
        | Waiting::SchedulingGated
        | Waiting::QuotaExceeded
        | Waiting::ImagePull
        | Waiting::NameConflict
        | Waiting::NotCreated
        | Waiting::Retrying
        | Waiting::MaxRunning
        | Waiting::PoolFull
        | Waiting::NoPool => None,
    }
}
