use super::IndexerState as S;
use super::*;
use crate::api::PoolSlots;
use crate::apiserver::classify::decode::Readable as _;
use crate::druid::worker::{Answer, Change, Counter};
use crate::indexer::decide::view::Trouble;
use crate::indexer::fixtures::{Jvm, running, succeeded, target};
use crate::pool::fixtures::{at, ended, indexer, pod, pool, ready, starting};
use serde_json::json;

/// What was heard of the JVM.
fn heard(jvm: &Jvm) -> View {
    let mut view = View::new(target("a"));
    view.answered(None, &jvm.answer(None).unwrap()).unwrap();
    view
}

fn silent(mut view: View) -> View {
    view.unanswered(Trouble::Unreachable("connection refused".into()), at(50));
    view
}

#[test]
fn the_duty_of_an_indexer_follows_from_claims_and_its_answers() {
    let fresh = Jvm::started(1);
    let mut busy = Jvm::started(1);
    busy.announce(running("t"));
    let mut forgot = Jvm::started(1);
    forgot.announce(succeeded("t"));
    forgot.forget("t");
    let mut restarted = heard(&fresh);
    let asked = restarted.asks();
    restarted
        .answered(asked, &Answer::reset("counter failed to match".into()))
        .unwrap();
    restarted
        .answered(None, &Jvm::started(99).answer(None).unwrap())
        .unwrap();
    let mut disabled = View::new(target("a"));
    let zero = Counter { counter: 0, hash: 1 };
    let change = vec![Change::Metadata { disabled: true }];
    disabled.answered(None, &Answer::changes(zero, change)).unwrap();
    let unread = |why: &str| Duty::Unread(why.to_owned());
    let views = [
        (None, unread("the operator has not asked it for its tasks yet")),
        (
            Some(View::new(target("a"))),
            unread("it has not said yet which tasks it has"),
        ),
        (Some(heard(&fresh)), Duty::Idle),
        (Some(heard(&busy)), Duty::Stranger),
        (Some(heard(&forgot)), Duty::Stranger),
        (Some(silent(heard(&busy))), Duty::Stranger),
        (Some(restarted), Duty::Stranger),
        (Some(disabled), unread("it announces that it takes no tasks")),
        (
            Some(silent(heard(&fresh))),
            unread("it does not answer: connection refused"),
        ),
        (
            Some(silent(View::new(target("a")))),
            unread("it does not answer: connection refused"),
        ),
    ];
    for (view, duty) in &views {
        let of = |claimed| Duty::of(&claimed, view.as_ref());
        assert_eq!(of(Use::None), *duty);
        assert_eq!(of(Use::Unknown), unread("the tasks have not been listed yet"));
        assert_eq!(of(Use::Over), Duty::Over);
        let since = view.as_ref().and_then(View::silence).map(|_| at(50));
        assert_eq!(of(Use::Claimed), Duty::Busy(since));
    }
}

#[test]
fn one_that_refuses_requests_says_so_and_is_not_silent() {
    let refused = |status| {
        let mut view = heard(&Jvm::started(1));
        let why = "Unauthorized".to_owned();
        view.unanswered(Trouble::Refused { status, why }, at(50));
        view
    };
    for (status, refuses, busy) in [
        (401, Some("it answers with 401: Unauthorized"), Duty::Busy(None)),
        (403, Some("it answers with 403: Unauthorized"), Duty::Busy(None)),
        (500, None, Duty::Busy(Some(at(50)))),
    ] {
        let view = refused(status);
        let mut indexer = indexer("a", "r", 1, ready());
        indexer.observe(&Use::None, Some(&view));
        assert_eq!(indexer.refuses.as_deref(), refuses);
        assert!(matches!(indexer.duty, Duty::Unread(_)));
        // Its task goes on: it is not given up after some minutes.
        indexer.observe(&Use::Claimed, Some(&view));
        assert_eq!((indexer.refuses.as_deref(), indexer.duty), (refuses, busy));
    }
    let mut indexer = indexer("a", "r", 1, ready());
    indexer.observe(&Use::None, Some(&heard(&Jvm::started(1))));
    assert_eq!((indexer.refuses, indexer.duty), (None, Duty::Idle));
}

#[test]
fn the_ports_of_an_indexer_are_those_of_its_pod() {
    let mut of = pod("a", "r", 1, ready());
    assert_eq!(Indexer::of(&of).ports, IndexerPorts::Plain);
    of.metadata.annotations = Some([(ANNOTATION_INDEXER_PORTS.to_owned(), "https".to_owned())].into());
    assert_eq!(Indexer::of(&of).ports, IndexerPorts::Tls);
    // As the watch keeps it.
    of.keep().unwrap();
    assert_eq!(Indexer::of(&of).ports, IndexerPorts::Tls);
}

