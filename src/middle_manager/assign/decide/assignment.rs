//! The PeonTask that an assigned task becomes (pure).

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::names::{self};
use crate::api::virtual_middle_manager::PayloadPlace;
use crate::api::{
    ANNOTATION_OVERLORD, ANNOTATION_TASK_ID, FORGOTTEN, LABEL_IDENTITY, LABEL_MIDDLE_MANAGER,
    MiddleManagerRef, PeonTask, PeonTaskSpec, TaskFrom,
};
use crate::digest::hex;
use crate::druid::fields::Fields;
use crate::druid::payload::Payload;
use crate::druid::worker::TaskFacts;
use crate::middle_manager::registry::announcement::{annotations, facts};
use crate::middle_manager::registry::identity::{Assigned, Ordinal};
use crate::payload::chunks::new_task::{self, New, empty_spec, payload_hash};
use crate::payload::chunks::{Chunks, Kind, TooLarge};

/// Longest readable part of a name: pod names append the attempt and have at most 63 characters.
const LONGEST_HEAD: usize = 36;

/// From this age on, a PeonTask that the overlord has forgotten belongs to an earlier run of the id: an assignment of
/// the id is then a new task, not the same assignment sent again.
const ANOTHER_LIFE: SignedDuration = SignedDuration::from_mins(10);

/// Facts about an assigned task, and why it can never run, if it cannot.
#[must_use]
pub fn read(task: &Assigned) -> (TaskFacts, Option<String>) {
    let wanted = |key: &str| matches!(key, "type" | "resource");
    let fields = Fields::read(&task.json, wanted).unwrap_or_default();
    let type_ = match fields.value("type") {
        Ok(Some(Value::String(type_))) => type_,
        _ => String::new(),
    };
    let (mut said, wrong) = match Payload::parse_chunked(task.json.as_bytes(), &task.id) {
        Ok(payload) if payload.id == task.id => {
            let facts = facts(&task.id, &payload.type_, payload.data_source.as_deref());
            (facts, None)
        }
        Ok(payload) => {
            let why = format!("the task's id is {:?}, not {:?}", payload.id, task.id);
            (facts(&task.id, &type_, None), Some(why))
        }
        Err(error) => (facts(&task.id, &type_, None), Some(error.to_string())),
    };
    let is_wanted: fn(&str) -> bool = |key| matches!(key, "availabilityGroup" | "requiredCapacity");
    let resource = fields.object("resource", is_wanted).unwrap_or_default();
    if let Ok(Some(Value::String(group))) = resource.value("availabilityGroup") {
        said.resource.availability_group = group;
    }
    let capacity = resource.value("requiredCapacity").ok().flatten();
    let capacity = capacity.and_then(|c| u32::try_from(c.as_u64()?).ok());
    said.resource.required_capacity = capacity.unwrap_or(1).max(1);
    (said, wrong)
}

/// Common fields of the PeonTasks of a VirtualMiddleManager.
#[derive(Debug, Clone)]
pub struct Maker {
    /// Name of the VirtualMiddleManager.
    pub middle_manager: String,
    /// Uid of the VirtualMiddleManager.
    pub uid: String,
    /// Namespace of the VirtualMiddleManager and of its PeonTasks.
    pub namespace: String,
    /// Further labels of the PeonTasks.
    pub labels: BTreeMap<String, String>,
    /// Where payloads are stored.
    pub payload: PayloadPlace,
}

impl Maker {
    /// Selects the PeonTasks of the VirtualMiddleManager, and their pods.
    #[must_use]
    pub fn selector(&self) -> String {
        let marks = self
            .marks()
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"));
        marks.collect::<Vec<_>>().join(",")
    }

    /// The labels that the selector matches.
    #[must_use]
    pub fn marks(&self) -> BTreeMap<String, String> {
        let name = names::label_value(&self.middle_manager);
        [(LABEL_MIDDLE_MANAGER.to_owned(), name)].into()
    }

    /// The labels of a PeonTask that is assigned to an identity.
    fn labels_of(&self, identity: Ordinal) -> BTreeMap<String, String> {
        let mut labels = self.marks();
        labels.insert(LABEL_IDENTITY.to_owned(), identity.0.to_string());
        labels
    }

    /// The merge patch that labels and annotates the PeonTask of this uid as that of an assigned task.
    #[must_use]
    pub fn label(&self, uid: Option<&str>, identity: Ordinal, facts: &TaskFacts) -> Value {
        json!({"metadata": {
            "uid": uid,
            "labels": self.labels_of(identity),
            "annotations": annotations(facts),
        }})
    }

