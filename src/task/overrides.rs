//! What a template lets tasks ask for (pure). Only what a task says itself or in its context is limited: the template
//! and the operator's properties are written by those who set the limits.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::quantity;
use super::settings::{CONTEXT_JAVA_OPTS, Levels, Settings, Source};
use crate::api::Permission;
use crate::druid::properties::{FORK_PROPERTY, JAVA_OPTS, JAVA_OPTS_ARRAY};

/// Why a task may not run with its template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exceeded {
    /// The task asks for too much: what, by which source, and what is allowed.
    Limit(String),
    /// The limit itself cannot be read.
    Template(String),
}

/// Checks what the task asks for.
///
/// # Errors
/// The first thing that the template does not allow.
pub fn check(levels: &Levels<'_>, settings: &Settings) -> Result<(), Exceeded> {
    let Some(overrides) = &levels.template.overrides else {
        return Ok(());
    };
    let memory = (settings.first_memory.as_str(), settings.memory.1);
    largest(
        "memory",
        "overrides.maxMemory",
        memory,
        overrides.max_memory.as_ref(),
    )?;
    let cpu = (settings.cpu.0.as_str(), settings.cpu.1);
    largest("cpu", "overrides.maxCpu", cpu, overrides.max_cpu.as_ref())?;
    let denied = |of: Option<Permission>| of == Some(Permission::Deny);
    if denied(overrides.java_opts)
        && let Some(asked) = java_options(levels)
    {
        let message = format!("{asked}, and overrides.javaOpts is Deny: leave it out");
        return Err(Exceeded::Limit(message));
    }
    if denied(overrides.retry) && levels.task.retry.is_some() {
        let message = "the PeonTask's spec gives retry, and overrides.retry is Deny: leave it out".to_owned();
        return Err(Exceeded::Limit(message));
    }
    Ok(())
}

fn largest(
    name: &str,
    field: &str,
    (asked, source): (&str, Source),
    max: Option<&Quantity>,
) -> Result<(), Exceeded> {
    let Some(Quantity(max)) = max.filter(|_| is_tasks(source)) else {
        return Ok(());
    };
    let allowed = quantity::milli(max).map_err(|e| Exceeded::Template(format!("{field}: {e}")))?;
    // What was asked for has been read before.
    if quantity::milli(asked).is_ok_and(|asked| asked > allowed) {
        let message = format!("{source} asks for a {name} limit of {asked}, and {field} is {max}");
        return Err(Exceeded::Limit(message));
    }
    Ok(())
}

fn is_tasks(source: Source) -> bool {
    matches!(source, Source::Task | Source::Context)
}

