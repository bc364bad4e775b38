//! Passes over the tasks of several namespaces, through the real controller, against the model API server: what one
//! tenant can take from another, and what a pass asks of the API server.

#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use http::Response;
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{self as controller, Context};
use crate::api::reason::Acceptance;
use crate::api::{LABEL_PAYLOAD, PeonTask};
use crate::clock::Clock;
use crate::druid::properties::RuntimeProperties;
use crate::metrics::Metrics;
use crate::process::health::Health;
use crate::process::leadership::Leadership;
use crate::simulation::model_api::{Kind, ModelApi, Request};
use crate::task::decide::plan::plan;
use crate::task::effects::act::{ActError, Actor};
use crate::task::fixtures::{in_state, pod, recorded, running};
use crate::task::watch::{Caches, Writers};

/// The namespace whose chunks are never answered for.
const FLOOD: &str = "flood";
const QUIET: &str = "quiet";

/// An API server for several namespaces: a model for each.
#[derive(Default)]
struct Cluster {
    tenants: Mutex<BTreeMap<String, ModelApi>>,
    /// Method, namespace, and what was asked for.
    requests: Mutex<Vec<(String, String, String)>>,
    /// Requests that wait for an answer now, and ever did.
    held: AtomicU32,
}

#[derive(Clone)]
struct Wire(Arc<Cluster>);

impl tower::Service<http::Request<Body>> for Wire {
    type Response = Response<Body>;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let cluster = self.0.clone();
        Box::pin(async move {
            let received = Request::receive(request).await?;
            let (before, after) = received.path.split_once("/namespaces/").ok_or("no namespace")?;
            let (namespace, rest) = after.split_once('/').ok_or("no object")?;
            let request = Request {
                path: format!("{before}/namespaces/ns/{rest}"),
                ..received.clone()
            };
            let line = (request.method.clone(), namespace.to_owned(), rest.to_owned());
            cluster.requests.lock().push(line);
            if namespace == FLOOD && request.method == "GET" && rest.starts_with("secrets/slow") {
                cluster.held.fetch_add(1, Ordering::Relaxed);
                futures::future::pending::<()>().await;
            }
            let mut tenants = cluster.tenants.lock();
            let (code, body) = tenants.entry(namespace.to_owned()).or_default().serve(&request);
            Ok(Response::builder()
                .status(code)
                .body(Body::from(serde_json::to_vec(&body)?))?)
        })
    }
}

/// A process that leads, with caches that the test fills.
struct Operator {
    cluster: Arc<Cluster>,
    caches: Caches,
    writers: Writers,
    context: Arc<Context>,
    seconds: Arc<AtomicU32>,
}

impl Operator {
    fn new() -> Self {
        Self::keeping(None)
    }

    /// One that keeps no more finished tasks in a namespace.
    fn keeping(finished: Option<usize>) -> Self {
        let cluster = Arc::new(Cluster::default());
        let (caches, mut writers) = Caches::new();
        let client = Client::new(Wire(cluster.clone()), "ns");
        let leadership = Leadership::default();
        leadership.extend(std::time::Instant::now() + Duration::from_secs(86_400));
        let reporter = Reporter {
            controller: "peon-operator".into(),
            instance: None,
        };
        let recorder = Recorder::new(client.clone(), reporter);
        let seconds = Arc::new(AtomicU32::new(1000));
        let clock = Clock::set_by(seconds.clone());
        let actor =
            Actor::new(client, recorder, leadership, caches.aggregates.clone()).with_clock(clock.clone());
        let properties = Arc::new(RuntimeProperties::default());
        let context = Context::new(caches.clone(), actor, properties, Metrics::default()).under(clock, plan);
        caches.aggregates.retention.limit(finished);
        for event in [Event::Init, Event::InitDone] {
            writers.tasks.apply_watcher_event(&event);
        }
        for event in [Event::Init, Event::InitDone] {
            writers.templates.apply_watcher_event(&event);
        }
        for event in [Event::Init, Event::InitDone] {
            writers.pods.apply_watcher_event(&event);
        }
        let context = Arc::new(context);
        Self {
            cluster,
            caches,
            writers,
            context,
            seconds,
        }
    }

    /// Creates an object, and says how the API server has it.
    fn create(&self, namespace: &str, kind: Kind, object: Value) -> Value {
        let mut tenants = self.cluster.tenants.lock();
        let model = tenants.entry(namespace.to_owned()).or_default();
        (model.now, model.uid_prefix) = (self.seconds.load(Ordering::Relaxed), namespace.to_owned());
        let mut object = model.create(kind, object);
        object["metadata"]["namespace"] = json!(namespace);
        object
    }

