//! What a template allows tasks to ask for (pure). Only values from the task's spec or context are limited: the
//! template and the operator's properties are written by those who set the limits.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::settings::{CONTEXT_JAVA_OPTS, Levels, Settings, Source};
use super::template_secrets;
use crate::api::{JavaOpts, Overrides, Permission};
use crate::druid::properties::{FORK_PROPERTY, JAVA_OPTS, JAVA_OPTS_ARRAY};
use crate::druid::task_options::{self, Scope};
use crate::quantity;

/// Why a task may not run with its template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exceeded {
    /// The task asks for too much: the setting, its source, and the limit.
    Limit(String),
    /// The limit itself cannot be parsed.
    Template(String),
}

/// Checks what the task asks for.
///
/// # Errors
/// The first thing that the template does not allow.
pub fn check(levels: &Levels<'_>, settings: &Settings) -> Result<(), Exceeded> {
    options(levels, settings)?;
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
    if overrides.retry == Some(Permission::Deny) && levels.task.retry.is_some() {
        let message = "the PeonTask's spec sets retry, but overrides.retry is Deny: remove it".to_owned();
        return Err(Exceeded::Limit(message));
    }
    Ok(())
}

/// Checks the JVM options and Druid properties that the task gives and that are used.
fn options(levels: &Levels<'_>, settings: &Settings) -> Result<(), Exceeded> {
    let given = levels.template.overrides.as_ref().and_then(|o| o.java_opts);
    let secret = template_secrets::given_to_the_peon(levels.template);
    let (scope, because, wider) = match (given, secret) {
        (Some(JavaOpts::Any), _) => return Ok(()),
        (Some(JavaOpts::Deny), _) => {
            return java_options(levels).map_or(Ok(()), |asked| {
                let message = format!("{asked}, but overrides.javaOpts is Deny: remove it");
                Err(Exceeded::Limit(message))
            });
        }
        (Some(JavaOpts::Sizing), _) => (
            Scope::Sizing,
            "overrides.javaOpts is Sizing".to_owned(),
            "Allow or Any",
        ),
        (None, Some(secret)) => {
            let because =
                format!("overrides.javaOpts is Sizing by default if the template gives {secret} to the peon");
            (Scope::Sizing, because, "Allow or Any")
        }
        (Some(JavaOpts::Allow), _) => (Scope::Harmless, "overrides.javaOpts is Allow".to_owned(), "Any"),
        (None, None) => (
            Scope::Harmless,
            "overrides.javaOpts is Allow by default".to_owned(),
            "Any",
        ),
    };
    for source in [Source::Context, Source::Task] {
        let of_source = settings.java_opts.iter().filter(|(_, from)| *from == source);
        let refused = task_options::first_refused(of_source.map(|(option, _)| option.as_str()), scope);
        if let Some(refused) = refused {
            return Err(Exceeded::Limit(format!(
                "{source} sets {:?}, which {}, but {because}: remove it, move it to the template's \
                 javaOpts, or set overrides.javaOpts of the template to {wider}",
                refused.name, refused.why
            )));
        }
    }
    Ok(())
}

/// Checks the limits themselves, whatever a task asks for.
///
/// # Errors
/// [`Exceeded::Template`]: the first limit that cannot be parsed.
pub fn limits(overrides: &Overrides) -> Result<(), Exceeded> {
    for (field, max) in [
        ("overrides.maxMemory", overrides.max_memory.as_ref()),
        ("overrides.maxCpu", overrides.max_cpu.as_ref()),
    ] {
        max.map_or(Ok(0), |max| limit(field, max))?;
    }
    Ok(())
}

fn limit(field: &str, max: &Quantity) -> Result<u128, Exceeded> {
    quantity::milli(&max.0).map_err(|e| Exceeded::Template(format!("{field}: {e}")))
}

