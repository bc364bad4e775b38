//! The settings in force for one task, and where each comes from (pure).
//!
//! Precedence, highest first: the PeonTask's spec, the task's context, the PeonTemplate, the operator's
//! `runtime.properties`, built-in defaults.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value};

use super::{pod_template, quantity};
use crate::api::{PeonTaskSpec, PeonTemplateSpec};
use crate::druid::java_options;
use crate::druid::payload::Payload;
use crate::druid::properties::{FORK_PROPERTY, JAVA_OPTS, JAVA_OPTS_ARRAY, RuntimeProperties};

/// Context keys, from the proposal for running peons as pods.
const CONTEXT_MEMORY: &str = "druid.peon.pod.memory";
const CONTEXT_CPU: &str = "druid.peon.pod.cpu";
const CONTEXT_JAVA_OPTS: &str = "druid.peon.javaOpts";

/// Built-in defaults.
const DEFAULT_IMAGE: &str = "docker.io/apache/druid:33.0.0";
const DEFAULT_MEMORY: &str = "2G";
const DEFAULT_CPU: &str = "1";

/// Properties that the operator sets itself; another value would break how it runs and follows the peon.
pub const RESERVED: [(&str, &str); 4] = [
    ("druid.indexer.runner.type", "k8s"),
    ("druid.indexer.task.baseTaskDir", super::pod::BASE_TASK_DIR),
    ("druid.indexer.task.encapsulatedTask", "false"),
    ("druid.plaintextPort", super::pod::PORT),
];

/// Where a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Built into the operator.
    BuiltIn,
    /// The operator's runtime properties.
    Operator,
    /// The PeonTemplate.
    Template,
    /// The context of the Druid task.
    Context,
    /// The spec of the PeonTask.
    Task,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "the built-in default",
            Self::Operator => "the operator's runtime properties",
            Self::Template => "the PeonTemplate",
            Self::Context => "the task's context",
            Self::Task => "the PeonTask's spec",
        })
    }
}

/// A setting cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSetting {
    /// Where it comes from: decides whether the task or its template is to be changed.
    pub source: Source,
    /// What is wrong with it.
    pub message: String,
}

/// The settings in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The image.
    pub image: String,
    /// Requests and limits of the peon's container, cpu and memory always among them.
    pub resources: ResourceRequirements,
    /// The memory limit, as it was written, and its source.
    pub memory: (String, Source),
    /// The cpu limit, as it was written, and its source.
    pub cpu: (String, Source),
    /// JVM options of all levels, lowest first, replaced ones dropped. Druid properties are among them as `-D`.
    pub java_opts: Vec<(String, Source)>,
}

/// Everything that settings come from.
#[derive(Debug, Clone, Copy)]
pub struct Levels<'a> {
    /// The PeonTask's spec.
    pub task: &'a PeonTaskSpec,
    /// Its payload.
    pub payload: &'a Payload,
    /// Its template.
    pub template: &'a PeonTemplateSpec,
    /// The operator's properties.
    pub operator: &'a RuntimeProperties,
}

impl Settings {
    /// Resolves every setting.
    ///
    /// # Errors
    /// The first setting that cannot be used, with its source.
    pub fn resolve(levels: &Levels<'_>) -> Result<Self, InvalidSetting> {
        let mut resources = other_resources(levels);
        let memory = resource(
            levels,
            "memory",
            CONTEXT_MEMORY,
            levels.operator.memory.as_deref(),
            DEFAULT_MEMORY,
        )?;
        let cpu = resource(
            levels,
            "cpu",
            CONTEXT_CPU,
            levels.operator.cpu.as_deref(),
            DEFAULT_CPU,
        )?;
        for (name, chosen) in [("memory", &memory), ("cpu", &cpu)] {
            let put = |to: &mut Option<BTreeMap<String, Quantity>>, value: &str| {
                to.get_or_insert_default()
                    .insert(name.to_owned(), Quantity(value.to_owned()));
            };
            put(&mut resources.requests, &chosen.request);
            put(&mut resources.limits, &chosen.limit);
        }
        let java_opts = java_opts(levels)?;
        refuse_reserved(&java_opts)?;
        Ok(Self {
            image: image(levels),
            resources,
            memory: (memory.limit, memory.source),
            cpu: (cpu.limit, cpu.source),
            java_opts,
        })
    }

