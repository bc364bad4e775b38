//! Tasks that are expected to run for long share no Indexer.

use super::*;
use crate::task::accept::placement::rules::refusals;
use crate::task::aggregates::durations::Expected;

fn limited() -> PoolOffer {
    PoolOffer {
        longest: Some(Duration::from_secs(600)),
        ..shared()
    }
}

fn expecting(task: PeonTask, seconds: Option<u64>) -> Snapshot {
    let mut snapshot = snapshot(task);
    snapshot.outcomes.expected = Some(seconds.map(|seconds| Expected {
        mean: Duration::from_secs(seconds),
        tasks: 10,
    }));
    snapshot
}

#[test]
fn what_is_expected_to_run_for_long_shares_no_indexer() {
    let why = "shared: the last 10 tasks of its type and datasource took 601 s on average, and its maxExpectedSeconds is 600";
    for placement in ["Auto", "Pool"] {
        let task = |type_: &str| assigned(druid(type_), json!({"placement": placement}));
        let of = |type_: &str, seconds, pools| choice(&expecting(task(type_), seconds), pools);
        assert_eq!(of("index", Some(601), vec![limited()]), in_pod(why));
        assert_eq!(
            of("index", Some(601), vec![limited(), offer("single")]),
            in_pools(&["single"], false),
            "an Indexer of one task is its own"
        );
        for (type_, seconds) in [("index", Some(600)), ("index", None)] {
            let choice = of(type_, seconds, vec![limited()]);
            assert!(matches!(choice, Choice::Pools { .. }), "{choice:?}");
        }
        let streaming = PoolOffer {
            serves_queries: true,
            ..limited()
        };
        let choice = of("index_kafka", Some(100_000), vec![streaming]);
        assert!(matches!(choice, Choice::Pools { .. }), "{choice:?}");
        let choice = of("index", Some(601), vec![shared()]);
        assert!(matches!(choice, Choice::Pools { .. }), "{choice:?}");
    }
}

/// `explain` names every rule; a status has room for the first.
#[test]
fn every_rule_that_refuses_a_task_is_named() {
    let task = assigned(
        with_context(json!({"druid.peon.pod.memory": "1G"})),
        json!({"javaOpts": ["-XX:+UseSerialGC"]}),
    );
    let snapshot = expecting(task, Some(900));
    let accepted = accept(&snapshot).unwrap();
    let case = Case {
        task: &snapshot.task,
        accepted: &accepted,
        expected: snapshot.outcomes.expected.flatten(),
    };
    let pool = PoolOffer {
        matches: Some(serde_json::from_value(json!({"types": ["kill"]})).unwrap()),
        ..limited()
    };
    let rules: Vec<_> = refusals(&case, &pool).map(|refusal| refusal.rule).collect();
    assert_eq!(rules, ["match", "JVM options", "own memory", "expected duration"]);
}
