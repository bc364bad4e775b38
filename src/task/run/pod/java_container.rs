//! What every pod that runs a JVM of Druid has in common: security, scratch space, properties and environment (pure).

use serde_json::{Map, Value, json};

use super::template::{default_to, merge_list};
use crate::task::accept::properties_file;
use crate::task::accept::settings::Settings;

/// Where the scratch volume is mounted.
const SCRATCH_DIR: &str = "/peon";
pub(super) const SCRATCH_VOLUME: &str = "peon-scratch";

/// Logs to standard output, from which a container's log is read.
pub const LOG4J: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders>
    <Console name="Console" target="SYSTEM_OUT">
      <PatternLayout pattern="%d{ISO8601} %p [%t] %c - %m%n"/>
    </Console>
  </Appenders>
  <Loggers>
    <Root level="info"><AppenderRef ref="Console"/></Root>
    <Logger name="org.apache.zookeeper" level="warn"/>
    <Logger name="org.apache.curator" level="warn"/>
    <!-- It writes the whole task into the log, with every password in it. -->
    <Logger name="org.apache.druid.indexing.worker.executor.ExecutorLifecycle" level="info">
      <RegexFilter regex="(?s)Running with task.*" onMatch="DENY" onMismatch="NEUTRAL"/>
    </Logger>
  </Loggers>
</Configuration>
"#;

/// The mount of the scratch volume.
#[must_use]
pub fn scratch_mount() -> Value {
    json!({"name": SCRATCH_VOLUME, "mountPath": SCRATCH_DIR})
}

/// Fills in the container that runs `script`: what a pod template gives for these fields is replaced, but for the
/// security context and the locale.
pub fn fill_container(container: &mut Map<String, Value>, settings: &Settings, script: &str) {
    container.insert("image".into(), settings.image.clone().into());
    container.insert("command".into(), json!(["/bin/sh", "-c", script]));
    // A container's own restart policy would override the pod's, and run the JVM again.
    for overridden in ["args", "restartPolicy", "restartPolicyRules"] {
        container.remove(overridden);
    }
    container.insert("resources".into(), json!(settings.resources));
    let address = json!({"name": "PEON_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}});
    merge_list(container, "env", "name", vec![address], false);
    // A task id that is not ASCII makes a peon with the POSIX locale fail.
    merge_list(
        container,
        "env",
        "name",
        vec![json!({"name": "LC_ALL", "value": "C.UTF-8"})],
        true,
    );
    let mut mounts = vec![scratch_mount()];
    mounts.extend(properties_file::mounts(&settings.properties_file));
    merge_list(container, "volumeMounts", "mountPath", mounts, false);
    default_to(
        container,
        security_context(
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}),
            settings,
        ),
    );
}

/// Fills in the spec of a pod that is never restarted. The pod template may have its own security context, grace
/// period and scratch volume.
pub fn fill_spec(spec: &mut Map<String, Value>, settings: &Settings, grace_seconds: u32) {
    spec.insert("restartPolicy".into(), "Never".into());
    let sources = properties_file::volumes(&settings.properties_file);
    merge_list(spec, "volumes", "name", sources, false);
    // A template may put the scratch space elsewhere, for example on a faster disk.
    merge_list(
        spec,
        "volumes",
        "name",
        vec![json!({"name": SCRATCH_VOLUME, "emptyDir": {}})],
        true,
    );
    default_to(
        spec,
        json!({
            "enableServiceLinks": false,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": grace_seconds,
        }),
    );
    let mut security = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    // A platform that chooses the user refuses pods that name another one.
    if !settings.platform_user {
        for id in ["runAsUser", "runAsGroup", "fsGroup"] {
            security[id] = 1000.into();
        }
    }
    default_to(spec, security_context(security, settings));
}

/// A security context without the fields that the template omits.
fn security_context(mut fields: Value, settings: &Settings) -> Value {
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|name, _| settings.omitted.iter().all(|omitted| omitted.as_str() != name));
    }
    json!({ "securityContext": fields })
}
