//! Pools whose Indexers run several tasks.

use super::*;
use crate::api::PoolSlots;
use crate::pool::decide::heap::watchdog::{Cordon, Judged};

/// A shared Indexer that is ready and hidden, with this number of tasks.
fn busy(name: &'static str, tasks: usize) -> Indexer {
    let spec = spec(1);
    let mut indexer = indexer(name, &revision(&spec).hash, 1, ready());
    indexer.slots = Some(PoolSlots::default());
    indexer.load.tasks = tasks;
    indexer.load.unstopped = tasks;
    indexer.load.had = tasks;
    indexer.stops_are_due = true;
    indexer
}

fn spec(replicas: u32) -> Value {
    json!({
        "mode": "Shared", "replicas": replicas, "maxIndexers": null,
        "resources": {"limits": {"memory": "2Gi", "cpu": "1"}},
    })
}

fn scene(replicas: u32, indexers: Vec<Indexer>, hidden: &[&'static str]) -> Scene {
    let mut scene = Scene::of(spec(replicas), &[]);
    scene.indexers = indexers;
    scene.hidden = hidden.to_vec();
    scene
}

fn drains(plan: &Plan) -> Vec<&str> {
    plan.drain.iter().map(String::as_str).collect()
}

#[test]
fn as_many_are_kept_as_are_wanted_whatever_they_run() {
    let two = || vec![busy("a", 8), busy("b", 0)];
    let plan = scene(2, two(), &["a", "b"]).plan();
    assert_eq!(does(&plan), (0, vec![], PoolReadiness::Warm));
    assert_eq!(scene(5, two(), &["a", "b"]).plan().create, 3);
}

#[test]
fn an_indexer_with_tasks_is_drained_and_deleted_when_they_have_ended() {
    // The one with the fewest tasks goes.
    let plan = scene(1, vec![busy("a", 1), busy("b", 3)], &["a", "b"]).plan();
    assert_eq!((does(&plan).1, drains(&plan)), (vec![], vec!["a"]));
    // It goes on to be, though it now has more than the other.
    let mut later = scene(1, vec![busy("a", 1), busy("b", 0)], &["a", "b"]);
    later.draining = ["a".to_owned()].into();
    let plan = later.plan();
    assert_eq!((does(&plan).1, drains(&plan)), (vec![], vec!["a"]));
    later.indexers = vec![busy("a", 0), busy("b", 0)];
    let plan = later.plan();
    assert_eq!((does(&plan).1, drains(&plan)), (vec!["a"], vec![]));
    assert_eq!(plan.delete[0].with, WithTasks::None);
}

#[test]
fn an_old_one_is_drained_when_a_new_one_is_ready() {
    let mut old = busy("old", 2);
    old.revision = "before".into();
    let plan = scene(1, vec![old.clone()], &["old"]).plan();
    assert_eq!((plan.create, drains(&plan)), (1, vec![]), "it works until then");
    let plan = scene(1, vec![old.clone(), busy("new", 0)], &["old", "new"]).plan();
    assert_eq!(
        (does(&plan), drains(&plan)),
        ((0, vec![], PoolReadiness::Warm), vec!["old"])
    );
    old.load.tasks = 0;
    let plan = scene(1, vec![old, busy("new", 0)], &["old", "new"]).plan();
    assert_eq!(does(&plan).1, ["old"]);
}

#[test]
fn one_that_had_many_tasks_is_replaced_when_a_new_one_is_ready() {
    let mut worn = busy("worn", 3);
    worn.load.had = 2000;
    worn.age(&pool(spec(1)).spec, false, at(10));
    assert_eq!(worn.unwanted, Some(Unwanted::Worn));
    let plan = scene(1, vec![worn.clone()], &["worn"]).plan();
    assert_eq!((plan.create, drains(&plan)), (1, vec![]), "it works until then");
    let plan = scene(1, vec![worn, busy("new", 0)], &["worn", "new"]).plan();
    assert_eq!(
        (does(&plan), drains(&plan)),
        ((0, vec![], PoolReadiness::Warm), vec!["worn"])
    );
}

#[test]
fn a_cordoned_node_is_left_by_draining_and_another_is_started_at_once() {
    let mut leaves = busy("a", 2);
    leaves.unwanted = Some(Unwanted::Cordoned);
    let plan = scene(1, vec![leaves], &["a"]).plan();
    assert_eq!(
        (plan.create, does(&plan).1, drains(&plan)),
        (1, vec![], vec!["a"])
    );
}

#[test]
fn a_dirty_one_goes_when_only_stopped_tasks_are_left() {
    let mut dirty = busy("a", 2);
    dirty.duty = Duty::Draining("a stop was not confirmed");
    dirty.load.unstopped = 1;
    dirty.load.stopping_since = Some(at(10));
    let plan = scene(1, vec![dirty.clone()], &["a"]).plan();
    assert_eq!(
        (plan.create, does(&plan).1, drains(&plan)),
        (1, vec![], vec!["a"])
    );
    dirty.load.unstopped = 0;
    let plan = scene(1, vec![dirty.clone()], &["a"]).plan();
    assert_eq!(does(&plan).1, ["a"]);
    assert_eq!(plan.delete[0].with, WithTasks::Stopped, "its tasks end with it");
    // Another stop may yet be confirmed.
    dirty.stops_are_due = false;
    let plan = scene(1, vec![dirty], &["a"]).plan();
    assert_eq!((does(&plan).1, drains(&plan)), (vec![], vec!["a"]));
}

#[test]
fn a_stop_is_looked_at_again_when_it_is_due() {
    let mut stopping = busy("a", 1);
    stopping.load.stopping_since = Some(at(90));
    stopping.stops_are_due = false;
    let plan = scene(1, vec![stopping], &["a"]).plan();
    assert_eq!(plan.look_again, Some(Duration::from_secs(50)));
}

#[test]
fn a_silent_one_is_replaced_only_when_it_is_given_up() {
    let mut silent = busy("a", 2);
    silent.duty = Duty::Busy(Some(at(90)));
    let mut scene = scene(1, vec![silent], &["a"]);
    let plan = scene.plan();
    assert_eq!((plan.create, does(&plan).1), (0, vec![]));
    scene.now = 390;
    let plan = scene.plan();
    assert_eq!((does(&plan).1, plan.delete[0].with), (vec!["a"], WithTasks::Any));
}

#[test]
fn a_silent_one_is_given_up_also_while_it_is_drained() {
    let mut hung = busy("a", 2);
    hung.duty = Duty::Draining("a stop was not confirmed");
    hung.load.unstopped = 1;
    hung.silent_since = Some(at(90));
    let mut scene = scene(1, vec![hung], &["a"]);
    let plan = scene.plan();
    assert_eq!((does(&plan).1, drains(&plan)), (vec![], vec!["a"]));
    assert_eq!(plan.look_again, Some(Duration::from_secs(290)));
    scene.now = 390;
    let plan = scene.plan();
    assert_eq!((does(&plan).1, plan.delete[0].with), (vec!["a"], WithTasks::Any));
    // With stopped tasks only, it goes as any other does.
    scene.indexers[0].load.unstopped = 0;
    let plan = scene.plan();
    assert_eq!(does(&plan).1, ["a"]);
    assert_eq!(plan.delete[0].with, WithTasks::Stopped);
}

#[test]
fn one_that_ended_stays_while_its_tasks_are_judged_and_is_no_failure() {
    let mut dead = busy("a", 2);
    dead.evidence = indexer("a", "r", 1, ended(3, "")).evidence;
    dead.duty = Duty::Busy(None);
    let plan = scene(1, vec![dead.clone()], &[]).plan();
    assert_eq!((plan.create, does(&plan).1), (1, vec![]));
    dead.duty = Duty::Unread("it has ended".into());
    dead.load.tasks = 0;
    let plan = scene(1, vec![dead, busy("b", 0)], &["b"]).plan();
    assert_eq!(does(&plan), (0, vec!["a"], PoolReadiness::Warm));
}

/// It is no reason for another one: its tasks go on, and it gets tasks again.
#[test]
fn one_whose_heap_is_full_gets_no_task_and_is_not_replaced() {
    let full = |name| {
        let mut indexer = busy(name, 2);
        indexer.cordon = Some(Cordon::Live(85));
        indexer
    };
    let plan = scene(2, vec![full("a"), busy("b", 0)], &["a", "b"]).plan();
    assert_eq!(does(&plan), (0, vec![], PoolReadiness::Warm));
    let said = "1 of 2 Indexers can take a task; a: it gets no task for now: 85 % of its heap is in use after a full \
                garbage collection";
    assert_eq!(plan.message, said);
    let all = scene(2, vec![full("a"), full("b")], &["a", "b"]).plan();
    assert_eq!(does(&all), (0, vec![], PoolReadiness::Cordoned));
    assert!(drains(&all).is_empty());
    // One that is missing besides is created, and of those in excess it goes first.
    assert_eq!(scene(2, vec![full("a")], &["a"]).plan().create, 1);
    let fewer = scene(1, vec![busy("b", 1), full("a")], &["a", "b"]).plan();
    assert_eq!(drains(&fewer), ["a"]);
}

#[test]
fn one_whose_heap_stays_full_is_replaced_when_a_new_one_is_ready() {
    let mut leaks = busy("leaks", 3);
    leaks.age(&pool(spec(1)).spec, false, at(10));
    leaks.judged(Judged {
        live_percent: Some(90),
        cordon: Some(Cordon::Live(90)),
        is_leaking: true,
    });
    assert_eq!(leaks.unwanted, Some(Unwanted::Leaking));
    let plan = scene(1, vec![leaks.clone()], &["leaks"]).plan();
    assert_eq!((plan.create, drains(&plan)), (1, vec![]));
    let plan = scene(1, vec![leaks, busy("new", 0)], &["leaks", "new"]).plan();
    assert_eq!(
        (does(&plan), drains(&plan)),
        ((0, vec![], PoolReadiness::Warm), vec!["leaks"])
    );
}
