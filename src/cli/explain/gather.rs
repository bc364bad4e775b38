//! Reads what the cluster knows of a task, as far as the user has the rights.

use futures::io::AsyncReadExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};

use super::findings::KnownPools;
use super::log_end::{self, LogEnd};
use crate::api::reason::Cause;
use crate::api::{Chunk, IndexerPool, PeonTask, PeonTemplate, Phase, RunKind, TaskKind};
use crate::apiserver::classify::decode::Guarded;
use crate::cli::complaint::is_forbidden;
use crate::cli::connection::Cluster;
use crate::cli::log_lines::LogLines;
use crate::cli::pod_log::PodLog;
use crate::cli::tasks;
use crate::payload::chunks::access::may_be_read;
use crate::task::aggregates::durations::Durations;

/// Warnings of a pod that are shown.
const WARNINGS: usize = 3;

/// Tasks whose durations are read.
const EARLIER: u32 = 500;

/// What was found, and what could not be seen.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) task: PeonTask,
    /// `None` where the user may not see templates.
    pub(super) templates: Option<Vec<PeonTemplate>>,
    /// The chunks of the payload, or which is missing; `None` where there are none, or the user may not see them.
    pub(super) chunks: Option<Result<Vec<Vec<u8>>, String>>,
    /// Warnings about the pod, newest first.
    pub(super) warnings: Vec<String>,
    /// The end of the log of a task that runs, or whose peon ended without a status.
    pub(super) log: Option<LogEnd>,
    /// The pools of a task without a verdict that an overlord assigned, and how long it is expected to run.
    pub(super) pools: KnownPools,
    /// What is not known, and why.
    pub(super) notes: Vec<String>,
}

impl Gathered {
    /// Asks the cluster.
    ///
    /// # Access control
    /// peontasks: get. Where allowed also peontemplates, indexerpools, peontasks: list; configmaps, secrets: get; events.k8s.io/events: list;
    /// pods, pods/log: get.
    pub(super) async fn of(cluster: &Cluster, name: &str) -> anyhow::Result<Self> {
        let mut gathered = Self {
            task: cluster.task(name).await?,
            templates: None,
            chunks: None,
            warnings: Vec::new(),
            log: None,
            pools: KnownPools::default(),
            notes: Vec::new(),
        };
        gathered.look_at_templates(cluster).await?;
        gathered.look_at_payload(cluster).await?;
        if gathered.task.middle_manager().is_some() && tasks::verdict(&gathered.task).is_none() {
            gathered.look_at_pools(cluster).await?;
        }
        if tasks::phase(&gathered.task) == Phase::Starting {
            gathered.look_at_events(cluster).await?;
        }
        if says_more_in_its_log(&gathered.task) {
            gathered.look_at_log(cluster).await?;
        }
        Ok(gathered)
    }

    /// Notes what may not be seen or cannot be read; any other failure is one.
    fn without(
        &mut self,
        cluster: &Cluster,
        (verb, resource): (&'static str, &'static str),
        error: kube::Error,
        so: &str,
    ) -> anyhow::Result<()> {
        let doing = cluster.doing(verb, resource, "");
        if is_forbidden(&error) {
            self.notes.push(format!("you may not {}: {so}", doing.right()));
        } else if matches!(error, kube::Error::SerdeError(_)) {
            self.notes.push(format!("{:#}: {so}", doing.failed(error)));
        } else {
            return Err(doing.failed(error));
        }
        Ok(())
    }

    async fn look_at_templates(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let api: Api<Guarded<PeonTemplate>> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        match api.list(&ListParams::default()).await {
            Ok(list) => {
                let mut templates = Vec::new();
                for template in list.items {
                    let name = template.name_any();
                    match template.0 {
                        Ok(template) => templates.push(template),
                        Err(unreadable) => {
                            self.notes.push(format!(
                                "the PeonTemplate {name} cannot be decoded: {}",
                                unreadable.error
                            ));
                        }
                    }
                }
                self.templates = Some(templates);
                Ok(())
            }
            Err(error) => {
                let so = "the settings from the PeonTemplate are not known";
                self.without(cluster, ("list", "peontemplates"), error, so)
            }
        }
    }

