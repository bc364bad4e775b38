//! Random histories of a task that is claimed on Indexers: two processes of the operator, each with its own cache of the
//! task and of the pods, and its own views of the Indexers; POSTs that are lost or arrive late; Indexers that forget,
//! fall silent, are replaced by another JVM at their address or crash; users and a kubelet. Placement, which is no part
//! of this, is the world's: a fresh Indexer for each attempt.
//!
//! Planted bugs prove that the histories find errors.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::planted_tests::{as_if_dead, posts_what_was_forgotten, trusts_an_end, view};
use super::world::{Plan, World};
use crate::task::decide::plan::{Step, plan};
use crate::task::snapshot::Snapshot;

/// What became of a history: the rule that was broken, and the world at the end.
fn history(seed: u64, plan: Plan) -> World {
    let mut world = World::new(seed, plan);
    for _ in 0..120 {
        world.happen();
        if world.broken.is_some() {
            return world;
        }
    }
    world.come_to_rest();
    world
}

#[test]
fn whatever_happens_no_two_jvms_run_a_task_and_each_task_gets_its_verdict() {
    let (mut seen, mut attempts, mut posts) = (BTreeMap::<String, u32>::new(), 0, 0);
    for seed in 0..1_000 {
        let world = history(seed, plan);
        assert_eq!(world.broken, None, "seed {seed}");
        let reason = world.task.status.and_then(|s| s.reason).unwrap_or_default();
        *seen.entry(reason).or_default() += 1;
        attempts += world.attempts;
        posts += world.posts;
    }
    for reason in ["Succeeded", "TaskFailed", "Cancelled", "NoVerdict"] {
        assert!(seen.contains_key(reason), "{reason} was not reached: {seen:?}");
    }
    assert!(
        attempts > 1_200 && posts > 1_500,
        "{attempts} attempts, {posts} posts"
    );
}

/// Whether one of a thousand histories breaks this rule under this plan.
fn finds(plan: Plan, rule: &str) -> bool {
    let mut broken = (0..1_000).filter_map(|seed| history(seed, plan).broken);
    broken.any(|broken| broken.starts_with(rule))
}

#[test]
fn a_reset_that_is_taken_for_death_is_found() {
    fn bug(snapshot: &Snapshot, now: Timestamp) -> Step {
        if view(snapshot).is_some_and(|view| view.replaced().is_some()) {
            return plan(&as_if_dead(snapshot), now);
        }
        plan(snapshot, now)
    }
    assert!(finds(bug, "two JVMs"));
}

#[test]
fn a_rerun_while_the_first_jvm_lives_is_found() {
    assert!(finds(trusts_an_end, "two JVMs"));
}

#[test]
fn a_post_to_a_jvm_that_has_forgotten_the_task_is_found() {
    assert!(finds(posts_what_was_forgotten, "a JVM started the task twice"));
}
