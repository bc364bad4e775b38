//! Several clients at once, and clients that go away.

use std::time::Instant;

use axum::http::HeaderName;
use futures::future::join_all;
use tokio::sync::Notify;

use super::*;
use crate::druid::worker::{Change, TaskState};
use crate::middle_manager::fixtures::{HASH, Identity, Said, get, post, running, until};
use crate::middle_manager::sync::long_poll::HELD;

const ASSIGN: &str = "/druid-internal/v1/worker/assignTask";
const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

fn poll() -> Request {
    get(&format!(
        "/druid-internal/v1/worker?counter=0&hash={HASH}&timeout=180000"
    ))
}

fn answer(said: &Said) -> Answer {
    assert_eq!(said.code, StatusCode::OK, "{said:?}");
    serde_json::from_slice(&said.body).unwrap()
}

#[tokio::test]
async fn a_poller_that_goes_away_is_forgotten_and_nobody_else() {
    let identity = Identity::start().await;
    let (mut stays, mut goes) = (identity.connect().await, identity.connect().await);
    let told = tokio::spawn(async move { stays.call(poll()).await });
    let going = goes.begin(poll());
    futures::future::select(
        std::pin::pin!(going),
        std::pin::pin!(until("both are held", || identity.line.held() == 2)),
    )
    .await;
    drop(goes);
    until("one is gone", || identity.line.held() == 1).await;
    identity.line.announce(running("a"));
    let told = answer(&told.await.unwrap());
    assert_eq!(told.requests.map(|r| r.len()), Some(1));
}

#[tokio::test]
async fn an_order_is_carried_out_even_if_the_client_goes_away() {
    let identity = Identity::start().await;
    let gate = Arc::new(Notify::new());
    *identity.backend.gate.lock() = Some(gate.clone());
    let mut client = identity.connect().await;
    let assignment = client.begin(post(ASSIGN, &JSON, r#"{"id":"a"}"#));
    let begun = until("it has begun", || {
        identity.backend.begun.load(Ordering::SeqCst) == 1
    });
    futures::future::select(std::pin::pin!(assignment), std::pin::pin!(begun)).await;
    drop(client);
    // Whoever comes next is served meanwhile.
    assert_eq!(identity.get("/status/health").await.code, StatusCode::OK);
    gate.notify_one();
    until("it is taken", || identity.line.announced("a").is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hundreds_of_polls_are_held_and_woken() {
    const IDENTITIES: usize = 6;
    const POLLS: usize = 60;
    let identities: Vec<Identity> = join_all((0..IDENTITIES).map(|_| Identity::start())).await;
    let mut polls = Vec::new();
    for identity in &identities {
        for _ in 0..POLLS {
            let mut client = identity.connect().await;
            let poll = async move { (client.call(poll()).await, Instant::now()) };
            polls.push(tokio::spawn(poll));
        }
    }
    until("all are held", || {
        identities.iter().all(|identity| identity.line.held() == POLLS)
    })
    .await;
    let since = Instant::now();
    for identity in &identities {
        let said = identity.call(post(ASSIGN, &JSON, r#"{"id":"a"}"#)).await;
        assert_eq!(said.code, StatusCode::OK);
    }
    let mut latest = Duration::ZERO;
    for poll in polls {
        let (said, at) = poll.await.unwrap();
        latest = latest.max(at - since);
        let changes = answer(&said).requests.unwrap();
        let [Change::TaskUpdate { task_announcement }] = changes.as_slice() else {
            panic!("{said:?}");
        };
        assert_eq!(task_announcement.status, TaskState::Running);
    }
    println!(
        "{IDENTITIES} assignments, {} polls told: {latest:?}",
        IDENTITIES * POLLS
    );
}

#[tokio::test]
async fn too_many_polls_are_told_to_come_again() {
    let identity = Identity::start().await;
    let more = 20;
    let mut polls = Vec::new();
    for _ in 0..HELD + more {
        let mut client = identity.connect().await;
        let poll = async move { client.call(poll()).await };
        polls.push(tokio::spawn(poll));
    }
    until("all but those that are held are answered", || {
        polls.iter().filter(|poll| poll.is_finished()).count() == more
    })
    .await;
    assert_eq!(identity.line.held(), HELD);
    identity.line.announce(running("a"));
    let answers = join_all(polls).await;
    let told = answers.iter().map(|said| answer(said.as_ref().unwrap()));
    let news = told.filter(|answer| answer.requests.as_ref().is_some_and(|r| r.len() == 1));
    assert_eq!(news.count(), HELD);
}
