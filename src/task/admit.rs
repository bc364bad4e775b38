//! Whether a task can be run, and everything that its objects are built from (pure).

use std::sync::Arc;

use super::overrides::Exceeded;
use super::pod::Attempt;
use super::retry_policy::Policy;
use super::settings::{InvalidSetting, Levels, Settings, Source};
use super::snapshot::{Snapshot, Template};
use super::{chunks, jvm, ladder, overrides, template_shape};
use crate::api::conditions::accepted;
use crate::api::{PeonTask, PeonTemplate, TaskFrom};
use crate::druid::payload::Payload;
use kube::ResourceExt;

/// A task that can be run.
#[derive(Debug, Clone)]
pub struct Admitted<'a> {
    /// Its payload.
    pub payload: Arc<Payload>,
    /// Its settings, at the memory step of the current attempt.
    pub settings: Settings,
    /// When a failed attempt is followed by another one.
    pub retry: Policy,
    arguments: String,
    task: &'a PeonTask,
    template: &'a PeonTemplate,
}

/// A task that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// One of [`accepted`].
    pub reason: &'static str,
    /// What to change.
    pub message: String,
}

impl Refused {
    /// Whether nothing but another PeonTask can help: specs are immutable, templates are not.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self.reason, accepted::INVALID_TASK | accepted::NEEDS_OVERLORD)
    }
}

