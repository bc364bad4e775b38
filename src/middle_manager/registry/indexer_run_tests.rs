use serde_json::{Value, json};

use super::*;
use crate::middle_manager::object_fixtures::{
    FIRST, at, in_indexer, indexer, pod_view, ready, running, seen, succeeded, task, view,
};
use crate::middle_manager::registry::Registry;
use crate::middle_manager::registry::history_items::{HistoryItem, Log};
use crate::middle_manager::registry::view::PodSeen;

type Location = (Option<String>, i32, i32);

const NOWHERE: Location = (None, -1, -1);

fn location_at(host: &str) -> Location {
    (Some(host.to_owned()), 8091, -1)
}

/// The locations that are announced, as host, port and port for TLS.
fn locations(moves: &[HistoryItem]) -> Vec<Location> {
    let location = |item: &HistoryItem| match item {
        HistoryItem::Announce(_, announced) => {
            let location = announced.task_location.clone();
            Some((location.host, location.port, location.tls_port))
        }
        HistoryItem::Remove(..) | HistoryItem::Clash { .. } => None,
    };
    moves.iter().filter_map(location).collect()
}

/// The claim of an attempt on an Indexer, which is not yet the task's location.
fn claimed(attempt: u32, uid: &str, host: &str) -> Value {
    let mut status = in_indexer(attempt, uid, host);
    status["phase"] = json!("Starting");
    status
}

fn indexer_pod(uid: &str) -> PodSeen {
    PodSeen::of(&pod_view(indexer(uid, "10.1.0.1"))).unwrap()
}

#[test]
fn a_task_in_an_indexer_is_there_once_it_runs_and_until_the_next_attempt() {
    let mut known = Registry::default();
    let claim = known.see(seen("a", "u", 1, claimed(1, "i", "10.1.0.1")), at(0));
    assert_eq!(locations(&claim), [NOWHERE], "the Indexer may not have it yet");
    let runs = known.see(seen("a", "u", 2, in_indexer(1, "i", "10.1.0.1")), at(0));
    assert_eq!(locations(&runs), [location_at("10.1.0.1")]);
    // The pod that a process without a lease creates for the same attempt is not the task's.
    assert_eq!(known.see_pod(ready("u", 1), at(0)), []);
    // The location is removed in the write that ends the attempt.
    let mut next = in_indexer(2, "i", "10.1.0.1");
    next["phase"] = json!("Pending");
    next["run"] = json!(null);
    assert_eq!(locations(&known.see(seen("a", "u", 3, next), at(0))), [NOWHERE]);
    assert_eq!(
        known.see(seen("a", "u", 4, claimed(2, "j", "10.1.0.2")), at(0)),
        []
    );
    let runs = known.see(seen("a", "u", 5, in_indexer(2, "j", "10.1.0.2")), at(0));
    assert_eq!(locations(&runs), [location_at("10.1.0.2")]);
    let mut ended = succeeded();
    ended["attempt"] = json!(2);
    ended["run"] = json!({"kind": "Worker", "pool": "warm", "pod": "warm-j", "podUID": "j"});
    let end = known.see(seen("a", "u", 6, ended), at(0));
    assert_eq!(
        locations(&end),
        [location_at("10.1.0.2")],
        "the end says where the task was"
    );
}

#[test]
fn a_pod_that_was_ready_before_the_claim_was_seen_is_not_the_tasks() {
    let mut known = Registry::default();
    known.see_pod(ready("u", 1), at(0));
    let claim = known.see(seen("a", "u", 1, claimed(1, "i", "10.1.0.1")), at(0));
    assert_eq!(locations(&claim), [NOWHERE]);
    // The watch of pods is ahead of that of PeonTasks.
    let mut known = Registry::default();
    known.see(seen("a", "u", 1, json!({})), at(0));
    let own = known.see_pod(ready("u", 1), at(0));
    assert_eq!(locations(&own), [(Some("10.0.0.1".to_owned()), 8100, -1)]);
    let claim = known.see(seen("a", "u", 2, claimed(1, "i", "10.1.0.1")), at(0));
    assert_eq!(locations(&claim), [NOWHERE]);
}

