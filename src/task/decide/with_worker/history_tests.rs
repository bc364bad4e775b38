//! Random histories of a task that is claimed on Indexers: two processes of the operator, each with its own cache of the
//! task and of the pods, and its own views of the Indexers; POSTs that are lost or arrive late; Indexers that forget,
//! fall silent, are replaced by another JVM at their address or crash; users and a kubelet. Placement, which is no part
//! of this, is the world's: a fresh Indexer for each attempt.
//!
//! Planted bugs prove that the histories find errors.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::world::{Plan, World};
use crate::api::conditions;
use crate::indexer::decide::view::{Task, View};
use crate::indexer::fixtures::Jvm;
use crate::task::decide::plan::{Step, plan};
use crate::task::fixtures::ID;
use crate::task::run::death::NodeState;
use crate::task::snapshot::{Live, Snapshot};

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

/// The snapshot as if the pod were gone from a node that it never had.
fn as_if_dead(snapshot: &Snapshot) -> Snapshot {
    let mut dead = snapshot.clone();
    dead.indexer = Some(Box::default());
    dead.outcomes.indexer = Some(Box::new(Live {
        config_map_owner: None,
        pod: None,
        task_version: snapshot.task.metadata.resource_version.clone(),
    }));
    dead.outcomes.node = Some(NodeState::NeverBound);
    dead
}

fn view(snapshot: &Snapshot) -> Option<&View> {
    snapshot.indexer.as_ref()?.view.as_deref()
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
    fn bug(snapshot: &Snapshot, now: Timestamp) -> Step {
        let stopped = snapshot.task.status.as_ref().is_some_and(|s| s.stop.is_some());
        let task = view(snapshot).and_then(|view| view.task(ID));
        if stopped && task.is_some_and(Task::ended) {
            return plan(&as_if_dead(snapshot), now);
        }
        plan(snapshot, now)
    }
    assert!(finds(bug, "two JVMs"));
}

#[test]
fn a_post_to_a_jvm_that_has_forgotten_the_task_is_found() {
    fn bug(snapshot: &Snapshot, now: Timestamp) -> Step {
        let mut forgetful = snapshot.clone();
        if let Some(view) = view(snapshot).filter(|v| v.task(ID).is_some_and(|t| !t.listed)) {
            // What a full list alone would say.
            let mut fresh = View::new(view.target().clone());
            let jvm = Jvm::started(1);
            let _ = fresh.answered(None, &jvm.answer(None).unwrap_or_else(|| unreachable!()));
            if let Some(seen) = &mut forgetful.indexer {
                seen.view = Some(Arc::new(fresh));
            }
            let task = Arc::make_mut(&mut forgetful.task);
            if let Some(status) = &mut task.status {
                status.conditions.retain(|c| c.type_ != conditions::STARTED);
            }
        }
        plan(&forgetful, now)
    }
    assert!(finds(bug, "a JVM started the task twice"));
}
