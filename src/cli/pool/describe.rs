//! What is printed of IndexerPools, their Indexers and tasks (pure).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use crate::api::conditions::{self, QUERIES_SERVED, READY};
use crate::api::{IndexerPool, PeonTask, Phase, RunKind};
use crate::cli::output::{self, Style, plain};
use crate::cli::{duration, tasks};

/// A PeonTask that runs in an Indexer, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexerTask {
    namespace: String,
    name: String,
    pool: String,
    pod: String,
    pod_uid: String,
    node: Option<String>,
    phase: Phase,
    has_verdict: bool,
    is_shared: bool,
}

impl IndexerTask {
    /// Reads a PeonTask; `None` for one whose attempt is in no Indexer.
    pub(super) fn of(task: &PeonTask) -> Option<Self> {
        let status = task.status.as_ref()?;
        let run = status.run.as_ref().filter(|run| run.kind == RunKind::Worker)?;
        Some(Self {
            namespace: task.namespace().unwrap_or_default(),
            name: task.name_any(),
            pool: run.pool.clone()?,
            pod: run.pod.clone()?,
            pod_uid: run.pod_uid.clone()?,
            node: status.node_name.clone(),
            phase: tasks::phase(task),
            has_verdict: tasks::verdict(task).is_some(),
            is_shared: run.slot.is_some(),
        })
    }

    fn is_in(&self, pool: &IndexerPool) -> bool {
        self.pool == pool.name_any() && Some(&self.namespace) == pool.namespace().as_ref()
    }
}

/// The pod of an Indexer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodOf {
    name: String,
    uid: String,
    node: Option<String>,
    is_terminating: bool,
}

impl PodOf {
    /// Reads a pod; `None` for one that does not belong to the pool.
    pub(super) fn of(pod: &Pod, pool: &IndexerPool) -> Option<Self> {
        let uid = pool.uid();
        let is_its = pod
            .owner_references()
            .iter()
            .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref());
        is_its.then_some(())?;
        Some(Self {
            name: pod.name_any(),
            uid: pod.uid()?,
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            is_terminating: pod.metadata.deletion_timestamp.is_some(),
        })
    }
}

/// A pool in one line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
    /// Idle Indexers that are kept.
    idle: u32,
    /// Most Indexers.
    max: u32,
    /// Indexers that exist, as the status last said.
    total: u32,
    /// Indexers that can take a task, as the status last said.
    warm: u32,
    /// Tasks in its Indexers that have no verdict.
    with_task: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    /// Reason of the condition `Ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// Message of `QueriesServed`, if it is `False`.
    #[serde(skip_serializing_if = "Option::is_none")]
    queries_not_served: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<String>,
}

impl Overview {
    /// Describes a pool.
    pub(super) fn of(pool: &IndexerPool, tasks: &[IndexerTask], now: Timestamp) -> Self {
        let status = pool.status.clone().unwrap_or_default();
        let ready = conditions::find(&status.conditions, READY);
        let limits = pool.spec.resources.limits.as_ref();
        let created = pool.metadata.creation_timestamp.as_ref();
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Self {
            namespace: pool.namespace(),
            name: pool.name_any(),
            idle: pool.spec.replicas,
            max: pool.spec.max_indexers.unwrap_or(pool.spec.replicas),
            total: status.replicas.unwrap_or_default(),
            warm: status.ready_replicas.unwrap_or_default(),
            with_task: tasks
                .iter()
                .filter(|task| task.is_in(pool) && !task.has_verdict)
                .count(),
            memory: limits
                .and_then(|limits| limits.get("memory"))
                .map(|m| m.0.clone()),
            reason: ready.and_then(|ready| text(&ready.reason)),
            message: ready.and_then(|ready| text(&ready.message)),
            queries_not_served: conditions::find(&status.conditions, QUERIES_SERVED)
                .filter(|served| served.status == "False")
                .and_then(|served| text(&served.message)),
            age: created.map(|created| duration::between(created.0, now)),
        }
    }
}

/// Pools as a table.
pub(super) fn table(pools: &[Overview], with_namespace: bool) -> String {
    let mut head = if with_namespace { vec!["NAMESPACE"] } else { vec![] };
    head.extend([
        "NAME",
        "IDLE",
        "MAX",
        "INDEXERS",
        "WARM",
        "WITH-TASK",
        "REASON",
        "MEMORY",
        "AGE",
    ]);
    let rows: Vec<Vec<String>> = pools
        .iter()
        .map(|pool| {
            let mut row = if with_namespace {
                vec![cell(pool.namespace.as_deref())]
            } else {
                vec![]
            };
            row.extend([
                cell(Some(&pool.name)),
                pool.idle.to_string(),
                pool.max.to_string(),
                pool.total.to_string(),
                pool.warm.to_string(),
                pool.with_task.to_string(),
                cell(pool.reason.as_deref()),
                cell(pool.memory.as_deref()),
                cell(pool.age.as_deref()),
            ]);
            row
        })
        .collect();
    output::table(&head, &rows)
}

/// A pool with its Indexers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Details {
    #[serde(flatten)]
    overview: Overview,
    indexers: Vec<IndexerRow>,
}