impl Admitted<'_> {
    /// Attempt `number` of the task.
    #[must_use]
    pub fn attempt<'b>(&'b self, number: u32, names: &'b Names) -> Attempt<'b> {
        Attempt {
            task_name: &names.task,
            namespace: &names.namespace,
            task_uid: &names.uid,
            number,
            payload: &self.payload,
            task_from: self.task.spec.task_from.as_ref(),
            settings: &self.settings,
            template: &self.template.spec,
            arguments: &self.arguments,
        }
    }

    /// Name of the template that the task is made with.
    #[must_use]
    pub fn template_name(&self) -> &str {
        self.template.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether an attempt `step` steps up the memory ladder can be followed by one with more memory.
    #[must_use]
    pub fn can_climb(&self, step: u32) -> bool {
        let overrides = self.template.spec.overrides.as_ref();
        let max = overrides.and_then(|o| o.max_memory.as_ref());
        ladder::can_climb(&self.settings.first_memory, step, self.retry.memory(), max)
    }

    /// The names that an attempt carries.
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

/// The payload of a task.
///
/// # Errors
/// `InvalidTask` with what to change, or `PayloadIncomplete`.
pub fn payload(snapshot: &Snapshot) -> Result<Arc<Payload>, Refused> {
    if let Some(read) = &snapshot.payload {
        return read.clone();
    }
    let task = &*snapshot.task;
    let (spec, name) = (&task.spec, task.name_any());
    let payload = match (&spec.task, &spec.task_json) {
        (Some(given), _) => Payload::parse(given, &name),
        (None, Some(json)) => Payload::parse_inline(json, &name),
        (None, None) => return Err(invalid("the payload was not read: please report this".into())),
    };
    accepted_before(task, payload.map_err(|e| invalid(e.to_string()))?)
}

/// The payload of a task that stands in chunks; `parts` are they, or the name of one that is missing.
///
/// # Errors
/// As [`payload`].
pub fn chunked(
    task: &PeonTask,
    from: &TaskFrom,
    parts: Result<Vec<Vec<u8>>, String>,
) -> Result<Arc<Payload>, Refused> {
    let parts = parts.map_err(|missing| Refused {
        reason: accepted::PAYLOAD_INCOMPLETE,
        message: format!("{missing} of the payload is not there: create it, or submit the task again"),
    })?;
    let json = chunks::assemble(from, &parts).map_err(invalid)?;
    let payload = Payload::parse_chunked(&json, &task.name_any());
    accepted_before(task, payload.map_err(|e| invalid(e.to_string()))?)
}

fn invalid(message: String) -> Refused {
    Refused {
        reason: accepted::INVALID_TASK,
        message,
    }
}

/// What was accepted once stays as it is.
fn accepted_before(task: &PeonTask, payload: Payload) -> Result<Arc<Payload>, Refused> {
    let accepted = task.status.as_ref().and_then(|s| s.task_hash.as_ref());
    if accepted.is_some_and(|hash| *hash != payload.hash) {
        return Err(invalid(
            "the task was changed after it had been accepted: create another PeonTask".into(),
        ));
    }
    Ok(Arc::new(payload))
}

/// Admits a task, or says why not.
///
/// # Errors
/// The first reason why it cannot run.
pub fn admit(snapshot: &Snapshot) -> Result<Admitted<'_>, Refused> {
    let task = &*snapshot.task;
    let payload = payload(snapshot)?;
    if payload.needs_overlord() && !task.spec.unmanaged {
        let message = format!(
            "a task of type {} asks an overlord for locks: submit it to one, and set unmanaged: true to say so",
            payload.type_
        );
        return Err(Refused {
            reason: accepted::NEEDS_OVERLORD,
            message,
        });
    }
    let broadcast_mode = payload.broadcast_mode().map_err(|message| Refused {
        reason: accepted::INVALID_TASK,
        message,
    })?;
    let template = match &snapshot.template {
        Template::Found(template) => template,
        Template::Missing { name } => {
            let message = format!("there is no PeonTemplate {name} in this namespace: create it");
            return Err(Refused {
                reason: accepted::NO_TEMPLATE,
                message,
            });
        }
        Template::Undecodable { name, error } => {
            let message = format!("the PeonTemplate {name} cannot be read: {error}");
            return Err(Refused {
                reason: accepted::INVALID_TEMPLATE,
                message,
            });
        }
    };
    template_shape::check(template.spec.template.as_ref()).map_err(|e| Refused {
        reason: accepted::INVALID_TEMPLATE,
        message: format!("the PeonTemplate {} cannot be used: {e}", template.name_any()),
    })?;
    let retry = Policy::effective(task.spec.retry.as_ref(), template.spec.retry.as_ref());
    let levels = Levels {
        task: &task.spec,
        payload: &payload,
        template: &template.spec,
        operator: &snapshot.operator,
        memory_step: snapshot.memory_step(),
        ladder: retry.memory(),
    };
    let settings = Settings::resolve(&levels).map_err(|e| refused(&e, template))?;
    overrides::check(&levels, &settings).map_err(|e| exceeded(e, template))?;
    let sizing = jvm::size(&settings).map_err(|e| refused(&e, template))?;
    let arguments = jvm::argument_file(&settings, &sizing, &payload, broadcast_mode);
    Ok(Admitted {
        payload,
        settings,
        retry,
        arguments,
        task,
        template,
    })
}

/// The template can be mended, the task cannot.
fn refused(invalid: &InvalidSetting, template: &PeonTemplate) -> Refused {
    let message = format!("{} (from {})", invalid.message, invalid.source);
    match invalid.source {
        Source::Template | Source::Operator | Source::BuiltIn => {
            let message = format!("{message}; PeonTemplate {}", template.name_any());
            Refused {
                reason: accepted::INVALID_TEMPLATE,
                message,
            }
        }
        Source::Context | Source::Task => Refused {
            reason: accepted::INVALID_TASK,
            message,
        },
    }
}

fn exceeded(exceeded: Exceeded, template: &PeonTemplate) -> Refused {
    let name = template.name_any();
    match exceeded {
        Exceeded::Limit(message) => Refused {
            reason: accepted::LIMIT_EXCEEDED,
            message: format!("{message}; PeonTemplate {name}"),
        },
        Exceeded::Template(message) => Refused {
            reason: accepted::INVALID_TEMPLATE,
            message: format!("the PeonTemplate {name} cannot be used: {message}"),
        },
    }
}
