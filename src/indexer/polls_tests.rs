use bytes::Bytes;
use tokio::time::{advance, timeout};

use super::*;
use crate::indexer::client::HOLD;
use crate::indexer::decide::meaning::{Claim, Meaning, meaning};
use crate::indexer::decide::post::Posted;
use crate::indexer::fixtures::{ModelIndexer, Mood, location, running, succeeded, target};

const LONG: Duration = Duration::from_secs(600);

fn indexer(pod_uid: &str, model: &Arc<ModelIndexer>) -> Indexer {
    Indexer {
        target: target(pod_uid),
        worker: model.clone(),
    }
}

/// Polls of one Indexer in the pod `p`.
fn of_one() -> (Polls, Arc<ModelIndexer>) {
    let (polls, model) = (Polls::new(Clock::default()), ModelIndexer::new());
    assert!(polls.set(vec![indexer("p", &model)]).is_empty());
    (polls, model)
}

/// What the newest view means for the task `a`, once it is this.
async fn until(polls: &Polls, expected: impl Fn(&Meaning) -> bool) -> Meaning {
    let claim = Claim {
        task_id: "a",
        pod_uid: "p",
        announced: false,
        stopped: false,
    };
    let waited = async {
        loop {
            let view = polls.view("p").unwrap();
            let now = meaning(&view, Some(&claim));
            if expected(&now) {
                return now;
            }
            polls.changed().await;
        }
    };
    timeout(LONG, waited).await.expect("it never comes to that")
}

