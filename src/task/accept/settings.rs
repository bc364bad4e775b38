//! The settings used for one task, and the source of each (pure).
//!
//! Precedence, highest first: the PeonTask's spec, the task's context, the PeonTemplate, the operator's
//! `runtime.properties`, built-in defaults.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value};

use super::ladder::Growth;
use super::properties_file::{self, PropertiesFile};
use super::{environment, resources};
use crate::api::peon_endpoint::ADDRESS;
use crate::api::{MemoryLadder, PeonTaskSpec, PeonTemplateSpec, SecurityDefault};
use crate::druid::payload::Payload;
use crate::druid::properties::{FORK_PROPERTY, ForPeons, JAVA_OPTS, JAVA_OPTS_ARRAY, RuntimeProperties};
use crate::druid::{java_options, peon_options};
use crate::task::run::pod::build::CLASS_PATH;
use crate::task::run::pod::template;

/// JVM options in the context, from the proposal for running peons as pods.
pub const CONTEXT_JAVA_OPTS: &str = "druid.peon.javaOpts";

/// The default image.
const DEFAULT_IMAGE: &str = "docker.io/apache/druid:33.0.0";

/// Properties set by the operator itself; other values would break how it runs and observes the peon.
pub const RESERVED: [(&str, &str); 4] = [
    ("druid.indexer.runner.type", "k8s"),
    (
        "druid.indexer.task.baseTaskDir",
        crate::task::run::pod::build::BASE_TASK_DIR,
    ),
    ("druid.indexer.task.encapsulatedTask", "false"),
    ("druid.plaintextPort", crate::task::run::pod::build::PORT),
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

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSetting {
    /// The source of the setting: decides whether the task or its template has to be changed.
    pub source: Source,
    /// The error.
    pub message: String,
}

/// The settings used for a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The image.
    pub image: String,
    /// Requests and limits of the peon's container, which always include cpu and memory.
    pub resources: ResourceRequirements,
    /// The memory limit, as written, and its source.
    pub memory: (String, Source),
    /// The cpu limit, as written, and its source.
    pub cpu: (String, Source),
    /// The memory limit of the first attempt.
    pub first_memory: String,
    /// How much more memory this attempt has than the first.
    pub growth: Growth,
    /// Whether a JVM that cannot fit its memory is refused.
    pub enforce: bool,
    /// Seconds that the attempt's pod may be active.
    pub active_deadline_seconds: Option<u32>,
    /// The class path.
    pub class_path: String,
    /// The host of the peon, with placeholders.
    pub host: String,
    /// What of the security contexts is left to the cluster.
    pub omitted: Vec<SecurityDefault>,
    /// What further properties are read from in the pod.
    pub properties_file: PropertiesFile,
    /// Whether the platform chooses the pod's user; otherwise it is Druid's, 1000.
    pub platform_user: bool,
    /// JVM options of all levels, lowest first, without replaced ones. Druid properties are among them as `-D`.
    pub java_opts: Vec<(String, Source)>,
}

/// All sources of settings.
#[derive(Debug, Clone, Copy)]
pub struct Levels<'a> {
    /// The PeonTask's spec.
    pub task: &'a PeonTaskSpec,
    /// Its payload; `None` if no task is given, where only a template is checked.
    pub payload: Option<&'a Payload>,
    /// Its template.
    pub template: &'a PeonTemplateSpec,
    /// The operator's properties.
    pub operator: &'a RuntimeProperties,
    /// Steps of the memory ladder that the attempt is above the first one.
    pub memory_step: u32,
    /// The ladder.
    pub ladder: &'a MemoryLadder,
}

impl<'a> Levels<'a> {
    /// The value of a key in the task's context, unless it is null.
    #[must_use]
    pub fn context(&self, key: &str) -> Option<&'a Value> {
        self.payload?.context.get(key).filter(|value| !value.is_null())
    }

    /// The largest memory limit that the template allows.
    #[must_use]
    pub fn max_memory(&self) -> Option<&'a Quantity> {
        self.template.overrides.as_ref()?.max_memory.as_ref()
    }
}

impl Settings {
    /// Resolves every setting.
    ///
    /// # Errors
    /// The first setting that cannot be used, with its source.
    pub fn resolve(levels: &Levels<'_>) -> Result<Self, InvalidSetting> {
        let resources = resources::resolve(levels)?;
        let java_opts = java_opts(levels)?;
        let properties_file = PropertiesFile {
            sources: levels.template.properties_from.clone(),
            environment: environment::in_pod(levels.template.template.as_ref()),
        };
        let reserved = [&RESERVED[..], &properties_file::properties(&properties_file)].concat();
        refuse_reserved(&java_opts, &reserved)?;
        Ok(Self {
            image: image(levels),
            resources: resources.requirements,
            memory: (resources.memory.limit, resources.memory.source),
            cpu: (resources.cpu.limit, resources.cpu.source),
            first_memory: resources.first_memory,
            growth: resources.growth,
            active_deadline_seconds: levels
                .task
                .active_deadline_seconds
                .or(levels.template.active_deadline_seconds),
            class_path: class_path(&levels.template.class_path),
            host: levels.template.host.clone().unwrap_or_else(|| ADDRESS.to_owned()),
            omitted: levels.template.omit_security_defaults.clone(),
            properties_file,
            enforce: levels
                .template
                .sizing
                .as_ref()
                .and_then(|s| s.enforce)
                .unwrap_or(true),
            platform_user: levels.operator.platform_user,
            java_opts,
        })
    }

    /// The options without their sources, lowest level first.
    #[must_use]
    pub fn options(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.java_opts.iter().map(|(option, _)| option.as_str())
    }

