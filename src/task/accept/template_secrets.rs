//! Which secret a template gives to the peon (pure): if it gives one, its tasks may set fewer options themselves.
//!
//! Secrets that reach a pod through its annotations or its service account's cloud identity are not visible here.

use serde_json::Value;

use crate::api::PeonTemplateSpec;

/// The first Secret or token that the pod's containers are given, for a message: `the Secret store`.
#[must_use]
pub fn given_to_the_peon(template: &PeonTemplateSpec) -> Option<String> {
    let properties = template.properties_from.iter();
    let properties = properties.filter_map(|from| Some(secret(&from.secret_ref.as_ref()?.name)));
    let spec = template.template.as_ref().and_then(|t| t.get("spec"));
    properties.chain(spec.and_then(of_pod)).next()
}

fn secret(name: &str) -> String {
    format!("the Secret {name}")
}

fn list<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    object[field].as_array().into_iter().flatten()
}

fn name_of(reference: &Value, field: &str) -> Option<String> {
    let reference = reference.as_object()?;
    Some(secret(
        reference.get(field).and_then(Value::as_str).unwrap_or_default(),
    ))
}

fn of_pod(spec: &Value) -> Option<String> {
    if spec["automountServiceAccountToken"] == true {
        return Some("a service account token".into());
    }
    let containers = ["initContainers", "containers"];
    let mut containers = containers.into_iter().flat_map(|field| list(spec, field));
    containers
        .find_map(of_container)
        .or_else(|| list(spec, "volumes").find_map(of_volume))
}

fn of_container(container: &Value) -> Option<String> {
    let mut variables = list(container, "env");
    let mut sets = list(container, "envFrom");
    variables
        .find_map(|v| name_of(&v["valueFrom"]["secretKeyRef"], "name"))
        .or_else(|| sets.find_map(|s| name_of(&s["secretRef"], "name")))
}

fn of_volume(volume: &Value) -> Option<String> {
    let of_source = |source: &Value| {
        let token = source["serviceAccountToken"].is_object();
        token
            .then(|| "a service account token".to_owned())
            .or_else(|| name_of(&source["secret"], "name"))
    };
    let driver = volume["csi"]["driver"].as_str();
    name_of(&volume["secret"], "secretName")
        .or_else(|| list(&volume["projected"], "sources").find_map(of_source))
        // Drivers of this kind fetch secrets and keys.
        .or_else(|| driver.map(|driver| format!("a volume of the driver {driver}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given(spec: Value) -> Option<String> {
        given_to_the_peon(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn every_way_to_a_secret_is_seen() {
        let pod = |spec: Value| json!({"template": {"spec": spec}});
        let container =
            |field: &str, value: Value| pod(json!({"containers": [{"name": "peon", field: value}]}));
        let volume = |value: Value| pod(json!({"volumes": [{"name": "scratch", "emptyDir": {}}, value]}));
        let token = Some("a service account token");
        for (spec, expected) in [
            (
                json!({"propertiesFrom": [{"secretRef": {"name": "s"}}]}),
                Some("the Secret s"),
            ),
            (
                container(
                    "env",
                    json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
                ),
                Some("the Secret s"),
            ),
            (
                container("envFrom", json!([{"secretRef": {"name": "s"}}])),
                Some("the Secret s"),
            ),
            (
                pod(json!({"initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]})),
                Some("the Secret s"),
            ),
            (
                volume(json!({"name": "v", "secret": {"secretName": "s"}})),
                Some("the Secret s"),
            ),
            (
                volume(
                    json!({"name": "v", "projected": {"sources": [{"configMap": {}}, {"secret": {"name": "s"}}]}}),
                ),
                Some("the Secret s"),
            ),
            (
                volume(
                    json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}),
                ),
                token,
            ),
            (
                volume(json!({"name": "v", "csi": {"driver": "secrets-store.csi.k8s.io"}})),
                Some("a volume of the driver secrets-store.csi.k8s.io"),
            ),
            (pod(json!({"automountServiceAccountToken": true})), token),
            (json!({}), None),
            (json!({"propertiesFrom": [{"configMapRef": {"name": "c"}}]}), None),
            (
                pod(json!({
                    "automountServiceAccountToken": false,
                    "serviceAccountName": "x",
                    "imagePullSecrets": [{"name": "registry"}],
                    "volumes": [{"name": "v", "configMap": {"name": "c"}}],
                    "containers": [{"name": "peon", "env": [{"name": "A", "value": "b"}]}],
                })),
                None,
            ),
            (pod(json!({"volumes": 1, "containers": "x"})), None),
        ] {
            assert_eq!(given(spec.clone()).as_deref(), expected, "{spec}");
        }
    }
}