#[tokio::test(start_paused = true)]
async fn a_task_is_followed_from_post_to_end() {
    let (polls, model) = of_one();
    until(&polls, |m| *m == Meaning::NotYet).await;
    let Indexer { target, worker } = polls.indexer("p").unwrap();
    let task = Bytes::from_static(br#"{"type":"noop","id":"a"}"#);
    assert_eq!(worker.assign(&target, task, LONG).await, Posted::Accepted);
    until(&polls, |m| *m == Meaning::Announced(location())).await;
    model.announce(succeeded("a"));
    until(&polls, |m| matches!(m, Meaning::Ended(_))).await;
    model.forget("a");
    advance(HOLD).await;
    until(&polls, |m| matches!(m, Meaning::Ended(_))).await;
    assert_eq!(model.posted(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_indexer_is_asked_once_in_a_hold_and_wakes_nobody() {
    let (polls, model) = of_one();
    until(&polls, |m| *m == Meaning::NotYet).await;
    let before = model.polls();
    assert!(timeout(HOLD * 30, polls.changed()).await.is_err());
    let polled = model.polls() - before;
    assert!((25..=31).contains(&polled), "{polled}");
}

#[tokio::test(start_paused = true)]
async fn one_that_forgets_is_not_one_that_restarts() {
    let (polls, model) = of_one();
    model.announce(running("a"));
    until(&polls, |m| matches!(m, Meaning::Announced(_))).await;
    model.forget("a");
    until(&polls, |m| *m == Meaning::Forgotten).await;

    let (polls, model) = of_one();
    model.announce(running("a"));
    until(&polls, |m| matches!(m, Meaning::Announced(_))).await;
    model.restart();
    until(&polls, |m| *m == Meaning::NewJvm).await;
    model.announce(running("a"));
    advance(LONG).await;
    assert_eq!(until(&polls, |_| true).await, Meaning::NewJvm);
}

#[tokio::test(start_paused = true)]
async fn silence_is_noted_and_over_with_the_next_answer() {
    for mood in [Mood::Silent, Mood::Fails(503), Mood::Garbled, Mood::Panics] {
        let (polls, model) = of_one();
        model.announce(running("a"));
        until(&polls, |m| matches!(m, Meaning::Announced(_))).await;
        model.mood(mood);
        until(&polls, |m| matches!(m, Meaning::Unreachable(_))).await;
        model.announce(succeeded("a"));
        advance(LONG).await;
        model.mood(Mood::Answers);
        until(&polls, |m| matches!(m, Meaning::Ended(_))).await;
        assert_eq!(polls.view("p").unwrap().silence(), None, "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_late_is_not_silent() {
    let (polls, model) = of_one();
    model.mood(Mood::Late(Duration::from_secs(3)));
    until(&polls, |m| *m == Meaning::NotYet).await;
    model.announce(running("a"));
    until(&polls, |m| matches!(m, Meaning::Announced(_))).await;
}

/// Each mood, and most polls in ten minutes.
#[tokio::test(start_paused = true)]
async fn no_indexer_is_asked_in_a_loop_without_pauses() {
    let table = [
        (Mood::Answers, 70),
        (Mood::Hasty, 700),
        (Mood::Fails(401), 90),
        (Mood::Garbled, 90),
        (Mood::Panics, 90),
        (Mood::Silent, 90),
    ];
    for (mood, most) in table {
        let (polls, model) = of_one();
        until(&polls, |m| *m == Meaning::NotYet).await;
        model.mood(mood);
        let before = model.polls();
        tokio::time::sleep(LONG).await;
        let polled = model.polls() - before;
        assert!((10..=most).contains(&polled), "{mood:?}: {polled}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_only_its_indexer() {
    let (polls, bad, good) = (
        Polls::new(Clock::default()),
        ModelIndexer::new(),
        ModelIndexer::new(),
    );
    bad.mood(Mood::Panics);
    let _ = polls.set(vec![indexer("bad", &bad), indexer("p", &good)]);
    until(&polls, |m| *m == Meaning::NotYet).await;
    tokio::time::sleep(LONG).await;
    good.announce(running("a"));
    until(&polls, |m| matches!(m, Meaning::Announced(_))).await;
    let bad = polls.view("bad").unwrap();
    assert!(matches!(bad.silence().unwrap().trouble, Trouble::Panicked(_)));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_is_told_once_and_polled_no_more() {
    let (polls, model) = of_one();
    until(&polls, |m| *m == Meaning::NotYet).await;
    let _ = polls.set(Vec::new());
    assert_eq!(polls.changed().await, BTreeSet::from(["p".to_owned()]));
    assert!(polls.view("p").is_none() && polls.indexer("p").is_none());
    let before = model.polls();
    assert!(timeout(LONG, polls.changed()).await.is_err());
    assert_eq!(model.polls(), before);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_pod_that_stays_is_kept_unless_it_has_another_address() {
    let (polls, model) = of_one();
    model.announce(running("a"));
    until(&polls, |m| matches!(m, Meaning::Announced(_))).await;
    let before = model.polls();
    // Its credentials have changed.
    let other = ModelIndexer::new();
    let _ = polls.set(vec![indexer("p", &other)]);
    assert!(matches!(until(&polls, |_| true).await, Meaning::Announced(_)));
    assert_eq!(model.polls(), before);
    until(&polls, |m| *m == Meaning::NewJvm).await;

    let mut moved = indexer("p", &other);
    moved.target.host = "10.0.0.10".into();
    let _ = polls.set(vec![moved]);
    assert_eq!(until(&polls, |_| true).await, Meaning::Unread);
    until(&polls, |m| *m == Meaning::NotYet).await;
}

#[tokio::test(start_paused = true)]
async fn not_more_are_polled_than_allowed_and_those_that_are_stay() {
    let (polls, model) = (Polls::new(Clock::default()), ModelIndexer::new());
    let some = |from: usize, to: usize| (from..to).map(|n| indexer(&format!("{n:04}"), &model));
    assert!(polls.set(some(0, MOST).collect()).is_empty());
    tokio::time::sleep(HOLD).await;
    assert_eq!(polls.changed().await.len(), MOST);
    // The new ones come first in the list.
    let left_out = polls.set(some(MOST, MOST + 3).chain(some(2, MOST)).collect());
    assert_eq!(left_out, [format!("{:04}", MOST + 2)]);
    assert!(polls.view("0002").unwrap().complete() && polls.view("0001").is_none());
    // However many come and go, only those that are there or went last are told.
    for round in 1..4 {
        let _ = polls.set(some(round * 2000, round * 2000 + MOST).collect());
    }
    assert!(polls.changed().await.len() <= 2 * MOST);
}

#[tokio::test(start_paused = true)]
async fn the_polls_end_with_their_last_owner() {
    let (polls, model) = of_one();
    until(&polls, |m| *m == Meaning::NotYet).await;
    let again = polls.clone();
    drop(polls);
    tokio::time::sleep(HOLD * 3).await;
    let before = model.polls();
    assert!(before > 2);
    drop(again);
    tokio::time::sleep(LONG).await;
    assert_eq!(model.polls(), before);
}

#[test]
fn delays_grow_and_are_not_the_same() {
    for failures in 1..200 {
        let delay = delay(failures);
        assert!(
            delay >= DELAYS.0.mul_f64(0.75) && delay <= DELAYS.1,
            "{failures}: {delay:?}"
        );
        assert!(
            failures < 8 || delay >= DELAYS.1.mul_f64(0.75),
            "{failures}: {delay:?}"
        );
    }
    let spread: BTreeSet<Duration> = (0..50).map(|_| delay(9)).collect();
    assert!(spread.len() > 10);
}
