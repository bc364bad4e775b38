//! Whether tasks can use a PeonTemplate, as far as that does not depend on a task (pure).
//!
//! The checks are those by which a task is accepted, and so are their messages.

use kube::ResourceExt;

use super::overrides::{self, Exceeded};
use super::retry_policy::Policy;
use super::settings::{InvalidSetting, Levels, Settings, Source};
use super::{Refused, jvm, peon_ports, template_fields, template_shape};
use crate::api::reason::{Acceptance, TemplateReadiness};
use crate::api::{Collect, PeonTaskSpec, PeonTemplate, peon_endpoint};
use crate::druid::properties::RuntimeProperties;
use crate::task::decide::log_collection;
use crate::task::run::pod::grace;

/// Why tasks cannot use a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The reason of `Ready`.
    pub reason: TemplateReadiness,
    /// What to change, as a task of this template says it.
    pub message: String,
}

impl From<Refused> for Unusable {
    fn from(refused: Refused) -> Self {
        Self {
            reason: TemplateReadiness::InvalidTemplate,
            message: refused.message,
        }
    }
}

impl Unusable {
    /// Of a template that cannot be decoded.
    #[must_use]
    pub fn undecodable(name: &str, error: &str) -> Self {
        Self {
            reason: TemplateReadiness::InvalidTemplate,
            message: undecodable(name, error),
        }
    }
}

/// Checks a template as for a task that sets nothing itself. `archives_logs`: whether the operator archives logs, which
/// a sidecar is needed for only then.
///
/// Checked are the shape of the pod template, memory and cpu, the memory ladder, properties that the operator sets
/// itself, the limits of `overrides`, the sizes of the JVM, the time-outs that the grace period is made of, and the
/// image of a sidecar. Not checked is what depends on a task: its payload and its context, options that
/// only tasks of some types get, its own settings against `overrides`, and whether `sizing.ingestionMemory: Bytes` can
/// be applied to its payload. Nor is what this operator does not read: ConfigMaps and Secrets, the image, and the fields
/// of the pod template that only the API server knows.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(
    template: &PeonTemplate,
    operator: &RuntimeProperties,
    archives_logs: bool,
) -> Result<(), Unusable> {
    shape(template)?;
    let (task, retry) = (
        PeonTaskSpec::default(),
        Policy::effective(None, template.spec.retry.as_ref()),
    );
    let levels = Levels {
        task: &task,
        payload: None,
        template: &template.spec,
        operator,
        memory_step: 0,
        ladder: retry.memory(),
    };
    let mut settings = Settings::resolve(&levels).map_err(|e| refused(&e, template))?;
    if let Some(limits) = &template.spec.overrides {
        overrides::limits(limits).map_err(|e| exceeded(e, template))?;
    }
    grace::seconds(&settings).map_err(|e| refused(&e, template))?;
    peon_ports::of(&settings).map_err(|e| refused(&e, template))?;
    let logs = template.spec.logs.as_ref().and_then(|logs| logs.collect);
    if archives_logs && logs == Some(Collect::Sidecar) {
        log_collection::sidecar_image(operator)?;
    }
    // Last: a task may get around this one with settings of its own.
    jvm::size(&settings).map(drop).map_err(|error| {
        settings.enforce = false;
        let reason = match jvm::size(&settings) {
            Ok(_) => TemplateReadiness::InvalidSizing,
            // A size that cannot be read, or that no JVM starts with.
            Err(_) => TemplateReadiness::InvalidTemplate,
        };
        let Refused { message, .. } = refused(&error, template);
        Unusable { reason, message }
    })
}

/// Checks the shape of the pod template and the names of its fields.
///
/// # Errors
/// `InvalidTemplate`, with the path that is wrong.
pub(super) fn shape(template: &PeonTemplate) -> Result<(), Refused> {
    let given = template.spec.template.as_ref();
    let host = template.spec.host.as_deref();
    template_shape::check(given)
        .and_then(|()| template_fields::check(given))
        .and_then(|()| host.map_or(Ok(()), peon_endpoint::check_host))
        .map_err(|e| cannot_be_used(template, &e))
}

/// The message about a template that cannot be decoded.
#[must_use]
pub(super) fn undecodable(name: &str, error: &str) -> String {
    format!("the PeonTemplate {name} cannot be decoded: {error}")
}

/// A setting that cannot be used: the template can be corrected, the task cannot.
pub(super) fn refused(invalid: &InvalidSetting, template: &PeonTemplate) -> Refused {
    let message = format!("{} (to be changed in {})", invalid.message, invalid.source);
    match invalid.source {
        Source::Template | Source::Operator | Source::BuiltIn => {
            let message = format!("{message}; PeonTemplate {}", template.name_any());
            Refused::new(Acceptance::InvalidTemplate, message)
        }
        Source::Context | Source::Task => Refused::new(Acceptance::InvalidTask, message),
    }
}

/// Something that `overrides` does not allow, or a limit that cannot be parsed.
pub(super) fn exceeded(exceeded: Exceeded, template: &PeonTemplate) -> Refused {
    match exceeded {
        Exceeded::Limit(message) => Refused::new(
            Acceptance::LimitExceeded,
            format!("{message}; PeonTemplate {}", template.name_any()),
        ),
        Exceeded::Template(message) => cannot_be_used(template, &message),
    }
}

fn cannot_be_used(template: &PeonTemplate, why: &str) -> Refused {
    let name = template.name_any();
    Refused::new(
        Acceptance::InvalidTemplate,
        format!("the PeonTemplate {name} cannot be used: {why}"),
    )
}

#[cfg(test)]
#[path = "template_readiness_tests.rs"]
mod tests;