    async fn look_at_pools(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let api: Api<Guarded<IndexerPool>> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let so = "which pools may run the task is not known";
        let list = match api.list(&ListParams::default()).await {
            Ok(list) => list,
            Err(error) => return self.without(cluster, ("list", "indexerpools"), error, so),
        };
        for pool in list.items {
            let name = pool.name_any();
            match pool.0 {
                Ok(pool) => self.pools.pools.push(pool),
                Err(unreadable) => self.notes.push(format!(
                    "the IndexerPool {name} cannot be decoded: {}",
                    unreadable.error
                )),
            }
        }
        let asks = self.pools.pools.iter().any(|pool| pool.spec.longest().is_some());
        if asks {
            self.look_at_durations(cluster).await
        } else {
            Ok(())
        }
    }

    /// As the operator does it, which remembers tasks that were deleted since it began.
    async fn look_at_durations(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let status = tasks::status(&self.task);
        let Some(task_type) = status.task_type else {
            return Ok(());
        };
        let kind = TaskKind {
            task_type,
            data_source: status.data_source,
        };
        let mut fields = format!(
            "status.phase=Succeeded,status.taskType={}",
            selected(&kind.task_type)
        );
        if let Some(data_source) = &kind.data_source {
            fields = format!("{fields},status.dataSource={}", selected(data_source));
        }
        let api: Api<Guarded<PeonTask>> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        match api
            .list(&ListParams::default().fields(&fields).limit(EARLIER))
            .await
        {
            Ok(list) => {
                let durations = Durations::default();
                for task in list.items.into_iter().filter_map(|task| task.0.ok()) {
                    let uid = task.uid().unwrap_or_default();
                    durations.observe(&cluster.namespace, &uid, &tasks::status(&task));
                }
                self.pools.expected = durations.expected(&cluster.namespace, &kind);
                Ok(())
            }
            Err(error) => {
                let so = "how long the task is expected to run is not known";
                self.without(cluster, ("list", "peontasks"), error, so)
            }
        }
    }

    async fn look_at_payload(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let Some(from) = self.task.task_from().cloned() else {
            return Ok(());
        };
        let mut parts = Vec::new();
        let secret = !from.secrets.is_empty();
        let resource = if secret { "secrets" } else { "configmaps" };
        let uid = self.task.metadata.uid.clone();
        for chunk in from.config_maps.iter().chain(&from.secrets) {
            match read_chunk(cluster, uid.as_deref(), chunk, secret).await {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => {
                    self.chunks = Some(Err(format!(
                        "the entry {} of {resource}/{}",
                        chunk.key, chunk.name
                    )));
                    return Ok(());
                }
                Err(error) => {
                    let so = "the payload is not read, so the settings in its context are not known";
                    return self.without(cluster, ("get", resource), error, so);
                }
            }
        }
        self.chunks = Some(Ok(parts));
        Ok(())
    }

    async fn look_at_events(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        // Those of an Indexer are about its start, before it had the task.
        let run = tasks::status(&self.task)
            .run
            .filter(|run| run.kind == RunKind::Pod);
        let Some(uid) = run.and_then(|run| run.pod_uid) else {
            return Ok(());
        };
        let api: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let params = ListParams::default().fields(&format!("regarding.uid={uid},type=Warning"));
        match api.list(&params).await {
            Ok(list) => {
                let mut events = list.items;
                events.sort_by_key(|e| std::cmp::Reverse(e.creation_timestamp()));
                let said = events.into_iter().map(|e| {
                    format!(
                        "{}: {}",
                        e.reason.unwrap_or_default(),
                        e.note.unwrap_or_default().trim()
                    )
                });
                self.warnings = said.take(WARNINGS).collect();
                Ok(())
            }
            Err(error) => {
                let so = "warnings about the pod are not shown";
                self.without(cluster, ("list", "events.events.k8s.io"), error, so)
            }
        }
    }

