//! Where a follower reads: `pods/log`.

use std::time::Duration;

use futures::io::AsyncBufRead;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::LogParams;
use kube::{Api, Client};

/// No answer within this time is a failure.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The log of one container of one pod.
#[derive(Clone)]
pub struct Source {
    /// The client.
    pub client: Client,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// The peon's container.
    pub container: String,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// The pod is gone, and its log with it.
    #[error("the pod is gone")]
    Gone,
    /// The container has not started.
    #[error("the container has not started")]
    NotStarted,
    /// The API server or the kubelet does not answer.
    #[error("{0}")]
    Failed(String),
}

impl Source {
    /// Opens the stream, from this time on, until the container ends.
    ///
    /// # Access control
    /// pods/log: get.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open(&self, since: Option<Timestamp>) -> Result<impl AsyncBufRead + Unpin + use<>, Closed> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = LogParams {
            container: Some(self.container.clone()),
            follow: true,
            timestamps: true,
            since_time: since,
            ..LogParams::default()
        };
        let answer = tokio::time::timeout(TIMEOUT, pods.log_stream(&self.pod, &params)).await;
        match answer {
            Err(_) => Err(Closed::Failed(format!("no answer within {TIMEOUT:?}"))),
            Ok(Ok(stream)) => Ok(Box::pin(stream)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(Closed::Gone),
            Ok(Err(kube::Error::Api(status))) if status.code == 400 => Err(Closed::NotStarted),
            Ok(Err(error)) => Err(Closed::Failed(crate::kube::error::chain(&error))),
        }
    }
}