    fn template(&mut self, namespace: &str) {
        let template = json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate",
            "metadata": {"name": "default"}, "spec": {}});
        let template = self.create(namespace, Kind::Template, template);
        let event = Event::Apply(serde_json::from_value(template).unwrap());
        self.writers.templates.apply_watcher_event(&event);
    }

    /// Creates a task; the watch tells of it at once.
    fn task(&mut self, namespace: &str, name: &str, spec: Value) {
        let task = json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "metadata": {"name": name},
            "spec": spec, "status": {"phase": "Pending", "reason": "WaitingForOperator", "conditions": []}});
        self.create(namespace, Kind::Task, task);
        self.tell(namespace, name);
    }

    /// The watch tells of a task as it is now.
    fn tell(&mut self, namespace: &str, name: &str) {
        let event: Event<crate::task::cached_task::GuardedTask> =
            Event::Apply(serde_json::from_value(self.now(namespace, name)).unwrap());
        self.writers.tasks.apply_watcher_event(&event);
        self.caches.task_event(event);
    }

    /// A task as it is now.
    fn now(&self, namespace: &str, name: &str) -> Value {
        let tenants = self.cluster.tenants.lock();
        let mut task = tenants[namespace].get(Kind::Task, name).unwrap().clone();
        task["metadata"]["namespace"] = json!(namespace);
        task
    }

    /// One pass over a task as it is now.
    async fn pass(&self, namespace: &str, name: &str) -> Result<(bool, Option<Duration>), ActError> {
        let task: PeonTask = serde_json::from_value(self.now(namespace, name)).unwrap();
        Box::pin(self.context.pass(&task)).await
    }

    /// What was asked for since the last time, of these kinds.
    fn asked(&self, method: &str, plural: &str) -> Vec<String> {
        let requests = self.cluster.requests.lock();
        let is_of = |(m, _, rest): &&(String, String, String)| m == method && rest.starts_with(plural);
        requests
            .iter()
            .filter(is_of)
            .map(|(_, _, rest)| rest.clone())
            .collect()
    }

    fn wait(&self, seconds: u32) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

fn chunk(name: &str, key: &str) -> Value {
    json!({"name": name, "key": key})
}

fn from(chunks: &[Value]) -> Value {
    json!({"taskFrom": {"sha256": "0".repeat(64), "secrets": chunks}})
}

fn secret(name: &str, entries: &[&str]) -> Value {
    let data: BTreeMap<&str, &str> = entries.iter().map(|key| (*key, "e30=")).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "data": data,
        "metadata": {"name": name, "labels": {LABEL_PAYLOAD: "true"}}})
}

#[tokio::test(start_paused = true)]
async fn a_namespace_whose_chunks_are_slow_takes_no_pass_from_another() {
    let mut operator = Operator::new();
    operator.template(FLOOD);
    operator.template(QUIET);
    let passes = tokio::spawn(controller::run(
        operator.context.clone(),
        futures::future::pending(),
    ));
    for n in 0..200 {
        let chunks: Vec<Value> = (0..64).map(|c| chunk(&format!("slow-{n}-{c}"), "k")).collect();
        operator.task(FLOOD, &format!("f-{n}"), from(&chunks));
    }
    // All that can be under way is: nothing moves any more.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    assert!(
        operator.cluster.held.load(Ordering::Relaxed) > 0,
        "nothing floods"
    );
    for n in 0..50 {
        operator.task(QUIET, &format!("q-{n}"), json!({"task": {"type": "noop"}}));
    }
    let all_have_pods = async {
        while operator.asked("POST", "pods").len() < 50 {
            tokio::task::yield_now().await;
        }
    };
    // The clock stands still: no request of the flood is given up for taking too long.
    for_a_while(all_have_pods).await;
    passes.abort();
}

