//! Model of the API server as the operator uses it: objects, versions, preconditions, and a log of changes for watches.

use kube::client::Body;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::task::fixtures::at;

/// Kinds that the model keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Task,
    Template,
    Pod,
    ConfigMap,
    Secret,
    Node,
}

/// What a watch tells.
#[derive(Debug, Clone)]
pub struct Change {
    pub deleted: bool,
    pub object: Value,
}

/// A request as it comes over HTTP.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Value,
}

impl Request {
    /// Reads a request of a client to its end.
    pub async fn receive(request: http::Request<Body>) -> Result<Self, tower::BoxError> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await?;
        Ok(Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        })
    }
}

/// An answer: code and body.
pub type Answer = (u16, Value);

/// The API server.
#[derive(Debug, Default)]
pub struct ModelApi {
    objects: BTreeMap<(Kind, String), Value>,
    version: u64,
    uids: u64,
    /// Changes of tasks, templates and pods.
    pub log: [Vec<Change>; 3],
    /// Core Events.
    pub events: Vec<Value>,
    /// A quota is exhausted.
    pub quota: bool,
    /// What uids begin with: those of several models differ.
    pub uid_prefix: String,
    pub now: u32,
}

pub fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
        "message": message, "code": code});
    (code, body)
}

fn not_found() -> Answer {
    refusal(404, "NotFound", "not found")
}

fn conflict() -> Answer {
    refusal(409, "Conflict", "the object has been modified")
}

/// JSON merge patch.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|o| o.remove(key));
        } else {
            merge(&mut target[key.as_str()], value);
        }
    }
}

fn verdicts(task: &Value) -> Vec<(&Value, &Value, &Value)> {
    let all = task["status"]["conditions"].as_array();
    let is_verdict = |c: &&Value| (c["type"] == "Complete" || c["type"] == "Failed") && c["status"] == "True";
    all.into_iter()
        .flatten()
        .filter(is_verdict)
        .map(|c| (&c["type"], &c["reason"], &c["message"]))
        .collect()
}

pub fn pod_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))
}

