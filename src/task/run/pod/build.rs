//! The ConfigMap and the pod of one attempt (pure).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Map, Value, json};

use super::entrypoint;
use super::java_container::{self, LOG4J, scratch_mount};
use super::log_plan::{self, LogPlan, SidecarPlan, TaskNames};
use super::payload_volume::{self, Replacement};
use super::reachable;
use super::template::{merge_list, object, take_peon};
use crate::api::{
    ANNOTATION_CONTAINER, ANNOTATION_ENDPOINT, ANNOTATION_TASK_ID, ANNOTATION_TASK_TYPE, LABEL_MANAGED_BY,
    LABEL_MIDDLE_MANAGER, LABEL_TASK, LABEL_TASK_UID, OPERATOR, PeonEndpoint, PeonTemplateSpec, TaskFrom,
    names,
};
use crate::druid::payload::Payload;
use crate::task::accept::peon_ports::{self, PeonPorts};
use crate::task::accept::settings::Settings;

/// Port of the peon's HTTP server.
pub const PORT: &str = "8100";
/// Where the ConfigMap is mounted.
const CONFIG_DIR: &str = "/etc/peon";
/// The task's directory: a constant, since a task id may contain characters that paths cannot.
pub const TASK_DIR: &str = "/peon/task";
/// `druid.indexer.task.baseTaskDir`, which is not the task's directory.
pub const BASE_TASK_DIR: &str = "/peon/base";
/// `java.io.tmpdir`.
pub const TMP_DIR: &str = "/peon/tmp";
/// The logging configuration.
pub const LOG4J_FILE: &str = "/etc/peon/log4j2.xml";
/// Druid's libraries in its image.
pub const CLASS_PATH: &str = "/opt/druid/lib/*";

const CONFIG_VOLUME: &str = "peon-config";
const TERMINATION_LOG: &str = "/dev/termination-log";

const TASK_KEY: &str = "task.json";
const ARGUMENTS_KEY: &str = "jvm.args";
const LOG4J_KEY: &str = "log4j2.xml";

/// The peon's shell script. Nothing in it comes from a task. The link makes the `TaskStatus` that Druid writes the
/// container's termination message; only the pod knows its address, all other arguments are in the argument file.
const PREPARE: &str = "set -eu\nmkdir -p /peon/task/attempt/1 /peon/base /peon/tmp\n";
/// Links the task from the attempt's own ConfigMap.
const LINK_TASK: &str = "ln -sf /etc/peon/task.json /peon/task/task.json\n";
const LINK_STATUS: &str = "ln -sf /dev/termination-log /peon/task/attempt/1/status.json\n";

/// Input of the objects of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Name of the PeonTask.
    pub task_name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its uid.
    pub task_uid: &'a str,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// The checked payload.
    pub payload: &'a Payload,
    /// Where the payload is, unless in the PeonTask itself.
    pub task_from: Option<&'a TaskFrom>,
    /// The task that the peon reads: the payload, or the changed one that the template requires.
    pub task_json: &'a str,
    /// What limits the memory of a payload in chunks in bytes.
    pub memory: &'a [Replacement],
    /// The settings used.
    pub settings: &'a Settings,
    /// The template; its pod template was checked.
    pub template: &'a PeonTemplateSpec,
    /// The JVM's argument file.
    pub arguments: &'a str,
    /// Where the peon listens.
    pub ports: PeonPorts,
    /// Grace period of the peon in seconds, if the pod template sets none.
    pub grace_seconds: u32,
    /// How its log is archived, if it is.
    pub logs: Option<&'a LogPlan>,
    /// The VirtualMiddleManager through which an overlord knows the task.
    pub middle_manager: Option<&'a str>,
}

