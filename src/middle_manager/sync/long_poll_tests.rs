use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use futures::future::join_all;
use futures::poll;

use super::*;
use crate::druid::worker::{Change, End, TaskFacts, TaskLocation, TaskResource};

const HASH: i64 = 7;
const LONG: Duration = Duration::from_secs(180);

fn facts(id: &str) -> TaskFacts {
    TaskFacts {
        id: id.into(),
        task_type: "noop".into(),
        data_source: "x".into(),
        resource: TaskResource::one(id),
    }
}

fn running(id: &str) -> TaskAnnouncement {
    TaskAnnouncement::running(facts(id), TaskLocation::unknown())
}

fn at(counter: i64) -> Counter {
    Counter { counter, hash: HASH }
}

fn empty(counter: i64) -> Answer {
    Answer::changes(at(counter), Vec::new())
}

async fn held(poll: impl Future) -> bool {
    poll!(pin!(poll)).is_pending()
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_held_until_there_is_news_or_its_time_is_over() {
    let line = LongPoll::new(HASH);
    let since = tokio::time::Instant::now();
    assert_eq!(line.poll(at(0), LONG).await, empty(0));
    assert_eq!(since.elapsed(), LONG);
    assert_eq!(line.poll(at(0), Duration::MAX).await, empty(0));
    assert_eq!(since.elapsed(), LONG + LONGEST_HOLD);
    let mut poll = pin!(line.poll(at(0), LONG));
    assert!(poll!(&mut poll).is_pending());
    assert!(line.announce(running("a")));
    let answer = poll.await;
    assert_eq!(since.elapsed(), LONG + LONGEST_HOLD);
    assert_eq!(answer.counter, Some(at(1)));
    assert_eq!(answer.requests.map(|r| r.len()), Some(1));
    assert_eq!(line.held(), 0);
}

#[tokio::test]
async fn what_is_no_news_wakes_nobody() {
    let line = LongPoll::new(HASH);
    line.announce(running("a"));
    let mut poll = pin!(line.poll(at(1), LONG));
    assert!(poll!(&mut poll).is_pending());
    assert!(!line.announce(running("a")) && !line.disable(false) && !line.remove("b"));
    assert!(poll!(&mut poll).is_pending());
    assert!(line.disable(true) && line.disabled());
    let Poll::Ready(answer) = poll!(&mut poll) else {
        panic!("there is news");
    };
    assert_eq!(answer.requests, Some(vec![Change::Metadata { disabled: true }]));
}

#[tokio::test]
async fn a_poll_that_is_dropped_leaves_nothing() {
    let line = LongPoll::new(HASH);
    for _ in 0..3 * HELD {
        assert!(held(line.poll(at(0), LONG)).await);
    }
    assert_eq!(line.held(), 0);
    line.announce(running("a"));
    assert_eq!(line.poll(at(0), LONG).await.counter, Some(at(1)));
}

#[tokio::test]
async fn the_oldest_poll_makes_room_for_one_more() {
    let line = LongPoll::new(HASH);
    let mut polls: Vec<_> = (0..=HELD).map(|_| Box::pin(line.poll(at(0), LONG))).collect();
    for poll in &mut polls {
        assert!(poll!(poll).is_pending());
    }
    assert_eq!(line.held(), HELD);
    assert_eq!(poll!(&mut polls[0]), Poll::Ready(empty(0)));
    line.disable(true);
    let rest = join_all(polls.drain(1..)).await;
    assert!(rest.iter().all(|answer| answer.counter == Some(at(1))) && rest.len() == HELD);
}

#[tokio::test]
async fn a_line_that_is_closed_holds_nobody() {
    let line = LongPoll::new(HASH);
    let mut poll = pin!(line.poll(at(0), LONG));
    assert!(poll!(&mut poll).is_pending());
    line.close();
    assert_eq!(poll.await, empty(0));
    assert_eq!(line.poll(at(0), LONG).await, empty(0));
    line.announce(running("a"));
    assert_eq!(line.poll(at(0), LONG).await.counter, Some(at(1)));
}

#[tokio::test]
async fn who_waits_for_delivery_is_told() {
    let line = LongPoll::new(HASH);
    line.announce(running("a"));
    line.announce(TaskAnnouncement::ended(
        facts("b"),
        End::Success,
        1,
        TaskLocation::unknown(),
    ));
    let mut deliveries = line.deliveries();
    let mut all = pin!(line.delivered_all());
    assert!(poll!(&mut all).is_pending());
    line.poll(at(-1), LONG).await;
    line.poll(at(1), LONG).await;
    assert!(poll!(&mut all).is_pending() && line.delivered("a") && !line.delivered("b"));
    assert!(deliveries.has_changed().unwrap());
    assert!(held(line.poll(at(2), LONG)).await, "to ask is enough");
    all.await;
    assert_eq!(*deliveries.borrow_and_update(), 2);
    assert!(line.delivered("b") && line.remove("b") && line.announced("b").is_none());
    assert_eq!((line.running(), line.used()), (vec!["a".to_owned()], 1));
    assert_eq!(*line.announced("a").unwrap(), running("a"));
}

#[tokio::test]
async fn a_line_knows_when_it_was_polled() {
    let line = LongPoll::new(HASH);
    assert!(line.last_poll().is_none());
    let before = Timestamp::now();
    line.poll(at(-1), LONG).await;
    let polled = line.last_poll().unwrap();
    assert!(before <= polled.at && polled.at <= Timestamp::now());
    assert!(polled.ago < Duration::from_secs(3600));
}

/// Several that change, several that poll, on several threads: everybody ends with everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_misses_anything() {
    const CHANGERS: usize = 4;
    const EACH: usize = 200;
    let line = Arc::new(LongPoll::new(HASH));
    let total = i64::try_from(CHANGERS * EACH).unwrap();
    let followers: Vec<_> = (0..8)
        .map(|_| {
            let line = line.clone();
            tokio::spawn(async move {
                let mut known = line.poll(at(-1), LONG).await;
                let mut heard = known.requests.take().unwrap().len() - 1;
                while known.counter != Some(at(total)) {
                    known = line.poll(known.counter.unwrap(), LONG).await;
                    heard += known.requests.take().unwrap().len();
                }
                heard
            })
        })
        .collect();
    for changer in 0..CHANGERS {
        let line = line.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                assert!(line.announce(running(&format!("{changer}-{n}"))));
                tokio::task::yield_now().await;
            }
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(60), join_all(followers));
    for heard in all.await.unwrap() {
        assert_eq!(heard.unwrap(), CHANGERS * EACH);
    }
    assert_eq!(line.used(), u32::try_from(CHANGERS * EACH).unwrap());
}
