//! Every setting of a task, with its value and source (pure). Values that look like secrets are not shown.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::findings::Choice;
use crate::api::{PeonTask, PeonTemplateSpec, RetryPolicy};
use crate::druid::properties::RuntimeProperties;
use crate::quantity::mebibytes;
use crate::task::accept::settings::{Settings, Source};
use crate::task::accept::sizing::Sizing;
use crate::task::run::pod::template;

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) setting: String,
    pub(super) value: String,
    pub(super) source: String,
}

const TASK: &str = "the PeonTask's spec";
const TEMPLATE: &str = "the PeonTemplate";
const DEFAULT: &str = "the built-in default";

fn row(setting: &str, value: impl Into<String>, source: &(impl fmt::Display + ?Sized)) -> Row {
    Row {
        setting: setting.into(),
        value: value.into(),
        source: source.to_string(),
    }
}

/// All settings. `resolved` is missing where the task's template or payload is not known.
pub(super) fn rows(
    task: &PeonTask,
    choice: &Choice,
    operator: &RuntimeProperties,
    resolved: Option<&(Settings, Sizing)>,
) -> Vec<Row> {
    let mut rows = vec![row("template", &choice.name, choice.why)];
    let nothing = PeonTemplateSpec::default();
    let template = choice.template.as_ref().map_or(&nothing, |t| &t.spec);
    if let Some((settings, sizing)) = resolved {
        rows.push(row("image", &settings.image, &image_source(template, operator)));
        rows.extend(resources(settings));
        rows.extend(sizes(settings, sizing));
    }
    rows.extend(times(task, template));
    rows.extend(retry(task.spec.retry.as_ref(), template.retry.as_ref()));
    let step = task
        .status
        .as_ref()
        .and_then(|s| s.memory_step)
        .unwrap_or_default();
    if step > 0 {
        rows.push(row(
            "steps of the memory ladder",
            step.to_string(),
            "the task's attempts",
        ));
    }
    if let Some(max) = template.max_running {
        rows.push(row("maxRunning", max.to_string(), TEMPLATE));
    }
    if let Some(after) = template.after_success {
        rows.push(row("afterSuccess", format!("{after:?}"), TEMPLATE));
    }
    for from in &template.properties_from {
        let named = [("ConfigMap", &from.config_map_ref), ("Secret", &from.secret_ref)];
        for (kind, source) in named
            .into_iter()
            .filter_map(|(kind, s)| Some((kind, s.as_ref()?)))
        {
            rows.push(row(
                "more properties",
                format!("{kind} {} (not shown)", source.name),
                TEMPLATE,
            ));
        }
    }
    if resolved.is_some_and(|(settings, _)| settings.properties_file.environment.read_in_pod) {
        let variables = "druid_* variables with values of the cluster (not shown)";
        rows.push(row("more properties", variables, TEMPLATE));
    }
    if let Some((settings, _)) = resolved {
        let options = settings.java_opts.iter();
        rows.extend(options.map(|(option, source)| row("java option", redacted(option), source)));
    }
    rows
}

fn image_source(template: &PeonTemplateSpec, operator: &RuntimeProperties) -> Source {
    let of_container = template::peon_container(template.template.as_ref()).and_then(|c| c.get("image"));
    if template.image.is_some() || of_container.is_some_and(Value::is_string) {
        Source::Template
    } else if operator.image.is_some() {
        Source::Operator
    } else {
        Source::BuiltIn
    }
}

fn resources(settings: &Settings) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, (limit, source)) in [("memory", &settings.memory), ("cpu", &settings.cpu)] {
        let climbed = name == "memory" && *limit != settings.first_memory;
        let source = if climbed {
            format!("the memory ladder, from {} of {source}", settings.first_memory)
        } else {
            source.to_string()
        };
        rows.push(row(name, limit, &source));
        let request = settings.resources.requests.as_ref().and_then(|r| r.get(name));
        if let Some(request) = request.filter(|r| r.0 != *limit) {
            rows.push(row(&format!("{name} request"), &request.0, &source));
        }
    }
    rows
}

