//! HTTP to the operator's archive, through a port forwarded by the API server.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::time::timeout;

use super::complaint::Doing;
use crate::api::OPERATOR;
use crate::apiserver::error::chain;
use crate::logs::server::PORT;

/// Name of the port in the operator's pod.
const PORT_NAME: &str = "archive";
/// How long the operator may take until it begins to answer: its store may be slow.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long the reason of a failure may take to come.
const REASON: Duration = Duration::from_secs(2);
/// Most bytes of an error that are read.
const LONGEST_ERROR: usize = 64 * 1024;

/// Namespace in which the operator is installed unless somebody chose another one.
pub(super) const NAMESPACE: &str = "peon-system";

/// Where the operator runs.
pub(super) enum Place {
    /// In this namespace.
    Given(String),
    /// In [`NAMESPACE`], else in this one, else in any. First where only administrators create pods, so that nobody
    /// else's pod is taken for the operator.
    Near(String),
}

/// The way to an operator.
pub(super) struct Tunnel {
    client: Client,
    place: Place,
}

/// A pod of an operator.
struct Operator {
    namespace: String,
    name: String,
    port: u16,
}

/// What the operator said to a question.
pub(super) enum Answer {
    /// This.
    Found(hyper::Response<Incoming>),
    /// There is no such thing.
    Absent(String),
}

impl Tunnel {
    pub(super) fn new(client: Client, place: Place) -> Self {
        Self { client, place }
    }

    /// Asks for a path with its query.
    ///
    /// # Access control
    /// pods: list. pods/portforward: get, create. Both in the operator's namespace.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let operator = self.operator().await?;
        let Operator {
            namespace,
            name,
            port,
        } = &operator;
        let port = *port;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let doing = doing("get and create", "pods/portforward", namespace, name);
        let forwarded = pods.portforward(name, &[port]).await;
        let mut forwarded = forwarded.map_err(|e| doing.failed(e))?;
        let stream = forwarded
            .take_stream(port)
            .context("the forwarded port has no stream")?;
        let reason = forwarded.take_error(port);
        let asked = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(async move {
                // How it ends is seen by who reads the answer.
                let _ = connection.await;
                drop(forwarded);
            });
            let request = Request::get(path).header(HOST, "localhost");
            let request = request.body(Empty::<Bytes>::new())?;
            Ok::<_, anyhow::Error>(sender.send_request(request).await?)
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(response)) => read(response).await,
            Ok(Err(error)) => {
                let said = match reason {
                    Some(reason) => timeout(REASON, reason).await.ok().flatten(),
                    None => None,
                };
                let said = said.unwrap_or_else(|| chain(&*error));
                Err(anyhow!(
                    "the operator pod {name} serves no archive: it archives no logs \
                     (druid.indexer.logs.type), or its version has no history ({})",
                    said.trim()
                ))
            }
            Err(_) => bail!("the operator pod {name} did not answer within {PATIENCE:?}: try again"),
        }
    }

    /// A pod of the operator that runs, and the port of its archive.
    async fn operator(&self) -> anyhow::Result<Operator> {
        let near = match &self.place {
            Place::Given(namespace) => {
                let found = self.operators_in(namespace).await;
                let found = found.map_err(|e| doing("list", "pods", namespace, "").failed(e))?;
                let first = found.into_iter().next();
                return first.ok_or_else(|| none_runs(&format!("the namespace {namespace}")));
            }
            Place::Near(namespace) => namespace.as_str(),
        };
        let mut refused = None;
        // An empty name stands for all namespaces.
        let namespaces: &[&str] = if near == NAMESPACE {
            &[NAMESPACE, ""]
        } else {
            &[NAMESPACE, near, ""]
        };
        for namespace in namespaces {
            match self.operators_in(namespace).await {
                Ok(found) if !found.is_empty() => return only(found),
                Err(error) if !is_refusal(&error) => {
                    return Err(doing("list", "pods", namespace, "").failed(error));
                }
                // What matters is the namespace where the operator usually is.
                Err(error) if *namespace == NAMESPACE => {
                    refused = Some(doing("list", "pods", namespace, "").failed(error));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Err(refused.unwrap_or_else(|| none_runs("a namespace that you can see")))
    }

    /// Those in one namespace, or in all if its name is empty; those that are ready first.
    async fn operators_in(&self, namespace: &str) -> kube::Result<Vec<Operator>> {
        let pods: Api<Pod> = match namespace {
            "" => Api::all(self.client.clone()),
            namespace => Api::namespaced(self.client.clone(), namespace),
        };
        let list = pods.list(&ListParams::default().labels(&labels())).await?;
        let mut running: Vec<Pod> = list.items.into_iter().filter(runs).collect();
        // One that is not ready may be starting, or cut off.
        running.sort_by_key(|pod| !is_ready(pod));
        let operator = |pod: &Pod| Operator {
            namespace: pod.namespace().unwrap_or_else(|| namespace.to_owned()),
            name: pod.name_any(),
            port: port(pod),
        };
        Ok(running.iter().map(operator).collect())
    }
}

/// The first, if all are of one namespace: of several operators only the user knows which one is meant.
fn only(found: Vec<Operator>) -> anyhow::Result<Operator> {
    let namespaces: BTreeSet<&str> = found.iter().map(|o| o.namespace.as_str()).collect();
    if namespaces.len() > 1 {
        let all = namespaces.into_iter().collect::<Vec<_>>().join(", ");
        bail!("operators run in the namespaces {all}: name one with --operator-namespace");
    }
    let first = found.into_iter().next();
    first.ok_or_else(|| none_runs("a namespace that you can see"))
}

/// Labels of the operator's pods, whatever the release is called.
fn labels() -> String {
    format!("app.kubernetes.io/part-of={OPERATOR},app.kubernetes.io/component=operator")
}

fn none_runs(place: &str) -> anyhow::Error {
    anyhow!(
        "no operator runs in {place}, through which the archive is read: give its namespace with \
         --operator-namespace or $PEON_OPERATOR_NAMESPACE, or the store's properties with --log-properties"
    )
}

fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403))
}