    /// The options alone, lowest level first.
    #[must_use]
    pub fn options(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.java_opts.iter().map(|(option, _)| option.as_str())
    }

    /// A Druid property as the peon sees it.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        java_options::value(self.options(), &format!("-D{name}="))
    }
}

fn image(levels: &Levels<'_>) -> String {
    let container = pod_template::peon_container(levels.template.template.as_ref());
    levels
        .template
        .image
        .clone()
        .or_else(|| {
            container
                .and_then(|c| c.get("image"))
                .and_then(Value::as_str)
                .map(str::to_owned)
        })
        .or_else(|| levels.operator.image.clone())
        .unwrap_or_else(|| DEFAULT_IMAGE.to_owned())
}

struct Chosen {
    request: String,
    limit: String,
    source: Source,
}

/// Request and limit of one resource, from the highest level that says anything about it.
fn resource(
    levels: &Levels<'_>,
    name: &'static str,
    context_key: &'static str,
    operator: Option<&str>,
    built_in: &str,
) -> Result<Chosen, InvalidSetting> {
    let same = |value: String, source| Chosen {
        request: value.clone(),
        limit: value,
        source,
    };
    let of = |requirements: Option<&ResourceRequirements>, source| {
        let get =
            |map: Option<&BTreeMap<String, Quantity>>| map.and_then(|m| m.get(name)).map(|q| q.0.clone());
        let request = get(requirements.and_then(|r| r.requests.as_ref()));
        let limit = get(requirements.and_then(|r| r.limits.as_ref()));
        let (request, limit) = match (request, limit) {
            (None, None) => return None,
            (Some(request), None) => (request.clone(), request),
            (None, Some(limit)) => (limit.clone(), limit),
            (Some(request), Some(limit)) => (request, limit),
        };
        Some(Chosen {
            request,
            limit,
            source,
        })
    };
    let context = match levels.payload.context.get(context_key) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(same(text.clone(), Source::Context)),
        Some(Value::Number(number)) => Some(same(number.to_string(), Source::Context)),
        Some(other) => {
            let message = format!("{context_key} is {other}, it must be a quantity such as 4Gi or 2");
            return Err(InvalidSetting {
                source: Source::Context,
                message,
            });
        }
    };
    let container = container_resources(levels);
    let chosen = of(levels.task.resources.as_ref(), Source::Task)
        .or(context)
        .or_else(|| of(levels.template.resources.as_ref(), Source::Template))
        .or_else(|| of(container.as_ref(), Source::Template))
        .or_else(|| operator.map(|value| same(value.to_owned(), Source::Operator)))
        .unwrap_or_else(|| same(built_in.to_owned(), Source::BuiltIn));
    let invalid = |message| InvalidSetting {
        source: chosen.source,
        message,
    };
    for value in [&chosen.request, &chosen.limit] {
        if quantity::milli(value).map_err(|e| invalid(format!("{name}: {e}")))? == 0 {
            return Err(invalid(format!("{name} is {value}, it must be above zero")));
        }
    }
    if quantity::milli(&chosen.request) > quantity::milli(&chosen.limit) {
        let message = format!(
            "the {name} request {} is above its limit {}",
            chosen.request, chosen.limit
        );
        return Err(invalid(message));
    }
    Ok(chosen)
}

/// The resources of the peon's container in the template's pod template. What does not decode is none: the API
/// server refuses the pod with the exact field then.
fn container_resources(levels: &Levels<'_>) -> Option<ResourceRequirements> {
    let container = pod_template::peon_container(levels.template.template.as_ref())?;
    serde_json::from_value(container.get("resources")?.clone()).ok()
}

