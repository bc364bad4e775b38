//! The pod that has the log of an attempt.

use futures::io::AsyncBufRead;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::LogParams;
use kube::{Api, ResourceExt};

use super::connection::Cluster;
use super::tasks;
use crate::api::{ANNOTATION_CONTAINER, PEON_CONTAINER, PeonTask, PeonTaskStatus};
use crate::logs::format::shared_log::TaskLines;

/// A pod that has the log of an attempt.
#[derive(Debug)]
pub(super) struct PodLog {
    api: Api<Pod>,
    /// Its name.
    pub(super) name: String,
    container: String,
    /// Whether its containers run.
    pub(super) runs: bool,
    /// Which lines are the task's, if the pod is an Indexer that runs several tasks.
    pub(super) shared: Option<TaskLines>,
}

impl PodLog {
    /// The pod of an attempt; `None` if it is gone.
    ///
    /// # Access control
    /// pods: get.
    pub(super) async fn find(
        cluster: &Cluster,
        task: &PeonTask,
        number: u32,
    ) -> Result<Option<Self>, kube::Error> {
        let name = tasks::pod_of(task, number);
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let Some(pod) = api.get_opt(&name).await?.filter(|p| belongs(p, task, number)) else {
            return Ok(None);
        };
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let container = annotations.get(ANNOTATION_CONTAINER);
        Ok(Some(Self {
            api,
            name,
            container: container.map_or(PEON_CONTAINER, String::as_str).to_owned(),
            runs: pod.status.and_then(|status| status.phase).as_deref() == Some("Running"),
            shared: shared_lines(task, number),
        }))
    }

    /// The log of the container that runs the task; `params` need not name it.
    ///
    /// # Access control
    /// pods/log: get.
    pub(super) async fn stream(
        &self,
        params: LogParams,
    ) -> Result<impl AsyncBufRead + Unpin + use<>, kube::Error> {
        let params = LogParams {
            container: Some(self.container.clone()),
            ..params
        };
        Ok(Box::pin(self.api.log_stream(&self.name, &params).await?))
    }
}

/// Whether a pod is that of this attempt, and not one that an earlier task of the name left. One of an Indexer belongs to
/// its pool; the status names it.
fn belongs(pod: &Pod, task: &PeonTask, number: u32) -> bool {
    if number == task.attempt() && tasks::is_in_indexer(task) {
        let claimed = task.status.as_ref().and_then(PeonTaskStatus::pod_uid);
        return claimed.is_some() && pod.metadata.uid.as_deref() == claimed;
    }
    let uid = task.uid();
    pod.owner_references()
        .iter()
        .any(|owner| Some(&owner.uid) == uid.as_ref())
}

/// The lines of the current attempt, if it shares its Indexer with other tasks.
fn shared_lines(task: &PeonTask, number: u32) -> Option<TaskLines> {
    let status = task.status.as_ref().filter(|_| number == task.attempt())?;
    let run = status.run.as_ref().filter(|run| run.slot.is_some())?;
    Some(TaskLines {
        task_id: status.task_id.clone()?,
        pod_uid: run.pod_uid.clone()?,
        since: Timestamp::UNIX_EPOCH,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::tasks::tests::task;

    #[test]
    fn a_pod_of_an_earlier_task_is_not_this_tasks() {
        let pod = |uid: &str| -> Pod {
            let owner = json!({"apiVersion": "v", "kind": "PeonTask", "name": "a", "uid": uid});
            serde_json::from_value(json!({"metadata": {"name": "a-1", "ownerReferences": [owner]}})).unwrap()
        };
        let task = task("a", json!({}), json!({}));
        assert!(belongs(&pod("u"), &task, 1));
        assert!(!belongs(&pod("other"), &task, 1));
    }

    #[test]
    fn the_pod_of_an_indexer_is_the_one_that_the_status_names() {
        let pod = |uid: &str| -> Pod {
            let owner = json!({"apiVersion": "v", "kind": "IndexerPool", "name": "warm", "uid": "pool"});
            serde_json::from_value(
                json!({"metadata": {"name": "warm-a", "uid": uid, "ownerReferences": [owner]}}),
            )
            .unwrap()
        };
        let run = json!({"kind": "Worker", "pool": "warm", "pod": "warm-a", "podUID": "i"});
        let mut task = task("a", json!({}), json!({"attempt": 2, "run": run}));
        assert!(belongs(&pod("i"), &task, 2));
        assert!(!belongs(&pod("another"), &task, 2));
        assert!(!belongs(&pod("i"), &task, 1), "that of another attempt");
        task.status.as_mut().unwrap().run.as_mut().unwrap().pod_uid = None;
        assert!(!belongs(&pod("i"), &task, 2));
    }
}