/// What the JVM is given, and whether somebody gave it or it was computed.
fn sizes(settings: &Settings, sizing: &Sizing) -> Vec<Row> {
    let source = |prefixes: &[&str], otherwise: &str| {
        let given = settings.java_opts.iter().rev();
        let mut given = given.filter(|(option, _)| prefixes.iter().any(|p| option.starts_with(p)));
        given
            .next()
            .map_or_else(|| otherwise.to_owned(), |(_, source)| source.to_string())
    };
    let memory = "computed from memory";
    let cpu = "computed from cpu";
    let heap = ["-Xmx", "-XX:MaxHeapSize=", "-XX:MaxRAMPercentage="];
    let sizes = [
        ("heap", mebibytes(sizing.heap), source(&heap, memory)),
        (
            "direct memory",
            mebibytes(sizing.direct),
            source(&["-XX:MaxDirectMemorySize="], memory),
        ),
        (
            "processing buffer",
            mebibytes(sizing.buffer),
            source(&["-Ddruid.processing.buffer.sizeBytes="], memory),
        ),
        (
            "processing threads",
            sizing.threads.to_string(),
            source(&["-Ddruid.processing.numThreads="], cpu),
        ),
        (
            "merge buffers",
            sizing.merge_buffers.to_string(),
            source(&["-Ddruid.processing.numMergeBuffers="], cpu),
        ),
        (
            "processors",
            sizing.processors.to_string(),
            source(&["-XX:ActiveProcessorCount="], cpu),
        ),
    ];
    sizes
        .into_iter()
        .map(|(name, value, source)| row(name, value, &source))
        .collect()
}

/// The value of the task, else of its template, else the default.
fn first<T: ToString>(setting: &str, task: Option<T>, template: Option<T>, default: &str) -> Row {
    match (task, template) {
        (Some(value), _) => row(setting, value.to_string(), TASK),
        (None, Some(value)) => row(setting, value.to_string(), TEMPLATE),
        (None, None) => row(setting, default, DEFAULT),
    }
}

fn times(task: &PeonTask, template: &PeonTemplateSpec) -> Vec<Row> {
    let spec = &task.spec;
    vec![
        first(
            "startDeadlineSeconds",
            spec.start_deadline_seconds,
            template.start_deadline_seconds,
            "none",
        ),
        first(
            "activeDeadlineSeconds",
            spec.active_deadline_seconds,
            template.active_deadline_seconds,
            "none",
        ),
        first(
            "ttlSecondsAfterFinished",
            spec.ttl_seconds_after_finished.map(ttl),
            template.ttl_seconds_after_finished.map(ttl),
            "3600",
        ),
    ]
}

fn ttl(seconds: i32) -> String {
    if seconds < 0 {
        "-1 (never)".to_owned()
    } else {
        seconds.to_string()
    }
}

fn retry(task: Option<&RetryPolicy>, template: Option<&RetryPolicy>) -> Vec<Row> {
    let nothing = RetryPolicy::default();
    let (task, template) = (task.unwrap_or(&nothing), template.unwrap_or(&nothing));
    let after_node_loss = |policy: &RetryPolicy| policy.after_node_loss.map(|a| format!("{a:?}"));
    let rerun = |policy: &RetryPolicy| policy.rerun.map(|r| format!("{r:?}"));
    let factor = |policy: &RetryPolicy| {
        policy
            .memory
            .as_ref()
            .and_then(|m| m.factor_percent)
            .map(|f| format!("{f} %"))
    };
    let max = |policy: &RetryPolicy| policy.memory.as_ref().and_then(|m| m.max.clone()).map(|q| q.0);
    let mut rows = vec![
        first("retry.rerun", rerun(task), rerun(template), "Safe"),
        first(
            "retry.backoffSeconds",
            task.backoff_seconds,
            template.backoff_seconds,
            "10",
        ),
        first(
            "retry.afterNodeLoss",
            after_node_loss(task),
            after_node_loss(template),
            "Wait",
        ),
        first(
            "retry.memory.factorPercent",
            factor(task),
            factor(template),
            "150 %",
        ),
        first(
            "retry.memory.max",
            max(task),
            max(template),
            "4 times the first attempt's",
        ),
    ];
    let causes = template.limits.keys().chain(task.limits.keys());
    let causes: std::collections::BTreeSet<&String> = causes.collect();
    for cause in causes {
        let (own, given) = (task.limits.get(cause), template.limits.get(cause));
        rows.push(first(&format!("retry.limits.{cause}"), own, given, ""));
    }
    rows.push(row(
        "retry.limits, others",
        "as in `kubectl explain pt.spec.retry.limits`",
        DEFAULT,
    ));
    rows
}

/// An option without what looks like a secret.
fn redacted(option: &str) -> String {
    const SECRETIVE: [&str; 7] = [
        "password",
        "passwd",
        "secret",
        "token",
        "credential",
        "passphrase",
        "accesskey",
    ];
    let Some((name, value)) = option.split_once('=') else {
        return option.to_owned();
    };
    let lower = name.to_ascii_lowercase();
    if SECRETIVE.iter().any(|s| lower.contains(s)) {
        return format!("{name}=(not shown)");
    }
    // A value may hold credentials of its own: an address with a user, or another option.
    let holds = value.to_ascii_lowercase();
    let user = holds
        .split_once("://")
        .is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')));
    if user || SECRETIVE.iter().any(|s| holds.contains(s)) {
        return format!("{name}=(not shown)");
    }
    option.to_owned()
}

#[cfg(test)]
#[path = "effective_tests.rs"]
mod tests;
