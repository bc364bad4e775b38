#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.
use serde_json::json;

use super::*;

fn options(value: Value) -> Result<Vec<String>, String> {
    let context = Map::from_iter([(JAVA_OPTS_ARRAY.to_owned(), value)]);
    context_options(&context, JAVA_OPTS_ARRAY)
}

/// Druid takes a list of a property in text, and users copy it from there.
#[test]
fn a_list_in_a_string_is_a_list() {
    let listed = ["-Xmx1g", "-Da=b c", "-Dd=[\"e\"]"];
    assert_eq!(options(json!(listed)).unwrap(), listed);
    for space in ["", " ", "\n"] {
        let text = format!("{space}{}{space}", json!(listed));
        assert_eq!(options(json!(text)).unwrap(), listed, "{text:?}");
    }
    assert_eq!(options(json!("[]")).unwrap(), [""; 0]);
    assert_eq!(options(json!("-Da=[1] -Xmx1g")).unwrap(), ["-Da=[1]", "-Xmx1g"]);
    for text in ["[", "[-Xmx1g]", "[\"-Xmx1g\"", "[1]", "[\"-Xmx1g\"] -Xms1g"] {
        let said = options(json!(text)).unwrap_err();
        assert!(said.starts_with(JAVA_OPTS_ARRAY), "{said}");
        assert!(said.contains("array of strings"), "{said}");
    }
}

fn operator(text: &str) -> RuntimeProperties {
    RuntimeProperties::parse(text).unwrap()
}

fn resolved(options: Value, context: Value, template: Value, text: &str) -> Result<(), InvalidSetting> {
    use crate::task::fixtures::{payload, task, template as of};
    let druid = json!({"type": "noop", "context": context});
    Settings::resolve(&Levels {
        task: &task(json!({"task": druid, "javaOpts": options})).spec,
        payload: Some(&payload(druid)),
        template: &of(template).spec,
        operator: &operator(text),
        memory_step: 0,
        ladder: &MemoryLadder::default(),
    })
    .map(drop)
}

/// Whoever gives it: Java would not start, or would not say that memory ran out.
#[test]
fn an_option_that_no_peon_can_have_is_refused_at_every_level() {
    for (option, name) in [
        ("-XX:OnOutOfMemoryError=kill -9 %p", "-XX:OnOutOfMemoryError"),
        ("-XX:+CrashOnOutOfMemoryError", "-XX:+CrashOnOutOfMemoryError"),
        ("-server -XX:+UseG1GC", "-server -XX"),
        ("-cp", "-cp"),
    ] {
        let nothing = || json!([]);
        let (none, list) = (|| json!({}), json!([option]));
        let of_operator = format!("{JAVA_OPTS_ARRAY}={list}");
        for (refused, source, place) in [
            (
                resolved(list.clone(), none(), none(), ""),
                Source::Task,
                "javaOpts",
            ),
            (
                resolved(nothing(), json!({ JAVA_OPTS_ARRAY: list }), none(), ""),
                Source::Context,
                JAVA_OPTS_ARRAY,
            ),
            (
                resolved(nothing(), none(), json!({ "javaOpts": list }), ""),
                Source::Template,
                "javaOpts",
            ),
            (
                resolved(nothing(), none(), none(), &of_operator),
                Source::Operator,
                "javaOpts",
            ),
        ] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.source, source, "{option}");
            let begin = format!("{name:?} of {place} ");
            assert!(refused.message.starts_with(&begin), "{}", refused.message);
            assert!(!refused.message.contains("kill -9"), "{}", refused.message);
        }
    }
    // As a property it is a value like any other.
    let context = json!({"druid.indexer.fork.property.druid.x": "-Xmx1g -Xms1g"});
    assert_eq!(
        resolved(
            json!([]),
            context,
            json!({"properties": {"druid.y": "-Da=b -Dc=d"}}),
            ""
        ),
        Ok(())
    );
}

/// What a template says as a MiddleManager's file or the image's environment does.
#[test]
fn lines_of_a_middle_manager_and_variables_of_the_image_are_settings() {
    use crate::task::fixtures::template as of;
    let env = json!([
        {"name": "druid_x", "value": "variable"}, {"name": "druid_y", "value": "variable"},
        {"name": "druid_secret", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]);
    let template = of(json!({
        "properties": {
            "druid.x": "plain",
            "druid.indexer.fork.property.druid.z": "forked",
            "druid.z": "plain",
            "druid.indexer.runner.javaOptsArray": "[\"-server\", \"-Xmx3g\"]",
        },
        "javaOpts": ["-Xms1g"],
        "template": {"spec": {"containers": [{"name": "peon", "env": env}]}},
    }));
    let resolved = |template: &PeonTemplateSpec| {
        Settings::resolve(&Levels {
            task: &PeonTaskSpec::default(),
            payload: None,
            template,
            operator: &RuntimeProperties::default(),
            memory_step: 0,
            ladder: &MemoryLadder::default(),
        })
    };
    let settings = resolved(&template.spec).unwrap();
    let options: Vec<&str> = settings.options().collect();
    assert_eq!(
        options,
        [
            "-Ddruid.y=variable",
            "-Ddruid.x=plain",
            "-Ddruid.z=forked",
            "-server",
            "-Xmx3g",
            "-Xms1g"
        ]
    );
    let environment = settings.properties_file.environment;
    assert!(environment.read_in_pod && environment.has_secret);
    for wrong in [
        json!({"properties": {"druid.indexer.runner.javaOptsArray": "-Xmx3g"}}),
        json!({"properties": {"druid.indexer.runner.javaOpts": "-cp /conf"}}),
        json!({"template": {"spec": {"containers": [{"name": "peon", "env": [{"name": "druid_host", "value": "x"}]}]}}}),
    ] {
        let refused = resolved(&of(wrong).spec).unwrap_err();
        assert_eq!(refused.source, Source::Template, "{}", refused.message);
    }
}
