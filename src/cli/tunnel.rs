//! HTTP to the operator's archive, through a port forwarded by the API server.

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

/// The way to an operator in this namespace.
pub(super) struct Tunnel {
    client: Client,
    namespace: String,
}

/// What the operator said to a question.
pub(super) enum Answer {
    /// This.
    Found(hyper::Response<Incoming>),
    /// There is no such thing.
    Absent(String),
}

impl Tunnel {
    pub(super) fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace }
    }

    /// Asks for a path with its query.
    ///
    /// # Access control
    /// pods: list. pods/portforward: get, create. Both in the operator's namespace.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let (name, port) = self.operator(&pods).await?;
        let doing = self.doing("get and create", "pods/portforward", &name);
        let forwarded = pods.portforward(&name, &[port]).await;
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

    /// A pod of the operator that answers, and the port of its archive.
    async fn operator(&self, pods: &Api<Pod>) -> anyhow::Result<(String, u16)> {
        let label = format!("app.kubernetes.io/name={OPERATOR}");
        let list = pods.list(&ListParams::default().labels(&label)).await;
        let list = list.map_err(|e| self.doing("list", "pods", "").failed(e))?;
        let mut running: Vec<Pod> = list.items.into_iter().filter(runs).collect();
        // One that is not ready may be starting, or cut off.
        running.sort_by_key(|pod| !is_ready(pod));
        let Some(pod) = running.first() else {
            bail!(
                "no operator runs in the namespace {}, through which the archive is read: give its namespace with \
                 --operator-namespace or $PEON_OPERATOR_NAMESPACE, or the store's properties with --log-properties",
                self.namespace
            );
        };
        Ok((pod.name_any(), port(pod)))
    }

    fn doing<'a>(&'a self, verb: &'static str, resource: &'static str, name: &'a str) -> Doing<'a> {
        Doing {
            verb,
            resource,
            namespace: &self.namespace,
            name,
        }
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
    fn the_port_is_the_one_of_that_name() {
        let http = json!({"name": "http", "containerPort": 8080});
        let archive = json!({"name": "archive", "containerPort": 9000});
        assert_eq!(port(&pod(json!({}), json!([http, archive]))), 9000);
        assert_eq!(port(&pod(json!({}), json!([http]))), PORT);
    }
}
