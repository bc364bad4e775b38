//! Variables of a pod template that the image's own entry script reads, which the operator's script replaces (pure).
//!
//! `druid_*` variables are Druid properties there, as here (`distribution/docker/druid.sh` of Druid): a single underscore
//! stands for a dot, two stand for one underscore. Those whose value the template has are read by the operator, which
//! sizes the JVM by them; those with a value of the cluster are read in the pod.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::task::run::pod::template::peon_container;

const PREFIX: &str = "druid_";
/// Beginning of a reference to another variable, which only the kubelet replaces.
const REFERENCE: &str = "$(";

/// Whether a pod reads Druid properties in its environment, and whether a Secret may be among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Environment {
    /// Whether some are known only in the pod.
    pub read_in_pod: bool,
    /// Whether one of those comes from a Secret.
    pub has_secret: bool,
}

/// The Druid properties whose values the peon's container has itself.
#[must_use]
pub fn properties(template: Option<&Map<String, Value>>) -> BTreeMap<String, String> {
    let given = variables(template).filter_map(|(name, variable)| {
        let value = variable.get("value").and_then(Value::as_str).unwrap_or_default();
        let is_known = !variable.contains_key("valueFrom") && !value.contains(REFERENCE);
        is_known.then(|| (property(name), value.to_owned()))
    });
    given.collect()
}

/// What only the pod knows.
#[must_use]
pub fn in_pod(template: Option<&Map<String, Value>>) -> Environment {
    let mut environment = Environment::default();
    for (_, variable) in variables(template) {
        let value = variable.get("value").and_then(Value::as_str).unwrap_or_default();
        let source = variable.get("valueFrom");
        environment.read_in_pod |= source.is_some() || value.contains(REFERENCE);
        environment.has_secret |= source.is_some_and(|source| source.get("secretKeyRef").is_some());
    }
    for set in list(template, "envFrom") {
        let prefix = set.get("prefix").and_then(Value::as_str).unwrap_or_default();
        // A prefix is not completed to `druid_` by the keys of anybody's ConfigMap.
        if PREFIX.starts_with(prefix) || prefix.starts_with(PREFIX) {
            environment.read_in_pod = true;
            environment.has_secret |= set.get("secretRef").is_some();
        }
    }
    environment
}

/// The property that a variable stands for.
fn property(variable: &str) -> String {
    let parts: Vec<String> = variable.split("__").map(|part| part.replace('_', ".")).collect();
    parts.join("_")
}

fn list<'a>(
    template: Option<&'a Map<String, Value>>,
    field: &str,
) -> impl Iterator<Item = &'a Map<String, Value>> {
    let list = peon_container(template).and_then(|peon| peon.get(field)?.as_array());
    list.into_iter().flatten().filter_map(Value::as_object)
}

/// Variables that are properties.
fn variables(template: Option<&Map<String, Value>>) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
    let all = list(template, "env").filter_map(|v| Some((v.get("name")?.as_str()?, v)));
    all.filter(|(name, _)| {
        let rest = name.strip_prefix(PREFIX).unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use super::*;
    use serde_json::json;

    fn peon(fields: Value) -> Map<String, Value> {
        let mut peon = fields;
        peon["name"] = json!("peon");
        let other = json!({"name": "other", "env": [{"name": "druid_of_another", "value": "1"}]});
        let template = json!({"spec": {"containers": [other, peon]}});
        template.as_object().unwrap().clone()
    }

    #[test]
    fn variables_are_the_properties_that_the_image_makes_of_them() {
        let env = json!([
            {"name": "druid_zk_service_host", "value": "zookeeper:2181"},
            {"name": "druid_metadata_storage_tables_pending__segments", "value": "p"},
            {"name": "druid_empty"},
            {"name": "druid_host_of", "value": "$(POD_IP)"},
            {"name": "druid_password", "valueFrom": {"secretKeyRef": {"name": "pg", "key": "password"}}},
            {"name": "druid.x", "value": "1"},
            {"name": "DRUID_XMX", "value": "700m"},
        ]);
        let template = peon(json!({ "env": env }));
        let read = properties(Some(&template));
        let read: Vec<_> = read
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            read,
            [
                ("druid.empty", ""),
                ("druid.metadata.storage.tables.pending_segments", "p"),
                ("druid.zk.service.host", "zookeeper:2181"),
            ]
        );
        assert!(properties(None).is_empty());
    }

    #[test]
    fn what_only_the_pod_knows_is_read_there() {
        let of = |fields: Value| {
            let environment = in_pod(Some(&peon(fields)));
            (environment.read_in_pod, environment.has_secret)
        };
        let variable = |variable: Value| of(json!({"env": [variable]}));
        let none = (false, false);
        assert_eq!(of(json!({})), none);
        assert_eq!(variable(json!({"name": "druid_x", "value": "1"})), none);
        let ip = json!({"fieldRef": {"fieldPath": "status.podIP"}});
        assert_eq!(variable(json!({"name": "POD_IP", "valueFrom": ip})), none);
        assert_eq!(
            variable(json!({"name": "druid_x", "valueFrom": ip})),
            (true, false)
        );
        assert_eq!(
            variable(json!({"name": "druid_x", "value": "$(POD_IP)"})),
            (true, false)
        );
        let secret = json!({"secretKeyRef": {"name": "pg", "key": "password"}});
        assert_eq!(
            variable(json!({"name": "druid_x", "valueFrom": secret})),
            (true, true)
        );
        let set = |set: Value| of(json!({"envFrom": [set]}));
        assert_eq!(set(json!({"configMapRef": {"name": "a"}})), (true, false));
        assert_eq!(set(json!({"secretRef": {"name": "a"}})), (true, true));
        assert_eq!(
            set(json!({"secretRef": {"name": "a"}, "prefix": "druid_"})),
            (true, true)
        );
        assert_eq!(set(json!({"secretRef": {"name": "a"}, "prefix": "AWS_"})), none);
    }
}
