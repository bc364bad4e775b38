//! The cpu request of an Indexer before and with its task (pure).
//!
//! An idle Indexer needs little cpu and should not hold a node's. Only the request is lowered: a lower limit would throttle
//! the start of the JVM, which counts its processors only then. A resize must not change a pod's quality of service
//! (Kubernetes, "Resize CPU and Memory Resources assigned to Containers"), so a pod that begins as `Burstable` is given
//! one thousandth of a core less than its limit, where request and limit are the same.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

/// Default of `idleCpu`, in thousandths of a core.
const IDLE_MILLI: u128 = 50;

/// Cpu requests of an Indexer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuRequests {
    /// Without a task.
    pub idle: String,
    /// With its task.
    pub busy: String,
}

/// The requests; `None` if the request is not to change, or cannot be read.
#[must_use]
pub fn requests(resources: &ResourceRequirements, idle: Option<&Quantity>) -> Option<CpuRequests> {
    let of = |list: &Option<std::collections::BTreeMap<String, Quantity>>| {
        let quantity = list.as_ref()?.get("cpu")?;
        quantity::milli(&quantity.0).ok()
    };
    let limit = of(&resources.limits);
    let busy = of(&resources.requests).or(limit)?;
    let busy = if limit == Some(busy) {
        busy.checked_sub(1)?
    } else {
        busy
    };
    let idle = match idle {
        Some(given) => quantity::milli(&given.0).ok()?,
        None => IDLE_MILLI,
    };
    (idle < busy).then(|| CpuRequests {
        idle: format!("{idle}m"),
        busy: format!("{busy}m"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(resources: Value, idle: Option<&str>) -> Option<(String, String)> {
        let resources: ResourceRequirements = serde_json::from_value(resources).unwrap();
        let idle = idle.map(|text| Quantity(text.to_owned()));
        requests(&resources, idle.as_ref()).map(|r| (r.idle, r.busy))
    }

    #[test]
    fn only_what_is_more_than_an_idle_indexer_needs_is_lowered() {
        let found = |idle: &str, busy: &str| Some((idle.to_owned(), busy.to_owned()));
        for (resources, idle, expected) in [
            (json!({"limits": {"cpu": "1"}}), None, found("50m", "999m")),
            (
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}),
                None,
                found("50m", "999m"),
            ),
            (
                json!({"limits": {"cpu": "2"}, "requests": {"cpu": "500m"}}),
                None,
                found("50m", "500m"),
            ),
            (
                json!({"requests": {"cpu": "500m"}}),
                Some("100m"),
                found("100m", "500m"),
            ),
            (
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "50m"}}),
                None,
                None,
            ),
            (
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "20m"}}),
                None,
                None,
            ),
            (json!({"limits": {"cpu": "1"}}), Some("2"), None),
            (json!({}), None, None),
            (json!({"limits": {"cpu": "1"}}), Some("much"), None),
        ] {
            assert_eq!(of(resources.clone(), idle), expected, "{resources} {idle:?}");
        }
    }
}
