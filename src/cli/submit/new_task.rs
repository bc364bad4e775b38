//! The PeonTask created for a payload, with its name and its chunks (pure).

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::api::names::is_dns_label;
use crate::api::{PeonTask, PeonTaskSpec, Registration, TemplateRef};
use crate::digest::hex;
use crate::druid::payload::Payload;
use crate::payload::chunks::new_task::{self, New, empty_spec, payload_hash};
use crate::quantity;

/// Longest readable part of a made name: pods add their attempt and have 63 characters.
const LONGEST_HEAD: usize = 44;

/// What the command line says of every task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) name: Option<String>,
    pub(crate) template: Option<String>,
    pub(crate) memory: Option<String>,
    pub(crate) cpu: Option<String>,
    pub(crate) registration: Option<Registration>,
    pub(crate) suspend: bool,
    pub(crate) labels: Vec<(String, String)>,
    /// The payload goes into Secrets.
    pub(crate) secret: bool,
}

/// The PeonTask of a plain Druid task.
///
/// # Errors
/// Says what of the payload or the wishes cannot be.
pub(crate) fn of_payload(text: &str, wishes: &Wishes) -> Result<New, String> {
    let payload: Map<String, Value> =
        serde_json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?;
    let name = wishes.name.clone().unwrap_or_else(|| made_name(text, &payload));
    let task = PeonTask::new(&name, empty_spec());
    finish(task, Some(text.to_owned()), wishes)
}

/// A PeonTask as the user wrote it, with the wishes of the command line.
///
/// # Errors
/// As [`of_payload`], and for one without a name, which a repetition could not find again.
pub(crate) fn of_task(mut task: PeonTask, wishes: &Wishes) -> Result<New, String> {
    if let Some(name) = &wishes.name {
        task.metadata.name = Some(name.clone());
    }
    let Some(name) = task.metadata.name.clone() else {
        return Err(
            "a PeonTask has no metadata.name: give it a name, so that a repeated submission finds it".into(),
        );
    };
    let given = [
        task.spec.task.is_some(),
        task.spec.task_json.is_some(),
        task.spec.task_from.is_some(),
    ];
    if given.iter().filter(|g| **g).count() != 1 {
        return Err(format!(
            "PeonTask {name}: give exactly one of spec.task, spec.taskJson and spec.taskFrom"
        ));
    }
    let text = match (&task.spec.task, &task.spec.task_json) {
        (Some(payload), _) => {
            let text = payload.given().to_owned();
            check(&text, &name)?;
            // Beyond what may stand there as an object, it stands as text.
            (wishes.secret || payload.text().is_err()).then_some(text)
        }
        (None, text) => text.clone(),
    };
    finish(task, text, wishes)
}

/// What the operator would refuse is refused before anything is created.
fn check(payload: &str, name: &str) -> Result<(), String> {
    let checked = Payload::parse_chunked(payload.as_bytes(), name);
    checked.map(drop).map_err(|e| format!("PeonTask {name}: {e}"))
}

fn finish(mut task: PeonTask, payload: Option<String>, wishes: &Wishes) -> Result<New, String> {
    let name = task.name_any();
    check_name(&name)?;
    let spec = &mut task.spec;
    if let Some(template) = &wishes.template {
        spec.template_ref = Some(TemplateRef {
            name: template.clone(),
        });
    }
    for (resource, value) in [("memory", &wishes.memory), ("cpu", &wishes.cpu)] {
        let Some(value) = value else { continue };
        quantity::milli(value).map_err(|e| format!("--{resource}: {e}"))?;
        let resources = spec.resources.get_or_insert_with(ResourceRequirements::default);
        resources
            .limits
            .get_or_insert_default()
            .insert(resource.into(), Quantity(value.clone()));
        if let Some(requests) = &mut resources.requests {
            requests.remove(resource);
        }
    }
    spec.registration = wishes.registration.unwrap_or(spec.registration);
    spec.suspend |= wishes.suspend;
    let mut chunks = None;
    if let Some(text) = payload {
        check(&text, &name)?;
        chunks = new_task::place(spec, &name, text, wishes.secret).map_err(|e| e.to_string())?;
    }
    if !wishes.labels.is_empty() {
        task.labels_mut().extend(wishes.labels.iter().cloned());
    }
    task.metadata.managed_fields = None;
    task.metadata.resource_version = None;
    task.metadata.uid = None;
    task.status = None;
    Ok(New { task, chunks })
}

fn check_name(name: &str) -> Result<(), String> {
    if name.len() <= 253 && name.split('.').all(is_dns_label) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not an object name: use at most 253 lower-case letters, digits, `-` and `.`, with a \
         letter or digit at both ends"
    ))
}

/// A name for a task that got none: readable, and the same whenever the same is submitted. A Druid id stands for
/// one task, so it alone decides; without it the whole payload does.
fn made_name(text: &str, payload: &Map<String, Value>) -> String {
    let string = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let id = string(payload.get("id"));
    let readable = id
        .clone()
        .or_else(|| string(payload.get("type")))
        .unwrap_or_default();
    let hash = hex(&Sha256::digest(id.as_deref().unwrap_or(text).as_bytes()));
    format!("{}-{}", new_task::readable(&readable, LONGEST_HEAD), &hash[..8])
}

/// What of an existing task differs from the one that was to be created; `None` where a repetition may go on.
pub(crate) fn difference(existing: &PeonTask, wanted: &PeonTask) -> Option<&'static str> {
    let (old, new) = (&existing.spec, &wanted.spec);
    let same = match (payload_hash(old), payload_hash(new)) {
        (Some(old), Some(new)) => old == new,
        _ => match (&old.task, &new.task) {
            (Some(old), Some(new)) => same_text(old.given(), new.given()),
            _ => false,
        },
    };
    if !same {
        return Some("payload");
    }
    if old.task_from != new.task_from {
        return Some("payload location (--secret)");
    }
    let settings = |spec: &PeonTaskSpec| {
        (
            spec.template_ref.clone(),
            spec.resources.clone(),
            spec.java_opts.clone(),
            spec.registration,
            spec.retry.clone(),
        )
    };
    (settings(old) != settings(new)).then_some("settings")
}

fn same_text(one: &str, two: &str) -> bool {
    match (serde_json::from_str(one), serde_json::from_str(two)) {
        (Ok(one), Ok(two)) => same_json(&one, &two),
        _ => one == two,
    }
}

/// Equal but for how numbers are written, which an API server may change.
fn same_json(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => one == two || one.as_f64() == two.as_f64(),
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(a, b)| same_json(a, b))
        }
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one
                    .iter()
                    .all(|(key, a)| two.get(key).is_some_and(|b| same_json(a, b)))
        }
        _ => one == two,
    }
}

#[cfg(test)]
#[path = "new_task_tests.rs"]
mod tests;
