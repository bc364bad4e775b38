use std::time::Instant;

use axum::http::{Request, Response};
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::indexer::fixtures::ModelIndexer;
use crate::indexer::polls::Polls;
use crate::pool::fixtures::{POOL_UID, pod, pool, ready, starting};
use crate::task::fixtures::template;
use crate::task::watch::Listener;

/// What was asked, and how the API server answers creations.
#[derive(Default)]
struct Server {
    asked: Vec<String>,
    statuses: Vec<Value>,
    refuses: Option<(u16, &'static str)>,
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
            _ => refusal(404, "gone"),
        }
    }

    fn count(&self, request: &str) -> usize {
        self.asked.iter().filter(|asked| *asked == request).count()
    }
}

struct Bench {
    server: Arc<Mutex<Server>>,
    context: Context,
}

impl Bench {
    /// With the template and the VirtualMiddleManager that the pool names.
    fn new() -> Self {
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
        let manager = serde_json::from_value(json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager",
            "metadata": {"name": "ingestion", "namespace": "ns"},
            "spec": {"discovery": {}, "overlord": {"url": "http://o:8090"}},
        }));
        for event in [
            Event::Init,
            Event::InitApply(Guarded(Ok(manager.unwrap()))),
            Event::InitDone,
        ] {
            writer.apply_watcher_event(&event);
        }
        let (pools, _) = reflector::store();
        caches.aggregates.listed();
        let work = Work::new(caches.clone(), Polls::new(Clock::default()), ModelIndexer::new());
        let context = Context {
            work,
            resizes: true,
            effects: Effects {
                client: Client::new(service, "ns"),
                leadership,
            },
            caches,
            pods: Arc::default(),
            operator: Arc::default(),
            pools,
            managers,
            first_list: FirstList::default(),
            clock: Clock::default(),
            memory: Mutex::default(),
        };
        Self { server, context }
    }

    async fn pass(&self, pool: &IndexerPool) -> Result<Action, ReconcileError> {
        self.context.pass(pool).await
    }

    fn revision(&self, pool: &IndexerPool) -> String {
        self.context.revision(pool).unwrap().hash
    }

    fn has(&self, pod: Pod) {
        self.context.pods.pod_event(&Event::Apply(pod));
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
    bench.has(pod("a", &revision, 1, ready()));
    bench.has(pod("b", &revision, 2, starting()));
    bench.pass(&pool).await.unwrap();
    assert_eq!(bench.server.lock().count("DELETE b"), 1);
    assert_eq!(bench.server.lock().count("DELETE a"), 0);
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
    assert!(bench.context.memory.lock().contains_key(POOL_UID));
    pool.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    bench.pass(&pool).await.unwrap();
    assert!(bench.context.memory.lock().is_empty());
    assert_eq!(bench.server.lock().count("POST pods"), 1);
}