fn largest(
    name: &str,
    field: &str,
    (asked, source): (&str, Source),
    max: Option<&Quantity>,
) -> Result<(), Exceeded> {
    let Some(max) = max.filter(|_| is_tasks(source)) else {
        return Ok(());
    };
    let allowed = limit(field, max)?;
    // The requested value has been parsed before.
    if quantity::milli(asked).is_ok_and(|asked| asked > allowed) {
        let message = format!(
            "{source} requests a {name} limit of {asked}, but {field} is {}",
            max.0
        );
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
        return Some(format!("{} sets javaOpts", Source::Task));
    }
    let is_one = |key: &&String| {
        key.starts_with(FORK_PROPERTY)
            || [JAVA_OPTS, JAVA_OPTS_ARRAY, CONTEXT_JAVA_OPTS].contains(&key.as_str())
    };
    let given = levels
        .payload?
        .context
        .iter()
        .filter(|(_, value)| !value.is_null());
    let key = given.map(|(key, _)| key).find(is_one)?;
    Some(format!("{} sets {key}", Source::Context))
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
            payload: Some(&payload(druid)),
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
            "the PeonTask's spec requests a memory limit of 4097Mi, but overrides.maxMemory is 4Gi"
        );
        assert_eq!(
            refused(limits("1Gi", "2001m"), json!({}), overrides.clone()),
            "the PeonTask's spec requests a cpu limit of 2001m, but overrides.maxCpu is 2"
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
            message.starts_with("the PeonTask's spec sets javaOpts"),
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
    fn options_that_do_harm_are_refused_wherever_a_task_gives_them() {
        let harmful = "-XX:VMOptionsFile=/peon-properties/runtime.properties";
        let expected = |source: &str| {
            format!(
                "{source} sets \"-XX:VMOptionsFile\", which reads a file, whose content may appear in the \
                 log, but overrides.javaOpts is Allow by default: remove it, move it to the template's \
                 javaOpts, or set overrides.javaOpts of the template to Any"
            )
        };
        let spec = || json!({"javaOpts": ["-Xmx600m", harmful]});
        assert_eq!(
            refused(spec(), json!({}), json!({})),
            expected("the PeonTask's spec")
        );
        let quoted = format!("-Xmx600m \"{harmful}\"");
        for (key, value) in [
            (JAVA_OPTS, json!(harmful)),
            (JAVA_OPTS, json!(quoted)),
            (JAVA_OPTS_ARRAY, json!([harmful])),
            (CONTEXT_JAVA_OPTS, json!([harmful])),
        ] {
            let message = refused(json!({}), json!({ key: value }), json!({"maxMemory": "64Gi"}));
            assert_eq!(message, expected("the task's context"), "{key}");
        }
        let property = json!({"druid.indexer.fork.property.druid.properties.file": "/x"});
        let message = refused(json!({}), property, json!({}));
        assert!(message.contains("\"-Ddruid.properties.file\""), "{message}");
        assert_eq!(
            checked(spec(), json!({}), json!({"overrides": {"javaOpts": "Any"}})),
            Ok(())
        );
        // The administrator's own are not judged.
        let own = json!({"javaOpts": [harmful, "-XX:OnError=gdb - %p"]});
        assert_eq!(checked(json!({}), json!({}), own), Ok(()));
    }

    #[test]
    fn a_template_with_secrets_lets_tasks_size_and_nothing_else() {
        let secret = || json!({"propertiesFrom": [{"secretRef": {"name": "store"}}]});
        let sized = json!({"javaOpts": ["-Xmx600m", "-XX:+UseSerialGC", "-Ddruid.processing.numThreads=1"]});
        assert_eq!(checked(sized, json!({}), secret()), Ok(()));
        let other = || json!({"javaOpts": ["-Ddruid.marker=elsewhere"]});
        let Err(Exceeded::Limit(message)) = checked(other(), json!({}), secret()) else {
            panic!("it was let through");
        };
        for part in ["\"-Ddruid.marker\"", "the Secret store", "Allow or Any"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(!message.contains("elsewhere"), "{message}");
        let mut allowed = secret();
        allowed["overrides"] = json!({"javaOpts": "Allow"});
        assert_eq!(checked(other(), json!({}), allowed), Ok(()));
        assert_eq!(
            checked(other(), json!({}), json!({})),
            Ok(()),
            "no Secret to be had"
        );
        assert!(refused(other(), json!({}), json!({"javaOpts": "Sizing"})).contains("Sizing"));
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
