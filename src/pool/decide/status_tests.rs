use serde_json::json;

use IndexerState::{Failed, Outdated, Ready, Starting};

use super::*;
use crate::api::conditions::QUERIES_SERVED;
use crate::api::indexer_pool::IndexerDiscovery;
use crate::api::reason::QueriesServed;
use crate::pool::fixtures::{at, ended, indexer, plan, pool, ready, starting};

fn written(decision: Decision) -> Written {
    match decision {
        Decision::Write(written) => *written,
        other => panic!("{other:?}"),
    }
}

/// The pool with what was written.
fn with(mut pool: IndexerPool, written: &Written) -> IndexerPool {
    pool.status = Some(serde_json::from_value(serde_json::to_value(written).unwrap()).unwrap());
    pool
}

#[test]
fn counts_and_states_of_indexers() {
    let indexers = [
        indexer("a", "r", 1, ready()),
        indexer("b", "r", 2, ready()),
        indexer("c", "r", 3, starting()),
        indexer("d", "old", 4, ready()),
        indexer("e", "r", 5, ended(1, "why")),
    ];
    let seen = Seen::from(Some(&IndexerDiscovery {
        hidden: vec!["a".into(), "d".into()],
        ..IndexerDiscovery::default()
    }));
    let plan = plan(PoolReadiness::Starting);
    let written = written(decide(
        &pool(json!({})),
        &plan,
        Some("r"),
        &indexers,
        &seen,
        None,
        at(1),
    ));
    assert_eq!(
        (written.replicas, written.ready_replicas, written.updated_replicas),
        (Some(4), Some(2), Some(3))
    );
    let states: Vec<IndexerState> = written.indexers.iter().map(|i| i.state).collect();
    assert_eq!(states, [Ready, Starting, Starting, Outdated, Failed]);
    assert_eq!(
        written.indexers[4].reason.as_deref(),
        Some("exit code 1, Error: why")
    );
}

#[test]
fn conditions_follow_kstatus() {
    for (reason, expected) in [
        (PoolReadiness::Warm, vec![("Ready", "True")]),
        (
            PoolReadiness::Starting,
            vec![("Ready", "False"), ("Reconciling", "True")],
        ),
        (
            PoolReadiness::NotHidden,
            vec![("Ready", "False"), ("Stalled", "True")],
        ),
        (
            PoolReadiness::IndexerFails,
            vec![("Ready", "False"), ("Stalled", "True")],
        ),
    ] {
        let decision = decide(
            &pool(json!({})),
            &plan(reason),
            None,
            &[],
            &Seen::default(),
            None,
            at(1),
        );
        let written = written(decision);
        let found: Vec<(&str, &str)> = written
            .conditions
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str()))
            .collect();
        assert_eq!(found, expected, "{reason}");
    }
}

#[test]
fn counts_alone_wait_a_new_reason_does_not() {
    let seen = Seen::default();
    let look = |pool: &IndexerPool, reason, indexers: &[Indexer], now| {
        decide(
            pool,
            &plan(reason),
            Some("r"),
            indexers,
            &seen,
            Some(at(100)),
            at(now),
        )
    };
    let one = [indexer("a", "r", 1, starting())];
    let first = decide(
        &pool(json!({})),
        &plan(PoolReadiness::Starting),
        Some("r"),
        &one,
        &seen,
        None,
        at(100),
    );
    let pool = with(pool(json!({})), &written(first));
    assert_eq!(look(&pool, PoolReadiness::Starting, &one, 103), Decision::Nothing);
    let two = [indexer("a", "r", 1, starting()), indexer("b", "r", 2, starting())];
    assert_eq!(
        look(&pool, PoolReadiness::Starting, &two, 103),
        Decision::Later(Duration::from_secs(7))
    );
    assert!(matches!(
        look(&pool, PoolReadiness::Starting, &two, 111),
        Decision::Write(_)
    ));
    assert!(matches!(
        look(&pool, PoolReadiness::Warm, &one, 103),
        Decision::Write(_)
    ));
}

#[test]
fn at_most_twenty_are_listed() {
    let indexers: Vec<Indexer> = (0..30)
        .map(|n| indexer(&format!("p{n:02}"), "r", n, starting()))
        .collect();
    let plan = plan(PoolReadiness::Starting);
    let decision = decide(
        &pool(json!({})),
        &plan,
        Some("r"),
        &indexers,
        &Seen::default(),
        None,
        at(1),
    );
    let written = written(decision);
    assert_eq!(
        (written.indexers.len(), written.replicas),
        (MOST_LISTED, Some(30))
    );
}

/// What scales a pool finds its pods by the selector; where nothing else is to scale it there is none.
#[test]
fn only_shared_pools_without_autoscaling_can_be_scaled_by_others() {
    let selector = |spec| {
        let decision = decide(
            &pool(spec),
            &plan(PoolReadiness::Warm),
            None,
            &[],
            &Seen::default(),
            None,
            at(0),
        );
        written(decision).selector
    };
    let pods = "app.kubernetes.io/managed-by=peon-operator,peon.dev/pool=warm";
    assert_eq!(
        selector(serde_json::json!({"mode": "Shared"})).as_deref(),
        Some(pods)
    );
    let autoscaling = serde_json::json!({"max": 3});
    assert_eq!(
        selector(serde_json::json!({"mode": "Shared", "autoscaling": autoscaling})),
        None
    );
    assert_eq!(selector(serde_json::json!({})), None);
}

#[test]
fn what_became_of_serving_queries_is_a_condition_while_it_is_asked_for() {
    let pool = pool(json!({}));
    let with_queries = Plan {
        queries: Some(Queries {
            reason: QueriesServed::KubernetesDiscovery,
            message: "why".into(),
        }),
        ..plan(PoolReadiness::Warm)
    };
    let of = |pool: &IndexerPool, plan: &Plan| {
        let decided = decide(pool, plan, None, &[], &Seen::default(), Some(at(0)), at(1));
        let said = written(decided);
        let found =
            conditions::find(&said.conditions, QUERIES_SERVED).map(|c| (c.status.clone(), c.message.clone()));
        (with(pool.clone(), &said), found)
    };
    let (after, said) = of(&pool, &with_queries);
    assert_eq!(said, Some(("False".into(), "why".into())));
    assert!(conditions::is_true(
        &after.status.as_ref().unwrap().conditions,
        READY
    ));
    assert_eq!(of(&after, &plan(PoolReadiness::Warm)).1, None);
}

#[test]
fn another_number_of_indexers_is_written_at_once() {
    let scaled = |number| Plan {
        scaling: Some(PoolScaling {
            desired_replicas: number,
            message: Some("why".into()),
        }),
        ..plan(PoolReadiness::Warm)
    };
    let mut pool = pool(serde_json::json!({"mode": "Shared", "autoscaling": {"max": 3}}));
    let first = decide(&pool, &scaled(1), None, &[], &Seen::default(), None, at(0));
    let status = serde_json::to_value(written(first)).unwrap();
    pool.status = Some(serde_json::from_value(status).unwrap());
    let again = |plan: &Plan| decide(&pool, plan, None, &[], &Seen::default(), Some(at(0)), at(1));
    assert_eq!(again(&scaled(1)), Decision::Nothing);
    assert!(matches!(again(&scaled(2)), Decision::Write(_)));
}
