//! Where an attempt runs: in an Indexer of a pool, or in a pod of its own.

use super::*;
use crate::api::{LABEL_IDENTITY, Placement, RunKind, TaskSlot};
use crate::task::aggregates::durations::Expected;
use crate::task::aggregates::idle_indexers::{Given, GivenSlot, PoolOffer};
use crate::task::aggregates::slots::Slot;
use crate::task::fixtures::{idle_indexer, pool_offer};
use crate::task::run::worker::claim::WorkerClaim;

fn offer(name: &str) -> Arc<PoolOffer> {
    Arc::new(pool_offer(name))
}

fn given(pool: &str) -> Given {
    Given {
        slot: None,
        pool: pool.into(),
        indexer: idle_indexer(&format!("{pool}-x"), "indexer-uid"),
    }
}

/// A task that the overlord assigned, in a namespace with these pools.
fn assigned(placement: Option<Placement>, pools: &[&str]) -> Snapshot {
    let mut task = task(json!({
        "task": {"type": "index", "id": ID}, "middleManagerRef": {"name": "ingestion"},
    }));
    task.metadata.labels = Some([(LABEL_IDENTITY.to_owned(), "identity".to_owned())].into());
    task.spec.placement = placement;
    Snapshot {
        pools: pools.iter().map(|pool| offer(pool)).collect(),
        ..snapshot(task)
    }
}

/// The pass after the one that wrote this status.
fn after(mut snapshot: Snapshot, status: PeonTaskStatus) -> Snapshot {
    let mut task = (*snapshot.task).clone();
    task.status = Some(status);
    (snapshot.task, snapshot.outcomes) = (Arc::new(task), Outcomes::default());
    snapshot
}

fn asked(mut snapshot: Snapshot, given: Option<Given>) -> Snapshot {
    snapshot.outcomes.given = Some(given);
    snapshot
}

/// The pod is created, and its uid is known.
fn created(mut snapshot: Snapshot) -> PeonTaskStatus {
    let Action::CreateConfigMap(map) = action(&snapshot, 100) else {
        panic!("no ConfigMap");
    };
    assert_eq!(map.metadata.name.as_deref(), Some(POD));
    snapshot.outcomes.claim = Some(Creation::Created("map".into()));
    assert!(matches!(action(&snapshot, 100), Action::CreatePod(_)));
    snapshot.outcomes.creation = Some(Creation::Created(POD_UID.into()));
    status(&snapshot, 100)
}

#[test]
fn without_pools_nothing_is_written_before_the_pod_is_created() {
    for placement in [None, Some(Placement::Auto), Some(Placement::Pod)] {
        let mut alone = assigned(placement, &[]);
        alone.pools_open_in = Some(Duration::from_secs(5));
        let run = created(alone).run.unwrap();
        assert_eq!((run.kind, run.pod_uid.as_deref()), (RunKind::Pod, Some(POD_UID)));
        assert_eq!(run.reason, None);
    }
}

#[test]
fn an_idle_indexer_is_claimed_before_anything_is_sent_to_it() {
    for (placement, waits) in [(None, false), (Some(Placement::Pool), true)] {
        let pass = assigned(placement, &["warm", "other"]);
        let Action::TakeIndexer { pools, waits: said } = action(&pass, 100) else {
            panic!("takes none");
        };
        assert_eq!(
            (&pools[..], said),
            (&["other".to_owned(), "warm".into()][..], waits)
        );
        let claimed = status(&asked(pass.clone(), Some(given("warm"))), 100);
        let run = claimed.run.clone().unwrap();
        assert_eq!((run.kind, run.pool.as_deref()), (RunKind::Worker, Some("warm")));
        assert_eq!(
            (run.pod.as_deref(), run.pod_uid.as_deref()),
            (Some("warm-x"), Some("indexer-uid"))
        );
        assert_eq!((run.host.as_deref(), run.port), (Some("10.0.0.9"), Some(8091)));
        // The Events that name it may be gone, since an Indexer is older than its task.
        assert_eq!(claimed.node_name.as_deref(), Some("node"));
        assert_eq!(
            run.reason.as_deref(),
            Some("an Indexer of the pool warm was idle")
        );
        assert_eq!(
            (claimed.memory.as_deref(), claimed.cpu.as_deref()),
            (Some("4Gi"), Some("2"))
        );
        assert_eq!((claimed.attempt, claimed.phase), (Some(1), Some(Phase::Starting)));
        assert!(conditions::is_true(&claimed.conditions, ACCEPTED));
        check_reason(&claimed, READY, &Waiting::Starting);
        let next = after(pass, claimed);
        let claim = WorkerClaim::recorded(&next.task).unwrap();
        assert_eq!((claim.pool.as_str(), claim.announced), ("warm", false));
        // From now on no other place is looked for.
        if let Step::Act(action) = plan(&next, at(101)) {
            assert!(
                !matches!(action, Action::TakeIndexer { .. } | Action::CreateConfigMap(_)),
                "{action:?}"
            );
        }
    }
}

