use std::collections::BTreeMap;
use std::time::Instant;

use axum::http::{Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::decide::objects;
use super::*;
use crate::api::OPERATOR;
use crate::api::conditions::{AUTHENTICATED, READY, find};
use crate::api::reason::{Authentication, ManagerReady};

/// Objects by path, and what was asked.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Value>,
    asked: Vec<String>,
    /// What is made by somebody else while an object is created.
    sooner: Option<(String, Value)>,
    /// Objects are changed by somebody else as soon as they are created, and so often before they are changed here.
    others: usize,
}

fn refusal(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason});
    (code, status)
}

impl Server {
    fn serve(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.asked.push(format!("{method} {path}"));
        if method == "GET" && path.ends_with("/services") {
            let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": []});
            return (200, list);
        }
        match (method, self.objects.get_mut(path)) {
            ("GET", Some(found)) => (200, found.clone()),
            ("GET", None) => refusal(404, "NotFound"),
            ("POST", _) => {
                if let Some((path, object)) = self.sooner.take() {
                    self.objects.insert(path, object);
                }
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&path) {
                    return refusal(409, "AlreadyExists");
                }
                let mut object = body;
                object["metadata"]["uid"] = json!(format!("uid-{}", self.asked.len()));
                object["metadata"]["resourceVersion"] = json!("1");
                object["metadata"]["managedFields"] =
                    json!([{"manager": OPERATOR, "operation": "Update", "fieldsV1": {}}]);
                let mut stored = object.clone();
                if self.others > 0 {
                    stored["metadata"]["resourceVersion"] = json!("2");
                }
                self.objects.insert(path, stored);
                (201, object)
            }
            ("PATCH", found) => {
                let mut next = found.map_or(Value::Null, |found| found.clone());
                let expected = &body["metadata"]["resourceVersion"];
                if self.others > 0 && expected.is_string() {
                    self.others -= 1;
                    return refusal(409, "Conflict");
                }
                if expected.is_string() && *expected != next["metadata"]["resourceVersion"] {
                    return refusal(409, "Conflict");
                }
                if !path.ends_with("/status") && body["metadata"]["uid"] != next["metadata"]["uid"] {
                    return refusal(409, "Conflict");
                }
                json_patch_merge(&mut next, &body);
                self.objects.insert(path.to_owned(), next.clone());
                (200, next)
            }
            _ => refusal(405, "MethodNotAllowed"),
        }
    }
}

fn json_patch_merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        json_patch_merge(&mut target[key], value);
    }
}

struct Bench {
    server: Arc<Mutex<Server>>,
    context: Arc<Context>,
}

impl Bench {
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
        let surroundings = Surroundings {
            image: "image:1".into(),
            role: "ClusterRole/peon-operator-middle-manager".parse().unwrap(),
            pod: objects::PodParts::default(),
        };
        let client = Client::new(service, "druid");
        let context = Context {
            effects: Effects { client, leadership },
            surroundings,
        };
        Self {
            server,
            context: Arc::new(context),
        }
    }

    /// A pass, and the status that it wrote.
    async fn pass(
        &self,
        manager: &VirtualMiddleManager,
    ) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
        let _ = reconcile(Arc::new(Guarded(Ok(manager.clone()))), self.context.clone()).await;
        let server = self.server.lock();
        let status = &server.objects[STATUS]["status"]["conditions"];
        serde_json::from_value(status.clone()).unwrap()
    }

    fn writes(&self) -> Vec<String> {
        let server = self.server.lock();
        let asked = server.asked.iter();
        asked
            .filter(|a| !a.starts_with("GET") && !a.ends_with("/status"))
            .cloned()
            .collect()
    }
}

const STATUS: &str = "/apis/peon.dev/v1alpha1/namespaces/druid/virtualmiddlemanagers/ingestion/status";
const SERVICES: &str = "/api/v1/namespaces/druid/services";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/druid/deployments/ingestion-vmm";

fn manager() -> VirtualMiddleManager {
    serde_json::from_value(json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager",
        "metadata": {"name": "ingestion", "namespace": "druid", "uid": "u", "generation": 1},
        "spec": {
            "discovery": {"zookeeper": {"hosts": "z:2181"}}, "overlord": {"url": "http://o:8090"},
            "authRef": {"name": "druid-escalator"},
        },
    }))
    .unwrap()
}

#[tokio::test]
async fn objects_are_created_once_and_then_kept_as_they_should_be() {
    let bench = Bench::new();
    bench.pass(&manager()).await;
    let posts = bench.writes().iter().filter(|w| w.starts_with("POST")).count();
    assert_eq!(
        posts,
        5,
        "two Services, account, binding, Deployment: {:?}",
        bench.writes()
    );
    // What is new is left to those who see it first: a controller may write its status at once.
    assert_eq!(bench.writes().len(), posts, "{:?}", bench.writes());
    bench.pass(&manager()).await;
    for (path, object) in &bench.server.lock().objects {
        if path != STATUS {
            // What was created can be removed by applying.
            assert_eq!(
                object["metadata"]["managedFields"][0]["operation"], "Apply",
                "{path}"
            );
        }
    }
    bench.server.lock().asked.clear();
    bench.pass(&manager()).await;
    let writes = bench.writes();
    assert_eq!(writes.len(), 5, "{writes:?}");
    assert!(writes.iter().all(|w| w.starts_with("PATCH")), "{writes:?}");
}

