//! Whether a task can run, and everything that its objects are built from (pure).

pub mod environment;
pub mod jvm;
pub mod ladder;
pub mod overrides;
pub mod peon_ports;
pub mod placement;
pub mod properties_file;
pub mod resources;
pub mod retry_policy;
pub mod settings;
pub mod sizing;
pub mod template_choice;
pub mod template_fields;
pub mod template_readiness;
pub mod template_secrets;
pub mod template_shape;
pub mod without_effect;

use std::sync::Arc;

use kube::ResourceExt;
use sha2::{Digest, Sha256};

use super::decide::log_collection;
use super::run::pod::build::Attempt;
use super::run::pod::grace;
use super::run::pod::log_plan::LogPlan;
use super::run::pod::payload_volume::Replacement;
use super::snapshot::{Snapshot, Template};
use crate::api::reason::Acceptance;
use crate::api::{IngestionMemory, PeonTask, PeonTemplate, Placement, TaskFrom};
use crate::digest::hex;
use crate::druid::ingestion_memory;
use crate::druid::payload::Payload;
use crate::payload::chunks::{self, Absent};
use peon_ports::PeonPorts;
use retry_policy::Policy;
use settings::{Levels, Settings};
use template_readiness::{exceeded, refused};

/// A task that can be run.
#[derive(Debug, Clone)]
pub struct Accepted<'a> {
    /// Payload of the task.
    pub payload: Arc<Payload>,
    /// Settings of the task, at the memory step of the current attempt.
    pub settings: Settings,
    /// When a failed attempt is followed by another one.
    pub retry: Policy,
    /// Where the task is to run.
    pub placement: Placement,
    /// The task that the peon is given in place of its payload, if the template requires that.
    effective: Option<Effective>,
    /// What changes in a payload in chunks, if the template requires that: the pod puts it together.
    memory: Vec<Replacement>,
    arguments: String,
    /// Where its peon listens.
    ports: PeonPorts,
    grace_seconds: u32,
    logs: Option<LogPlan>,
    task: &'a PeonTask,
    template: &'a PeonTemplate,
}

/// A task without its limits in rows.
#[derive(Debug, Clone)]
struct Effective {
    json: String,
    hash: String,
}

/// A task that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The reason of `Accepted`.
    pub reason: Acceptance,
    /// What to change.
    pub message: String,
    /// Whether the operator lacks a right: handled as any other failure of the API server.
    pub is_forbidden: bool,
}

impl Refused {
    pub(super) fn new(reason: Acceptance, message: String) -> Self {
        Self {
            reason,
            message,
            is_forbidden: false,
        }
    }

    /// Whether only another PeonTask can help: specs are immutable, templates are not.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.reason.is_final()
    }
}

impl Accepted<'_> {
    /// Attempt `number` of the task.
    #[must_use]
    pub fn attempt<'b>(&'b self, number: u32, names: &'b Names) -> Attempt<'b> {
        Attempt {
            task_name: &names.task,
            namespace: &names.namespace,
            task_uid: &names.uid,
            number,
            payload: &self.payload,
            task_from: self.task.task_from(),
            task_json: self.effective.as_ref().map_or(&self.payload.json, |e| &e.json),
            memory: &self.memory,
            settings: &self.settings,
            template: &self.template.spec,
            arguments: &self.arguments,
            ports: self.ports,
            grace_seconds: self.grace_seconds,
            logs: self.logs.as_ref(),
            middle_manager: self.task.middle_manager(),
        }
    }

    /// Name of the template used for the task.
    #[must_use]
    pub fn template_name(&self) -> &str {
        self.template.metadata.name.as_deref().unwrap_or_default()
    }

    /// Hash of the task that the peon is given, if that is not the payload; for `status.effectiveHash`.
    #[must_use]
    pub fn effective_hash(&self) -> Option<&str> {
        self.effective.as_ref().map(|e| e.hash.as_str())
    }

    /// The template.
    #[must_use]
    pub fn template(&self) -> &PeonTemplate {
        self.template
    }

    /// The memory step of the attempt that follows one at step `step`, which ran out of the memory `had`; none if no step
    /// has more.
    #[must_use]
    pub fn next_memory_step(&self, step: u32, had: Option<&str>) -> Option<u32> {
        let overrides = self.template.spec.overrides.as_ref();
        let max = overrides.and_then(|o| o.max_memory.as_ref());
        ladder::next(&self.settings.first_memory, step, had, self.retry.memory(), max)
    }

    /// The names used in the objects of an attempt.
    #[must_use]
    pub fn names(&self) -> Names {
        Names {
            task: self.task.name_any(),
            namespace: self.task.namespace().unwrap_or_default(),
            uid: self.task.uid().unwrap_or_default(),
        }
    }
}

