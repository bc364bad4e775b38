use std::sync::atomic::AtomicU32;

use axum::http::{Request, Response};
use kube::client::Body;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::apiserver::classify::watched_pod::WatchedPod;
use crate::indexer::client::{Connect, Settings};
use crate::indexer::decide::view::View;
use crate::indexer::fixtures::{ModelIndexer, running};
use crate::indexer::polls::Polls;
use crate::pool::decide::indexer::WithTasks;
use crate::pool::fixtures::{POOL_UID, ended, manager, pod, pool, ready, starting};
use crate::task::aggregates::idle_indexers::Use;
use crate::task::fixtures::{asker, at, template};
use crate::task::indexers::Indexers;
use crate::task::run::worker::claim::WorkerClaim;
use crate::task::watch::Listener;

#[path = "connect_tests.rs"]
mod connect;
#[path = "queries_tests.rs"]
mod queries;

/// What was asked, and how the API server answers creations.
#[derive(Default)]
struct Server {
    asked: Vec<String>,
    statuses: Vec<Value>,
    refuses: Option<(u16, &'static str)>,
    /// By name: the object, or the status of a refusal.
    secrets: BTreeMap<&'static str, Result<Value, u16>>,
}

impl Server {
    fn serve(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.asked
            .push(format!("{method} {}", path.rsplit('/').next().unwrap()));
        let refusal = |code: u16, message: &str| {
            let reason = if code == 404 { "NotFound" } else { "Forbidden" };
            (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}),
            )
        };
        match (method, self.refuses) {
            ("POST", Some((code, message))) => refusal(code, message),
            ("POST", None) => {
                let mut object = body;
                object["metadata"]["name"] = json!(format!("warm-{}", self.asked.len()));
                object["metadata"]["uid"] = json!(format!("warm-{}", self.asked.len()));
                (201, object)
            }
            ("PATCH", _) => {
                self.statuses.push(body["status"].clone());
                let mut object = serde_json::to_value(pool(json!({}))).unwrap();
                object["status"] = body["status"].clone();
                (200, object)
            }
            ("GET", _) => match path.rsplit('/').next().and_then(|name| self.secrets.get(name)) {
                Some(Ok(secret)) => (200, secret.clone()),
                Some(Err(code)) => refusal(*code, "no"),
                None => refusal(404, "gone"),
            },
            _ => refusal(404, "gone"),
        }
    }

    fn count(&self, request: &str) -> usize {
        self.asked.iter().filter(|asked| *asked == request).count()
    }
}

/// Seconds of the clock that the passes have.
fn now() -> i64 {
    Timestamp::now().as_second()
}

struct Bench {
    server: Arc<Mutex<Server>>,
    context: Context,
    model: Arc<ModelIndexer>,
    /// The settings of all clients that were made.
    connected: Arc<Mutex<Vec<Settings>>>,
    /// The clock of what is read.
    seconds: Arc<AtomicU32>,
}

impl Bench {
    /// With the template and the VirtualMiddleManager that the pool names.
    fn new() -> Self {
        Self::with_manager(json!({}))
    }