/// An Indexer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexerRow {
    pod: String,
    /// As in the status of the pool; `Gone` if a task names a pod that is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Name of the PeonTask that it has, or had last.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    /// Names of the PeonTasks that have slots of a shared one and no verdict.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tasks: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Details {
    /// Describes a pool; without `pods` the Indexers are those of its status, and tasks are found by the names of pods.
    pub(super) fn of(
        pool: &IndexerPool,
        pods: Option<&[PodOf]>,
        tasks: &[IndexerTask],
        now: Timestamp,
    ) -> Self {
        let status = pool.status.as_ref();
        let mut rows: BTreeMap<String, IndexerRow> = status
            .iter()
            .flat_map(|status| &status.indexers)
            .map(|indexer| {
                let row = IndexerRow {
                    // Its name in the API, whatever a later version of the operator knows.
                    state: serde_json::to_value(indexer.state)
                        .ok()
                        .and_then(|state| state.as_str().map(str::to_owned)),
                    reason: indexer.reason.clone(),
                    ..IndexerRow::new(&indexer.pod)
                };
                (indexer.pod.clone(), row)
            })
            .collect();
        if let Some(pods) = pods {
            // The status is older than the list.
            rows.retain(|name, _| pods.iter().any(|pod| pod.name == *name));
            for pod in pods {
                let row = rows
                    .entry(pod.name.clone())
                    .or_insert_with(|| IndexerRow::new(&pod.name));
                row.node.clone_from(&pod.node);
                if pod.is_terminating {
                    row.state = Some("Terminating".to_owned());
                }
            }
        }
        for task in tasks.iter().filter(|task| task.is_in(pool)) {
            let is_there = match pods {
                Some(pods) => pods.iter().any(|pod| pod.uid == task.pod_uid),
                None => rows.contains_key(&task.pod),
            };
            if !is_there && task.has_verdict {
                continue;
            }
            let row = rows
                .entry(task.pod.clone())
                .or_insert_with(|| IndexerRow::new(&task.pod));
            if !is_there && pods.is_some() {
                row.state = Some("Gone".to_owned());
            }
            row.node = row.node.take().or_else(|| task.node.clone());
            if !task.is_shared {
                row.task = Some(task.name.clone());
                row.phase = Some(task.phase);
            } else if !task.has_verdict {
                row.tasks.push(task.name.clone());
            }
        }
        Self {
            overview: Overview::of(pool, tasks, now),
            indexers: rows.into_values().collect(),
        }
    }

    /// For people.
    pub(super) fn text(&self, style: Style) -> String {
        let pool = &self.overview;
        let namespace = pool
            .namespace
            .as_ref()
            .map_or_else(String::new, |n| format!("{n}/"));
        let reason = pool
            .reason
            .as_deref()
            .unwrap_or("no operator has processed it yet");
        let title = format!("IndexerPool {namespace}{}: {reason}", pool.name);
        let messages = [&pool.message, &pool.queries_not_served];
        let mut message = String::new();
        for said in messages.into_iter().flatten() {
            message.extend(["  ", &one_line(said), "\n"]);
        }
        let memory = pool
            .memory
            .as_ref()
            .map_or_else(String::new, |memory| format!(", {} each", one_line(memory)));
        let text = format!(
            "{}\n{message}  idle wanted {}, at most {}; {} Indexers, {} warm, {} with a task{memory}\n",
            style.heading(&one_line(&title)),
            pool.idle,
            pool.max,
            pool.total,
            pool.warm,
            pool.with_task
        );
        if self.indexers.is_empty() {
            return text;
        }
        let rows: Vec<Vec<String>> = self
            .indexers
            .iter()
            .map(|row| {
                vec![
                    cell(Some(&row.pod)),
                    cell(row.state.as_deref()),
                    cell(row.tasks().as_deref()),
                    cell(row.phase.map(Phase::as_str)),
                    cell(row.node.as_deref()),
                    cell(row.reason.as_deref()),
                ]
            })
            .collect();
        let head = ["POD", "STATE", "TASK", "PHASE", "NODE", "REASON"];
        text + "\n" + &output::table(&head, &rows)
    }
}

impl IndexerRow {
    /// The task, or the first ones of several.
    fn tasks(&self) -> Option<String> {
        const SHOWN: usize = 3;
        let shown = self.tasks.iter().take(SHOWN).cloned().collect::<Vec<_>>();
        match self.tasks.len().saturating_sub(SHOWN) {
            _ if shown.is_empty() => self.task.clone(),
            0 => Some(shown.join(", ")),
            more => Some(format!("{} and {more} more", shown.join(", "))),
        }
    }

    fn new(pod: &str) -> Self {
        Self {
            pod: pod.to_owned(),
            state: None,
            task: None,
            tasks: Vec::new(),
            phase: None,
            node: None,
            reason: None,
        }
    }
}

/// A cell of a table.
fn cell(text: Option<&str>) -> String {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    text.map_or_else(|| "-".to_owned(), one_line)
}

/// Text in one line, as it is shown to people.
fn one_line(text: &str) -> String {
    plain(text).replace('\n', " ")
}

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;