/// Name, namespace and uid of a PeonTask.
#[derive(Debug, Clone)]
pub struct Names {
    task: String,
    namespace: String,
    uid: String,
}

/// The payload of a task. It is parsed once per pass.
///
/// # Errors
/// `InvalidTask` with what to change, or `PayloadIncomplete`.
pub fn payload(snapshot: &Snapshot) -> Result<Arc<Payload>, Refused> {
    if let Some(read) = &snapshot.outcomes.payload {
        return read.clone();
    }
    snapshot.inline.get_or_init(|| inline(&snapshot.task)).clone()
}

/// The payload in the task itself.
fn inline(task: &PeonTask) -> Result<Arc<Payload>, Refused> {
    #[cfg(test)]
    tests::PARSED.with(|parsed| parsed.set(parsed.get() + 1));
    let (spec, id) = (&task.spec, task.default_task_id());
    let payload = match (&spec.task, &spec.task_json) {
        _ if task.task_from().is_some() => {
            return Err(invalid(
                "the operator has not read the payload: please report this bug".into(),
            ));
        }
        (Some(given), _) => {
            let text = given.text().map_err(|beyond| invalid(beyond.to_string()))?;
            Payload::parse_inline(text, &id)
        }
        (None, Some(json)) => Payload::parse_inline(json, &id),
        (None, None) => {
            return Err(invalid(
                "the operator has not read the payload: please report this bug".into(),
            ));
        }
    };
    accepted_before(task, payload.map_err(|e| invalid(e.to_string()))?)
}

/// Checks the list of chunks in a task, before any of them is read.
///
/// # Errors
/// `InvalidTask` with what to change.
pub fn chunk_list(from: &TaskFrom) -> Result<(), Refused> {
    chunks::check(from).map_err(invalid)
}

/// The payload of a task in chunks; `parts` are the chunks, or why one of them is not available.
///
/// # Errors
/// As [`payload`].
pub fn chunked(
    task: &PeonTask,
    from: &TaskFrom,
    parts: Result<Vec<Vec<u8>>, Absent>,
) -> Result<Arc<Payload>, Refused> {
    assembled(task, from, parts).map(|(_, payload)| payload)
}

fn assembled(
    task: &PeonTask,
    from: &TaskFrom,
    parts: Result<Vec<Vec<u8>>, Absent>,
) -> Result<(Vec<u8>, Arc<Payload>), Refused> {
    let parts = parts.map_err(|absent| Refused {
        is_forbidden: matches!(absent, Absent::Forbidden(_)),
        ..Refused::new(Acceptance::PayloadIncomplete, absent.to_string())
    })?;
    let json = chunks::assemble(from, &parts).map_err(invalid)?;
    drop(parts);
    let payload = Payload::parse_chunked(&json, &task.default_task_id());
    let payload = accepted_before(task, payload.map_err(|e| invalid(e.to_string()))?)?;
    Ok((json, payload))
}

/// The task in chunks as JSON, with its id.
///
/// # Errors
/// As [`payload`].
pub fn chunked_text(
    task: &PeonTask,
    from: &TaskFrom,
    parts: Result<Vec<Vec<u8>>, Absent>,
) -> Result<Vec<u8>, Refused> {
    let (json, payload) = assembled(task, from, parts)?;
    Ok(payload
        .added
        .as_ref()
        .map(|added| added.to(&json))
        .unwrap_or(json))
}

fn invalid(message: String) -> Refused {
    Refused::new(Acceptance::InvalidTask, message)
}

/// A payload that was accepted must not change.
fn accepted_before(task: &PeonTask, payload: Payload) -> Result<Arc<Payload>, Refused> {
    // An assigned task replaces the submitted one, and its hash was checked with its chunks.
    let is_exchanged = task.submission().is_some_and(|s| s.assigned.is_some());
    let accepted = task.status.as_ref().and_then(|s| s.task_hash.as_ref());
    let accepted = accepted.filter(|_| !is_exchanged);
    if accepted.is_some_and(|hash| *hash != payload.hash) {
        return Err(invalid(
            "the payload was changed after the task had been accepted: create another PeonTask".into(),
        ));
    }
    Ok(Arc::new(payload))
}