impl ModelApi {
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, name.to_owned()))
    }

    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        self.objects
            .iter()
            .filter(move |((k, _), _)| *k == kind)
            .map(|(_, v)| v)
    }

    pub fn pod_by_uid(&self, uid: &str) -> Option<&Value> {
        self.all(Kind::Pod).find(|p| p["metadata"]["uid"] == uid)
    }

    fn bump(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    fn tell(&mut self, kind: Kind, deleted: bool, object: Value) {
        let at = match kind {
            Kind::Task => 0,
            Kind::Template => 1,
            Kind::Pod if object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "peon-operator" => 2,
            Kind::Pod | Kind::ConfigMap | Kind::Secret | Kind::Node => return,
        };
        self.log[at].push(Change { deleted, object });
    }

    /// Creates an object.
    pub fn create(&mut self, kind: Kind, object: Value) -> Value {
        self.create_as(kind, object, None)
    }

    /// Creates an object, which gets this uid.
    pub fn create_as(&mut self, kind: Kind, mut object: Value, uid: Option<&str>) -> Value {
        self.uids += 1;
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let meta = &mut object["metadata"];
        let next = format!("{}uid-{}", self.uid_prefix, self.uids);
        meta["uid"] = json!(uid.unwrap_or(&next));
        meta["namespace"] = json!("ns");
        meta["creationTimestamp"] = json!(at(self.now.into()).to_string());
        meta["generation"] = json!(1);
        meta["resourceVersion"] = json!(self.bump());
        self.objects.insert((kind, name), object.clone());
        self.tell(kind, false, object.clone());
        object
    }

    /// Changes an object, if there is one and something changes.
    pub fn update(&mut self, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) {
        let Some(old) = self.get(kind, name) else { return };
        let mut object = old.clone();
        change(&mut object);
        if object == *old {
            return;
        }
        if object["spec"] != old["spec"] {
            object["metadata"]["generation"] = json!(old["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
        }
        object["metadata"]["resourceVersion"] = json!(self.bump());
        self.objects.insert((kind, name.to_owned()), object.clone());
        self.tell(kind, false, object);
    }

    /// Removes an object at once.
    pub fn remove(&mut self, kind: Kind, name: &str) {
        if let Some(mut object) = self.objects.remove(&(kind, name.to_owned())) {
            object["metadata"]["resourceVersion"] = json!(self.bump());
            self.tell(kind, true, object);
        }
    }

    /// Asks for a pod's deletion: it goes at once where no kubelet has it, or with no grace.
    pub fn delete_pod(&mut self, name: &str, grace: Option<i64>) {
        let Some(pod) = self.get(Kind::Pod, name) else {
            return;
        };
        let given = pod["spec"]["terminationGracePeriodSeconds"]
            .as_i64()
            .unwrap_or(30);
        let grace = grace.unwrap_or(given);
        if grace == 0 || pod["spec"]["nodeName"].is_null() || pod_ended(pod) {
            return self.remove(Kind::Pod, name);
        }
        if pod["metadata"]["deletionTimestamp"].is_null() {
            let due = at(i64::from(self.now) + grace).to_string();
            self.update(Kind::Pod, name, |pod| {
                pod["metadata"]["deletionTimestamp"] = json!(due);
                pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            });
        }
    }

    /// Serves a request of the operator. One that the model does not know is a failure of the test.
    pub fn serve(&mut self, request: &Request) -> Answer {
        let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let body = &request.body;
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["api", "v1", "nodes", name]) => self.read(Kind::Node, name),
            ("GET", ["api", "v1", "namespaces", "ns", "pods", name]) => self.read(Kind::Pod, name),
            ("GET", ["api", "v1", "namespaces", "ns", "configmaps", name]) => {
                self.read(Kind::ConfigMap, name)
            }
            (
                "GET",
                [
                    "apis",
                    "peon.dev",
                    "v1alpha1",
                    "namespaces",
                    "ns",
                    "peontasks",
                    name,
                ],
            ) => self.read(Kind::Task, name),
            ("GET", ["api", "v1", "namespaces", "ns", "events"]) => self.list_events(&request.query),
            ("POST", ["apis", "events.k8s.io", "v1", "namespaces", "ns", "events"])
            | ("PATCH", ["apis", "events.k8s.io", "v1", "namespaces", "ns", "events", _]) => {
                (201, body.clone())
            }
            ("GET", ["api", "v1", "namespaces", "ns", "secrets", name]) => self.read(Kind::Secret, name),
            ("POST", ["api", "v1", "namespaces", "ns", "configmaps"]) => self.post(Kind::ConfigMap, body),
            ("POST", ["api", "v1", "namespaces", "ns", "secrets"]) => self.post(Kind::Secret, body),
            ("POST", ["api", "v1", "namespaces", "ns", "pods"]) => self.post(Kind::Pod, body),
            ("GET", ["apis", "peon.dev", "v1alpha1", "namespaces", "ns", "peontasks"]) => {
                self.list_tasks(&request.query)
            }
            ("POST", ["apis", "peon.dev", "v1alpha1", "namespaces", "ns", "peontasks"]) => {
                self.post(Kind::Task, body)
            }
            (
                "PATCH",
                [
                    "apis",
                    "peon.dev",
                    "v1alpha1",
                    "namespaces",
                    "ns",
                    "peontasks",
                    name,
                ],
            ) => self.patch_task(name, body),
            ("PATCH", ["api", "v1", "namespaces", "ns", "pods", name]) => self.patch_pod(name, body),
            // Nothing here reads a pod's resources.
            ("PATCH", ["api", "v1", "namespaces", "ns", "pods", name, "resize"]) => {
                match self.fits(Kind::Pod, name, &body["metadata"]) {
                    Ok(()) => self.read(Kind::Pod, name),
                    Err(refused) => refused,
                }
            }
            ("DELETE", ["api", "v1", "namespaces", "ns", "pods", name]) => self.delete(Kind::Pod, name, body),
            (
                "DELETE",
                [
                    "apis",
                    "peon.dev",
                    "v1alpha1",
                    "namespaces",
                    "ns",
                    "peontasks",
                    name,
                ],
            ) => self.delete(Kind::Task, name, body),
            (
                "PATCH",
                [
                    "apis",
                    "peon.dev",
                    "v1alpha1",
                    "namespaces",
                    "ns",
                    "peontasks",
                    name,
                    "status",
                ],
            ) => self.patch_status(name, body),
            _ => panic!("the model does not know {} {}", request.method, request.path),
        }
    }

    fn read(&self, kind: Kind, name: &str) -> Answer {
        self.get(kind, name).map_or_else(not_found, |o| (200, o.clone()))
    }

    /// Those with a label, in pages.
    fn list_tasks(&self, query: &str) -> Answer {
        let of = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
                .next()
        };
        let selector = of("labelSelector").unwrap_or_default().replace("%2F", "/");
        let (label, value) = selector.split_once("%3D").unwrap_or(("", ""));
        let is_wanted = |t: &&Value| selector.is_empty() || t["metadata"]["labels"][label] == value;
        let number = |name| of(name).and_then(|n| n.parse::<usize>().ok());
        let (skip, limit) = (number("continue").unwrap_or(0), number("limit"));
        let mut items: Vec<_> = self.all(Kind::Task).filter(is_wanted).skip(skip).collect();
        let mut meta = json!({"resourceVersion": self.version.to_string()});
        if let Some(limit) = limit.filter(|limit| *limit < items.len()) {
            items.truncate(limit);
            meta["continue"] = json!((skip + limit).to_string());
        }
        (
            200,
            json!({"kind": "PeonTaskList", "apiVersion": "peon.dev/v1alpha1", "metadata": meta, "items": items}),
        )
    }

    fn list_events(&self, query: &str) -> Answer {
        let uid = query.split("uid%3D").nth(1).unwrap_or_default();
        let uid: String = uid
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        let warnings = query.contains("Warning");
        let wanted = |e: &&Value| e["involvedObject"]["uid"] == uid && (!warnings || e["type"] == "Warning");
        let items: Vec<_> = self.events.iter().filter(wanted).collect();
        (
            200,
            json!({"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": items}),
        )
    }

    fn post(&mut self, kind: Kind, body: &Value) -> Answer {
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        if self.get(kind, name).is_some() {
            return refusal(409, "AlreadyExists", "it exists");
        }
        if self.quota {
            let said = "forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5";
            return refusal(403, "Forbidden", said);
        }
        let mut object = body.clone();
        if kind == Kind::Pod {
            object["status"] = json!({"phase": "Pending"});
            // What nothing here reads is not carried along.
            for (list, kept) in [("containers", json!([])), ("volumes", Value::Null)] {
                object["spec"][list] = kept;
            }
            if object["spec"]["terminationGracePeriodSeconds"].is_null() {
                object["spec"]["terminationGracePeriodSeconds"] = json!(30);
            }
        }
        (201, self.create(kind, object))
    }

    /// Whether uid and version of a request are those of the object.
    fn fits(&self, kind: Kind, name: &str, meta: &Value) -> Result<(), Answer> {
        let object = self.get(kind, name).ok_or_else(not_found)?;
        let same = |field: &str| meta[field].is_null() || meta[field] == object["metadata"][field];
        if same("uid") && same("resourceVersion") {
            Ok(())
        } else {
            Err(conflict())
        }
    }

    fn patch_pod(&mut self, name: &str, body: &Value) -> Answer {
        if let Err(refused) = self.fits(Kind::Pod, name, &body["metadata"]) {
            return refused;
        }
        self.update(Kind::Pod, name, |pod| merge(&mut pod["spec"], &body["spec"]));
        self.read(Kind::Pod, name)
    }

    fn patch_task(&mut self, name: &str, body: &Value) -> Answer {
        if let Err(refused) = self.fits(Kind::Task, name, &body["metadata"]) {
            return refused;
        }
        self.update(Kind::Task, name, |task| merge(task, body));
        self.read(Kind::Task, name)
    }

    fn patch_status(&mut self, name: &str, body: &Value) -> Answer {
        if let Err(refused) = self.fits(Kind::Task, name, &body["metadata"]) {
            return refused;
        }
        let mut new = self.get(Kind::Task, name).cloned().unwrap_or_default();
        merge(&mut new["status"], &body["status"]);
        if let Some(old) = self.get(Kind::Task, name) {
            let kept = verdicts(&new);
            if verdicts(old).iter().any(|v| !kept.contains(v)) {
                return refusal(
                    422,
                    "Invalid",
                    "Complete and Failed are final: a verdict cannot be changed",
                );
            }
        }
        self.update(Kind::Task, name, |task| *task = new);
        self.read(Kind::Task, name)
    }

    fn delete(&mut self, kind: Kind, name: &str, body: &Value) -> Answer {
        if let Err(refused) = self.fits(kind, name, &body["preconditions"]) {
            return refused;
        }
        let object = self.get(kind, name).cloned().unwrap_or_default();
        if kind == Kind::Pod {
            self.delete_pod(name, body["gracePeriodSeconds"].as_i64());
        } else {
            self.remove(kind, name);
        }
        (200, object)
    }
}
