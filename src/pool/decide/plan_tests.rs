use serde_json::{Value, json};

use super::*;
use crate::api::indexer_pool::IndexerDiscovery;
use crate::druid::properties::RuntimeProperties;
use crate::pool::fixtures::{at, ended, indexer, pool, ready, starting};
use crate::task::fixtures::template;

/// What a test sees of a pool: its Indexers as name, whether it is of the current revision, and the pod's status.
struct Scene {
    spec: Value,
    indexers: Vec<Indexer>,
    hidden: Vec<&'static str>,
    visible: Vec<&'static str>,
    unannounced: Vec<&'static str>,
    unseen: usize,
    refused: Option<(String, Timestamp)>,
    draining: BTreeSet<String>,
    now: i64,
}

fn revision(spec: &Value) -> Revision {
    Revision::of(
        &pool(spec.clone()),
        &template(json!({})),
        &RuntimeProperties::default(),
        true,
        false,
    )
    .unwrap()
}

impl Scene {
    fn of(spec: Value, indexers: &[(&'static str, bool, Value)]) -> Self {
        let hash = revision(&spec).hash;
        let indexers = (10..).zip(indexers).map(|(created, (name, current, status))| {
            indexer(
                name,
                if *current { &hash } else { "old" },
                created,
                status.clone(),
            )
        });
        let indexers: Vec<Indexer> = indexers.collect();
        let hidden = indexers.iter().filter(|i| i.ready).map(|i| i.name().to_owned());
        Self {
            spec,
            hidden: hidden.map(|name| &*name.leak()).collect(),
            visible: Vec::new(),
            unannounced: Vec::new(),
            indexers,
            unseen: 0,
            refused: None,
            draining: BTreeSet::new(),
            now: 100,
        }
    }

    fn plan(&self) -> Plan {
        let mut failures = Failures::default();
        failures.observe(&revision(&self.spec).hash, &self.indexers, at(100));
        self.plan_with(&failures)
    }

    fn plan_with(&self, failures: &Failures) -> Plan {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let seen = Seen::from(Some(&IndexerDiscovery {
            hidden: owned(&self.hidden),
            visible: owned(&self.visible),
            unannounced: owned(&self.unannounced),
            message: None,
        }));
        plan(&Observed {
            pool: &pool(self.spec.clone()).spec,
            revision: Ok(&revision(&self.spec)),
            indexers: &self.indexers,
            unseen: self.unseen,
            seen: &seen,
            failures,
            refused: self.refused.as_ref(),
            draining: &self.draining,
            now: at(self.now),
        })
    }
}

fn does(plan: &Plan) -> (usize, Vec<&str>, PoolReadiness) {
    let deleted = plan.delete.iter().map(|delete| delete.pod.as_str()).collect();
    (plan.create, deleted, plan.reason)
}

#[test]
fn as_many_as_are_kept_idle_are_created_within_the_maximum() {
    for (replicas, most, there, create) in [
        (1, 5, vec![], 1),
        (3, 5, vec![], 3),
        (3, 2, vec![], 2),
        (30, 50, vec![], 10),
        (0, 5, vec![], 0),
        (3, 5, vec![("a", true, starting()), ("b", true, ready())], 1),
        (2, 5, vec![("a", true, starting()), ("b", true, ready())], 0),
    ] {
        let scene = Scene::of(json!({"replicas": replicas, "maxIndexers": most}), &there);
        assert_eq!(scene.plan().create, create, "{replicas} of {most}");
    }
    let mut scene = Scene::of(json!({"replicas": 3}), &[]);
    scene.unseen = 2;
    assert_eq!(scene.plan().create, 1, "what was created a moment ago counts");
}

#[test]
fn a_pool_is_warm_when_enough_are_ready_and_proven_hidden() {
    let mut scene = Scene::of(
        json!({"replicas": 2}),
        &[("a", true, ready()), ("b", true, ready())],
    );
    assert_eq!(does(&scene.plan()), (0, vec![], PoolReadiness::Warm));
    scene.hidden = vec!["a"];
    let plan = scene.plan();
    assert_eq!(does(&plan), (0, vec![], PoolReadiness::Starting));
    assert!(
        plan.message
            .contains("1 of 2 Indexers can take a task; b: the VirtualMiddleManager has not")
    );
    scene.visible = vec!["b"];
    let plan = scene.plan();
    assert_eq!(does(&plan), (0, vec![], PoolReadiness::NotHidden));
    // Both lists: the overlord sees it.
    scene.hidden = vec!["a", "b"];
    assert_eq!(scene.plan().reason, PoolReadiness::NotHidden);
    // None is created beside one that the overlord sees: the next would be seen, too.
    scene.spec = json!({"replicas": 4});
    assert_eq!(scene.plan().create, 0);
}

#[test]
fn that_requests_are_refused_is_said_and_changes_nothing() {
    let mut scene = Scene::of(
        json!({"replicas": 2}),
        &[("a", true, ready()), ("b", true, ready())],
    );
    scene.indexers[1].refuses = Some("it answers with 401: Unauthorized".into());
    scene.indexers[1].duty = Duty::Unread("it does not answer".into());
    let plan = scene.plan();
    assert_eq!(does(&plan), (0, vec![], PoolReadiness::NotAuthorized));
    for part in [
        "b refuses",
        "401: Unauthorized",
        "authRef of the VirtualMiddleManager ingestion",
    ] {
        assert!(plan.message.contains(part), "{}", plan.message);
    }
    // Also if it has a task, for which it is kept.
    scene.indexers[1].duty = Duty::Busy(None);
    scene.now = 10_000;
    let plan = scene.plan();
    assert_eq!(plan.reason, PoolReadiness::NotAuthorized);
    assert!(plan.delete.is_empty());
}

#[test]
fn with_fewer_replicas_those_that_start_go_first_then_the_youngest() {
    let there = [
        ("a", true, ready()),
        ("b", true, ready()),
        ("c", true, starting()),
    ];
    for (replicas, deleted) in [
        (3, vec![]),
        (2, vec!["c"]),
        (1, vec!["c", "b"]),
        (0, vec!["c", "b", "a"]),
    ] {
        let scene = Scene::of(json!({"replicas": replicas}), &there);
        assert_eq!(does(&scene.plan()), (0, deleted, scene.plan().reason));
    }
}

#[test]
fn an_old_indexer_goes_when_a_new_one_has_taken_its_place() {
    let spec = json!({"replicas": 2});
    let step = |there: &[(&'static str, bool, Value)], create: usize, deleted: &[&str]| {
        let scene = Scene::of(spec.clone(), there);
        let plan = scene.plan();
        let (created, found, _) = does(&plan);
        assert_eq!((created, &found[..]), (create, deleted), "{there:?}");
    };
    let old = |name| (name, false, ready());
    step(&[old("a"), old("b")], 1, &[]);
    step(&[old("a"), old("b"), ("c", true, starting())], 0, &[]);
    step(&[old("a"), old("b"), ("c", true, ready())], 1, &["a"]);
    step(&[old("b"), ("c", true, ready()), ("d", true, starting())], 0, &[]);
    step(&[old("b"), ("c", true, ready()), ("d", true, ready())], 0, &["b"]);
    // One that is not ready is of no use.
    step(&[("a", false, starting()), old("b")], 2, &["a"]);
}

#[test]
fn without_room_old_indexers_go_one_by_one() {
    let old = |name| (name, false, ready());
    let new = |name| (name, true, ready());
    let scene = |most: u32, there: &[(&'static str, bool, Value)]| {
        Scene::of(json!({"replicas": 2, "maxIndexers": most}), there)
    };
    let deleted = |scene: &Scene| {
        let plan = scene.plan();
        let (created, deleted, _) = does(&plan);
        (created, deleted.join(" "))
    };
    assert_eq!(deleted(&scene(2, &[old("a"), old("b")])), (0, "a".into()));
    // One that is being deleted leaves room in a moment.
    let mut leaving = scene(2, &[old("a"), old("b")]);
    leaving.indexers[0].evidence.deletion_requested = Some(at(90));
    leaving.indexers[0].evidence.deletion_due = Some(at(120));
    assert_eq!(deleted(&leaving), (0, String::new()));
    leaving.now = 1000;
    assert_eq!(deleted(&leaving), (0, "b".into()), "its node may be lost");
    // A new one that starts stands for nothing yet.
    assert_eq!(
        deleted(&scene(2, &[old("b"), ("c", true, starting())])),
        (0, String::new())
    );
    assert_eq!(deleted(&scene(2, &[old("b"), new("c")])), (0, "b".into()));
    let beside = scene(3, &[old("a"), old("b"), ("c", true, starting())]);
    assert_eq!(deleted(&beside), (0, String::new()));
}

#[test]
fn an_indexer_that_ends_is_replaced_with_increasing_delays_and_its_last_lines_are_said() {
    let failed = |name| (name, true, ended(1, "Error: no such class"));
    let mut scene = Scene::of(json!({"replicas": 2}), &[failed("a")]);
    let plan = scene.plan();
    assert_eq!(does(&plan), (0, vec![], PoolReadiness::IndexerFails));
    assert_eq!(plan.look_again, Some(Duration::from_secs(10)));
    assert!(
        plan.message
            .contains("a: exit code 1, Error: Error: no such class"),
        "{}",
        plan.message
    );
    // Then one is tried, not two; the last one that ended stays for its log.
    scene.now = 111;
    assert_eq!(does(&scene.plan()), (1, vec![], PoolReadiness::IndexerFails));
    let mut scene = Scene::of(json!({"replicas": 2}), &[failed("a"), failed("b")]);
    let plan = scene.plan();
    assert_eq!(does(&plan), (0, vec!["a"], PoolReadiness::IndexerFails));
    assert_eq!(plan.look_again, Some(Duration::from_secs(20)));
    scene.now = 121;
    scene
        .indexers
        .push(indexer("c", &revision(&scene.spec).hash, 120, starting()));
    assert_eq!(scene.plan().create, 0, "one is tried already");
    // One that is ready begins anew.
    let scene = Scene::of(json!({"replicas": 2}), &[failed("a"), ("b", true, ready())]);
    let mut failures = Failures::default();
    let hash = revision(&scene.spec).hash;
    failures.observe(&hash, &scene.indexers[..1], at(90));
    failures.observe(&hash, &scene.indexers, at(95));
    assert_eq!(
        does(&scene.plan_with(&failures)),
        (1, vec!["a"], PoolReadiness::Starting)
    );
}

#[test]
fn of_old_indexers_those_go_first_that_were_not_checked() {
    let mut scene = Scene::of(
        json!({"replicas": 2, "maxIndexers": 2}),
        &[
            ("a", false, ready()),
            ("b", false, ready()),
            ("c", false, ready()),
        ],
    );
    scene.hidden = vec!["a", "b"];
    assert_eq!(does(&scene.plan()).1, vec!["c"]);
}

#[test]
fn delays_double_up_to_five_minutes_and_a_new_revision_begins_at_zero() {
    let mut failures = Failures::default();
    let mut delays = Vec::new();
    for n in 0..8 {
        let name = format!("pod-{n}");
        failures.observe("r", &[indexer(&name, "r", n, ended(1, ""))], at(100));
        failures.observe("r", &[indexer(&name, "r", n, ended(1, ""))], at(100));
        delays.push(failures.delay(at(100)).unwrap().as_secs());
    }
    assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300, 300]);
    failures.observe("s", &[indexer("pod-7", "r", 7, ended(1, ""))], at(100));
    assert!(!failures.any() && failures.delay(at(100)).is_none());
}

#[test]
fn what_others_end_is_no_failure() {
    let mut evicted = ended(143, "");
    evicted["reason"] = json!("Evicted");
    let mut drained = ended(143, "");
    drained["conditions"] = json!([{"type": "DisruptionTarget", "status": "True"}]);
    for status in [evicted, drained] {
        let scene = Scene::of(json!({"replicas": 1}), &[("a", true, status)]);
        assert_eq!(does(&scene.plan()), (1, vec![], PoolReadiness::Starting));
    }
}

#[test]
fn a_pod_that_the_api_server_refuses_is_tried_again_later() {
    let mut scene = Scene::of(json!({"replicas": 2}), &[]);
    scene.refused = Some(("exceeded quota".into(), at(90)));
    let plan = scene.plan();
    assert_eq!(does(&plan), (0, vec![], PoolReadiness::NotCreated));
    assert!(plan.message.contains("exceeded quota"));
    assert_eq!(plan.look_again, Some(Duration::from_secs(20)));
    scene.now = 121;
    assert_eq!(scene.plan().create, 1);
}

#[test]
fn without_a_usable_template_what_runs_is_left() {
    let scene = Scene::of(
        json!({"replicas": 2}),
        &[("a", true, ready()), ("b", false, ready())],
    );
    let unusable = Unusable {
        reason: PoolReadiness::NoTemplate,
        message: "there is none".into(),
    };
    let plan = plan(&Observed {
        pool: &pool(scene.spec.clone()).spec,
        revision: Err(&unusable),
        indexers: &scene.indexers,
        unseen: 0,
        seen: &Seen::default(),
        failures: &Failures::default(),
        refused: None,
        draining: &BTreeSet::new(),
        now: at(100),
    });
    assert_eq!(does(&plan), (0, vec![], PoolReadiness::NoTemplate));
}

#[test]
fn a_pod_that_waits_says_why() {
    let unscheduled = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"},
    ]});
    let pulling = json!({"phase": "Pending", "containerStatuses": [{
        "name": "peon", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
    }]});
    for (status, said) in [
        (unscheduled, "a: 0/3 nodes"),
        (pulling, "a: ErrImagePull: not found"),
    ] {
        let scene = Scene::of(json!({"replicas": 1}), &[("a", true, status)]);
        assert!(scene.plan().message.contains(said), "{}", scene.plan().message);
    }
}

