//! What a PeonTemplate says and what has no effect on its peons (pure): for a warning, where refusing it would stop tasks
//! that run.

use serde_json::Value;

use crate::api::PeonTemplateSpec;
use crate::task::run::pod::template::peon_container;

/// Properties of other processes than peons, by name or by their beginning, and where they belong.
const PROPERTIES: [(&str, &str); 8] = [
    (
        "druid.worker.capacity",
        "set capacity of the VirtualMiddleManager",
    ),
    (
        "druid.worker.category",
        "set category of the VirtualMiddleManager",
    ),
    ("druid.worker.version", "set version of the VirtualMiddleManager"),
    ("druid.worker.", "it is about the MiddleManager itself"),
    ("druid.indexer.queue.", "it is about the overlord"),
    (
        "druid.indexer.task.restoreTasksOnRestart",
        "a pod is not started twice; retry of the PeonTemplate says what runs again",
    ),
    (
        "druid.indexer.task.baseTaskDirPaths",
        "tasks write to the volume peon-scratch, which the pod template may replace",
    ),
    (
        "druid.indexer.runner.",
        "it is about the process that starts peons, which here is the operator",
    ),
];
/// What of these has a meaning.
const USED: [&str; 3] = [
    "druid.indexer.runner.type",
    "druid.indexer.runner.javaOpts",
    "druid.indexer.runner.javaOptsArray",
];
/// Variables of the entry script of Druid's image, which is not run.
const VARIABLES: [(&str, &str); 10] = [
    ("JAVA_OPTS", "javaOpts"),
    ("DRUID_XMX", "javaOpts (-Xmx)"),
    ("DRUID_XMS", "javaOpts (-Xms)"),
    ("DRUID_MAXNEWSIZE", "javaOpts (-XX:MaxNewSize)"),
    ("DRUID_NEWSIZE", "javaOpts (-XX:NewSize)"),
    ("DRUID_MAXDIRECTMEMORYSIZE", "javaOpts (-XX:MaxDirectMemorySize)"),
    ("DRUID_LOG_LEVEL", "javaOpts (-Dlog4j.configurationFile)"),
    ("DRUID_LOG4J", "javaOpts (-Dlog4j.configurationFile)"),
    ("DRUID_CONFIG_COMMON", "propertiesFrom"),
    ("DRUID_CONFIG_MIDDLEMANAGER", "propertiesFrom"),
];
/// Fields of the peon's container that the operator sets.
const CONTAINER: [&str; 6] = [
    "command",
    "args",
    "restartPolicy",
    "restartPolicyRules",
    "terminationMessagePath",
    "terminationMessagePolicy",
];

/// One text for each setting: its name and where it belongs.
#[must_use]
pub fn of_template(spec: &PeonTemplateSpec) -> Vec<String> {
    let mut found = Vec::new();
    for name in spec.properties.keys() {
        let other = PROPERTIES.iter().find(|(other, _)| name.starts_with(other));
        if let Some((_, why)) = other.filter(|_| !USED.contains(&name.as_str())) {
            found.push(format!("property {name}: {why}"));
        }
    }
    let Some(template) = &spec.template else {
        return found;
    };
    let metadata = template.get("metadata").and_then(Value::as_object);
    for name in metadata.into_iter().flat_map(|metadata| metadata.keys()) {
        if !["labels", "annotations"].contains(&name.as_str()) {
            found.push(format!(
                "template.metadata.{name}: of the metadata only labels and annotations are used"
            ));
        }
    }
    let policy = template.get("spec").and_then(|spec| spec.get("restartPolicy"));
    if policy.is_some_and(|policy| policy != "Never") {
        found.push(
            "template.spec.restartPolicy: the operator sets Never and makes further attempts itself".into(),
        );
    }
    let Some(peon) = peon_container(Some(template)) else {
        return found;
    };
    for field in CONTAINER.iter().filter(|field| peon.contains_key(**field)) {
        found.push(format!("{field} of the peon's container: the operator sets it"));
    }
    if spec.image.is_some() && peon.contains_key("image") {
        found.push("image of the peon's container: spec.image is used".into());
    }
    let variables = peon.get("env").and_then(Value::as_array).into_iter().flatten();
    for name in variables.filter_map(|variable| variable.get("name")?.as_str()) {
        if let Some((_, instead)) = VARIABLES.iter().find(|(known, _)| *known == name) {
            found.push(format!(
                "variable {name}: the entry script of the image is not run, use {instead}"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_has_no_effect_is_named_with_its_place() {
        let spec = json!({
            "image": "druid",
            "properties": {
                "druid.worker.capacity": "4",
                "druid.worker.ip": "x",
                "druid.indexer.runner.javaOpts": "-ea",
                "druid.indexer.runner.startPort": "8100",
                "druid.indexer.task.restoreTasksOnRestart": "true",
                "druid.indexer.task.gracefulShutdownTimeout": "PT5M",
                "druid.zk.service.host": "z",
            },
            "template": {
                "metadata": {"labels": {}, "name": "a", "finalizers": []},
                "spec": {
                    "restartPolicy": "Always",
                    "containers": [{
                        "name": "peon",
                        "image": "other",
                        "command": ["/druid.sh"],
                        "env": [{"name": "JAVA_OPTS", "value": "-Xmx1g"}, {"name": "druid_x", "value": "1"}],
                    }],
                },
            },
        });
        let found = of_template(&serde_json::from_value(spec).unwrap());
        let names: Vec<&str> = found.iter().map(|text| text.split(':').next().unwrap()).collect();
        assert_eq!(
            names,
            [
                "property druid.indexer.runner.startPort",
                "property druid.indexer.task.restoreTasksOnRestart",
                "property druid.worker.capacity",
                "property druid.worker.ip",
                "template.metadata.finalizers",
                "template.metadata.name",
                "template.spec.restartPolicy",
                "command of the peon's container",
                "image of the peon's container",
                "variable JAVA_OPTS",
            ]
        );
        assert!(
            found[2].ends_with("set capacity of the VirtualMiddleManager"),
            "{}",
            found[2]
        );
        assert_eq!(of_template(&PeonTemplateSpec::default()), [""; 0]);
    }
}