    /// The log is the pod's, read with the user's own rights: what a task logs is nothing for all who may read PeonTasks.
    async fn look_at_log(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let Some(number) = tasks::attempt(&tasks::status(&self.task)) else {
            return Ok(());
        };
        let so = "the end of the log is not shown";
        let pod = match PodLog::find(cluster, &self.task, number).await {
            Ok(Some(pod)) => pod,
            Ok(None) => return Ok(()),
            Err(error) => return self.without(cluster, ("get", "pods"), error, so),
        };
        let params = LogParams {
            timestamps: true,
            tail_lines: Some(log_end::LINES.into()),
            ..LogParams::default()
        };
        let mut stream = match pod.stream(params).await {
            Ok(stream) => stream,
            // Its container has just ended or begun, or its node does not answer.
            Err(kube::Error::Api(status)) if status.code != 403 => {
                self.notes.push(format!("{so}: {}", status.message.trim()));
                return Ok(());
            }
            Err(error) => return self.without(cluster, ("get", "pods/log"), error, so),
        };
        let mut lines = LogLines::of(pod.shared).with_times(true);
        let mut kept = log_end::Kept::default();
        let mut chunk = vec![0; 64 << 10];
        loop {
            match stream.read(&mut chunk).await {
                Ok(0) => break,
                Ok(length) => kept.push(&lines.take(&chunk[..length])),
                Err(error) => {
                    self.notes
                        .push(format!("the end of the log was not read whole: {error}"));
                    break;
                }
            }
        }
        kept.push(&lines.end());
        self.log = kept.end();
        Ok(())
    }
}

/// A value of a field selector.
fn selected(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace(',', "\\,")
        .replace('=', "\\=")
}

/// Whether the log has the word on a task: it runs, or ended without a status of Druid, as where Java did not start.
fn says_more_in_its_log(task: &PeonTask) -> bool {
    match tasks::phase(task) {
        Phase::Running => true,
        Phase::Failed => tasks::standing(&tasks::status(task)).0 == Cause::NoVerdict.as_str(),
        _ => false,
    }
}

/// What stands in a chunk, as far as the operator would take it.
async fn read_chunk(
    cluster: &Cluster,
    uid: Option<&str>,
    chunk: &Chunk,
    secret: bool,
) -> Result<Option<Vec<u8>>, kube::Error> {
    let (client, namespace) = (cluster.client.clone(), &cluster.namespace);
    if secret {
        let object = Api::<Secret>::namespaced(client, namespace)
            .get_opt(&chunk.name)
            .await?;
        let object = object.filter(|o| may_be_read(&o.metadata, uid));
        let data = object.and_then(|o| o.data).unwrap_or_default();
        return Ok(data.get(&chunk.key).map(|bytes| bytes.0.clone()));
    }
    let object = Api::<ConfigMap>::namespaced(client, namespace)
        .get_opt(&chunk.name)
        .await?
        .filter(|o| may_be_read(&o.metadata, uid));
    let Some(object) = object else { return Ok(None) };
    let binary = object
        .binary_data
        .unwrap_or_default()
        .get(&chunk.key)
        .map(|bytes| bytes.0.clone());
    let text = || {
        object
            .data
            .unwrap_or_default()
            .get(&chunk.key)
            .map(|text| text.clone().into_bytes())
    };
    Ok(binary.or_else(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::tasks::tests::{condition, task};

    #[test]
    fn the_log_is_read_of_tasks_whose_status_says_less() {
        let failed =
            |cause| json!({"phase": "Failed", "conditions": [condition("Failed", "True", cause, "")]});
        for (status, expected) in [
            (json!({"phase": "Running"}), true),
            (failed("NoVerdict"), true),
            (failed("TaskFailed"), false),
            (json!({"phase": "Starting"}), false),
            (json!({"phase": "Succeeded"}), false),
        ] {
            assert_eq!(
                says_more_in_its_log(&task("a", json!({}), status.clone())),
                expected,
                "{status}"
            );
        }
    }
}
