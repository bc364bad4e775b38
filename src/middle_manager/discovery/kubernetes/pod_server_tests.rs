//! An API server in memory that has pods and nothing else: lists, watches, merge patches.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body as Answer, Bytes};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::middle_manager::controller::decide::announcing_pods::LABEL_ANNOUNCES;
use crate::middle_manager::controller::decide::objects::LABEL_SERVES;

pub(super) const NAMESPACE: &str = "druid";
pub(super) const MANAGER: &str = "ingestion";

type Chunk = Result<Bytes, std::io::Error>;

/// The server; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct PodServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    pods: BTreeMap<String, Value>,
    version: u64,
    watches: Vec<(&'static str, UnboundedSender<Chunk>)>,
    /// The events by version, since a watch begins where another one or a list ended.
    events: Vec<(u64, Value)>,
    /// Every state of a pod that ever was, `None` when it was deleted: what a watch of all pods sees.
    history: Vec<(String, Option<Value>)>,
    is_down: bool,
    may_patch: Option<u16>,
    patches: usize,
}

impl PodServer {
    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        Client::new(service, NAMESPACE)
    }

    /// A pod that announces, named `name`.
    pub(super) fn announcing(&self, name: &str, is_ready: bool) {
        self.create(name, LABEL_ANNOUNCES, is_ready);
    }

    /// A pod that serves the identities.
    pub(super) fn serving(&self, name: &str) {
        self.create(name, LABEL_SERVES, true);
    }

    fn create(&self, name: &str, label: &str, is_ready: bool) {
        let mut state = self.0.lock();
        let uid = format!("uid of {name} at {}", state.version);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid, "labels": {label: MANAGER}},
            "status": {"containerStatuses": [
                {"name": "c", "image": "i", "imageID": "", "restartCount": 0, "ready": is_ready},
            ]},
        });
        state.put(name, pod, "ADDED");
    }

    pub(super) fn delete(&self, name: &str) {
        let mut state = self.0.lock();
        if let Some(mut pod) = state.pods.remove(name) {
            state.version += 1;
            pod["metadata"]["resourceVersion"] = json!(state.version.to_string());
            state.history.push((name.to_owned(), None));
            state.tell("DELETED", &pod);
        }
    }

    pub(super) fn ready(&self, name: &str, is_ready: bool) {
        let mut state = self.0.lock();
        if let Some(mut pod) = state.pods.get(name).cloned() {
            pod["status"]["containerStatuses"][0]["ready"] = json!(is_ready);
            state.put(name, pod, "MODIFIED");
        }
    }

    /// Removes a label, as any client with the right may.
    pub(super) fn unlabel(&self, name: &str, label: &str) {
        let mut state = self.0.lock();
        if let Some(mut pod) = state.pods.get(name).cloned() {
            pod["metadata"]["labels"].as_object_mut().unwrap().remove(label);
            state.put(name, pod, "MODIFIED");
        }
    }

    /// Deletes all pods that serve the identities, but these.
    pub(super) fn keep_only(&self, names: &[&str]) {
        let pods = self.0.lock().pods.clone();
        let serving = pods
            .iter()
            .filter(|(_, pod)| pod["metadata"]["labels"][LABEL_SERVES] == MANAGER);
        for (name, _) in serving.filter(|(name, _)| !names.contains(&name.as_str())) {
            self.delete(name);
        }
    }

    /// Whether nothing is answered, and no watch lives.
    pub(super) fn down(&self, is_down: bool) {
        let mut state = self.0.lock();
        state.is_down = is_down;
        state.watches.clear();
    }

    /// Patches are refused with this code.
    pub(super) fn refuse_patches(&self, code: Option<u16>) {
        self.0.lock().may_patch = code;
    }

    pub(super) fn pod(&self, name: &str) -> Option<Value> {
        self.0.lock().pods.get(name).cloned()
    }

    pub(super) fn history(&self) -> Vec<(String, Option<Value>)> {
        self.0.lock().history.clone()
    }

    pub(super) fn patches(&self) -> usize {
        self.0.lock().patches
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Answer>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(std::io::Error::other)?;
        let mut state = self.0.lock();
        if state.is_down {
            return Err(std::io::Error::other("nobody answers"));
        }
        let query = parts.uri.query().unwrap_or_default();
        let label = if query.contains("announces") {
            LABEL_ANNOUNCES
        } else {
            LABEL_SERVES
        };
        let of_label = |pod: &&Value| pod["metadata"]["labels"][label] == MANAGER;
        if parts.method == Method::PATCH {
            let name = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
            return Ok(state.patch(&name, &serde_json::from_slice(&body)?));
        }
        if query.contains("watch=true") {
            let (sender, receiver) = unbounded();
            let version = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("resourceVersion="));
            let version: u64 = version.unwrap().parse().unwrap();
            for (_, event) in state.events.iter().filter(|(at, _)| *at > version) {
                State::send(label, &sender, event);
            }
            state.watches.push((label, sender));
            let body = Answer::from_stream(receiver);
            return Ok(Response::new(body));
        }
        let items: Vec<&Value> = state.pods.values().filter(of_label).collect();
        let list = json!({
            "apiVersion": "v1", "kind": "PodList",
            "metadata": {"resourceVersion": state.version.to_string()}, "items": items,
        });
        Ok(Response::new(list.to_string().into()))
    }
}

impl State {
    fn put(&mut self, name: &str, mut pod: Value, event: &str) {
        self.version += 1;
        pod["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.pods.insert(name.to_owned(), pod.clone());
        self.history.push((name.to_owned(), Some(pod.clone())));
        self.tell(event, &pod);
    }

    fn tell(&mut self, event: &str, pod: &Value) {
        let event = json!({"type": event, "object": pod});
        self.watches
            .retain(|(label, watch)| Self::send(label, watch, &event));
        self.events.push((self.version, event));
    }

    /// Returns whether the watch lives.
    fn send(label: &str, watch: &UnboundedSender<Chunk>, event: &Value) -> bool {
        let (kind, object) = (&event["type"], &event["object"]);
        // In the order of the API server, which is not that of the alphabet.
        let line = format!("{{\"type\":{kind},\"object\":{object}}}\n");
        object["metadata"]["labels"][label] != MANAGER || watch.unbounded_send(Ok(line.into())).is_ok()
    }

    fn patch(&mut self, name: &str, patch: &Value) -> Response<Answer> {
        let refused = |code: u16| {
            let status = json!({
                "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": "R", "message": "refused",
            });
            let mut response = Response::new(status.to_string().into());
            *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
            response
        };
        self.patches += 1;
        if let Some(code) = self.may_patch {
            return refused(code);
        }
        let Some(mut pod) = self.pods.get(name).cloned() else {
            return refused(404);
        };
        let given = &patch["metadata"];
        for condition in ["uid", "resourceVersion"] {
            if given[condition] != pod["metadata"][condition] {
                return refused(409);
            }
        }
        for map in ["labels", "annotations"] {
            for (key, value) in given[map].as_object().unwrap() {
                if value.is_null() {
                    if let Some(map) = pod["metadata"][map].as_object_mut() {
                        map.remove(key);
                    }
                } else {
                    pod["metadata"][map][key] = value.clone();
                }
            }
        }
        self.put(name, pod, "MODIFIED");
        Response::new(self.pods[name].to_string().into())
    }
}
