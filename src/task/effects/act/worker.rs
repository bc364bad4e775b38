//! Requests of a pass to the Indexer on which its task is claimed.

use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{ActError, Actor};
use crate::apiserver::request::{PROMPT, request_within};
use crate::indexer::client::SHUTDOWN;
use crate::indexer::decide::post::Posted;
use crate::indexer::polls::Indexer;
use crate::process::leadership::NotLeader;
use crate::task::accept;
use crate::task::aggregates::payload_budget;
use crate::task::run::worker::claim::WorkerClaim;
use crate::task::snapshot::Snapshot;

/// Longest time limit of a POST.
const LONGEST: Duration = Duration::from_secs(30);
/// Part of the time for which this process certainly leads that a POST does not use: what was sent may still arrive.
const MARGIN: Duration = Duration::from_secs(2);

/// The task as JSON.
enum Text {
    Here(Bytes),
    /// It cannot be read, and why.
    Unreadable(String),
    /// There is no memory budget now.
    Later,
}

impl Actor {
    /// Posts the task to the Indexer in the pod with this uid, which the status has to claim. A POST must not arrive
    /// once another process may lead: its time limit is shorter than the rest of the lease. One that was accepted a moment
    /// ago is not repeated.
    ///
    /// # Access control
    /// configmaps: get. secrets: get.
    pub(super) async fn post_task(
        &self,
        namespace: &str,
        pod_uid: &str,
        snapshot: &mut Snapshot,
    ) -> Result<(), ActError> {
        let claim = WorkerClaim::recorded(&snapshot.task);
        let claimed = claim.is_some_and(|claim| claim.pod_uid == pod_uid && !claim.stopped);
        let uid = snapshot.task.uid().unwrap_or_default();
        let recent = self.posts.recent(&uid, pod_uid, self.clock.instant());
        if let Some(resized) = recent.filter(|_| claimed) {
            snapshot.outcomes.posted = Some(Posted::Accepted);
            snapshot.outcomes.resized |= resized;
            return Ok(());
        }
        snapshot.outcomes.posted = Some(match self.indexer(pod_uid) {
            _ if !claimed => Posted::NotReceived("the status does not claim the Indexer".to_owned()),
            None => not_polled(),
            Some(indexer) => match self.text(namespace, snapshot).await? {
                Text::Here(text) => {
                    let limit = time_limit(self.leadership.left()?)?;
                    // Whatever becomes of this pass, the Indexer may have it from now on.
                    let before = self.aggregates.indexers.posts(&uid, pod_uid);
                    let posted = indexer.worker.assign(&indexer.target, text, limit).await;
                    if !posted.may_have_arrived() && !before {
                        self.aggregates.indexers.did_not_receive(&uid, pod_uid);
                    }
                    posted
                }
                Text::Unreadable(why) => Posted::NotReceived(why),
                Text::Later => {
                    snapshot.outcomes.waits_for_room = true;
                    return Ok(());
                }
            },
        });
        match &snapshot.outcomes.posted {
            Some(Posted::Accepted) => {
                self.posts.note(&uid, pod_uid, self.clock.instant());
                self.live.payloads.forget(&uid);
            }
            posted => tracing::info!(pod_uid, ?posted, "the task may not have been posted"),
        }
        Ok(())
    }

    /// Raises the cpu request of the pod of an Indexer, in place. The node may have no room, now or at all: the task runs
    /// with what the pod has, so a refusal is only logged.
    ///
    /// # Access control
    /// pods/resize: patch.
    pub(super) async fn resize_pod(
        &self,
        namespace: &str,
        pod: &str,
        uid: &str,
        container: &str,
        cpu: &str,
    ) -> Result<(), ActError> {
        self.leadership.check()?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let containers = json!([{"name": container, "resources": {"requests": {"cpu": cpu}}}]);
        // The uid in the body makes the patch conditional.
        let body = json!({"metadata": {"uid": uid}, "spec": {"containers": containers}});
        let (params, patch) = (PatchParams::default(), Patch::Strategic(&body));
        let resized = api.patch_subresource("resize", pod, &params, &patch);
        if let Err(error) = request_within(PROMPT, "resize pod", resized).await {
            tracing::info!(pod, cpu, %error, "the Indexer keeps the cpu request that it began with");
        }
        Ok(())
    }

    /// Asks the Indexer in the pod with this uid to stop a task. It is asked again until the end is announced, so a
    /// failure is only logged.
    pub(super) async fn shut_down(&self, pod_uid: &str, task_id: &str) -> Result<(), ActError> {
        let limit = time_limit(self.leadership.left()?)?.min(SHUTDOWN);
        let posted = match self.indexer(pod_uid) {
            Some(Indexer { target, worker }) => worker.shutdown(&target, task_id, limit).await,
            None => not_polled(),
        };
        if posted != Posted::Accepted {
            tracing::info!(
                pod_uid,
                task_id,
                ?posted,
                "the task may not have been asked to stop"
            );
        }
        Ok(())
    }

    fn indexer(&self, pod_uid: &str) -> Option<Indexer> {
        self.indexers.as_ref()?.indexer(pod_uid)
    }

    async fn text(&self, namespace: &str, snapshot: &Snapshot) -> Result<Text, ActError> {
        let task = &snapshot.task;
        let Some(from) = task.task_from() else {
            return Ok(match accept::payload(snapshot) {
                Ok(payload) => Text::Here(Bytes::from(payload.json.clone())),
                Err(refused) => Text::Unreadable(refused.message),
            });
        };
        if let Err(refused) = accept::chunk_list(from) {
            return Ok(Text::Unreadable(refused.message));
        }
        let who = (namespace.to_owned(), task.name_any());
        let Some(_share) = self.room.take(&who, payload_budget::needed(from)) else {
            return Ok(Text::Later);
        };
        let parts = self
            .live
            .payloads
            .read(namespace, task.metadata.uid.as_deref(), from)
            .await?;
        Ok(match accept::chunked_text(task, from, parts) {
            Ok(text) => Text::Here(Bytes::from(text)),
            Err(refused) => Text::Unreadable(refused.message),
        })
    }
}

fn not_polled() -> Posted {
    Posted::NotReceived("the operator does not poll the Indexer yet".to_owned())
}

/// The time limit of a request, of a process that certainly leads for this time.
fn time_limit(left: Duration) -> Result<Duration, NotLeader> {
    let limit = left
        .checked_sub(MARGIN)
        .filter(|limit| *limit >= Duration::from_millis(500));
    limit.map(|limit| limit.min(LONGEST)).ok_or(NotLeader)
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
