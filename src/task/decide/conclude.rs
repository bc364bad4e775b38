//! The end of an attempt: the task's verdict, or another attempt (pure).

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::history_record::{self, With};
use super::log_collection::{self, BeforeVerdict, InLog};
use super::plan::{Step, look_again, read_payload, settle, settle_until, task_id};
use super::retry::{Case, Decision, NextAttempt, decide, may_rerun};
use super::status::{Draft, Ended};
use super::verdict::{Outcome, Verdict, judge};
use crate::api::conditions::cut;
use crate::api::reason::{Cause, LogsArchived};
use crate::task::accept::accept;
use crate::task::run::death::{Doubt, Proof};
use crate::task::run::pod::evidence::Container;
use crate::task::run::pod::run::{LogSource, PodRun};
use crate::task::snapshot::Snapshot;

/// Why a task is not run again whose log says that it published.
const PUBLISHED: &str = "its log says that it published segments: the task is not run again under its id, submit it anew \
                         to replace them";
/// Added to the message of a failure whose cause only the log has.
const OUT_OF_MEMORY: &str =
    "its log says that the JVM ran out of memory (OutOfMemoryError, or not enough direct memory)";
/// How often a task checks again that waits for proof from a node that was written off.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How an attempt ended, and what it leaves.
pub(crate) struct EndedRun<'a> {
    /// Where its log is read.
    pub(crate) log: &'a LogSource,
    /// Whether its task may have begun.
    pub(crate) began: bool,
    /// When it ended, if the verdict may wait for the log: a pod that is about to be deleted takes the evidence with it.
    pub(crate) since: Option<Timestamp>,
}

/// What follows the end of an attempt.
pub(crate) enum Conclusion {
    /// This, whether the peon is dead or not.
    Settled(Step),
    /// Another attempt, if the peon is dead.
    Again(Again),
}

/// Another attempt.
pub(crate) struct Again {
    verdict: Verdict,
    pub(crate) cause: Cause,
    pub(crate) message: String,
    /// The memory step of the next attempt, if it is another one.
    climb: Option<u32>,
}

/// Decides on an attempt whose peon is dead, or on one whose node was written off, with the reason for the doubt. The
/// latter may end the task and is never followed by another attempt.
pub(crate) fn conclude(
    snapshot: &Snapshot,
    run: &PodRun,
    draft: Draft,
    proof: Result<Proof, Doubt>,
    now: Timestamp,
) -> Step {
    let evidence = &run.evidence;
    let stays = !run.gone && evidence.deletion_requested.is_none();
    let ended = EndedRun {
        log: &run.log(),
        began: evidence.may_have_begun(),
        since: match &evidence.peon {
            Container::Terminated(terminated) if stays => terminated.finished,
            _ => None,
        },
    };
    if let Some(step) = log_collection::at_the_end(snapshot, ended.log) {
        return step;
    }
    let stop = snapshot.task.status.as_ref().and_then(|s| s.stop.as_ref());
    let mut verdict = judge(evidence, &task_id(snapshot), stop);
    if let Err(doubt) = &proof {
        verdict = written_off(verdict, doubt);
    }
    match follows(snapshot, &ended, &draft, verdict, now) {
        Conclusion::Settled(next) => next,
        Conclusion::Again(next) => again(snapshot, draft, &next, proof, now),
    }
}

/// What follows an attempt with this verdict.
pub(crate) fn follows(
    snapshot: &Snapshot,
    run: &EndedRun<'_>,
    draft: &Draft,
    mut verdict: Verdict,
    now: Timestamp,
) -> Conclusion {
    let end = |verdict: &Verdict| Conclusion::Settled(end(snapshot, run, draft.clone(), verdict, now));
    if is_perhaps_of_memory(&verdict) {
        match log_collection::out_of_memory(snapshot, run.log, run.since, now) {
            InLog::Unread(left) => return Conclusion::Settled(look_again(Some(left))),
            InLog::Said => verdict = of_memory(verdict),
            InLog::NotSaid => {}
        }
    }
    let Outcome::Failed { cause, message } = verdict.outcome.clone() else {
        return end(&verdict);
    };
    let published = if run.began {
        log_collection::publication(snapshot, run.log, run.since, now)
    } else {
        InLog::NotSaid
    };
    if cause == Cause::Suspended {
        // The peon may have begun while the request to stop it was under way.
        let why = if !may_rerun(run.began, draft.nature(), &snapshot.policy()) {
            Some(
                "but the peon began before it was stopped: the task is not run again, since it may have written data \
                 (retry.rerun)",
            )
        } else if published == InLog::Said {
            Some(PUBLISHED)
        } else {
            None
        };
        if let Some(why) = why {
            verdict.outcome = Outcome::Failed {
                cause: Cause::NoVerdict,
                message: format!("{message}, {why}"),
            };
            return end(&verdict);
        }
        return Conclusion::Again(Again {
            verdict,
            cause,
            message,
            climb: None,
        });
    }
    if snapshot.task.spec.cancel {
        return end(&verdict);
    }
    let climbs = cause.needs_memory();
    if climbs && snapshot.task.task_from().is_some() && snapshot.outcomes.payload.is_none() {
        return Conclusion::Settled(read_payload(snapshot, false));
    }
    let policy = snapshot.policy();
    let (step, had) = (snapshot.memory_step(), memory_of_attempt(snapshot));
    let shared = ran_beside_others(snapshot);
    // A missing template or chunk makes the next attempt wait, and is no reason to have none.
    let next_step = accept(snapshot).map_or_else(
        |refused| (!refused.is_final()).then(|| step.saturating_add(1)),
        |accepted| accepted.next_memory_step(step, had),
    );
    let none = std::collections::BTreeMap::new();
    let case = Case {
        cause,
        began: run.began,
        nature: draft.nature(),
        failures: snapshot.task.status.as_ref().map_or(&none, |s| &s.failures),
        // It has not had its own memory yet.
        can_climb: shared || next_step.is_some(),
    };
    match decide(&case, &policy) {
        Decision::Again { climb } => match published {
            InLog::NotSaid => Conclusion::Again(Again {
                verdict,
                cause,
                message,
                climb: next_step.filter(|_| climb && !shared),
            }),
            InLog::Unread(left) => Conclusion::Settled(look_again(Some(left))),
            InLog::Said => {
                verdict.outcome = Outcome::Failed {
                    cause,
                    message: format!("{message}; {PUBLISHED}"),
                };
                end(&verdict)
            }
        },
        Decision::Final(why) => {
            if let (Some(text), Outcome::Failed { message, .. }) = (why.text(cause), &mut verdict.outcome) {
                *message = format!("{message}; {text}");
            }
            end(&verdict)
        }
    }
}