impl Attempt<'_> {
    /// Name of the attempt's pod and ConfigMap.
    #[must_use]
    pub fn name(&self) -> String {
        names::attempt(self.task_name, self.number)
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: "peon.dev/v1alpha1".into(),
            kind: "PeonTask".into(),
            name: self.task_name.to_owned(),
            uid: self.task_uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (LABEL_MANAGED_BY.to_owned(), OPERATOR.to_owned()),
            (LABEL_TASK.to_owned(), names::label_value(self.task_name)),
            (LABEL_TASK_UID.to_owned(), self.task_uid.to_owned()),
        ]);
        let manager = self.middle_manager.map(names::label_value);
        labels.extend(manager.map(|m| (LABEL_MIDDLE_MANAGER.to_owned(), m)));
        labels
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (ANNOTATION_TASK_ID.to_owned(), self.payload.id.clone()),
            (ANNOTATION_TASK_TYPE.to_owned(), self.payload.type_.clone()),
        ])
    }

    /// The ConfigMap: the task, the JVM's arguments and the logging configuration. Creating it claims the attempt; it
    /// is immutable.
    #[must_use]
    pub fn config_map(&self) -> ConfigMap {
        let mut data = vec![
            (ARGUMENTS_KEY, self.arguments.to_owned()),
            (LOG4J_KEY, LOG4J.to_owned()),
        ];
        match self.task_from {
            None => data.push((TASK_KEY, self.task_json.to_owned())),
            Some(from) => data.extend(payload_volume::files(from, self.payload, self.memory)),
        }
        if let Some(sidecar) = self.sidecar() {
            let names = TaskNames {
                namespace: self.namespace,
                name: self.task_name,
                uid: self.task_uid,
            };
            data.push(sidecar.file(&self.payload.id, &names, self.number));
        }
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name()),
                namespace: Some(self.namespace.to_owned()),
                labels: Some(self.labels()),
                annotations: Some(self.annotations()),
                owner_references: Some(vec![self.owner()]),
                ..ObjectMeta::default()
            },
            data: Some(data.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            immutable: Some(true),
            ..ConfigMap::default()
        }
    }

    /// The pod, as JSON: the template's, with the peon merged in.
    #[must_use]
    pub fn pod(&self) -> Value {
        let template = self.template.template.clone().unwrap_or_default();
        let mut spec = template.get("spec").cloned().map(object).unwrap_or_default();
        let (mut peon, others) = take_peon(&mut spec);
        self.fill_container(&mut peon);
        let container = peon.get("name").cloned().unwrap_or_default();
        if let Some(sidecar) = self.sidecar() {
            sidecar.add_to(&mut spec, &peon, &self.name(), &scratch_mount());
        }
        let containers = std::iter::once(Value::Object(peon)).chain(others).collect();
        spec.insert("containers".into(), containers);
        if let Some(seconds) = self.settings.active_deadline_seconds {
            spec.insert("activeDeadlineSeconds".into(), seconds.into());
        }
        let mut volumes =
            vec![json!({"name": CONFIG_VOLUME, "configMap": {"name": self.name(), "defaultMode": 0o444}})];
        volumes.extend(self.task_from.map(payload_volume::volume));
        merge_list(&mut spec, "volumes", "name", volumes, false);
        java_container::fill_spec(&mut spec, self.settings, self.all_grace_seconds());
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": self.pod_metadata(&template, &container),
            "spec": spec,
        })
    }

    fn pod_metadata(&self, template: &Map<String, Value>, container: &Value) -> Value {
        let mut metadata = Map::new();
        for (name, ours) in [("labels", self.labels()), ("annotations", self.annotations())] {
            let given = template
                .get("metadata")
                .and_then(|m| m.get(name))
                .cloned()
                .map(object);
            let mut all = given.unwrap_or_default();
            all.extend(ours.into_iter().map(|(k, v)| (k, Value::String(v))));
            if name == "annotations" {
                all.insert(ANNOTATION_CONTAINER.to_owned(), container.clone());
                all.remove(ANNOTATION_ENDPOINT);
                let endpoint = self.endpoint().text();
                all.extend(endpoint.map(|text| (ANNOTATION_ENDPOINT.to_owned(), text.into())));
            }
            metadata.insert(name.to_owned(), Value::Object(all));
        }
        metadata.insert("name".into(), self.name().into());
        metadata.insert("namespace".into(), self.namespace.into());
        metadata.insert("ownerReferences".into(), json!([self.owner()]));
        Value::Object(metadata)
    }

    fn script(&self) -> String {
        let properties = self.settings.properties_file.script();
        let task = match self.task_from {
            None => LINK_TASK,
            Some(_) => payload_volume::SCRIPT,
        };
        entrypoint::script(
            log_plan::output(self.logs),
            &[
                PREPARE,
                task,
                LINK_STATUS,
                properties,
                &peon_ports::script(self.settings),
                &reachable::host_script(&self.endpoint()),
            ],
        )
    }

    fn endpoint(&self) -> PeonEndpoint {
        PeonEndpoint::new(
            &self.settings.host,
            self.namespace,
            self.ports.plain,
            self.ports.tls,
        )
    }

    fn sidecar(&self) -> Option<&SidecarPlan> {
        match self.logs? {
            LogPlan::Sidecar(sidecar) => Some(sidecar),
            LogPlan::Follower => None,
        }
    }

    /// A sidecar ends after the peon, in the same period.
    fn all_grace_seconds(&self) -> u32 {
        let sidecar = self.sidecar().map_or(0, |_| log_plan::GRACE_SECONDS);
        self.grace_seconds
            .saturating_add(sidecar)
            .min(i32::MAX.unsigned_abs())
    }

    fn fill_container(&self, peon: &mut Map<String, Value>) {
        java_container::fill_container(peon, self.settings, &self.script());
        peon.insert("terminationMessagePath".into(), TERMINATION_LOG.into());
        peon.insert("terminationMessagePolicy".into(), "File".into());
        if self.middle_manager.is_some() {
            reachable::add_probe(peon, &self.endpoint(), self.ports.wants_certificate);
        }
        let mut mounts = vec![json!({"name": CONFIG_VOLUME, "mountPath": CONFIG_DIR, "readOnly": true})];
        if self.task_from.is_some() {
            mounts.push(json!({
                "name": payload_volume::VOLUME, "mountPath": payload_volume::DIRECTORY, "readOnly": true,
            }));
        }
        if self.sidecar().is_some() {
            mounts.push(SidecarPlan::peon_mount());
        }
        merge_list(peon, "volumeMounts", "mountPath", mounts, false);
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "build_settings_tests.rs"]
mod settings_tests;