#[test]
fn a_probe_that_fails_is_the_word_of_the_kubelet() {
    let mut hung = starting();
    hung["conditions"][0]["reason"] = json!("ContainersNotReady");
    for (status, probed) in [(starting(), false), (ready(), true), (hung, true)] {
        let mut of = pod("a", "r", 1, status);
        of.keep().unwrap();
        // As the watch keeps it.
        assert_eq!(Indexer::of(&of).probed, probed);
    }
}

#[test]
fn only_an_idle_one_that_is_ready_and_hidden_can_take_a_task() {
    let seen = |hidden: &[&str], visible: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Seen::from(Some(&IndexerDiscovery {
            hidden: owned(hidden),
            visible: owned(visible),
            unannounced: Vec::new(),
            message: None,
        }))
    };
    let hidden = || seen(&["a"], &[]);
    let with = |duty: Duty, status| Indexer {
        duty,
        ..indexer("a", "r", 1, status)
    };
    let mut going = with(Duty::Idle, ready());
    going.evidence.deletion_requested = Some(at(60));
    for (indexer, seen, state, warm) in [
        (with(Duty::Idle, ready()), hidden(), S::Ready, true),
        (with(Duty::Idle, ready()), seen(&[], &[]), S::Starting, false),
        (
            with(Duty::Idle, ready()),
            seen(&["a"], &["a"]),
            S::Starting,
            false,
        ),
        (with(Duty::Idle, starting()), hidden(), S::Starting, false),
        (
            with(Duty::Unread("why".into()), ready()),
            hidden(),
            S::Starting,
            false,
        ),
        (with(Duty::Busy(None), ready()), hidden(), S::Used, false),
        (with(Duty::Busy(None), ended(1, "")), hidden(), S::Used, false),
        (with(Duty::Over, ready()), hidden(), S::Used, false),
        (with(Duty::Stranger, ready()), hidden(), S::Used, false),
        (with(Duty::Idle, ended(1, "")), hidden(), S::Failed, false),
        (going, hidden(), S::Terminating, false),
    ] {
        assert_eq!(indexer.state(Some("r"), &seen).0, state, "{:?}", indexer.duty);
        assert_eq!(indexer.is_warm(&seen), warm, "{:?}", indexer.duty);
    }
    let old = with(Duty::Idle, ready());
    assert_eq!(old.state(Some("new"), &hidden()).0, S::Outdated);
    assert!(old.is_warm(&hidden()), "until it is replaced");
    let busy = with(Duty::Busy(None), ready());
    assert_eq!(busy.state(Some("new"), &hidden()).0, S::Used);
}

#[test]
fn an_indexer_is_unwanted_on_a_cordoned_node_and_when_it_is_old() {
    let age = |spec: serde_json::Value, is_cordoned, now| {
        let mut indexer = indexer("a", "r", 100, ready());
        indexer.age(&pool(spec).spec, is_cordoned, at(now));
        indexer
    };
    let day = 86_400;
    assert_eq!(age(json!({}), false, 100 + day).unwanted, None);
    assert_eq!(age(json!({}), false, 101 + day).unwanted, Some(Unwanted::Old));
    let hour = json!({"recycle": {"maxAgeSeconds": 3600}});
    assert_eq!(age(hour.clone(), false, 3701).unwanted, Some(Unwanted::Old));
    let worn = |spec: serde_json::Value, slots, had| {
        let mut indexer = indexer("a", "r", 100, ready());
        indexer.slots = slots;
        indexer.load.had = had;
        indexer.age(&pool(spec).spec, false, at(101));
        indexer.unwanted
    };
    let (shared, few) = (Some(PoolSlots::default()), json!({"recycle": {"maxTasks": 5}}));
    assert_eq!(worn(json!({}), shared, 1999), None);
    assert_eq!(worn(json!({}), shared, 2000), Some(Unwanted::Worn));
    assert_eq!(worn(few.clone(), shared, 5), Some(Unwanted::Worn));
    assert_eq!(worn(few, None, 5), None, "it has one task ever");
    let cordoned = age(hour, true, 101);
    assert_eq!(cordoned.unwanted, Some(Unwanted::Cordoned));
    let seen = Seen::from(Some(&IndexerDiscovery {
        hidden: vec!["a".into()],
        ..IndexerDiscovery::default()
    }));
    assert!(!cordoned.is_warm(&seen), "it is given no task");
    assert!(
        age(json!({}), false, 101 + day).is_warm(&seen),
        "until it is replaced"
    );
    let (state, details) = cordoned.state(Some("r"), &seen);
    assert_eq!(
        (state, details.as_deref()),
        (S::Outdated, Some("its node is cordoned"))
    );
}