/// The controller of Deployments writes as soon as there is one.
#[tokio::test]
async fn others_that_write_at_the_same_time_are_no_failure() {
    let bench = Bench::new();
    for others in [1, 1, 9] {
        bench.server.lock().others = others;
        let conditions = bench.pass(&manager()).await;
        let condition = find(&conditions, READY).unwrap();
        assert_ne!(
            condition.reason,
            ManagerReady::NotCreated.as_str(),
            "{}",
            condition.message
        );
    }
    bench.server.lock().others = 0;
    bench.pass(&manager()).await;
    let server = bench.server.lock();
    let fields = &server.objects[DEPLOYMENT]["metadata"]["managedFields"];
    assert_eq!(fields[0]["operation"], "Apply");
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_left_alone_and_named() {
    let owner = |kind: &str, name: &str, uid: &str| json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let service = format!("{SERVICES}/ingestion-vmm-0");
    let account = "/api/v1/namespaces/druid/serviceaccounts/ingestion-vmm".to_owned();
    let cases = [
        (
            &service,
            "Service",
            json!([]),
            "does not belong to this VirtualMiddleManager",
        ),
        (
            &service,
            "Service",
            owner("Deployment", "shop", "other"),
            "belongs to Deployment shop",
        ),
        (
            &service,
            "Service",
            owner("VirtualMiddleManager", "ingestion", "before"),
            "an earlier VirtualMiddleManager",
        ),
        (
            &account,
            "ServiceAccount",
            json!([]),
            "ServiceAccount ingestion-vmm",
        ),
        (
            &DEPLOYMENT.to_owned(),
            "Deployment",
            json!([]),
            "Deployment ingestion-vmm",
        ),
    ];
    for (path, kind, owners, said) in cases {
        let bench = Bench::new();
        let name = path.rsplit('/').next().unwrap();
        let foreign = json!({
            "apiVersion": "v1", "kind": kind, "spec": {"selector": {"app": "shop"}},
            "metadata": {"name": name, "namespace": "druid", "uid": "foreign", "ownerReferences": owners},
        });
        bench.server.lock().objects.insert(path.clone(), foreign.clone());
        let conditions = bench.pass(&manager()).await;
        assert_eq!(bench.server.lock().objects[path], foreign, "{path}");
        let condition = find(&conditions, READY).unwrap();
        assert_eq!(
            condition.reason,
            ManagerReady::NameConflict.as_str(),
            "{}",
            condition.message
        );
        assert!(condition.message.contains(said), "{}", condition.message);
        // It goes, and all is made.
        bench.server.lock().objects.remove(path);
        let conditions = bench.pass(&manager()).await;
        assert_ne!(
            find(&conditions, READY).unwrap().reason,
            ManagerReady::NameConflict.as_str()
        );
        assert!(bench.server.lock().objects.contains_key(DEPLOYMENT));
    }
}

#[tokio::test]
async fn what_comes_between_the_look_and_the_creation_is_not_overwritten() {
    let bench = Bench::new();
    let path = format!("{SERVICES}/ingestion-vmm-1");
    let foreign =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ingestion-vmm-1", "uid": "f"}});
    bench.server.lock().sooner = Some((path.clone(), foreign.clone()));
    // The first creation is that of the other Service.
    let conditions = bench.pass(&manager()).await;
    assert_eq!(
        find(&conditions, READY).unwrap().reason,
        ManagerReady::NameConflict.as_str()
    );
    assert_eq!(bench.server.lock().objects[&path], foreign);
}

#[tokio::test]
async fn without_authentication_nothing_is_started_and_nothing_that_runs_is_changed() {
    for runs in [false, true] {
        let bench = Bench::new();
        if runs {
            bench.pass(&manager()).await;
            bench.server.lock().asked.clear();
        }
        let mut open = manager();
        open.spec.auth_ref = None;
        let conditions = bench.pass(&open).await;
        for condition in [READY, AUTHENTICATED] {
            let condition = find(&conditions, condition).unwrap();
            assert_eq!(condition.reason, Authentication::NoAuthentication.as_str());
            assert!(
                condition.message.contains("allowAnonymous"),
                "{}",
                condition.message
            );
        }
        assert_eq!(bench.writes(), [] as [String; 0]);
        open.spec.allow_anonymous = true;
        let conditions = bench.pass(&open).await;
        let condition = find(&conditions, AUTHENTICATED).unwrap();
        assert_eq!(condition.reason, Authentication::AnonymousAllowed.as_str());
        assert!(bench.server.lock().objects.contains_key(DEPLOYMENT));
    }
}
