//! The source of a follower's log: `pods/log`.

use futures::io::AsyncBufRead;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::LogParams;
use kube::{Api, Client, ResourceExt};

use crate::apiserver::request::{LOG, request_within};
use crate::logs::format::shared_log::TaskLines;

/// The log of one container of one pod.
#[derive(Clone)]
pub struct Source {
    /// The client.
    pub client: Client,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod, if known.
    pub pod_uid: String,
    /// Uid of the PeonTask that owns it.
    pub owner_uid: String,
    /// The peon's container.
    pub container: String,
    /// When that container started, if its log is read from its beginning on.
    pub started: Option<Timestamp>,
    /// Which of its lines are read, if not all.
    pub lines: Option<TaskLines>,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// The pod is gone, and its log with it.
    #[error("the pod is gone")]
    Gone,
    /// The container has not started.
    #[error("the container has not started yet")]
    NotStarted,
    /// The API server or the kubelet does not answer.
    #[error("{0}")]
    Failed(String),
}

/// Owner of a pod's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// The pod itself.
    It,
    /// Another pod, created later.
    Another,
    /// No pod any more.
    Nobody,
}

impl Source {
    /// Which pod has the name: logs are requested by name only.
    async fn named(&self) -> Result<Named, Closed> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = request_within(LOG, "get pod", pods.get_metadata_opt(&self.pod)).await;
        let Some(found) = found.map_err(|e| Closed::Failed(e.why()))? else {
            return Ok(Named::Nobody);
        };
        let is_the_one = if self.pod_uid.is_empty() {
            let owners = found.owner_references();
            owners.iter().any(|owner| owner.uid == self.owner_uid)
        } else {
            found.uid().as_ref() == Some(&self.pod_uid)
        };
        Ok(if is_the_one { Named::It } else { Named::Another })
    }

    /// Opens the stream as [`Self::open`] does, of this pod and not of another one with its name. If the pod was just
    /// seen (`seen`), its uid is not checked: no other pod's container can run under its name that soon. Otherwise the
    /// pod is read before and after, which takes two small requests.
    ///
    /// # Access control
    /// pods: get. pods/log: get.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open_it(
        &self,
        since: Option<Timestamp>,
        seen: bool,
    ) -> Result<impl AsyncBufRead + Unpin + use<>, Closed> {
        if !seen && self.named().await? != Named::It {
            return Err(Closed::Gone);
        }
        let stream = self.open(since).await?;
        // A pod that was deleted in between was still the source of this log.
        if !seen && self.named().await? == Named::Another {
            return Err(Closed::Gone);
        }
        Ok(stream)
    }

    /// Opens the stream, from the time `since` on, until the container ends.
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
        match request_within(LOG, "get pods/log", pods.log_stream(&self.pod, &params)).await {
            Ok(stream) => Ok(Box::pin(stream)),
            Err(error) => Err(match error.code() {
                Some(404) => Closed::Gone,
                Some(400) => Closed::NotStarted,
                _ => Closed::Failed(error.why()),
            }),
        }
    }
}