/// Whether memory may be behind a failure that does not say so: a task that runs out of direct memory often fails with
/// another error, and a peon that cannot reserve its buffers does not begin.
fn is_perhaps_of_memory(verdict: &Verdict) -> bool {
    match verdict.outcome {
        Outcome::Failed { cause, .. } => match cause {
            Cause::TaskFailed => true,
            // A signal came from outside.
            Cause::NoVerdict => {
                let ended = verdict.terminated.as_ref();
                ended.is_some_and(|ended| (1..=128).contains(&ended.exit_code))
            }
            _ => false,
        },
        Outcome::Succeeded => false,
    }
}

/// The verdict on an attempt whose log says that memory ran out.
fn of_memory(verdict: Verdict) -> Verdict {
    match verdict.outcome {
        Outcome::Failed { message, .. } => Verdict {
            outcome: Outcome::Failed {
                cause: Cause::JavaOutOfMemory,
                message: format!("{message}; {OUT_OF_MEMORY}"),
            },
            ..verdict
        },
        Outcome::Succeeded => verdict,
    }
}

fn memory_of_attempt(snapshot: &Snapshot) -> Option<&str> {
    snapshot.task.status.as_ref()?.memory.as_deref()
}

/// Whether the attempt ran in a JVM whose memory it had in common with other tasks.
fn ran_beside_others(snapshot: &Snapshot) -> bool {
    let status = snapshot.task.status.as_ref();
    let run = status.and_then(|status| status.run.as_ref());
    run.is_some_and(|run| run.slot.is_some())
}

/// The verdict, the state of the log, and whether the history has the task: one write contains all of it.
fn end(snapshot: &Snapshot, run: &EndedRun<'_>, mut draft: Draft, verdict: &Verdict, now: Timestamp) -> Step {
    let log_comes_later = match log_collection::before_verdict(snapshot, run.log, run.since, now) {
        BeforeVerdict::First(step) => return step,
        BeforeVerdict::Say(word) => {
            draft.log(&word);
            word.reason == LogsArchived::Collecting
        }
        BeforeVerdict::Nothing => false,
    };
    // The entry contains the final state of what is still pending.
    if !log_comes_later {
        match history_record::with(snapshot, || draft.clone().judge(verdict)) {
            With::First(step) => return step,
            With::Say(recorded) => draft.record(&recorded),
            With::Nothing => {}
        }
    }
    settle(draft.judge(verdict))
}

/// A node that was written off is the cause, an unknown node is not, unless the operator stopped the attempt itself.
pub(crate) fn written_off(verdict: Verdict, doubt: &Doubt) -> Verdict {
    let message = &doubt.message;
    match verdict.outcome {
        Outcome::Failed { cause, .. } if cause.may_be_node_loss() && doubt.node_lost => Verdict {
            outcome: Outcome::Failed {
                cause: Cause::NodeLost,
                message: format!("{message}; segments may already be published"),
            },
            ..verdict
        },
        _ => verdict,
    }
}

/// Claims the next attempt, or says why there is none yet.
pub(crate) fn again(
    snapshot: &Snapshot,
    draft: Draft,
    next: &Again,
    proof: Result<Proof, Doubt>,
    now: Timestamp,
) -> Step {
    let Again {
        verdict,
        cause,
        message,
        climb,
    } = next;
    let (cause, climb) = (*cause, *climb);
    let proof = match proof {
        Ok(proof) => proof,
        Err(Doubt { message: why, .. }) => {
            let message = format!(
                "{why}: the peon may still run, so another attempt is started only if the template's \
                 retry.afterNodeLoss is Rerun"
            );
            // A node may come back, or be declared off: there is no event for either.
            return settle_until(draft.await_node(&message), Some(LOOK_AGAIN));
        }
    };
    let number = snapshot.attempt();
    let next = NextAttempt::after(number, proof);
    let retries = snapshot.task.status.as_ref().map_or(0, |s| {
        s.failures
            .iter()
            .filter(|(c, _)| Cause::parse(c) != Some(Cause::Suspended))
            .map(|(_, n)| n)
            .sum()
    });
    let not_before = if cause == Cause::Suspended {
        now
    } else {
        let delay =
            SignedDuration::try_from(snapshot.policy().backoff(retries)).unwrap_or(SignedDuration::ZERO);
        now.checked_add(delay).unwrap_or(now)
    };
    let more = if climb.is_some() { " with more memory" } else { "" };
    let text = format!(
        "attempt {number} ended with {cause} ({}); attempt {}{more} follows",
        cut(message, 200),
        next.number()
    );
    let ended = Ended {
        number,
        cause,
        verdict,
        climb,
        not_before,
    };
    settle(draft.claim(&next, &ended, &text))
}