/// Where the task gives a JVM option or a Druid property.
fn java_options(levels: &Levels<'_>) -> Option<String> {
    if !levels.task.java_opts.is_empty() {
        return Some(format!("{} gives javaOpts", Source::Task));
    }
    let is_one = |key: &&String| {
        key.starts_with(FORK_PROPERTY)
            || [JAVA_OPTS, JAVA_OPTS_ARRAY, CONTEXT_JAVA_OPTS].contains(&key.as_str())
    };
    let given = levels
        .payload
        .context
        .iter()
        .filter(|(_, value)| !value.is_null());
    let key = given.map(|(key, _)| key).find(is_one)?;
    Some(format!("{} gives {key}", Source::Context))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.
    #![allow(clippy::unwrap_in_result)] // The result is what is tested.

    use super::*;
    use crate::api::MemoryLadder;
    use crate::druid::properties::RuntimeProperties;
    use crate::task::fixtures::{payload, task, template};
    use serde_json::{Value, json};

    fn checked(spec: Value, context: Value, template_spec: Value) -> Result<(), Exceeded> {
        let druid = json!({"type": "noop", "context": context});
        let mut spec = spec;
        spec["task"] = druid.clone();
        let (task, template) = (task(spec), template(template_spec));
        let levels = Levels {
            task: &task.spec,
            payload: &payload(druid),
            template: &template.spec,
            operator: &RuntimeProperties::parse("druid.indexer.default.pod.memory=64Gi").unwrap(),
            memory_step: 0,
            ladder: &MemoryLadder::default(),
        };
        check(&levels, &Settings::resolve(&levels).unwrap())
    }

    fn limits(memory: &str, cpu: &str) -> Value {
        json!({"resources": {"limits": {"memory": memory, "cpu": cpu}}})
    }

    fn refused(spec: Value, context: Value, overrides: Value) -> String {
        match checked(spec, context, json!({ "overrides": overrides })) {
            Err(Exceeded::Limit(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn memory_and_cpu_are_limited() {
        let overrides = json!({"maxMemory": "4Gi", "maxCpu": "2"});
        let allowed = |spec, context| checked(spec, context, json!({"overrides": overrides.clone()}));
        assert_eq!(allowed(limits("4Gi", "2000m"), json!({})), Ok(()));
        assert_eq!(
            refused(limits("4097Mi", "1"), json!({}), overrides.clone()),
            "the PeonTask's spec asks for a memory limit of 4097Mi, and overrides.maxMemory is 4Gi"
        );
        assert_eq!(
            refused(limits("1Gi", "2001m"), json!({}), overrides.clone()),
            "the PeonTask's spec asks for a cpu limit of 2001m, and overrides.maxCpu is 2"
        );
        let context = json!({"druid.peon.pod.memory": "5G"});
        let message = refused(json!({}), context, overrides.clone());
        assert!(
            message.contains("the task's context") && message.contains("5G"),
            "{message}"
        );
    }

    #[test]
    fn the_template_and_the_operator_are_not_limited() {
        let spec = json!({"overrides": {"maxMemory": "1Gi", "javaOpts": "Deny"}, "javaOpts": ["-Da=b"]});
        assert_eq!(
            checked(json!({}), json!({}), spec.clone()),
            Ok(()),
            "64Gi of the operator's"
        );
        let mut large = spec;
        large["resources"] = json!({"limits": {"memory": "8Gi"}});
        assert_eq!(checked(json!({}), json!({}), large), Ok(()));
    }

    #[test]
    fn options_may_be_denied_wherever_a_task_gives_them() {
        let deny = json!({"javaOpts": "Deny"});
        let message = refused(json!({"javaOpts": ["-Da=b"]}), json!({}), deny.clone());
        assert!(
            message.starts_with("the PeonTask's spec gives javaOpts"),
            "{message}"
        );
        for key in [
            JAVA_OPTS,
            CONTEXT_JAVA_OPTS,
            "druid.indexer.fork.property.druid.x",
        ] {
            let message = refused(json!({}), json!({ key: "-Da=b" }), deny.clone());
            assert!(message.contains(key), "{message}");
        }
        let others = json!({"druid.peon.pod.memory": "1Gi", JAVA_OPTS: null});
        assert_eq!(checked(json!({}), others, json!({"overrides": deny})), Ok(()));
        let allow = json!({"overrides": {"javaOpts": "Allow"}});
        assert_eq!(checked(json!({"javaOpts": ["-Da=b"]}), json!({}), allow), Ok(()));
    }

    #[test]
    fn retry_may_be_denied() {
        let message = refused(
            json!({"retry": {"rerun": "Always"}}),
            json!({}),
            json!({"retry": "Deny"}),
        );
        assert!(message.contains("overrides.retry is Deny"), "{message}");
        assert_eq!(
            checked(json!({}), json!({}), json!({"overrides": {"retry": "Deny"}})),
            Ok(())
        );
    }

    #[test]
    fn a_limit_that_cannot_be_read_is_the_templates_fault() {
        let spec = json!({"overrides": {"maxCpu": "many"}});
        let wrong = checked(limits("1Gi", "1"), json!({}), spec);
        assert!(matches!(wrong, Err(Exceeded::Template(_))), "{wrong:?}");
    }
}
