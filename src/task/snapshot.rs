//! Everything that one pass knows of a PeonTask: the input of the plan (data only).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::accept::Refused;
use super::accept::retry_policy::Policy;
use super::aggregates::durations::Expected;
use super::aggregates::idle_indexers::{Given, PoolOffer};
use super::aggregates::slots::Slot;
use super::decide::waiting::Warnings;
use super::run::death::NodeState;
use super::run::pod::evidence::Evidence;
use super::run::worker::IndexerSeen;
use crate::api::{PeonTask, PeonTemplate, PeonTemplateSpec};
use crate::apiserver::classify::refusal::Creation;
use crate::druid::payload::Payload;
use crate::druid::properties::RuntimeProperties;
use crate::indexer::decide::post::Posted;
use crate::logs::format::record::{Record, Recorded};
use crate::logs::format::state::Kept;

/// Everything that is known of a task: its state in the caches, and the outcomes of this pass's actions. After each
/// action the plan is made anew.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The task.
    pub task: Arc<PeonTask>,
    /// Its template.
    pub template: Template,
    /// The operator's properties.
    pub operator: Arc<RuntimeProperties>,
    /// The pod with the name of the task's current attempt, from the cache.
    pub cached: Option<Evidence>,
    /// The task's other pods, from the cache.
    pub others: Vec<Evidence>,
    /// The last state of a pod of this task whose deletion the watch saw.
    pub departed: Option<Evidence>,
    /// The Indexer on which the status claims the attempt, from the caches; `None` without such a claim.
    pub indexer: Option<Box<IndexerSeen>>,
    /// What the pools offer that run tasks of its VirtualMiddleManager.
    pub pools: Vec<Arc<PoolOffer>>,
    /// Whether this process has begun to create a pod for the current attempt.
    pub may_have_pod: bool,
    /// How long no Indexer is given to a task yet.
    pub pools_open_in: Option<Duration>,
    /// Whether the operator archives logs.
    pub keeps_logs: bool,
    /// How long creating objects is delayed after the API server refused it.
    pub held: Option<Duration>,

    /// The payload in the task itself, once it has been parsed: a pass parses it only once.
    pub inline: OnceLock<Result<Arc<Payload>, Refused>>,
    /// Outcomes of this pass's actions.
    pub outcomes: Outcomes,
}

/// Outcomes of the actions of a pass. A pass begins with none.
#[derive(Debug, Clone, Default)]
pub struct Outcomes {
    /// Whether a payload in ConfigMaps or Secrets was not read because there was no memory budget: the task is woken
    /// when there is.
    pub waits_for_room: bool,
    /// Outcome of reading a payload in ConfigMaps or Secrets.
    pub payload: Option<Result<Arc<Payload>, Refused>>,
    /// Outcome of creating the ConfigMap.
    pub claim: Option<Creation>,
    /// Outcome of reading from the API server itself.
    pub live: Option<Live>,
    /// Outcome of reading an Indexer's pod, and the version of the task, from the API server itself.
    pub indexer: Option<Box<Live>>,
    /// Outcome of asking for an idle Indexer.
    pub given: Option<Option<Given>>,
    /// Outcome of posting the task to its Indexer.
    pub posted: Option<Posted>,
    /// Whether the Indexer's pod was asked for more cpu.
    pub resized: bool,
    /// Ids that this pass asked an Indexer to shut down.
    pub shut_down: Vec<String>,
    /// Outcome of creating the pod.
    pub creation: Option<Creation>,
    /// Outcome of reading the pod's Events.
    pub warnings: Option<Warnings>,
    /// Outcome of reading the pod's node.
    pub node: Option<NodeState>,
    /// Outcome of asking for one of the template's slots.
    pub slot: Option<Slot>,
    /// Number of the task's subtasks that have no verdict.
    pub live_subtasks: Option<usize>,
    /// Memory step that a subtask of this kind begins with.
    pub rung: Option<u32>,
    /// How long the task is expected to run, once that was looked up; `None` inside where nothing is known.
    pub expected: Option<Option<Expected>>,
    /// Outcome of looking up an earlier success of the task, or what the store said.
    pub success: Option<Result<Option<Box<Record>>, String>>,
    /// Outcome of requesting the log.
    pub log: Option<Kept>,
    /// Outcome of writing the task to the history.
    pub recorded: Option<Recorded>,
    /// Names of the pods that this pass ended.
    pub ended: Vec<String>,
}

impl Snapshot {
    /// The template's spec, if there is one.
    #[must_use]
    pub fn template_spec(&self) -> Option<&PeonTemplateSpec> {
        match &self.template {
            Template::Found(template) => Some(&template.spec),
            Template::Missing { .. } | Template::Undecided | Template::Undecodable { .. } => None,
        }
    }

    /// Number of the current attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.task.attempt()
    }

    /// When the current attempt was given its slot of a shared Indexer; `None` where it has none.
    #[must_use]
    pub fn slot_time(&self) -> Option<Timestamp> {
        let run = self.task.status.as_ref()?.run.as_ref()?;
        run.slot_time.as_ref().map(|time| time.0)
    }

    /// Steps of the memory ladder that the current attempt is above the first one.
    #[must_use]
    pub fn memory_step(&self) -> u32 {
        let recorded = self.task.status.as_ref().and_then(|s| s.memory_step);
        recorded.or(self.outcomes.rung).unwrap_or_default()
    }

    /// When another attempt follows a failed one.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let template = self.template_spec().and_then(|t| t.retry.as_ref());
        Policy::effective(self.task.spec.retry.as_ref(), template)
    }
}

/// The template that a task names, or the one that was chosen for it.
#[derive(Debug, Clone)]
pub enum Template {
    /// The template exists.
    Found(Arc<PeonTemplate>),
    /// There is no template with that name.
    Missing {
        /// The name; `default` for a task that names none and that no template matches.
        name: String,
    },
    /// The task names none, and its payload, which decides on one, has not been read.
    Undecided,
    /// The template exists and cannot be read.
    Undecodable {
        /// The name.
        name: String,
        /// The cause.
        error: String,
    },
}

/// The state of the API server itself, past all caches.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// Uid of the ConfigMap's owner; `None` if there is no ConfigMap, or it has no controller.
    pub config_map_owner: Option<String>,
    /// The pod.
    pub pod: Option<Evidence>,
    /// Resource version of the task itself; `None` when it is gone.
    pub task_version: Option<String>,
}