    /// The value of a Druid property in the peon, unless it comes from `propertiesFrom`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.property_with_source(name).map(|(value, _)| value)
    }

    /// A Druid property and its source.
    #[must_use]
    pub fn property_with_source(&self, name: &str) -> Option<(&str, Source)> {
        let prefix = format!("-D{name}=");
        let mut given = self.java_opts.iter().rev();
        given.find_map(|(option, source)| Some((option.strip_prefix(&prefix)?, *source)))
    }
}

/// Druid's libraries behind what the template puts before them.
fn class_path(before: &[String]) -> String {
    let before = before.iter().map(String::as_str);
    before.chain([CLASS_PATH]).collect::<Vec<_>>().join(":")
}

fn image(levels: &Levels<'_>) -> String {
    let container = template::peon_container(levels.template.template.as_ref());
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

/// Properties and options of all levels, lowest first. A property is one setting in either notation: as a `-D` it has
/// the precedence of its level, where an option overrides a property.
fn java_opts(levels: &Levels<'_>) -> Result<Vec<(String, Source)>, InvalidSetting> {
    let invalid = |message| InvalidSetting {
        source: Source::Context,
        message,
    };
    let mut from_context = Vec::new();
    if let Some(payload) = levels.payload {
        from_context = context_properties(&payload.context).map_err(invalid)?;
        for key in [JAVA_OPTS, JAVA_OPTS_ARRAY, CONTEXT_JAVA_OPTS] {
            let options = context_options(&payload.context, key).map_err(invalid)?;
            refuse_unusable(&options, key, Source::Context)?;
            from_context.extend(options);
        }
    }
    for (options, source) in [
        (&levels.operator.java_opts, Source::Operator),
        (&levels.template.java_opts, Source::Template),
        (&levels.task.java_opts, Source::Task),
    ] {
        refuse_unusable(options, "javaOpts", source)?;
    }
    let of_template = middle_manager_properties(&levels.template.properties)?;
    let from_environment = environment::properties(levels.template.template.as_ref());
    let define = |properties: &BTreeMap<String, String>| -> Vec<String> {
        properties.iter().map(|(n, v)| format!("-D{n}={v}")).collect()
    };
    let all = [
        (
            levels.payload.map(|p| built_in(&p.type_)).unwrap_or_default(),
            Source::BuiltIn,
        ),
        (define(&levels.operator.properties), Source::Operator),
        (levels.operator.java_opts.clone(), Source::Operator),
        (define(&from_environment), Source::Template),
        (define(&of_template.properties), Source::Template),
        (of_template.java_opts, Source::Template),
        (levels.template.java_opts.clone(), Source::Template),
        (from_context, Source::Context),
        (levels.task.java_opts.clone(), Source::Task),
    ];
    let all = all
        .into_iter()
        .flat_map(|(options, source)| options.into_iter().map(move |o| (o, source)));
    Ok(java_options::last_of_each_kind(all.collect()))
}

/// The properties of a template, which may be lines of a MiddleManager's file.
fn middle_manager_properties(properties: &BTreeMap<String, String>) -> Result<ForPeons, InvalidSetting> {
    let invalid = |message: String| InvalidSetting {
        source: Source::Template,
        message,
    };
    let for_peons = ForPeons::of(properties).map_err(|e| invalid(e.to_string()))?;
    refuse_unusable(&for_peons.java_opts, JAVA_OPTS, Source::Template)?;
    Ok(for_peons)
}

/// Refuses options that no peon can have. Each list is checked on its own, since an item may be the value of the one
/// before it.
fn refuse_unusable(options: &[String], list: &str, source: Source) -> Result<(), InvalidSetting> {
    let refused = peon_options::first_refused(options.iter().map(String::as_str));
    refused.map_or(Ok(()), |refused| {
        let message = format!("{:?} of {list} {}", refused.name, refused.why);
        Err(InvalidSetting { source, message })
    })
}

/// Options that a task of this type needs because its peon is a pod. By default Druid stores partitions that subtasks
/// exchange on the disk of a `MiddleManager`, and there is none.
fn built_in(task_type: &str) -> Vec<String> {
    let shuffles = matches!(task_type, "index_parallel" | "compact") || task_type.starts_with("partial_");
    let property = "-Ddruid.processing.intermediaryData.storage.type=deepstore".to_owned();
    shuffles.then_some(property).into_iter().collect()
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

/// JVM options in the context: an array, a string with a JSON array, as in Druid's properties, or a string that is
/// split.
fn context_options(context: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let error = |value: &Value| format!("{key} is {value}, it must be a string or an array of strings");
    match context.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => java_options::in_text(text).map_err(|e| format!("{key}: {e}")),
        Some(array @ Value::Array(items)) => items
            .iter()
            .map(|i| i.as_str().map(str::to_owned).ok_or_else(|| error(array)))
            .collect(),
        Some(other) => Err(error(other)),
    }
}

/// Refuses options that set reserved properties to another value.
fn refuse_reserved(options: &[(String, Source)], reserved: &[(&str, &str)]) -> Result<(), InvalidSetting> {
    for (option, source) in options {
        let Some(definition) = option.strip_prefix("-D") else {
            continue;
        };
        let (name, value) = definition.split_once('=').unwrap_or((definition, ""));
        let own = reserved.iter().find(|(reserved, _)| *reserved == name);
        let message = match own {
            Some((_, own)) if *own != value => {
                format!("{name} is set by the operator to {own}: remove {name}={value}")
            }
            None if name == "druid.host" => {
                format!(
                    "{name} is set by the operator to the pod's address, or to what host of the PeonTemplate makes of \
                     it: remove it"
                )
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

#[cfg(test)]
#[path = "settings_context_tests.rs"]
mod context_tests;