/// An Indexer of the current revision with this duty, in a pool with others that are ready.
fn with_duties(spec: Value, duties: &[(&'static str, Duty, Value)]) -> Scene {
    let there: Vec<_> = duties
        .iter()
        .map(|(name, _, status)| (*name, true, status.clone()))
        .collect();
    let mut scene = Scene::of(spec, &there);
    for (indexer, (_, duty, _)) in scene.indexers.iter_mut().zip(duties) {
        indexer.duty = duty.clone();
    }
    scene
}

#[test]
fn beside_the_busy_ones_as_many_idle_ones_are_kept_as_there_is_room_for() {
    for (replicas, most, busy, create) in [
        (1, 5, 1, 1),
        (2, 5, 3, 2),
        (2, 4, 3, 1),
        (2, 3, 3, 0),
        (0, 3, 1, 0),
    ] {
        let names = ["a", "b", "c"];
        let duties: Vec<_> = names[..busy]
            .iter()
            .map(|name| (*name, Duty::Busy(None), ready()))
            .collect();
        let scene = with_duties(json!({"replicas": replicas, "maxIndexers": most}), &duties);
        let plan = scene.plan();
        assert_eq!(
            (plan.create, plan.delete),
            (create, vec![]),
            "{replicas} of {most} beside {busy}"
        );
    }
    // A lowered maximum deletes idle ones, never one that has a task.
    let busy = |name| (name, Duty::Busy(None), ready());
    let scene = with_duties(
        json!({"replicas": 2, "maxIndexers": 2}),
        &[busy("a"), busy("b"), ("c", Duty::Idle, ready())],
    );
    assert_eq!(does(&scene.plan()), (0, vec!["c"], PoolReadiness::Warm));
}

#[test]
fn what_was_used_is_deleted_and_replaced() {
    for duty in [Duty::Over, Duty::Stranger] {
        for status in [ready(), starting(), ended(1, "")] {
            let scene = with_duties(json!({"replicas": 1}), &[("a", duty.clone(), status)]);
            let plan = scene.plan();
            assert_eq!((plan.create, does(&plan).1), (1, vec!["a"]), "{duty:?}");
            assert_eq!(plan.delete[0].with, WithTasks::None);
        }
    }
    // Also while the template cannot be used.
    let scene = with_duties(
        json!({"replicas": 1}),
        &[("a", Duty::Over, ready()), ("b", Duty::Idle, ready())],
    );
    let unusable = Unusable {
        reason: PoolReadiness::NoTemplate,
        message: "there is none".into(),
    };
    let plan = plan(&Observed {
        pool: &pool(scene.spec.clone()).spec,
        revision: Err(&unusable),
        indexers: &scene.indexers,
        unseen: 0,
        seen: &Seen::default(),
        failures: &Failures::default(),
        refused: None,
        draining: &BTreeSet::new(),
        now: at(100),
    });
    assert_eq!(does(&plan), (0, vec!["a"], PoolReadiness::NoTemplate));
}

#[test]
fn one_that_ended_is_kept_while_its_task_claims_it_and_is_no_failure_of_the_pool() {
    for silence in [None, Some(at(1))] {
        let mut scene = with_duties(
            json!({"replicas": 1}),
            &[("a", Duty::Busy(silence), ended(1, "out of memory"))],
        );
        scene.now = 1000;
        assert_eq!(does(&scene.plan()), (1, vec![], PoolReadiness::Starting));
    }
}

#[test]
fn an_indexer_with_a_task_is_not_replaced_when_the_pool_changes() {
    let mut scene = Scene::of(
        json!({"replicas": 0}),
        &[("a", false, ready()), ("b", false, starting())],
    );
    for indexer in &mut scene.indexers {
        indexer.duty = Duty::Busy(None);
    }
    assert_eq!(does(&scene.plan()), (0, vec![], PoolReadiness::Warm));
}

#[test]
fn an_idle_one_leaves_a_cordoned_node_at_once_and_an_old_one_when_it_is_replaced() {
    let unwanted = |why, more: &[(&'static str, bool, Value)]| {
        let indexers = [&[("a", true, ready())], more].concat();
        let mut scene = Scene::of(json!({"replicas": 1}), &indexers);
        scene.indexers[0].unwanted = Some(why);
        scene
    };
    let cordoned = |more: &[_]| unwanted(Unwanted::Cordoned, more);
    let old = |more: &[_]| unwanted(Unwanted::Old, more);
    let new = [("b", true, ready())];
    let coming = [("b", true, starting())];
    assert_eq!(
        does(&cordoned(&[]).plan()),
        (1, vec!["a"], PoolReadiness::Starting)
    );
    assert_eq!(does(&cordoned(&new).plan()), (0, vec!["a"], PoolReadiness::Warm));
    assert_eq!(does(&old(&[]).plan()), (1, vec![], PoolReadiness::Warm));
    assert_eq!(does(&old(&coming).plan()), (0, vec![], PoolReadiness::Warm));
    assert_eq!(does(&old(&new).plan()), (0, vec!["a"], PoolReadiness::Warm));
    // With its task it stays.
    for why in [Unwanted::Cordoned, Unwanted::Old] {
        let mut scene = unwanted(why, &new);
        scene.indexers[0].duty = Duty::Busy(None);
        assert_eq!(does(&scene.plan()), (0, vec![], PoolReadiness::Warm));
    }
}

#[path = "plan_lost_tests.rs"]
mod lost;
#[path = "plan_property_tests.rs"]
mod property_tests;
#[path = "plan_shared_tests.rs"]
mod shared;
