use serde_json::{Value, json};

use super::super::gc_log::Live;
use super::*;
use crate::pool::fixtures::pool;

const HEAP: Heap = Heap {
    bytes: 1000,
    task_bytes: 40,
};

fn spec(more: Value) -> IndexerPoolSpec {
    pool(more).spec
}

/// Live bytes after a full collection at this uptime, and the share of time.
fn reading(live: Option<(u64, u64)>, gc_percent: u8) -> Reading {
    Reading {
        gc_percent,
        live: live.map(|(uptime, bytes)| Live { bytes, uptime }),
    }
}

#[test]
fn a_full_heap_cordons_until_it_is_empty_again() {
    let (spec, mut heaps) = (spec(json!({})), Heaps::default());
    let mut judge = |at: u64, bytes: u64, tasks: usize| {
        let judged = heaps.judge(&spec, "a", HEAP, reading(Some((at, bytes)), 0), tasks);
        (judged.live_percent, judged.cordon)
    };
    assert_eq!(judge(1, 799, 4), (Some(79), None));
    assert_eq!(judge(2, 800, 4), (Some(80), Some(Cordon::Live(80))));
    assert_eq!(
        judge(3, 760, 4),
        (Some(76), Some(Cordon::Live(76))),
        "five less ends it"
    );
    assert_eq!(judge(4, 749, 4), (Some(74), None));
    assert_eq!(judge(5, 900, 4), (Some(90), Some(Cordon::Live(90))));
    // Its tasks have ended, and with them what they held: no collection follows that would say so.
    assert_eq!(judge(5, 900, 0), (Some(90), None));
}

#[test]
fn collections_that_take_the_time_cordon_until_they_take_half_of_it() {
    let (spec, mut heaps) = (spec(json!({})), Heaps::default());
    let mut judge = |percent: u8, tasks: usize| {
        let judged = heaps.judge(&spec, "a", HEAP, reading(None, percent), tasks);
        assert_eq!((judged.live_percent, judged.is_leaking), (None, false));
        judged.cordon
    };
    assert_eq!(judge(19, 1), None);
    assert_eq!(judge(20, 1), Some(Cordon::Gc(20)));
    assert_eq!(judge(10, 0), Some(Cordon::Gc(10)));
    assert_eq!(judge(9, 1), None);
}

#[test]
fn limits_are_those_of_the_pool_and_100_is_none() {
    let given = spec(json!({"watchdog": {"cordonLivePercent": 50, "cordonGcPercent": 5}}));
    let never = spec(json!({
        "watchdog": {"cordonLivePercent": 100, "cordonGcPercent": 100},
        "recycle": {"liveHeapPercent": 100},
    }));
    let judge =
        |spec: &IndexerPoolSpec, live, gc| Heaps::default().judge(spec, "a", HEAP, reading(live, gc), 1);
    assert_eq!(judge(&given, Some((1, 500)), 0).cordon, Some(Cordon::Live(50)));
    assert_eq!(judge(&given, None, 5).cordon, Some(Cordon::Gc(5)));
    let judged = judge(&never, Some((1, 2000)), 100);
    assert_eq!((judged.cordon, judged.is_leaking), (None, false));
}

#[test]
fn what_is_left_beside_the_tasks_of_that_time_is_a_leak() {
    let spec = spec(json!({}));
    let leaks = |bytes: u64, tasks: usize| {
        let mut heaps = Heaps::default();
        heaps
            .judge(&spec, "a", HEAP, reading(Some((1, bytes)), 0), tasks)
            .is_leaking
    };
    assert!(!leaks(709, 0) && leaks(710, 0));
    // Each of two tasks may hold 80.
    assert!(!leaks(869, 2) && leaks(870, 2));
    assert!(!leaks(1000, 4), "four tasks may hold what is there");
}

/// The pass comes a moment after the collection.
#[test]
fn tasks_that_ended_since_count() {
    let (spec, mut heaps) = (spec(json!({})), Heaps::default());
    let mut leaks = |at: u64, bytes: u64, tasks: usize| {
        heaps
            .judge(&spec, "a", HEAP, reading(Some((at, bytes)), 0), tasks)
            .is_leaking
    };
    assert!(!leaks(1, 100, 4));
    assert!(
        !leaks(2, 900, 0),
        "four tasks ran when it was collected, as far as is known"
    );
    assert!(!leaks(2, 900, 0), "no later pass takes it for one without tasks");
    assert!(leaks(3, 900, 0));
    // A leak stays one when tasks come.
    assert!(leaks(3, 900, 4));
}

#[test]
fn what_is_gone_is_forgotten() {
    let (spec, mut heaps) = (spec(json!({})), Heaps::default());
    heaps.judge(&spec, "a", HEAP, reading(Some((1, 900)), 0), 1);
    assert!(heaps.any_cordoned() && heaps.cordon_of("a").is_some());
    heaps.retain(|uid| uid != "a");
    assert!(!heaps.any_cordoned() && heaps.cordon_of("a").is_none());
}

#[test]
fn an_event_says_what_began_and_what_is_over() {
    let reasons = |before, now| news("small-1", before, now).map(|news| news.reason);
    let (live, gc) = (Some(Cordon::Live(80)), Some(Cordon::Gc(20)));
    assert_eq!(reasons(None, None), None);
    assert_eq!(reasons(None, live), Some("Cordoned"));
    assert_eq!(
        reasons(live, Some(Cordon::Live(85))),
        None,
        "numbers change often"
    );
    assert_eq!(reasons(live, gc), Some("Cordoned"));
    assert_eq!(reasons(gc, None), Some("Uncordoned"));
    assert!(
        news("small-1", None, live)
            .unwrap()
            .note
            .contains("small-1: it gets no task for now: 80 %")
    );
}

#[test]
fn the_annotation_of_a_pod_is_read() {
    assert_eq!(Heap::read(Some(&HEAP.text())), Some(HEAP));
    for text in [None, Some(""), Some("1"), Some("0,1"), Some("a,b"), Some("1,2,3")] {
        assert_eq!(Heap::read(text), None, "{text:?}");
    }
}