#[test]
fn the_decision_for_a_pod_is_written_first_and_its_reason_kept() {
    let none_idle = "no Indexer had room of the pools that may run the task: warm";
    let mut large = assigned(None, &["warm"]);
    let mut task = (*large.task).clone();
    task.spec.resources = Some(serde_json::from_value(json!({"limits": {"memory": "8Gi"}})).unwrap());
    large.task = Arc::new(task);
    for (pass, reason) in [
        (asked(assigned(None, &["warm"]), None), none_idle),
        (assigned(Some(Placement::Pod), &["warm"]), "placement is Pod"),
        (
            large,
            "warm: the task needs more memory than its Indexers have (4Gi)",
        ),
    ] {
        let decided = status(&pass, 100);
        let run = decided.run.clone().unwrap();
        assert_eq!(
            (run.kind, run.pod.as_deref(), run.pod_uid.as_deref()),
            (RunKind::Pod, Some(POD), None)
        );
        assert_eq!(run.reason.as_deref(), Some(reason));
        assert_eq!((decided.attempt, decided.phase), (Some(1), Some(Phase::Pending)));
        check_reason(&decided, READY, &Waiting::Starting);
        let mut next = after(pass, decided);
        // What pools offer by now changes nothing.
        next.pools = vec![offer("warm"), offer("new")];
        next.pools_open_in = Some(Duration::from_secs(5));
        let run = created(next.clone()).run.unwrap();
        assert_eq!(
            (run.pod_uid.as_deref(), run.reason.as_deref()),
            (Some(POD_UID), Some(reason))
        );
        next.pools.clear();
        assert_eq!(created(next).run.unwrap(), run);
    }
}

#[test]
fn each_attempt_is_decided_anew() {
    let decided = status(&asked(assigned(None, &["warm"]), None), 100);
    let second = PeonTaskStatus {
        attempt: Some(2),
        ..decided
    };
    let mut pass = after(assigned(None, &["warm"]), second);
    pass.outcomes.live_subtasks = Some(0);
    assert!(matches!(action(&pass, 200), Action::TakeIndexer { .. }));
}

#[test]
fn a_task_for_pools_waits_for_an_indexer_and_for_a_pool() {
    let full = settled(&asked(assigned(Some(Placement::Pool), &["warm"]), None), 100);
    let said = full.status.unwrap();
    assert_eq!((said.phase, &said.run), (Some(Phase::Pending), &None));
    check_reason(&said, READY, &Waiting::PoolFull);
    assert_eq!(
        conditions::find(&said.conditions, READY).unwrap().message,
        "no Indexer has room of the pools that may run the task: warm"
    );
    assert_eq!(full.requeue, None);
    // It asks again when it is woken, and says the same.
    let again = after(assigned(Some(Placement::Pool), &["warm"]), said.clone());
    assert!(matches!(
        action(&again, 110),
        Action::TakeIndexer { waits: true, .. }
    ));
    assert_eq!(status(&asked(again, None), 110), said);
    let none = settled(&assigned(Some(Placement::Pool), &[]), 100);
    assert_eq!(none.requeue, Some(Duration::from_secs(30)));
    let said = none.status.unwrap();
    assert_eq!((said.phase, &said.run), (Some(Phase::Pending), &None));
    check_reason(&said, READY, &Waiting::NoPool);
}

#[test]
fn until_pools_open_a_task_that_one_may_run_waits_without_a_write() {
    let left = Some(Duration::from_secs(5));
    for placement in [None, Some(Placement::Pool)] {
        let pass = Snapshot {
            pools_open_in: left,
            ..assigned(placement, &["warm"])
        };
        let settlement = settled(&pass, 100);
        assert_eq!((settlement.status, settlement.requeue), (None, left));
    }
    // What no pool may run need not wait.
    let pass = Snapshot {
        pools_open_in: left,
        ..assigned(Some(Placement::Pod), &["warm"])
    };
    assert_eq!(status(&pass, 100).run.unwrap().kind, RunKind::Pod);
}