    /// The same, with another spec of the VirtualMiddleManager.
    fn with_manager(spec: Value) -> Self {
        let server: Arc<Mutex<Server>> = Arc::default();
        let wire = server.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let wire = wire.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
                let (code, said) = wire.lock().serve(parts.method.as_str(), parts.uri.path(), body);
                let said = Body::from(said.to_string().into_bytes());
                Ok::<_, tower::BoxError>(Response::builder().status(code).body(said)?)
            }
        });
        let leadership = Leadership::default();
        leadership.extend(Instant::now() + Duration::from_secs(3600));
        let (caches, mut writers) = Caches::new();
        writers
            .templates
            .apply_watcher_event(&Event::Apply(Guarded(Ok(template(json!({}))))));
        let (managers, mut writer) = reflector::store();
        for event in [
            Event::Init,
            Event::InitApply(Guarded(Ok(manager(spec)))),
            Event::InitDone,
        ] {
            writer.apply_watcher_event(&event);
        }
        let (pools, _) = reflector::store();
        caches.aggregates.listed();
        let model = ModelIndexer::new();
        let worker = model.clone();
        let connected: Arc<Mutex<Vec<Settings>>> = Arc::default();
        let made = connected.clone();
        let connect: Connect = Arc::new(move |settings| {
            made.lock().push(settings.clone());
            Ok(worker.clone())
        });
        let seconds: Arc<AtomicU32> = Arc::default();
        let client = Client::new(service, "ns");
        let work = Work::new(caches.clone(), Polls::new(Clock::default()), connect);
        let pods = Arc::new(IndexerPods::default());
        let context = Context {
            watchdogs: Watchdogs::new(client.clone(), PodStreams::default(), pods.clone()),
            work,
            resizes: true,
            secrets: Secrets::new(client.clone(), Clock::set_by(seconds.clone())),
            effects: Effects {
                recorder: Recorder::new(client.clone(), "peon-operator".into()),
                client,
                leadership,
            },
            caches,
            pods,
            nodes: Cordoned::default(),
            operator: Arc::default(),
            pools,
            managers,
            first_list: FirstList::default(),
            clock: Clock::default(),
            memories: Memories::new(Metrics::default()),
        };
        Self {
            server,
            context,
            model,
            connected,
            seconds,
        }
    }

    async fn pass(&self, pool: &IndexerPool) -> Result<Action, ReconcileError> {
        self.context.pass(pool).await
    }

    fn revision(&self, pool: &IndexerPool) -> String {
        self.context.revision(pool).unwrap().hash
    }

    fn has(&self, pod: WatchedPod) {
        self.context.pods.pod_event(&Event::Apply(pod));
    }

    /// The pool with its pod `a`, which is ready and hidden, and whose answers were read.
    async fn with_an_idle_one(&self) -> IndexerPool {
        let pool = warm(1);
        self.has(pod("a", &self.revision(&pool), now() + 1, answering()));
        self.pass(&pool).await.unwrap();
        self.polled("a", |_| true).await;
        self.pass(&pool).await.unwrap();
        pool
    }

    /// Waits until the answers of an Indexer say something.
    async fn polled(&self, uid: &str, says: impl Fn(&View) -> bool) {
        self.heard(uid, |view| view.complete() && says(view)).await;
    }

    /// Waits until what is known of an Indexer is so.
    async fn heard(&self, uid: &str, says: impl Fn(&View) -> bool) {
        let claim = WorkerClaim {
            pool: "warm".into(),
            pod: uid.into(),
            pod_uid: uid.into(),
            ..WorkerClaim::default()
        };
        let polled = async {
            loop {
                let view = self.context.work.seen("ns", &claim).view;
                if view.is_some_and(|view| says(&view)) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), polled)
            .await
            .unwrap();
    }

    fn take(&self, n: i64) -> Option<String> {
        let task = ("ns".to_owned(), format!("t{n}"));
        let indexers = &self.context.caches.aggregates.indexers;
        let given = indexers.take(&["warm".into()], &asker(&task, &format!("uid-{n}"), at(n), false));
        given.map(|given| given.indexer.pod_uid)
    }

    fn use_of(&self, uid: &str) -> Use {
        self.context.caches.aggregates.indexers.use_of("ns", "warm", uid)
    }

    fn last_ready(&self) -> (String, String) {
        let server = self.server.lock();
        let condition = &server.statuses.last().unwrap()["conditions"][0];
        let text = |field: &str| condition[field].as_str().unwrap().to_owned();
        (text("reason"), text("message"))
    }
}

#[tokio::test]
async fn pods_are_created_once_and_the_status_says_what_they_wait_for() {
    let bench = Bench::new();
    let pool = pool(json!({"replicas": 2}));
    bench.pass(&pool).await.unwrap();
    assert_eq!(
        bench.server.lock().asked,
        ["POST pods", "POST pods", "PATCH status"]
    );
    assert_eq!(bench.last_ready().0, "Starting");
    // No event has reported them yet.
    bench.pass(&pool).await.unwrap();
    assert_eq!(bench.server.lock().count("POST pods"), 2);
}

#[tokio::test]
async fn what_the_api_server_refuses_is_said_and_not_repeated_at_once() {
    let bench = Bench::new();
    bench.server.lock().refuses = Some((403, "exceeded quota: pods=5"));
    let pool = pool(json!({"replicas": 1}));
    // No event follows a refusal: the first pass says it, and comes again.
    let again = bench.pass(&pool).await.unwrap();
    assert_eq!(bench.last_ready().0, "NotCreated");
    assert_ne!(again, Action::requeue(AGAIN));
    bench.pass(&pool).await.unwrap();
    assert_eq!(bench.server.lock().count("POST pods"), 1);
    let (reason, message) = bench.last_ready();
    assert_eq!(reason, "NotCreated");
    assert!(message.contains("exceeded quota"), "{message}");
}

#[tokio::test]
async fn a_surplus_is_deleted_also_if_it_is_gone_already() {
    let bench = Bench::new();
    let pool = pool(json!({"replicas": 1}));
    let revision = bench.revision(&pool);
    bench.has(pod("a", &revision, now() + 1, ready()));
    bench.has(pod("b", &revision, now() + 2, starting()));
    bench.pass(&pool).await.unwrap();
    assert_eq!(bench.server.lock().count("DELETE b"), 1);
    assert_eq!(bench.server.lock().count("DELETE a"), 0);
}

