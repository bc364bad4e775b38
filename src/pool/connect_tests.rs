//! With which settings Indexers are called, from the Secrets of the API server.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::api::ANNOTATION_INDEXER_PORTS;
use crate::druid_http::credentials::Credentials;
use crate::indexer::fixtures::Mood;
use crate::task::fixtures::asker;

/// A Secret, as the API server returns it.
#[allow(clippy::unnecessary_wraps)] // As the server is told.
fn secret(entries: &[(&str, &str)]) -> Result<Value, u16> {
    let data = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(STANDARD.encode(value))));
    let data: serde_json::Map<String, Value> = data.collect();
    Ok(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "ns"}, "data": data}),
    )
}

fn user(password: &str) -> Result<Value, u16> {
    secret(&[("username", "druid_system"), ("password", password)])
}

impl Bench {
    /// Of a Druid whose escalator has this password.
    fn secured(password: &str) -> Self {
        let bench = Self::with_manager(json!({"authRef": {"name": "escalator"}}));
        bench.says("escalator", user(password));
        bench
    }

    fn says(&self, name: &'static str, secret: Result<Value, u16>) {
        self.server.lock().secrets.insert(name, secret);
    }

    async fn pass_at(&self, second: u32, pool: &IndexerPool) {
        self.seconds.store(second, Ordering::Relaxed);
        self.pass(pool).await.unwrap();
    }

    fn reads(&self) -> usize {
        self.server.lock().count("GET escalator")
    }

    /// What `Authorization` the clients send that were made so far.
    fn sent(&self) -> Vec<Option<String>> {
        let connected = self.connected.lock();
        let header = |settings: &Settings| {
            let value = settings.credentials.as_ref().map(Credentials::header_value)?;
            Some(value.to_str().unwrap().to_owned())
        };
        connected.iter().map(header).collect()
    }
}

#[allow(clippy::unnecessary_wraps)] // As it is compared.
fn basic(password: &str) -> Option<String> {
    Some(format!(
        "Basic {}",
        STANDARD.encode(format!("druid_system:{password}"))
    ))
}

#[tokio::test]
async fn a_changed_secret_is_noticed_within_a_minute_and_makes_another_client() {
    let bench = Bench::secured("first");
    let pool = pool(json!({}));
    // No watch says that a Secret has changed.
    let again = bench.pass(&pool).await.unwrap();
    assert_eq!(again, Action::requeue(Duration::from_secs(60)));
    assert_eq!((bench.reads(), bench.sent()), (1, vec![basic("first")]));
    bench.says("escalator", user("second"));
    bench.pass_at(59, &pool).await;
    assert_eq!((bench.reads(), bench.sent().len()), (1, 1));
    bench.pass_at(60, &pool).await;
    assert_eq!(
        (bench.reads(), bench.sent()),
        (2, vec![basic("first"), basic("second")])
    );
    // What was read again is the same: so is the client.
    bench.pass_at(120, &pool).await;
    assert_eq!((bench.reads(), bench.sent().len()), (3, 2));
}