/// Polls until it is ready, with a clock that stands still.
async fn for_a_while(future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    for _ in 0..20_000 {
        if future.as_mut().now_or_never().is_some() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not come to pass");
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_room_for_a_payload_is_woken_when_there_is() {
    let mut operator = Operator::new();
    operator.template(QUIET);
    let passes = tokio::spawn(controller::run(
        operator.context.clone(),
        futures::future::pending(),
    ));
    // There is room for one of them in this namespace.
    for n in 0..60 {
        operator.create(QUIET, Kind::Secret, secret(&format!("s-{n}"), &["k"]));
        let mut spec = from(&[chunk(&format!("s-{n}"), "k")]);
        spec["taskFrom"]["gzip"] = json!(true);
        operator.task(QUIET, &format!("t-{n}"), spec);
    }
    // So old that their chunks are requested at first sight.
    operator.wait(60);
    let all_are_judged = async {
        while operator.asked("PATCH", "peontasks").len() < 60 {
            tokio::task::yield_now().await;
        }
    };
    // Nobody looks again after a time: the clock stands still.
    for_a_while(all_are_judged).await;
    for n in 0..60 {
        let status = &operator.now(QUIET, &format!("t-{n}"))["status"];
        assert_eq!(status["reason"], "InvalidTask", "{status}");
    }
    assert_eq!(operator.asked("GET", "secrets").len(), 60);
    passes.abort();
}

#[tokio::test]
async fn the_chunk_that_is_missing_is_asked_for_first() {
    let mut operator = Operator::new();
    operator.template(QUIET);
    for name in ["a", "b"] {
        operator.create(QUIET, Kind::Secret, secret(name, &["k"]));
    }
    operator.task(
        QUIET,
        "t",
        from(&[chunk("a", "k"), chunk("b", "k"), chunk("c", "k")]),
    );
    operator.wait(60);
    operator.pass(QUIET, "t").await.unwrap();
    assert_eq!(
        operator.asked("GET", "secrets"),
        ["secrets/a", "secrets/b", "secrets/c"]
    );
    assert_eq!(
        operator.now(QUIET, "t")["status"]["reason"],
        Acceptance::PayloadIncomplete.as_str()
    );
    operator.wait(60);
    operator.pass(QUIET, "t").await.unwrap();
    assert_eq!(operator.asked("GET", "secrets")[3..], ["secrets/c"]);
    // An entry that is missing is as good as an object that is.
    operator.create(QUIET, Kind::Secret, secret("c", &["other"]));
    operator.wait(60);
    operator.pass(QUIET, "t").await.unwrap();
    assert_eq!(operator.asked("GET", "secrets")[4..], ["secrets/c"]);
}

#[tokio::test]
async fn an_object_is_read_once_whatever_its_entries() {
    let mut operator = Operator::new();
    operator.template(QUIET);
    operator.create(QUIET, Kind::Secret, secret("a", &["k0", "k1", "k2"]));
    let chunks: Vec<Value> = ["k0", "k1", "k2"].map(|key| chunk("a", key)).to_vec();
    operator.task(QUIET, "t", from(&chunks));
    operator.wait(60);
    operator.pass(QUIET, "t").await.unwrap();
    assert_eq!(operator.asked("GET", "secrets"), ["secrets/a"]);
}

#[tokio::test]
async fn a_chunk_that_stands_twice_makes_the_task_invalid() {
    let mut operator = Operator::new();
    operator.template(QUIET);
    operator.create(QUIET, Kind::Secret, secret("a", &["k"]));
    operator.task(QUIET, "t", from(&vec![chunk("a", "k"); 64]));
    operator.wait(60);
    operator.pass(QUIET, "t").await.unwrap();
    let status = &operator.now(QUIET, "t")["status"];
    assert_eq!(
        (&status["reason"], &status["phase"]),
        (&json!("InvalidTask"), &json!("Failed"))
    );
    assert!(status.to_string().contains("more than once"), "{status}");
    assert_eq!(operator.asked("GET", "secrets"), [""; 0]);
}

async fn exported(health: &Health) -> Vec<String> {
    let request = http::Request::get("/metrics")
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = health.clone().routes().oneshot(request).await.unwrap();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX)
        .await
        .unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let series = text.lines().filter_map(|l| l.strip_prefix("peon_operator_tasks"));
    let mut series: Vec<String> = series.map(str::to_owned).collect();
    series.sort();
    series
}

#[tokio::test]
async fn every_phase_has_a_series_and_only_the_leader_exports_them() {
    let mut operator = Operator::new();
    for (n, phase) in ["Suspended", "Suspended", "Running", "Failed"].iter().enumerate() {
        let mut task = operator.create(
            QUIET,
            Kind::Task,
            json!({"apiVersion": "peon.dev/v1alpha1",
            "kind": "PeonTask", "metadata": {"name": format!("t-{n}")}, "spec": {"task": {"type": "noop"}}}),
        );
        task["status"] = json!({"phase": phase, "conditions": []});
        let event = Event::Apply(serde_json::from_value(task).unwrap());
        operator.writers.tasks.apply_watcher_event(&event);
    }
    let metrics = Metrics::default();
    // A text that was just exported is given again for a second, by each of these.
    let health = || {
        let health = Health::new(metrics.clone());
        health.caches(operator.caches.clone());
        health
    };
    assert_eq!(exported(&health()).await, [""; 0]);
    metrics.leader(true);
    let expected = [
        "{phase=\"Failed\"} 1",
        "{phase=\"Pending\"} 0",
        "{phase=\"Running\"} 1",
        "{phase=\"Starting\"} 0",
        "{phase=\"Succeeded\"} 0",
        "{phase=\"Suspended\"} 2",
    ];
    assert_eq!(exported(&health()).await, expected);
    metrics.leader(false);
    assert_eq!(exported(&health()).await, [""; 0]);
}

#[tokio::test]
async fn finished_tasks_beyond_those_to_keep_are_deleted_once_however_many_passes_see_them() {
    let mut operator = Operator::keeping(Some(10));
    for n in 0..40 {
        let mut task = serde_json::to_value(recorded()).unwrap();
        task["metadata"]["name"] = json!(format!("t-{n}"));
        let succeeded = json!({"type": "Complete", "status": "True", "reason": "Succeeded", "message": "",
            "lastTransitionTime": "1970-01-01T00:10:00Z"});
        task["status"] = json!({"phase": "Succeeded", "reason": "Succeeded", "conditions": [succeeded],
            "completionTime": format!("1970-01-01T00:10:{n:02}Z")});
        operator.create(QUIET, Kind::Task, task);
        operator.tell(QUIET, &format!("t-{n}"));
    }
    let tasks: Vec<PeonTask> = (0..40)
        .map(|n| serde_json::from_value(operator.now(QUIET, &format!("t-{n}"))).unwrap())
        .collect();
    let passes = tasks.iter().map(|task| operator.context.pass(task));
    for outcome in futures::future::join_all(passes).await {
        outcome.unwrap();
    }
    let mut deleted = operator.asked("DELETE", "peontasks");
    deleted.sort_by_key(|path| (path.len(), path.clone()));
    let expected: Vec<String> = (0..30).map(|n| format!("peontasks/t-{n}")).collect();
    assert_eq!(deleted, expected);
}

/// The task of a fixture with this name, with its pod in this state.
fn with_pod(operator: &mut Operator, namespace: &str, name: &str, state: Value) {
    let mut task = serde_json::to_value(recorded()).unwrap();
    task["metadata"]["name"] = json!(name);
    let task = operator.create(namespace, Kind::Task, task);
    let mut seen = pod(state);
    seen.metadata.name = Some(format!("{name}-1"));
    seen.metadata.namespace = Some(namespace.to_owned());
    let uid = task["metadata"]["uid"].as_str().unwrap();
    for owner in seen.metadata.owner_references.iter_mut().flatten() {
        (owner.uid, owner.name) = (uid.to_owned(), name.to_owned());
    }
    operator.writers.pods.apply_watcher_event(&Event::Apply(seen));
}

#[tokio::test]
async fn a_burst_of_pods_that_wait_lists_no_more_events_than_one_that_does() {
    let mut operator = Operator::new();
    let creating = || in_state("Pending", json!({"waiting": {"reason": "ContainerCreating"}}));
    for n in 0..300 {
        let namespace = if n % 3 == 0 { QUIET } else { FLOOD };
        with_pod(&mut operator, namespace, &format!("t-{n}"), creating());
    }
    let rounds = 6;
    for _ in 0..rounds {
        for n in 0..300 {
            let namespace = if n % 3 == 0 { QUIET } else { FLOOD };
            operator.pass(namespace, &format!("t-{n}")).await.unwrap();
        }
        operator.wait(10);
    }
    let requests = operator.cluster.requests.lock().clone();
    let lists = |namespace: &str| {
        let is_list =
            |(m, n, rest): &&(String, String, String)| m == "GET" && n == namespace && rest == "events";
        requests.iter().filter(is_list).count()
    };
    let all = lists(QUIET) + lists(FLOOD);
    assert!(all > 0 && all <= rounds, "{all} lists of Events for 300 pods");
    // The one that has more pods does not get all of them.
    assert_eq!(lists(QUIET), lists(FLOOD));
}

#[tokio::test]
async fn a_pass_ends_however_many_pods_it_has_to_end() {
    let operator = Operator::new();
    let mut task = serde_json::to_value(recorded()).unwrap();
    (task["metadata"]["name"], task["status"]["attempt"]) = (json!("t"), json!(31));
    let task = operator.create(QUIET, Kind::Task, task);
    let uid = task["metadata"]["uid"].as_str().unwrap();
    for n in 1..=30 {
        let mut stray = serde_json::to_value(pod(running())).unwrap();
        stray["metadata"]["name"] = json!(format!("t-{n}"));
        stray["metadata"]["ownerReferences"][0]["uid"] = json!(uid);
        let mut stray = operator.create(QUIET, Kind::Pod, stray);
        stray["metadata"]["namespace"] = json!(QUIET);
        let stray = serde_json::from_value(stray).unwrap();
        operator.writers.pods.apply_watcher_event(&Event::Apply(stray));
    }
    operator.pass(QUIET, "t").await.unwrap();
    assert_eq!(operator.asked("DELETE", "pods").len(), 30);
}

#[path = "budget_tests.rs"]
mod budget;
#[path = "placement_tests.rs"]
mod place;