#[tokio::test]
async fn indexers_are_counted_by_state_for_the_metrics() {
    let bench = Bench::new();
    let mut pool = pool(json!({"replicas": 2}));
    let revision = bench.revision(&pool);
    bench.has(pod("a", &revision, now() + 1, ready()));
    bench.has(pod("b", &revision, now() + 2, starting()));
    let counted = |state: &str| {
        let text = bench.context.memories.metrics.text().unwrap();
        let series = format!("peon_operator_indexers{{state=\"{state}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&series));
        count.map(|count| count.parse::<i64>().unwrap())
    };
    for _ in 0..2 {
        bench.pass(&pool).await.unwrap();
        assert_eq!(counted("Starting"), Some(2));
    }
    bench.has(pod("b", &revision, now() + 2, ended(1, "why")));
    bench.pass(&pool).await.unwrap();
    assert_eq!((counted("Starting"), counted("Failed")), (Some(1), Some(1)));
    pool.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    bench.pass(&pool).await.unwrap();
    assert_eq!((counted("Starting"), counted("Failed")), (Some(0), Some(0)));
}

#[tokio::test]
async fn a_process_that_does_not_lead_changes_nothing() {
    let bench = Bench::new();
    bench.context.effects.leadership.end();
    assert!(bench.pass(&pool(json!({}))).await.is_err());
    assert!(bench.server.lock().asked.is_empty());
}

#[tokio::test]
async fn what_is_missing_or_cannot_be_read_is_said() {
    let bench = Bench::new();
    for (spec, reason) in [
        (json!({"middleManagerRef": {"name": "none"}}), "NoMiddleManager"),
        (json!({"templateRef": {"name": "none"}}), "NoTemplate"),
        (
            json!({"resources": {"limits": {"memory": "100Mi"}}}),
            "InvalidSizing",
        ),
    ] {
        bench.pass(&pool(spec)).await.unwrap();
        assert_eq!(bench.last_ready().0, reason);
    }
    let unreadable = Unreadable {
        error: "invalid type".into(),
        metadata: pool(json!({})).metadata,
        reason: None,
    };
    bench.context.report_unreadable(&unreadable).await.unwrap();
    assert_eq!(bench.last_ready().0, "Unreadable");
    assert_eq!(bench.server.lock().count("POST pods"), 0);
}

#[tokio::test]
async fn a_deleted_pool_is_forgotten() {
    let bench = Bench::new();
    let mut pool = pool(json!({}));
    bench.pass(&pool).await.unwrap();
    assert!(bench.context.memories.all.lock().contains_key(POOL_UID));
    pool.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    bench.pass(&pool).await.unwrap();
    assert!(bench.context.memories.all.lock().is_empty());
    assert_eq!(bench.server.lock().count("POST pods"), 1);
}

/// The pool, whose Indexer `a` the overlord does not see.
fn warm(replicas: u32) -> IndexerPool {
    let mut pool = pool(json!({"replicas": replicas}));
    pool.status =
        Some(serde_json::from_value(json!({"discovery": {"hidden": ["a"], "visible": []}})).unwrap());
    pool
}

fn answering() -> Value {
    let mut status = ready();
    status["podIP"] = json!("10.0.0.9");
    status
}

#[tokio::test]
async fn an_indexer_is_offered_when_it_is_ready_hidden_and_was_asked() {
    let bench = Bench::new();
    let pool = warm(1);
    let revision = bench.revision(&pool);
    let mut unready = starting();
    unready["podIP"] = json!("10.0.0.9");
    bench.has(pod("a", &revision, now() + 1, unready));
    bench.pass(&pool).await.unwrap();
    assert_eq!((bench.take(1), bench.model.polls()), (None, 0), "it is not ready");
    bench.has(pod("a", &revision, now() + 1, answering()));
    bench.pass(&pool).await.unwrap();
    assert_eq!(bench.take(1), None, "it was not asked for its tasks");
    bench.polled("a", |_| true).await;
    let mut unchecked = pool.clone();
    unchecked.status = None;
    bench.pass(&unchecked).await.unwrap();
    assert_eq!(bench.take(1), None, "the overlord may see it");
    bench.pass(&pool).await.unwrap();
    let offers = bench.context.caches.aggregates.indexers.pools("ns", "ingestion");
    assert_eq!(offers.len(), 1);
    assert_eq!(
        (offers[0].memory.clone(), offers[0].template.as_str()),
        ((1 << 30, "1Gi".into()), "default")
    );
    assert_eq!(bench.take(1).as_deref(), Some("a"));
    assert_eq!(bench.take(2), None, "it is given once");
    assert_eq!(bench.server.lock().count("DELETE a"), 0);
}

#[tokio::test]
async fn an_indexer_of_a_task_is_never_deleted_and_one_that_is_deleted_is_given_to_none() {
    let bench = Bench::new();
    let pool = bench.with_an_idle_one().await;
    assert_eq!(bench.take(1).as_deref(), Some("a"));
    bench.pass(&warm(0)).await.unwrap();
    assert_eq!(bench.server.lock().count("DELETE a"), 0);
    // A pass that has not seen yet that a task took it.
    let delete = Delete {
        pod: "a".into(),
        uid: "a".into(),
        with: WithTasks::None,
    };
    let late = Plan {
        delete: vec![delete],
        ..crate::pool::fixtures::plan(PoolReadiness::Warm)
    };
    let mut memory = Memory::default();
    assert!(bench.context.act(&pool, &late, None, &mut memory).await.is_none());
    assert_eq!(bench.server.lock().count("DELETE a"), 0);
    bench.context.caches.aggregates.indexers.release("uid-1");
    bench.pass(&warm(0)).await.unwrap();
    assert_eq!(bench.server.lock().count("DELETE a"), 1);
    assert_eq!((bench.take(2), bench.use_of("a")), (None, Use::Over));
}

#[tokio::test]
async fn an_indexer_whose_task_is_gone_or_unknown_is_deleted() {
    let bench = Bench::new();
    let pool = bench.with_an_idle_one().await;
    assert_eq!(bench.take(1).as_deref(), Some("a"));
    bench.context.caches.aggregates.gone("uid-1");
    assert_eq!(bench.use_of("a"), Use::Over);
    bench.pass(&pool).await.unwrap();
    assert_eq!(bench.server.lock().count("DELETE a"), 1);
    let bench = Bench::new();
    let pool = bench.with_an_idle_one().await;
    bench.model.announce(running("stranger"));
    bench.polled("a", |view| view.task("stranger").is_some()).await;
    bench.pass(&pool).await.unwrap();
    assert_eq!(bench.server.lock().count("DELETE a"), 1);
    assert_eq!(bench.take(1), None);
}

/// The claims of the process that led before may not have been seen yet.
#[tokio::test]
async fn nothing_is_deleted_that_a_task_may_have_before_the_claims_of_another_process_are_seen() {
    for is_stranger in [false, true] {
        let bench = Bench::new();
        let pool = bench.with_an_idle_one().await;
        let wanted = if is_stranger {
            bench.model.announce(running("stranger"));
            bench.polled("a", |view| view.task("stranger").is_some()).await;
            pool
        } else {
            warm(0)
        };
        let indexers = &bench.context.caches.aggregates.indexers;
        indexers.opens(Instant::now() + Duration::from_secs(60));
        let again = bench.pass(&wanted).await.unwrap();
        assert_eq!(bench.server.lock().count("DELETE a"), 0);
        assert_ne!(again, Action::requeue(AGAIN), "it is deleted then");
        indexers.opens(Instant::now());
        bench.pass(&wanted).await.unwrap();
        assert_eq!(bench.server.lock().count("DELETE a"), 1);
    }
}

#[tokio::test]
async fn a_deleted_pool_offers_nothing() {
    let bench = Bench::new();
    let mut pool = bench.with_an_idle_one().await;
    pool.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    bench.pass(&pool).await.unwrap();
    assert_eq!(bench.take(1), None);
    assert!(
        bench
            .context
            .caches
            .aggregates
            .indexers
            .pool("ns", "warm")
            .is_none()
    );
}

#[tokio::test]
async fn indexers_are_protected_once_nodes_are_known_and_leave_cordoned_ones() {
    let bench = Bench::new();
    let pool = bench.with_an_idle_one().await;
    let asked = |request: &str| bench.server.lock().count(request);
    assert_eq!(asked("PATCH warm-indexers"), 0);
    bench.context.nodes.become_known(&[]);
    bench.pass(&pool).await.unwrap();
    bench.pass(&pool).await.unwrap();
    assert_eq!((asked("PATCH warm-indexers"), asked("DELETE a")), (1, 0));
    bench.context.nodes.become_known(&["node"]);
    bench.pass(&pool).await.unwrap();
    assert_eq!(asked("DELETE a"), 1);
    assert_eq!(bench.take(1), None, "it is not given to a task any more");
    let mut open = pool.clone();
    open.spec.disruption = serde_json::from_value(json!({"blockWhileBusy": false})).unwrap();
    bench.pass(&open).await.unwrap();
    assert_eq!(asked("DELETE warm-indexers"), 1);
}