#[test]
fn what_may_not_run_takes_nothing_and_creates_nothing() {
    let change = |change: &dyn Fn(&mut PeonTask)| {
        let mut pass = assigned(None, &["warm"]);
        let mut task = (*pass.task).clone();
        change(&mut task);
        pass.task = Arc::new(task);
        pass
    };
    for (what, mut pass) in [
        ("suspended", change(&|task| task.spec.suspend = true)),
        ("cancelled", change(&|task| task.spec.cancel = true)),
        ("not assigned", change(&|task| task.metadata.labels = None)),
        (
            "without a template",
            Snapshot {
                template: Template::Missing { name: "big".into() },
                ..assigned(None, &["warm"])
            },
        ),
    ] {
        for live_look in [true, false] {
            match plan(&pass, at(100)) {
                Step::Act(Action::LookLive { .. }) if live_look => {
                    pass.outcomes.live = Some(live(None, None));
                }
                Step::Act(action) => panic!("{what}: {action:?}"),
                Step::Settle(settlement) => {
                    let run = settlement.status.and_then(|status| status.run);
                    assert_eq!(run, None, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_task_in_a_pool_counts_among_those_that_run() {
    let limited = Snapshot {
        template: Template::Found(Arc::new(template(json!({"maxRunning": 1})))),
        ..assigned(None, &["warm"])
    };
    assert!(matches!(action(&limited, 100), Action::TakeSlot { .. }));
    let with = |slot| {
        let mut pass = limited.clone();
        pass.outcomes.slot = Some(slot);
        pass
    };
    let waits = status(&with(Slot::Wait { running: 1, ahead: 0 }), 100);
    check_reason(&waits, READY, &Waiting::MaxRunning);
    assert!(matches!(
        action(&with(Slot::Taken), 100),
        Action::TakeIndexer { .. }
    ));
}

#[test]
fn a_reason_is_no_longer_than_the_api_server_accepts() {
    let long = "a".repeat(250);
    for given in [None, Some(given(&long))] {
        let pass = asked(assigned(None, &[&long]), given);
        let reason = status(&pass, 100).run.unwrap().reason.unwrap();
        assert!(reason.chars().count() <= 256, "{reason}");
    }
}

#[test]
fn a_pod_that_this_process_may_have_created_is_the_decision_whatever_the_status_says() {
    let mut snapshot = assigned(None, &["warm"]);
    snapshot.may_have_pod = true;
    assert!(matches!(
        plan(&snapshot, at(100)),
        Step::Act(Action::CreateConfigMap(_))
    ));
}

#[test]
fn the_next_attempt_begins_when_the_subtasks_of_the_one_before_have_ended() {
    let mut snapshot = after(
        assigned(None, &[]),
        PeonTaskStatus {
            attempt: Some(2),
            ..PeonTaskStatus::default()
        },
    );
    snapshot.outcomes.live_subtasks = None;
    assert!(matches!(
        plan(&snapshot, at(200)),
        Step::Act(Action::CountSubtasks { .. })
    ));
    snapshot.outcomes.live_subtasks = Some(2);
    let Step::Settle(settlement) = plan(&snapshot, at(200)) else {
        panic!("acts");
    };
    let status = settlement.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("Retrying"));
    assert!(status.run.is_none());
    snapshot.outcomes.live_subtasks = Some(0);
    assert!(matches!(
        plan(&snapshot, at(200)),
        Step::Act(Action::CreateConfigMap(_))
    ));
}

/// Earlier tasks are looked up once, where a pool asks for their duration.
#[test]
fn a_shared_pool_is_chosen_by_the_duration_of_earlier_tasks() {
    let limited = |type_: &str| {
        let mut snapshot = assigned(None, &[]);
        let mut task = (*snapshot.task).clone();
        task.spec.task = None;
        task.spec.task_json = Some(json!({"type": type_, "id": ID, "dataSource": "wiki"}).to_string());
        snapshot.task = Arc::new(task);
        let pool = PoolOffer {
            is_shared: true,
            serves_queries: true,
            longest: Some(Duration::from_secs(600)),
            ..pool_offer("small")
        };
        snapshot.pools = vec![Arc::new(pool)];
        snapshot
    };
    let mut snapshot = limited("index");
    let Action::RecallDuration { kind } = action(&snapshot, 100) else {
        panic!("it is not looked up");
    };
    assert_eq!(
        (&*kind.task_type, kind.data_source.as_deref()),
        ("index", Some("wiki"))
    );
    let expected = |seconds| Expected {
        mean: Duration::from_secs(seconds),
        tasks: 3,
    };
    snapshot.outcomes.expected = Some(Some(expected(700)));
    let reason = status(&snapshot, 100).run.unwrap().reason.unwrap();
    assert_eq!(
        reason,
        "small: the last 3 tasks of its type and datasource took 700 s on average, and its maxExpectedSeconds is 600"
    );
    snapshot.outcomes.expected = Some(Some(expected(7)));
    assert!(matches!(action(&snapshot, 100), Action::TakeIndexer { .. }));
    let slot = GivenSlot {
        kind: TaskSlot::Heavy,
        bytes: 1000,
        group: Some("group".into()),
    };
    let given = Given {
        slot: Some(slot),
        ..given("small")
    };
    let run = status(&asked(snapshot, Some(given)), 100).run.unwrap();
    assert_eq!(
        run.reason.as_deref(),
        Some(
            "an Indexer of the pool small had a free slot; the last 3 tasks of its type and datasource took 7 s on average"
        )
    );
    assert_eq!(
        (run.slot, run.estimated_bytes, run.availability_group.as_deref()),
        (Some(TaskSlot::Heavy), Some(1000), Some("group"))
    );
    let streaming = action(&limited("index_kafka"), 100);
    assert!(matches!(streaming, Action::TakeIndexer { .. }), "{streaming:?}");
}
