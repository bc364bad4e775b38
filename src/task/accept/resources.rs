//! Requests and limits of the peon's container (pure).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::ladder::{self, Growth};
use super::settings::{InvalidSetting, Levels, Source};
use crate::quantity;
use crate::task::run::pod::template;

/// Context keys, from the proposal for running peons as pods.
const CONTEXT_MEMORY: &str = "druid.peon.pod.memory";
const CONTEXT_CPU: &str = "druid.peon.pod.cpu";

/// Built-in defaults.
const DEFAULT_MEMORY: &str = "2G";
const DEFAULT_CPU: &str = "1";

/// The resources used.
#[derive(Debug)]
pub struct Resources {
    /// Requests and limits, which always include cpu and memory.
    pub requirements: ResourceRequirements,
    /// The memory.
    pub memory: Chosen,
    /// The cpu.
    pub cpu: Chosen,
    /// The memory limit of the first attempt.
    pub first_memory: String,
    /// How much more memory this attempt has than the first.
    pub growth: Growth,
}

/// Request and limit of one resource.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The request.
    pub request: String,
    /// The limit.
    pub limit: String,
    /// The level that sets them.
    pub source: Source,
}

/// Resolves requests and limits.
///
/// # Errors
/// The first quantity that cannot be used.
pub fn resolve(levels: &Levels<'_>) -> Result<Resources, InvalidSetting> {
    let mut requirements = others(levels);
    let of_operator = levels.operator.memory.as_deref();
    let first = choose(levels, "memory", CONTEXT_MEMORY, of_operator, DEFAULT_MEMORY)?;
    let cpu = choose(
        levels,
        "cpu",
        CONTEXT_CPU,
        levels.operator.cpu.as_deref(),
        DEFAULT_CPU,
    )?;
    let (memory, growth) = climb(levels, &first)?;
    for (name, chosen) in [("memory", &memory), ("cpu", &cpu)] {
        let put = |to: &mut Option<BTreeMap<String, Quantity>>, value: &str| {
            to.get_or_insert_default()
                .insert(name.to_owned(), Quantity(value.to_owned()));
        };
        put(&mut requirements.requests, &chosen.request);
        put(&mut requirements.limits, &chosen.limit);
    }
    Ok(Resources {
        requirements,
        memory,
        cpu,
        first_memory: first.limit,
        growth,
    })
}

/// The memory at this attempt's step of the ladder: request and limit grow alike.
fn climb(levels: &Levels<'_>, first: &Chosen) -> Result<(Chosen, Growth), InvalidSetting> {
    let of_task = levels.task.retry.as_ref().and_then(|r| r.memory.as_ref());
    let source = match of_task.and_then(|m| m.max.as_ref()) {
        Some(_) => Source::Task,
        None => Source::Template,
    };
    let invalid = |message| InvalidSetting { source, message };
    let limit = ladder::limit(
        &first.limit,
        levels.memory_step,
        levels.ladder,
        levels.max_memory(),
    )
    .map_err(invalid)?;
    let growth = Growth::between(&first.limit, &limit).map_err(invalid)?;
    let request = match &first.request {
        same if *same == first.limit => limit.clone(),
        less if limit == first.limit => less.clone(),
        less => growth.apply(quantity::parse(less).map_err(invalid)?).to_string(),
    };
    let grown = Chosen {
        request,
        limit,
        source: first.source,
    };
    Ok((grown, growth))
}

/// Request and limit of one resource, from the highest level that sets either.
fn choose(
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
    let context = match levels.context(context_key) {
        None => None,
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

/// The resources of the peon's container in the template's pod template. Resources that do not decode count as none:
/// the API server then refuses the pod and names the field.
fn container_resources(levels: &Levels<'_>) -> Option<ResourceRequirements> {
    let container = template::peon_container(levels.template.template.as_ref())?;
    serde_json::from_value(container.get("resources")?.clone()).ok()
}

/// Requests and limits of everything but cpu and memory. Both values of a resource come from the highest level that
/// names it, since the API server refuses a limit below the request.
fn others(levels: &Levels<'_>) -> ResourceRequirements {
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
