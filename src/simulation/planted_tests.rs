//! Planted bugs: each has to break its invariant in some history.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::coverage::Coverage;
use super::pool::has_pool;
use super::world::{Operator, Violation};
use super::{HISTORIES, REAL, run};
use crate::api::RunKind;
use crate::task::controller::Plan;
use crate::task::decide::plan::{Action, Step, plan};
use crate::task::decide::with_worker::planted_tests::{posts_what_was_forgotten, trusts_an_end};
use crate::task::fixtures::{ID, task_status};
use crate::task::run::death::NodeState;
use crate::task::run::pod::evidence::Container;
use crate::task::run::pod::run::StopPod;
use crate::task::snapshot::Snapshot;

/// A plan that takes the absence of a pod for its peon's death.
fn trusts_absence(snapshot: &Snapshot, now: Timestamp) -> Step {
    let mut trusting = snapshot.clone();
    trusting.outcomes.node = snapshot.outcomes.node.as_ref().map(|_| NodeState::NeverBound);
    plan(&trusting, now)
}

/// A plan that takes an exit code of 0 for success.
fn trusts_the_exit_code(snapshot: &Snapshot, now: Timestamp) -> Step {
    let mut trusting = snapshot.clone();
    let live = trusting.outcomes.live.as_mut().and_then(|l| l.pod.as_mut());
    for pod in [trusting.cached.as_mut(), trusting.departed.as_mut(), live]
        .into_iter()
        .flatten()
    {
        if let Container::Terminated(ended) = &mut pod.peon
            && ended.exit_code == 0
            && ended.message.is_empty()
        {
            ended.message = task_status(ID, "SUCCESS", None);
        }
    }
    plan(&trusting, now)
}

/// A plan that deletes whatever bears the uid, as it may be by now.
fn deletes_unseen(snapshot: &Snapshot, now: Timestamp) -> Step {
    match plan(snapshot, now) {
        Step::Act(Action::DeletePod(seen)) => Step::Act(Action::DeletePod(StopPod {
            version: None,
            ..seen
        })),
        other => other,
    }
}

/// Some history breaks one of the invariants `by`. The search begins at `first`, a history that is known to, and goes on
/// through all others: which one it is changes with every change of the passes or of the model.
fn is_caught(planted: Plan, by: &[&str], first: u64) {
    let operator = Operator {
        plan: planted,
        ..REAL
    };
    is_found(|seed| run(seed, operator), by, (first..HISTORIES).chain(0..first));
}

/// As [`is_caught`], among the histories that have a pool.
fn is_caught_in_a_pool(operator: Operator, by: &[&str], first: u64) {
    let seeds = (first..HISTORIES).chain(0..first).filter(|seed| has_pool(*seed));
    is_found(|seed| run(seed, operator), by, seeds);
}

/// Runs the histories until one breaks one of the invariants `by`.
pub(super) fn is_found(
    run: impl Fn(u64) -> (Coverage, Option<Violation>),
    by: &[&str],
    seeds: impl Iterator<Item = u64>,
) {
    let (mut tried, mut others) = (0_u64, BTreeMap::<&str, u32>::new());
    for seed in seeds {
        tried += 1;
        let Some(violation) = run(seed).1 else {
            continue;
        };
        if by.contains(&violation.invariant) {
            println!("caught by history {seed}: {}", violation.invariant);
            return;
        }
        *others.entry(violation.invariant).or_default() += 1;
    }
    panic!("none of {tried} histories caught it; other invariants were broken: {others:?}");
}

#[test]
fn a_planted_double_start_is_caught() {
    let by = ["a new attempt needs a dead JVM", "at most one live JVM"];
    is_caught(trusts_absence, &by, 2_008);
}

#[test]
fn a_planted_guess_is_caught() {
    is_caught(trusts_the_exit_code, &["no success is invented"], 372);
}

#[test]
fn a_planted_loss_of_a_log_is_caught() {
    is_caught(deletes_unseen, &["no pod that has ended is deleted"], 418);
}

/// A plan that creates a pod where no Indexer is idle, without having written that decision.
fn creates_undecided(snapshot: &Snapshot, now: Timestamp) -> Step {
    let mut undecided = snapshot.clone();
    undecided.may_have_pod |= snapshot.outcomes.given == Some(None);
    plan(&undecided, now)
}

/// A plan that leaves the next attempt the place of the one before.
fn claims_again(snapshot: &Snapshot, now: Timestamp) -> Step {
    let mut step = plan(snapshot, now);
    if let Step::Settle(settlement) = &mut step
        && let Some(new) = settlement.status.as_mut().filter(|s| s.run.is_none())
        && let Some(old) = &snapshot.task.status
        && old.attempt < new.attempt
    {
        new.run = old.run.clone().filter(|run| run.kind == RunKind::Worker);
    }
    step
}

fn planning(plan: Plan) -> Operator {
    Operator { plan, ..REAL }
}

#[test]
fn a_planted_post_without_a_claim_is_caught() {
    let hasty = Operator {
        is_hasty: true,
        ..REAL
    };
    is_caught_in_a_pool(hasty, &["no POST is accepted without a claim"], 2);
}

#[test]
fn a_planted_rerun_beside_a_live_indexer_is_caught() {
    let by = ["a new attempt needs a dead JVM", "at most one live JVM"];
    is_caught_in_a_pool(planning(trusts_an_end), &by, 494);
}

#[test]
fn a_planted_post_of_a_forgotten_task_is_caught() {
    let by = ["a JVM begins a task once"];
    is_caught_in_a_pool(planning(posts_what_was_forgotten), &by, 494);
}

#[test]
fn a_planted_pod_beside_a_claim_is_caught() {
    is_caught_in_a_pool(planning(creates_undecided), &["a place is decided first"], 8);
}

#[test]
fn a_planted_second_claim_is_caught() {
    is_caught_in_a_pool(planning(claims_again), &["an Indexer is claimed once"], 2);
}

#[test]
fn a_planted_neglect_of_claims_of_others_is_caught() {
    let operator = Operator {
        is_impatient: true,
        ..REAL
    };
    let by = [
        "an Indexer is claimed once",
        "no Indexer with a task is deleted by its pool",
    ];
    is_caught_in_a_pool(operator, &by, 599);
}