    /// The PeonTask of a task, with its chunks. `nth` is the number of candidate names that are taken by other objects,
    /// from 0.
    ///
    /// Neither resources nor JVM options are set: the context, the template and the operator provide them.
    ///
    /// # Errors
    /// When the payload is larger than any may be.
    pub fn task(&self, identity: Ordinal, facts: &TaskFacts, json: &str, nth: u32) -> Result<New, TooLarge> {
        let name = self.name(facts, nth);
        let mut spec = self.spec();
        let secret = self.payload == PayloadPlace::Secret;
        let chunks = new_task::place(&mut spec, &name, json.to_owned(), secret)?;
        let mut task = PeonTask::new(&name, spec);
        let mut labels = self.labels.clone();
        labels.extend(self.labels_of(identity));
        task.metadata.namespace = Some(self.namespace.clone());
        task.metadata.labels = Some(labels);
        task.metadata.annotations = Some(annotations(facts));
        Ok(New { task, chunks })
    }

    /// A spec with only the reference to the VirtualMiddleManager.
    fn spec(&self) -> PeonTaskSpec {
        PeonTaskSpec {
            placement: None,
            pool_ref: None,
            middle_manager_ref: Some(MiddleManagerRef {
                name: self.middle_manager.clone(),
            }),
            ..empty_spec()
        }
    }

    /// Deterministic: the same task, assigned again, gets the same name.
    fn name(&self, facts: &TaskFacts, nth: u32) -> String {
        let mut hash = Sha256::new();
        hash.update(self.middle_manager.as_bytes());
        // The task id may contain characters that names cannot.
        hash.update([0]);
        hash.update(facts.id.as_bytes());
        let hash = hex(&hash.finalize());
        let head = new_task::readable(&facts.task_type, LONGEST_HEAD);
        let name = format!("{head}-{}", &hash[..16]);
        match nth {
            0 => name,
            nth => format!("{name}-{nth}"),
        }
    }
}

/// How an existing PeonTask with the name of a new one relates to the new one.
#[derive(Debug, Clone, PartialEq)]
pub enum Existing {
    /// The same task, stored before; its payload is in these chunks.
    Same(Option<(Chunks, Kind)>),
    /// Another PeonTask, which differs in this respect.
    Other(&'static str),
}

impl Existing {
    /// Compares the existing PeonTask with the wanted one.
    ///
    /// Users who may create PeonTasks may use any name, and must not get hold of a task by it. So a PeonTask counts as
    /// the same only with our labels and id, exactly this payload, and nothing that would change how it runs. The
    /// identity may differ: the task then runs there. The location of the payload may differ too, if the
    /// VirtualMiddleManager was changed.
    #[must_use]
    pub fn of(existing: &PeonTask, wanted: &New, json: &str, now: Timestamp) -> Self {
        let (there, here) = (existing.labels(), wanted.task.labels());
        let is_ours = there.get(LABEL_MIDDLE_MANAGER) == here.get(LABEL_MIDDLE_MANAGER)
            && existing.middle_manager() == wanted.task.middle_manager();
        if !is_ours {
            return Self::Other("VirtualMiddleManager");
        }
        if there
            .get(LABEL_IDENTITY)
            .is_none_or(|i| i.parse::<u16>().is_err())
        {
            return Self::Other("identity");
        }
        let (there, here) = (existing.annotations(), wanted.task.annotations());
        if there.get(ANNOTATION_TASK_ID) != here.get(ANNOTATION_TASK_ID) {
            return Self::Other("task id");
        }
        let spec = &existing.spec;
        if payload_hash(spec).is_none() || payload_hash(spec) != payload_hash(&wanted.task.spec) {
            return Self::Other("payload");
        }
        let says_nothing_else = spec.template_ref.is_none()
            && spec.resources.is_none()
            && spec.java_opts.is_empty()
            && spec.retry.is_none();
        if !says_nothing_else {
            return Self::Other("settings");
        }
        let created = existing.metadata.creation_timestamp.as_ref();
        let is_old = created.is_some_and(|t| now.duration_since(t.0) >= ANOTHER_LIFE);
        let is_forgotten = there.get(ANNOTATION_OVERLORD).is_some_and(|o| o == FORGOTTEN);
        if is_old && is_forgotten && existing.is_final() {
            return Self::Other("lifetime");
        }
        if spec.task_from == wanted.task.spec.task_from {
            return Self::Same(wanted.chunks.clone());
        }
        let Some(from) = &spec.task_from else {
            return Self::Same(None);
        };
        match elsewhere(&existing.name_any(), from, json) {
            Some(chunks) => Self::Same(Some(chunks)),
            None => Self::Other("payload location"),
        }
    }
}

/// The chunks of a task that was stored in another location than now; `None` if they are not the chunks that were
/// stored.
fn elsewhere(name: &str, from: &TaskFrom, json: &str) -> Option<(Chunks, Kind)> {
    let chunks = Chunks::split(json.as_bytes()).ok()?;
    let kind = [Kind::Secret, Kind::ConfigMap]
        .into_iter()
        .find(|kind| chunks.task_from(name, *kind) == *from)?;
    Some((chunks, kind))
}

#[cfg(test)]
#[path = "assignment_tests.rs"]
mod tests;
