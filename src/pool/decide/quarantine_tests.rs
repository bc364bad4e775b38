use serde_json::json;

use super::*;
use crate::pool::fixtures::{at, in_state, indexer, ready};

fn kind(type_: &str, data_source: &str) -> TaskKind {
    TaskKind {
        task_type: type_.into(),
        data_source: Some(data_source.into()),
    }
}

/// An Indexer that ended at this second, with tasks of these kinds.
fn ended(name: &str, second: i64, (code, reason): (i32, &str), kinds: &[&TaskKind]) -> Indexer {
    let state =
        json!({"terminated": {"exitCode": code, "reason": reason, "finishedAt": at(second).to_string()}});
    let mut indexer = indexer(name, "r", 0, in_state("Failed", false, state));
    indexer.load.kinds = kinds.iter().map(|kind| (*kind).clone()).collect();
    indexer
}

fn killed(name: &str, second: i64, kinds: &[&TaskKind]) -> Indexer {
    ended(name, second, (137, "OOMKilled"), kinds)
}

#[test]
fn a_kind_that_was_there_twice_runs_alone_for_a_day() {
    let (big, small, other) = (kind("index", "big"), kind("index", "small"), kind("kill", "big"));
    let mut quarantine = Quarantine::default();
    let first = killed("a", 10, &[&big, &small]);
    assert_eq!(quarantine.observe(None, std::slice::from_ref(&first), at(11)), []);
    assert_eq!(
        quarantine.observe(None, std::slice::from_ref(&first), at(12)),
        [],
        "the same one"
    );
    let heap = ended("b", 20, (3, "Error"), &[&big, &other]);
    let new = quarantine.observe(None, &[first, heap], at(21));
    assert_eq!(new, std::slice::from_ref(&big));
    let until = at(20 + 86_400);
    assert_eq!(
        quarantine.kinds,
        [PoolQuarantine {
            kind: big.clone(),
            until: Time(until)
        }]
    );
    assert_eq!(quarantine.look_again(at(20)), Some(Duration::from_secs(86_400)));
    quarantine.observe(None, &[], at(20 + 86_399));
    assert_eq!(quarantine.kinds.len(), 1);
    quarantine.observe(None, &[], until);
    assert_eq!((quarantine.kinds.len(), quarantine.look_again(until)), (0, None));
}

#[test]
fn other_ends_and_indexers_without_tasks_say_nothing() {
    let big = kind("index", "big");
    let mut quarantine = Quarantine::default();
    let others = [
        ended("a", 1, (137, "Error"), &[&big]),
        ended("b", 2, (143, "Error"), &[&big]),
        killed("c", 3, &[]),
        indexer("d", "r", 0, ready()),
    ];
    assert_eq!(quarantine.observe(None, &others, at(4)), []);
    assert_eq!(quarantine.ended, []);
}

#[test]
fn only_the_last_three_count() {
    let (big, small) = (kind("index", "big"), kind("index", "small"));
    let mut quarantine = Quarantine::default();
    quarantine.observe(None, &[killed("a", 1, &[&big])], at(1));
    for (name, second) in [("b", 2), ("c", 3), ("d", 4)] {
        quarantine.observe(None, &[killed(name, second, &[&small])], at(second));
    }
    assert_eq!(quarantine.observe(None, &[killed("e", 5, &[&big])], at(5)), []);
    assert_eq!(quarantine.ended.len(), 3);
    assert_eq!(quarantine.observe(None, &[killed("f", 6, &[&big])], at(6)), [big]);
}

/// Another process reads what the one before wrote, and counts no Indexer twice.
#[test]
fn the_status_is_remembered() {
    let big = kind("index", "big");
    let first = killed("a", 10, &[&big]);
    let mut before = Quarantine::default();
    before.observe(None, std::slice::from_ref(&first), at(11));
    let status = IndexerPoolStatus {
        out_of_memory: before.ended.clone(),
        quarantine: before.kinds.clone(),
        ..IndexerPoolStatus::default()
    };
    let mut after = Quarantine::default();
    assert_eq!(after.observe(Some(&status), &[first], at(12)), []);
    assert_eq!(after.ended, before.ended);
    assert_eq!(after.observe(None, &[killed("b", 20, &[&big])], at(21)), [big]);
}