/// Requests and limits of everything but cpu and memory: of each resource both from the highest level that names
/// it, since the API server refuses a limit below the request.
fn other_resources(levels: &Levels<'_>) -> ResourceRequirements {
    let container = container_resources(levels);
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut claims = None;
    for level in [
        container.as_ref(),
        levels.template.resources.as_ref(),
        levels.task.resources.as_ref(),
    ] {
        let Some(level) = level else { continue };
        let (higher_requests, higher_limits) = (level.requests.as_ref(), level.limits.as_ref());
        for name in higher_requests
            .into_iter()
            .chain(higher_limits)
            .flat_map(BTreeMap::keys)
        {
            requests.remove(name);
            limits.remove(name);
        }
        requests.extend(higher_requests.cloned().unwrap_or_default());
        limits.extend(higher_limits.cloned().unwrap_or_default());
        claims = level.claims.clone().or(claims);
    }
    ResourceRequirements {
        claims,
        requests: Some(requests),
        limits: Some(limits),
    }
}

/// Properties and options of every level, lowest first. A property is one setting, however it is written: as a
/// `-D` it takes its level's place, where an option beats a property.
fn java_opts(levels: &Levels<'_>) -> Result<Vec<(String, Source)>, InvalidSetting> {
    let invalid = |message| InvalidSetting {
        source: Source::Context,
        message,
    };
    let context = &levels.payload.context;
    let mut from_context = context_properties(context).map_err(invalid)?;
    for key in [JAVA_OPTS, JAVA_OPTS_ARRAY, CONTEXT_JAVA_OPTS] {
        from_context.extend(context_options(context, key).map_err(invalid)?);
    }
    let define = |properties: &BTreeMap<String, String>| -> Vec<String> {
        properties.iter().map(|(n, v)| format!("-D{n}={v}")).collect()
    };
    let all = [
        (define(&levels.operator.properties), Source::Operator),
        (levels.operator.java_opts.clone(), Source::Operator),
        (define(&levels.template.properties), Source::Template),
        (levels.template.java_opts.clone(), Source::Template),
        (from_context, Source::Context),
        (levels.task.java_opts.clone(), Source::Task),
    ];
    let all = all
        .into_iter()
        .flat_map(|(options, source)| options.into_iter().map(move |o| (o, source)));
    Ok(java_options::last_of_each_kind(all.collect()))
}

/// Druid properties in the context, as `-D` options.
fn context_properties(context: &Map<String, Value>) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for (key, value) in context {
        let Some(name) = key.strip_prefix(FORK_PROPERTY).filter(|n| !n.is_empty()) else {
            continue;
        };
        all.push(match value {
            Value::String(text) => format!("-D{name}={text}"),
            Value::Number(_) | Value::Bool(_) => format!("-D{name}={value}"),
            other => {
                return Err(format!(
                    "{key} is {other}, it must be a string, a number or a boolean"
                ));
            }
        });
    }
    Ok(all)
}

/// JVM options in the context: a string that is split, or an array.
fn context_options(context: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let error = |value: &Value| format!("{key} is {value}, it must be a string or an array of strings");
    match context.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => java_options::split(text).map_err(|e| format!("{key}: {e}")),
        Some(array @ Value::Array(items)) => items
            .iter()
            .map(|i| i.as_str().map(str::to_owned).ok_or_else(|| error(array)))
            .collect(),
        Some(other) => Err(error(other)),
    }
}

/// Nobody may set what the operator sets, unless to the same value.
fn refuse_reserved(options: &[(String, Source)]) -> Result<(), InvalidSetting> {
    for (option, source) in options {
        let Some(definition) = option.strip_prefix("-D") else {
            continue;
        };
        let (name, value) = definition.split_once('=').unwrap_or((definition, ""));
        let own = RESERVED.iter().find(|(reserved, _)| *reserved == name);
        let message = match own {
            Some((_, own)) if *own != value => {
                format!("{name} is set by the operator to {own}: remove {name}={value}")
            }
            None if name == "druid.host" => {
                format!("{name} is set by the operator to the pod's address: remove it")
            }
            _ => continue,
        };
        return Err(InvalidSetting {
            source: *source,
            message,
        });
    }
    Ok(())
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