#[tokio::test]
async fn without_names_of_secrets_nothing_is_read_or_sent() {
    let bench = Bench::new();
    let again = bench.pass(&pool(json!({}))).await.unwrap();
    assert_eq!(again, Action::requeue(AGAIN));
    assert_eq!((bench.reads(), bench.sent()), (0, vec![None]));
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_is_said_until_it_is_right() {
    let bench = Bench::secured("x");
    let pool = pool(json!({}));
    let wrong = [
        (Err(404), "does not exist in this namespace: create it"),
        (Err(403), "may not read the Secret escalator"),
        (Err(500), "could not be read and is tried again"),
        (secret(&[("username", "u")]), "has no key `password`"),
        (
            secret(&[("username", ""), ("password", "p")]),
            "`username` is empty",
        ),
        (
            secret(&[("username", "a:b"), ("password", "p")]),
            "contains a colon",
        ),
    ];
    for (second, (secret, said)) in (0..).step_by(60).zip(wrong) {
        bench.says("escalator", secret);
        bench.pass_at(second, &pool).await;
        let (reason, message) = bench.last_ready();
        assert_eq!(reason, "InvalidSecret");
        assert!(message.contains(said), "{message}");
    }
    assert_eq!(bench.server.lock().count("POST pods"), 0);
    assert!(bench.sent().is_empty());
    bench.says("escalator", Err(404));
    bench.pass_at(1000, &pool).await;
    // One that was missing is looked for sooner.
    bench.says("escalator", user("right"));
    bench.pass_at(1010, &pool).await;
    assert_eq!(bench.last_ready().0, "Starting");
    assert_eq!(
        (bench.server.lock().count("POST pods"), bench.sent()),
        (1, vec![basic("right")])
    );
}

#[tokio::test]
async fn a_secret_that_is_gone_disturbs_nothing_that_goes_on() {
    let bench = Bench::secured("x");
    let pool = bench.with_an_idle_one().await;
    assert_eq!(bench.last_ready().0, "Warm");
    // The API server has a bad moment: nothing is said.
    bench.says("escalator", Err(500));
    bench.pass_at(100, &pool).await;
    assert_eq!(bench.last_ready().0, "Warm");
    bench.says("escalator", Err(404));
    bench.pass_at(200, &pool).await;
    assert_eq!(bench.last_ready().0, "InvalidSecret");
    assert_eq!(
        (bench.server.lock().count("DELETE a"), bench.sent().len()),
        (0, 1)
    );
    bench.model.announce(running("t"));
    bench.polled("a", |view| view.task("t").is_some()).await;
}

#[tokio::test]
async fn an_indexer_that_refuses_the_operator_is_said_and_used_once_it_does_not() {
    let bench = Bench::secured("wrong");
    let pool = warm(1);
    bench.has(pod("a", &bench.revision(&pool), 1, answering()));
    bench.model.mood(Mood::Fails(401));
    bench.pass(&pool).await.unwrap();
    bench.heard("a", |view| view.silence().is_some()).await;
    bench.pass(&pool).await.unwrap();
    let (reason, message) = bench.last_ready();
    assert_eq!(reason, "NotAuthorized");
    assert!(message.contains("it answers with 401"), "{message}");
    assert_eq!((bench.take(1), bench.server.lock().count("DELETE a")), (None, 0));
    bench.model.mood(Mood::Answers);
    bench.polled("a", |view| view.silence().is_none()).await;
    bench.pass(&pool).await.unwrap();
    assert_eq!(bench.last_ready().0, "Warm");
    assert_eq!(bench.take(1).as_deref(), Some("a"));
}

/// Each port that an Indexer may have: what is called, and what the claim of a task says of it.
#[tokio::test]
async fn an_indexer_with_a_port_for_tls_is_called_there() {
    for (ports, called, claimed) in [
        (None, (8091, false), (Some(8091), None)),
        (Some("https"), (8291, true), (None, Some(8291))),
        (Some("http,https"), (8291, true), (Some(8091), Some(8291))),
    ] {
        let overlord = json!({"url": "https://o:8290", "caRef": {"name": "ca"}});
        let bench = Bench::with_manager(json!({"overlord": overlord}));
        bench.says("ca", secret(&[("ca.crt", "pem")]));
        let pool = warm(1);
        let mut pod = pod("a", &bench.revision(&pool), 1, answering());
        pod.metadata.annotations =
            ports.map(|ports| [(ANNOTATION_INDEXER_PORTS.to_owned(), ports.to_owned())].into());
        bench.has(pod);
        bench.pass(&pool).await.unwrap();
        bench.polled("a", |_| true).await;
        bench.pass(&pool).await.unwrap();
        let target = bench.context.work.indexer("a").unwrap().target;
        assert_eq!((target.port, target.tls), called);
        let task = ("ns".to_owned(), "t1".to_owned());
        let indexers = &bench.context.caches.aggregates.indexers;
        let given = indexers
            .take(&["warm".into()], &asker(&task, "uid-1", at(1), false))
            .unwrap();
        assert_eq!((given.indexer.ports.plain(), given.indexer.ports.tls()), claimed);
        let connected = bench.connected.lock();
        let settings = connected.last().unwrap();
        let ca = called.1.then(|| b"pem".to_vec());
        assert_eq!((settings.tls, settings.ca.clone()), (called.1, ca));
    }
}

#[tokio::test]
async fn pods_of_a_deleted_pool_are_called_until_they_are_gone() {
    let bench = Bench::secured("x");
    let pool = bench.with_an_idle_one().await;
    let Context {
        work, pods, clock, ..
    } = &bench.context;
    let prune = || work.prune(&HashSet::new(), pods, clock.instant());
    prune();
    assert!(work.indexer("a").is_some(), "its task may end before it");
    let gone = pod("a", &bench.revision(&pool), 1, answering());
    pods.pod_event(&Event::Delete(gone));
    prune();
    assert!(work.indexer("a").is_none(), "another pod may have its address");
    assert!(!work.is_connected(POOL_UID));
}
