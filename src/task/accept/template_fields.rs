//! Whether the fields of a pod template are fields of a pod (pure).
//!
//! An API server drops a field that it does not know, or refuses the pod. A name that is nearly one of a pod's is taken
//! for a slip, and named. Any other unknown name may be of a newer Kubernetes than this build knows: pods are created
//! with strict validation, so the API server decides about those.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use k8s_openapi::api::core::v1::PodSpec;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// Prefix of references in a schema.
const DEFINITIONS: &str = "#/$defs/";

/// Fields of each type of object, with the type of the object, or of the items, that a field holds.
type Types = HashMap<String, BTreeMap<String, Option<String>>>;

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<PodSpec>();
    let mut types = Types::new();
    types.insert(PodSpec::schema_name().into_owned(), fields(schema.as_value()));
    let definitions = schema.get("$defs").and_then(Value::as_object);
    for (name, definition) in definitions.into_iter().flatten() {
        types.insert(name.clone(), fields(definition));
    }
    types
});

fn fields(schema: &Value) -> BTreeMap<String, Option<String>> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let of = |property: &Value| reference(property).or_else(|| property.get("items").and_then(reference));
    let fields = properties.into_iter().flatten();
    fields
        .map(|(name, property)| (name.clone(), of(property)))
        .collect()
}

fn reference(schema: &Value) -> Option<String> {
    let reference = schema.get("$ref").and_then(Value::as_str)?;
    reference.strip_prefix(DEFINITIONS).map(str::to_owned)
}

/// Checks the names of all fields of the pod's spec.
///
/// # Errors
/// The path of the first name that is nearly one of a pod's, and that name.
pub fn check(template: Option<&Map<String, Value>>) -> Result<(), String> {
    let Some(spec) = template.and_then(|template| template.get("spec")) else {
        return Ok(());
    };
    walk(spec, &PodSpec::schema_name(), "template.spec")
}

fn walk(value: &Value, type_: &str, path: &str) -> Result<(), String> {
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                walk(item, type_, &format!("{path}[{at}]"))?;
            }
            Ok(())
        }
        Value::Object(map) => {
            // A type without fields is a text or a number, such as a quantity.
            let Some(fields) = TYPES.get(type_).filter(|fields| !fields.is_empty()) else {
                return Ok(());
            };
            for (name, value) in map {
                let path = format!("{path}.{name}");
                match fields.get(name) {
                    Some(Some(inner)) => walk(value, inner, &path)?,
                    Some(None) => {}
                    None => {
                        if let Some(meant) = nearest(name, fields.keys()) {
                            return Err(format!("{path} is not a field of a pod: {meant} is"));
                        }
                    }
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The name that is probably meant.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let most = if name.chars().count() < 6 { 1 } else { 2 };
    let near = names.map(|known| {
        let lower = (name.to_ascii_lowercase(), known.to_ascii_lowercase());
        (distance(&lower.0, &lower.1), known.as_str())
    });
    let nearest = near.min_by_key(|(distance, _)| *distance)?;
    (nearest.0 <= most).then_some(nearest.1)
}

/// Number of letters to insert, remove or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use super::*;
    use serde_json::json;

    fn spec(spec: Value) -> Result<(), String> {
        check(json!({ "spec": spec }).as_object())
    }

    #[test]
    fn a_misspelt_field_is_named_with_what_is_meant() {
        let container = |fields: Value| json!({"containers": [{"name": "a"}, fields]});
        for (wrong, path, meant) in [
            (
                container(json!({"name": "b", "volumeMount": []})),
                "template.spec.containers[1].volumeMount",
                "volumeMounts",
            ),
            (
                json!({"tolerationz": []}),
                "template.spec.tolerationz",
                "tolerations",
            ),
            (
                json!({"nodeselector": {}}),
                "template.spec.nodeselector",
                "nodeSelector",
            ),
            (
                container(json!({"name": "b", "env": [{"name": "A", "valuefrom": {}}]})),
                "template.spec.containers[1].env[0].valuefrom",
                "valueFrom",
            ),
            (
                json!({"volumes": [{"name": "v", "configMap": {"nam": "x"}}]}),
                "template.spec.volumes[0].configMap.nam",
                "name",
            ),
            (
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecutions": {}}}}),
                "template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecutions",
                "requiredDuringSchedulingIgnoredDuringExecution",
            ),
        ] {
            assert_eq!(
                spec(wrong),
                Err(format!("{path} is not a field of a pod: {meant} is"))
            );
        }
    }

    #[test]
    fn what_a_pod_has_and_what_a_newer_one_may_have_passes() {
        let all = json!({
            "nodeSelector": {"volumeMount": "any key"},
            "overhead": {"cpu": 1},
            "fieldOfTheFuture": {"volumeMount": 1},
            "securityContext": {"sysctls": [{"name": "a", "value": "b"}], "seLinuxOptions": null},
            "topologySpreadConstraints": [{"labelSelector": {"matchLabels": {"matchLabel": "x"}}, "maxSkew": 1}],
            "containers": [{
                "name": "peon",
                "resources": {"limits": {"memory": "1Gi", "example.com/gpu": 1}},
                "livenessProbe": {"httpGet": {"port": "name", "path": "/"}},
                "ports": [{"containerPort": 1}],
                "envFrom": [{"secretRef": {"name": "a"}}],
            }],
            "volumes": [{"name": "e", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"labell": "x"}},
                "spec": {"resources": {"requests": {"storage": "1Gi"}}}}}}],
        });
        assert_eq!(spec(all), Ok(()));
        assert_eq!(check(None), Ok(()));
        assert_eq!(spec(json!(7)), Ok(()));
        assert!(TYPES.len() > 50, "{}", TYPES.len());
    }
}