fn doing<'a>(verb: &'static str, resource: &'static str, namespace: &'a str, name: &'a str) -> Doing<'a> {
    Doing {
        verb,
        resource,
        namespace,
        name,
    }
}

async fn read(response: hyper::Response<Incoming>) -> anyhow::Result<Answer> {
    let code = response.status();
    if code.is_success() {
        return Ok(Answer::Found(response));
    }
    let body = http_body_util::Limited::new(response.into_body(), LONGEST_ERROR);
    let body = body
        .collect()
        .await
        .map_err(|e| anyhow!("the connection ended before the operator's answer was complete: {e}"))?;
    let json: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    let message = json["message"].as_str().unwrap_or("no reason given").to_owned();
    if code == hyper::StatusCode::NOT_FOUND {
        return Ok(Answer::Absent(message));
    }
    Err(anyhow!("the operator answers {}: {message}", code.as_u16()))
}

fn runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

fn port(pod: &Pod) -> u16 {
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    let mut ports = containers.filter_map(|c| c.ports.as_ref()).flatten();
    let named = ports.find(|p| p.name.as_deref() == Some(PORT_NAME));
    named
        .and_then(|p| u16::try_from(p.container_port).ok())
        .unwrap_or(PORT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use super::*;
    use serde_json::json;

    fn pod(status: Value, ports: Value) -> Pod {
        let container = json!({"name": "operator", "ports": ports});
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [container]}, "status": status});
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_pod_that_is_ready_comes_first_and_one_that_ended_never() {
        let ready = |is: &str| json!({"phase": "Running", "conditions": [{"type": "Ready", "status": is}]});
        assert!(is_ready(&pod(ready("True"), json!([]))));
        assert!(!is_ready(&pod(ready("False"), json!([]))) && runs(&pod(ready("False"), json!([]))));
        assert!(!runs(&pod(json!({"phase": "Succeeded"}), json!([]))));
        assert!(!runs(&pod(json!({}), json!([]))));
    }

    #[test]
    fn of_operators_in_several_namespaces_none_is_chosen() {
        let operator = |namespace: &str, name: &str| Operator {
            namespace: namespace.into(),
            name: name.into(),
            port: PORT,
        };
        let one = only(vec![operator("a", "ready"), operator("a", "other")]).unwrap();
        assert_eq!(one.name, "ready");
        let several = only(vec![operator("b", "x"), operator("a", "y")]).err().unwrap();
        assert!(several.to_string().contains("namespaces a, b"), "{several}");
    }

    #[test]
    fn the_port_is_the_one_of_that_name() {
        let http = json!({"name": "http", "containerPort": 8080});
        let archive = json!({"name": "archive", "containerPort": 9000});
        assert_eq!(port(&pod(json!({}), json!([http, archive]))), 9000);
        assert_eq!(port(&pod(json!({}), json!([http]))), PORT);
    }
}