#[test]
fn a_restart_finds_the_location_in_the_status() {
    let mut known = Registry::default();
    let mut stopping = in_indexer(1, "i", "10.1.0.1");
    stopping["reason"] = json!("Stopping");
    stopping["stop"] = json!({"cause": "Cancelled", "message": "spec.cancel was set", "time": at(120)});
    let moves = known.see(seen("a", "u", 7, stopping), at(130));
    assert_eq!(locations(&moves), [location_at("10.1.0.1")]);
}

/// Half a location breaks Druid's clients.
#[test]
fn a_location_is_whole_or_unknown() {
    for (run, expected) in [
        (json!({"host": "h", "port": 8091}), Some(("h", 8091, -1))),
        (
            json!({"host": "h", "port": 8091, "tlsPort": 8291}),
            Some(("h", 8091, 8291)),
        ),
        (json!({"host": "h", "tlsPort": 8291}), Some(("h", -1, 8291))),
        (json!({"host": "h"}), None),
        (json!({"host": "h", "port": 0}), None),
        (json!({"host": "h", "port": 65_536}), None),
        (json!({"host": "", "port": 8091}), None),
        (json!({"port": 8091}), None),
        (json!({}), None),
    ] {
        let mut status = in_indexer(1, "i", "x");
        let mut whole = json!({"kind": "Worker", "pool": "warm", "pod": "warm-i", "podUID": "i"});
        for (key, value) in run.as_object().unwrap() {
            whole[key] = value.clone();
        }
        status["run"] = whole;
        let object = task("a", "u", 1, status);
        let run = IndexerRun::of(view(object).status.as_ref().unwrap()).unwrap();
        assert_eq!(run.pod_uid, "i");
        let found = run
            .location
            .as_ref()
            .map(|l| (l.host.as_deref().unwrap(), l.port, l.tls_port));
        assert_eq!(found, expected, "{run:?}");
    }
    for kind in ["Pod", "Elsewhere"] {
        let mut status = running();
        status["run"] = json!({"kind": kind, "pod": "p", "podUID": "i", "host": "h", "port": 8100});
        let object = task("a", "u", 1, status);
        assert_eq!(
            IndexerRun::of(view(object).status.as_ref().unwrap()),
            None,
            "{kind}"
        );
    }
}

#[test]
fn the_log_of_a_task_in_an_indexer_is_in_the_indexers_pod() {
    let mut known = Registry::default();
    known.see(seen("a", "u", 1, claimed(1, "i", "10.1.0.1")), at(0));
    // Neither the attempt's own pod, which should not be there, nor another Indexer of the pool.
    known.see_pod(ready("u", 1), at(0));
    known.see_pod(indexer_pod("j"), at(0));
    assert_eq!(known.log(FIRST, "a"), Log::NotBegun);
    assert_eq!(known.see_pod(indexer_pod("i"), at(0)), []);
    let here = Log::Pod {
        pod: "warm-i".into(),
        container: "main".into(),
        lines: None,
    };
    assert_eq!(known.log(FIRST, "a"), here);
    known.see(seen("a", "u", 2, in_indexer(1, "i", "10.1.0.1")), at(0));
    assert_eq!(known.log(FIRST, "a"), here);
    // Its pod begins to start before that.
    let mut starts = indexer("i", "10.1.0.1");
    starts["status"]["containerStatuses"] = json!([]);
    known.see_pod(PodSeen::of(&pod_view(starts)).unwrap(), at(0));
    assert_eq!(known.log(FIRST, "a"), Log::NotBegun);
}

#[test]
fn indexers_that_are_gone_are_not_remembered() {
    let mut known = Registry::default();
    known.see(seen("a", "u", 1, in_indexer(1, "i", "10.1.0.1")), at(0));
    for uid in ["i", "j", "k"] {
        known.see_pod(indexer_pod(uid), at(0));
    }
    let gone = indexer_pod("i");
    known.pods().gone(&gone.owner, &gone.uid);
    assert_eq!(known.log(FIRST, "a"), Log::NotBegun);
    known.pods().list_begins();
    known.see_pod(indexer_pod("k"), at(0));
    known.pods().list_ends();
    assert!(known.pods().indexer("i").is_none() && known.pods().indexer("j").is_none());
    assert!(known.pods().indexer("k").is_some());
    // Its task does not take it along.
    known.gone("u", None, at(0));
    assert!(known.pods().indexer("k").is_some());
}
