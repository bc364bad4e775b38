//! How the log of an attempt is archived, and what its pod needs for that (pure).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::entrypoint::Output;
use super::template::{default_to, merge_list};
use crate::api::PropertiesSource;
use crate::logs::format::sidecar_config::{DIR, FILE, SHARED_DIR, SOURCES_DIR, SidecarConfig};

/// Name of the sidecar. A template may have an init container with this name for additional settings: mounts,
/// variables, resources.
pub const CONTAINER: &str = "peon-log";
/// Seconds that a sidecar has at the end to write the last part, the whole log and the report.
pub const GRACE_SECONDS: u32 = 30;

const SHARED_VOLUME: &str = "peon-log";
const CONFIG_VOLUME: &str = "peon-log-config";
const SOURCE_VOLUME: &str = "peon-log-properties";

/// How the log is archived.
#[derive(Debug, Clone, PartialEq)]
pub enum LogPlan {
    /// The operator reads it through the API server.
    Follower,
    /// A sidecar reads it in the pod.
    Sidecar(SidecarPlan),
}

/// Settings of a sidecar.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SidecarPlan {
    /// Image of the sidecar, which is the operator's.
    pub image: String,
    /// Whether it composes the parts into one log at the end. False if another attempt may follow, as nothing is added
    /// to a log once it is composed.
    pub compose: bool,
    /// Seconds between two parts.
    pub flush_seconds: u32,
    /// Limit of the log in bytes.
    pub max_bytes: u64,
    /// Druid's properties of the log location; they are written to a ConfigMap.
    pub properties: BTreeMap<String, String>,
    /// Sources of further properties, and of credentials.
    pub properties_from: Vec<PropertiesSource>,
}

/// The PeonTask that the log belongs to.
#[derive(Debug, Clone, Copy)]
pub struct TaskNames<'a> {
    /// Namespace of the PeonTask.
    pub namespace: &'a str,
    /// Name of the PeonTask.
    pub name: &'a str,
    /// Uid of the PeonTask.
    pub uid: &'a str,
}

/// Where the peon's script writes its output.
#[must_use]
pub fn output(plan: Option<&LogPlan>) -> Output {
    match plan {
        None => Output::Container,
        Some(LogPlan::Follower) => Output::Follower,
        Some(LogPlan::Sidecar(_)) => Output::Sidecar,
    }
}

impl SidecarPlan {
    /// The sidecar's file in the attempt's ConfigMap.
    #[must_use]
    pub fn file(&self, task_id: &str, task: &TaskNames, attempt: u32) -> (&'static str, String) {
        let config = SidecarConfig {
            task_id: task_id.to_owned(),
            task_uid: task.uid.to_owned(),
            namespace: task.namespace.to_owned(),
            task_name: task.name.to_owned(),
            compose: self.compose,
            attempt,
            flush_seconds: self.flush_seconds,
            max_bytes: self.max_bytes,
            properties: self.properties.clone(),
        };
        (FILE, json!(config).to_string())
    }

    /// Mount of the volume that the peon's container writes to.
    #[must_use]
    pub fn peon_mount() -> Value {
        json!({"name": SHARED_VOLUME, "mountPath": SHARED_DIR})
    }

    /// Adds the sidecar and its volumes to a pod's spec. `config_map` is the attempt's, `scratch` the mount of the
    /// task's directory, and `peon` the peon's container.
    pub fn add_to(
        &self,
        spec: &mut Map<String, Value>,
        peon: &Map<String, Value>,
        config_map: &str,
        scratch: &Value,
    ) {
        let item = json!({"key": FILE, "path": FILE});
        let config = json!({"name": config_map, "items": [item], "defaultMode": 0o444});
        let mut volumes = vec![json!({"name": CONFIG_VOLUME, "configMap": config})];
        volumes.extend(self.properties_from.iter().enumerate().map(|(number, source)| {
            let mut volume = json!({"name": source_volume(number)});
            if let Some(from) = &source.config_map_ref {
                volume["configMap"] =
                    json!({"name": from.name, "optional": from.optional, "defaultMode": 0o444});
            } else if let Some(from) = &source.secret_ref {
                volume["secret"] =
                    json!({"secretName": from.name, "optional": from.optional, "defaultMode": 0o444});
            }
            volume
        }));
        merge_list(spec, "volumes", "name", volumes, false);
        // A template may limit it, or put it on another disk.
        let shared = json!({"name": SHARED_VOLUME, "emptyDir": {}});
        merge_list(spec, "volumes", "name", vec![shared], true);

        let mut containers = match spec.remove("initContainers") {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        let named = |container: &Value| container["name"] == CONTAINER;
        // Last: it may need another sidecar for its network. The kubelet ends sidecars in reverse order.
        let at = containers.iter().position(named).unwrap_or_else(|| {
            containers.push(json!({}));
            containers.len() - 1
        });
        if let Some(container) = containers[at].as_object_mut() {
            self.fill(container, peon, scratch);
        }
        spec.insert("initContainers".into(), containers.into());
    }

    fn fill(&self, container: &mut Map<String, Value>, peon: &Map<String, Value>, scratch: &Value) {
        for (field, value) in [
            ("name", json!(CONTAINER)),
            ("image", json!(self.image)),
            ("args", json!(["log-sidecar"])),
            ("restartPolicy", json!("Always")),
            ("terminationMessagePath", json!("/dev/termination-log")),
            ("terminationMessagePolicy", json!("File")),
        ] {
            container.insert(field.into(), value);
        }
        for overridden in ["command", "restartPolicyRules"] {
            container.remove(overridden);
        }
        let mut scratch = scratch.clone();
        scratch["readOnly"] = true.into();
        let mut mounts = vec![
            Self::peon_mount(),
            scratch,
            json!({"name": CONFIG_VOLUME, "mountPath": DIR, "readOnly": true}),
        ];
        mounts.extend((0..self.properties_from.len()).map(|number| {
            let at = format!("{SOURCES_DIR}/{number:02}");
            json!({"name": source_volume(number), "mountPath": at, "readOnly": true})
        }));
        merge_list(container, "volumeMounts", "mountPath", mounts, false);
        if !container.contains_key("resources") {
            // Requests equal limits, so that a pod of the QoS class Guaranteed remains one.
            let amount = json!({"cpu": "100m", "memory": "64Mi"});
            container.insert("resources".into(), json!({"requests": amount, "limits": amount}));
        }
        let mut security = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        // The peon's files belong to its user.
        for id in ["runAsUser", "runAsGroup"] {
            if let Some(given) = peon.get("securityContext").and_then(|s| s.get(id)) {
                security[id] = given.clone();
            }
        }
        default_to(container, json!({ "securityContext": security }));
    }
}

fn source_volume(number: usize) -> String {
    format!("{SOURCE_VOLUME}-{number:02}")
}

#[cfg(test)]
#[path = "log_plan_tests.rs"]
mod tests;