/// Accepts a task, or returns why not.
///
/// # Errors
/// The first reason why it cannot run.
pub fn accept(snapshot: &Snapshot) -> Result<Accepted<'_>, Refused> {
    let task = &*snapshot.task;
    let payload = payload(snapshot)?;
    if let Some(name) = task.middle_manager()
        && !task.is_assigned()
    {
        return Err(Refused::new(
            Acceptance::NotAssigned,
            format!("the overlord has not assigned the task to the VirtualMiddleManager {name} yet"),
        ));
    }
    if payload.needs_overlord() && task.spec.registration.is_managed() && task.middle_manager().is_none() {
        let message = format!(
            "a task of type {} needs an overlord for its locks: submit the task to an overlord and set \
             registration: External, or name a VirtualMiddleManager in middleManagerRef",
            payload.type_
        );
        return Err(Refused::new(Acceptance::NeedsOverlord, message));
    }
    let broadcast_mode = payload
        .broadcast_mode()
        .map_err(|message| Refused::new(Acceptance::InvalidTask, message))?;
    let placement = placement::wanted(task, &payload)?;
    let template = match &snapshot.template {
        Template::Found(template) => template,
        Template::Undecided => {
            return Err(Refused::new(
                Acceptance::NoTemplate,
                "the task names no PeonTemplate, and its payload has not been read yet".into(),
            ));
        }
        Template::Missing { name } => {
            let alternative = match &task.spec.template_ref {
                None => ", and no other PeonTemplate there matches the task",
                Some(_) => "",
            };
            let message =
                format!("there is no PeonTemplate {name} in this namespace{alternative}: create it");
            return Err(Refused::new(Acceptance::NoTemplate, message));
        }
        Template::Undecodable { name, error } => {
            return Err(Refused::new(
                Acceptance::InvalidTemplate,
                template_readiness::undecodable(name, error),
            ));
        }
    };
    template_readiness::shape(template)?;
    let retry = Policy::effective(task.spec.retry.as_ref(), template.spec.retry.as_ref());
    let levels = Levels {
        task: &task.spec,
        payload: Some(&payload),
        template: &template.spec,
        operator: &snapshot.operator,
        memory_step: snapshot.memory_step(),
        ladder: retry.memory(),
    };
    let settings = Settings::resolve(&levels).map_err(|e| refused(&e, template))?;
    overrides::check(&levels, &settings).map_err(|e| exceeded(e, template))?;
    let ports = peon_ports::of(&settings).map_err(|e| refused(&e, template))?;
    let sizing = jvm::size(&settings).map_err(|e| refused(&e, template))?;
    let grace_seconds = grace::seconds(&settings).map_err(|e| refused(&e, template))?;
    let effective = effective(&payload, template, sizing.heap)?;
    let memory = memory_edits(&payload, template, sizing.heap);
    let arguments = jvm::argument_file(&settings, &sizing, ports, &payload, broadcast_mode);
    Ok(Accepted {
        payload,
        settings,
        retry,
        placement,
        effective,
        memory,
        arguments,
        ports,
        grace_seconds,
        logs: log_collection::plan_of(snapshot)?,
        task,
        template,
    })
}

/// Whether the template limits ingestion memory in bytes.
fn is_in_bytes(template: &PeonTemplate) -> bool {
    let memory = template.spec.sizing.as_ref().and_then(|s| s.ingestion_memory);
    memory == Some(IngestionMemory::Bytes)
}

/// The changes of a payload in chunks, if the template limits ingestion memory in bytes.
fn memory_edits(payload: &Payload, template: &PeonTemplate, heap: u64) -> Vec<Replacement> {
    let edits = payload.memory_edits.iter().filter(|_| is_in_bytes(template));
    edits.map(|edit| (edit.range.clone(), edit.text(heap))).collect()
}

/// The task that the peon is given in place of a payload in the PeonTask, if the template limits ingestion memory in
/// bytes.
fn effective(payload: &Payload, template: &PeonTemplate, heap: u64) -> Result<Option<Effective>, Refused> {
    // The text of a payload in chunks is not kept.
    if !is_in_bytes(template) || payload.json.is_empty() {
        return Ok(None);
    }
    let rewritten = ingestion_memory::rewrite(&payload.json, &payload.type_, heap).map_err(|e| {
        Refused::new(
            Acceptance::InvalidTask,
            format!("the task cannot be read as JSON: {e}"),
        )
    })?;
    Ok(rewritten.map(|json| Effective {
        hash: format!("sha256:{}", hex(&Sha256::digest(json.as_bytes()))),
        json,
    }))
}

#[cfg(test)]
#[path = "acceptance_tests.rs"]
mod tests;
