#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use serde_json::json;

use super::*;
use crate::task::fixtures::{payload, task, template};

/// The levels of a setting, each given as what its author writes.
#[derive(Clone)]
struct Given {
    task: Value,
    context: Value,
    template: Value,
    operator: &'static str,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            task: json!({}),
            context: json!({}),
            template: json!({}),
            operator: "",
        }
    }
}

impl Given {
    fn resolve(&self) -> Result<Settings, InvalidSetting> {
        let druid = json!({"type": "noop", "context": self.context});
        let mut spec = self.task.clone();
        spec["task"] = druid.clone();
        Settings::resolve(&Levels {
            task: &task(spec).spec,
            payload: Some(&payload(druid)),
            template: &template(self.template.clone()).spec,
            operator: &operator(self.operator),
            memory_step: 0,
            ladder: &MemoryLadder::default(),
        })
    }

    fn settings(&self) -> Settings {
        self.resolve().unwrap()
    }

    fn refused(&self) -> InvalidSetting {
        self.resolve().unwrap_err()
    }
}

fn given(task: Value, context: Value, template: Value, operator: &'static str) -> Given {
    Given {
        task,
        context,
        template,
        operator,
    }
}

fn operator(text: &str) -> RuntimeProperties {
    RuntimeProperties::parse(text).unwrap()
}

fn limit(name: &str, value: &str) -> Value {
    json!({"limits": {name: value}})
}

fn get<'a>(map: Option<&'a BTreeMap<String, Quantity>>, name: &str) -> Option<&'a str> {
    map.and_then(|m| m.get(name)).map(|q| q.0.as_str())
}

/// Takes the levels away from the top and says what is in force each time.
fn from_the_top<T>(mut all: Given, read: impl Fn(&Settings) -> T) -> [T; 6] {
    let mut read_now = |change: &dyn Fn(&mut Given)| {
        change(&mut all);
        read(&all.settings())
    };
    [
        read_now(&|_| {}),
        read_now(&|g| g.task = json!({})),
        read_now(&|g| g.context = json!({})),
        read_now(&|g| {
            if let Value::Object(spec) = &mut g.template {
                spec.retain(|name, _| name == "template");
            }
        }),
        read_now(&|g| g.template = json!({})),
        read_now(&|g| g.operator = ""),
    ]
}

fn in_container(resources: &Value) -> Value {
    json!({"spec": {"containers": [{"name": "peon", "image": "container", "resources": resources}]}})
}

#[test]
fn memory_comes_from_the_highest_level() {
    let all = given(
        json!({"resources": limit("memory", "6Gi")}),
        json!({"druid.peon.pod.memory": "5Gi"}),
        json!({"resources": limit("memory", "4Gi"), "template": in_container(&limit("memory", "3Gi"))}),
        "druid.indexer.default.pod.memory=2Gi",
    );
    let expected = [
        ("6Gi", Source::Task),
        ("5Gi", Source::Context),
        ("4Gi", Source::Template),
        ("3Gi", Source::Template),
        ("2Gi", Source::Operator),
        ("2G", Source::BuiltIn),
    ];
    let expected = expected.map(|(value, source)| (value.to_owned(), source));
    assert_eq!(from_the_top(all.clone(), |s| s.memory.clone()), expected);
    let in_pod = from_the_top(all, |s| {
        get(s.resources.limits.as_ref(), "memory").unwrap().to_owned()
    });
    assert_eq!(in_pod, expected.map(|(value, _)| value));
}

#[test]
fn cpu_comes_from_the_highest_level() {
    let all = given(
        json!({"resources": limit("cpu", "6")}),
        json!({"druid.peon.pod.cpu": "5"}),
        json!({"resources": limit("cpu", "4"), "template": in_container(&limit("cpu", "3"))}),
        "druid.indexer.default.pod.cpu=500m",
    );
    let expected = [
        ("6", Source::Task),
        ("5", Source::Context),
        ("4", Source::Template),
        ("3", Source::Template),
        ("500m", Source::Operator),
        ("1", Source::BuiltIn),
    ];
    let expected = expected.map(|(value, source)| (value.to_owned(), source));
    assert_eq!(from_the_top(all, |s| s.cpu.clone()), expected);
}

#[test]
fn cpu_and_memory_are_resolved_apart() {
    let mixed = given(
        json!({"resources": limit("cpu", "3")}),
        json!({"druid.peon.pod.memory": "5Gi"}),
        json!({}),
        "",
    );
    let settings = mixed.settings();
    assert_eq!(settings.cpu, ("3".to_owned(), Source::Task));
    assert_eq!(settings.memory, ("5Gi".to_owned(), Source::Context));
}

#[test]
fn the_image_comes_from_the_highest_level() {
    let all = given(
        json!({}),
        json!({}),
        json!({"image": "template", "template": in_container(&json!({}))}),
        "druid.indexer.image=operator",
    );
    let images = from_the_top(all, |s| s.image.clone());
    assert_eq!(
        images[2..],
        ["template", "container", "operator", DEFAULT_IMAGE].map(str::to_owned)
    );
}

#[test]
fn java_options_of_all_levels_add_up_and_the_last_of_a_kind_wins() {
    let all = given(
        json!({"javaOpts": ["-Xmx4g", "-Dtask=1"]}),
        json!({
            "druid.indexer.runner.javaOpts": "-Xmx3g -Dcontext='1 2'",
            "druid.indexer.runner.javaOptsArray": ["-Darray=1"],
            "druid.peon.javaOpts": ["-Dpeon=1"],
        }),
        json!({"javaOpts": ["-Xmx2g", "-Dtemplate=1"]}),
        "druid.indexer.runner.javaOpts=-Xmx1g -Doperator=1\n\
         druid.indexer.runner.javaOptsArray=[\"-XX:+UseSerialGC\"]",
    );
    let expected = [
        ("-Doperator=1", Source::Operator),
        ("-XX:+UseSerialGC", Source::Operator),
        ("-Dtemplate=1", Source::Template),
        ("-Dcontext=1 2", Source::Context),
        ("-Darray=1", Source::Context),
        ("-Dpeon=1", Source::Context),
        ("-Xmx4g", Source::Task),
        ("-Dtask=1", Source::Task),
    ];
    let expected = expected.map(|(option, source)| (option.to_owned(), source));
    assert_eq!(all.settings().java_opts, expected);
}

#[test]
fn properties_come_from_the_highest_level() {
    let all = given(
        json!({"javaOpts": ["-Ddruid.x=task"]}),
        json!({"druid.indexer.fork.property.druid.x": "context"}),
        json!({"properties": {"druid.x": "template"}}),
        "druid.indexer.fork.property.druid.x=operator",
    );
    let values = from_the_top(all, |s| s.property("druid.x").map(str::to_owned));
    let [task, context, template, _, operator, none] = values;
    let some = |value: &str| Some(value.to_owned());
    assert_eq!(
        [task, context, template, operator, none],
        [
            some("task"),
            some("context"),
            some("template"),
            some("operator"),
            None
        ]
    );
}

/// A property is one setting, however it is written.
#[test]
fn an_option_of_a_lower_level_does_not_beat_a_property_of_a_higher_one() {
    let context = json!({"druid.indexer.fork.property.druid.x": "context"});
    let template = json!({"javaOpts": ["-Ddruid.x=template"], "properties": {"druid.y": "template"}});
    let operator = "druid.indexer.runner.javaOpts=-Ddruid.x=operator -Ddruid.y=operator";
    let settings = given(json!({}), context, template, operator).settings();
    assert_eq!(settings.property("druid.x"), Some("context"));
    assert_eq!(settings.property("druid.y"), Some("template"));
    let defined = settings.options().filter(|o| o.starts_with("-Ddruid.")).count();
    assert_eq!(defined, 2, "{:?}", settings.java_opts);
}

#[test]
fn of_one_level_the_option_beats_the_property() {
    let template = json!({"javaOpts": ["-Ddruid.x=option"], "properties": {"druid.x": "property"}});
    let settings = given(json!({}), json!({}), template, "").settings();
    assert_eq!(settings.property("druid.x"), Some("option"));
}

#[test]
fn request_and_limit_mirror_each_other_where_one_is_given() {
    for side in ["requests", "limits"] {
        let settings = given(
            json!({"resources": {side: {"memory": "3Gi", "cpu": "2"}}}),
            json!({}),
            json!({}),
            "",
        )
        .settings();
        for map in [&settings.resources.requests, &settings.resources.limits] {
            assert_eq!(get(map.as_ref(), "memory"), Some("3Gi"), "{side}");
            assert_eq!(get(map.as_ref(), "cpu"), Some("2"), "{side}");
        }
    }
    let both = given(
        json!({"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "3Gi"}}}),
        json!({}),
        json!({"resources": limit("memory", "9Gi")}),
        "",
    )
    .settings();
    assert_eq!(get(both.resources.requests.as_ref(), "memory"), Some("1Gi"));
    assert_eq!(get(both.resources.limits.as_ref(), "memory"), Some("3Gi"));
    assert_eq!(both.memory.0, "3Gi");
    let defaults = Given::default().settings();
    assert_eq!(get(defaults.resources.requests.as_ref(), "memory"), Some("2G"));
    assert_eq!(get(defaults.resources.requests.as_ref(), "cpu"), Some("1"));
}

#[test]
fn a_request_above_its_limit_is_refused() {
    let resources = |request: &str| {
        let both = json!({"requests": {"memory": request}, "limits": {"memory": "1Gi"}});
        json!({ "resources": both })
    };
    let refused = given(resources("2Gi"), json!({}), json!({}), "").refused();
    assert_eq!(refused.source, Source::Task);
    assert!(
        refused
            .message
            .contains("memory request 2Gi is above its limit 1Gi"),
        "{}",
        refused.message
    );
    let refused = given(json!({}), json!({}), resources("1025Mi"), "").refused();
    assert_eq!(refused.source, Source::Template);
    // The same in other words.
    assert!(
        given(resources("1024Mi"), json!({}), json!({}), "")
            .resolve()
            .is_ok()
    );
}

#[test]
fn other_resources_pass_through() {
    let settings = given(
        json!({"resources": {"limits": {"example.com/gpu": "2"}}}),
        json!({}),
        json!({
            "resources": {"requests": {"ephemeral-storage": "1Gi"}, "claims": [{"name": "c"}]},
            "template": in_container(&json!({"limits": {"hugepages-2Mi": "4Mi"}})),
        }),
        "",
    )
    .settings();
    let (requests, limits) = (settings.resources.requests, settings.resources.limits);
    assert_eq!(get(limits.as_ref(), "example.com/gpu"), Some("2"));
    assert_eq!(get(limits.as_ref(), "hugepages-2Mi"), Some("4Mi"));
    assert_eq!(get(requests.as_ref(), "ephemeral-storage"), Some("1Gi"));
    assert_eq!(settings.resources.claims.unwrap()[0].name, "c");
}

/// The API server refuses a limit below the request of another level, and a device whose two differ.
#[test]
fn request_and_limit_of_a_resource_come_from_one_level() {
    let settings = given(
        json!({"resources": {"limits": {"ephemeral-storage": "5Gi"}}}),
        json!({}),
        json!({
            "resources": {"requests": {"ephemeral-storage": "9Gi"}, "limits": {"ephemeral-storage": "9Gi"}},
            "template": in_container(&json!({"requests": {"example.com/gpu": "1"}})),
        }),
        "",
    )
    .settings();
    let (requests, limits) = (settings.resources.requests, settings.resources.limits);
    assert_eq!(get(limits.as_ref(), "ephemeral-storage"), Some("5Gi"));
    assert_eq!(get(requests.as_ref(), "ephemeral-storage"), None);
    assert_eq!(get(requests.as_ref(), "example.com/gpu"), Some("1"));
}

#[test]
fn numbers_in_the_context_are_quantities() {
    let context = json!({"druid.peon.pod.memory": 2_000_000_000_u64, "druid.peon.pod.cpu": 1.5});
    let settings = given(json!({}), context, json!({}), "").settings();
    assert_eq!(settings.memory.0, "2000000000");
    assert_eq!(settings.cpu.0, "1.5");
    let nothing = json!({"druid.peon.pod.memory": null, "druid.peon.javaOpts": null});
    let settings = given(json!({}), nothing, json!({}), "").settings();
    assert_eq!(settings.memory, ("2G".to_owned(), Source::BuiltIn));
    let fork = json!({"druid.indexer.fork.property.a": 1, "druid.indexer.fork.property.b": true});
    let settings = given(json!({}), fork, json!({}), "").settings();
    assert_eq!(
        (settings.property("a"), settings.property("b")),
        (Some("1"), Some("true"))
    );
}

#[test]
fn bad_values_in_the_context_are_named() {
    for (key, value) in [
        ("druid.peon.pod.memory", json!(true)),
        ("druid.peon.pod.memory", json!(["4Gi"])),
        ("druid.peon.pod.cpu", json!({})),
        ("druid.peon.javaOpts", json!(7)),
        ("druid.peon.javaOpts", json!(["-Xmx1g", 7])),
        ("druid.peon.javaOpts", json!("-Da=\"b")),
        ("druid.indexer.runner.javaOpts", json!({})),
        ("druid.indexer.runner.javaOptsArray", json!([null])),
        ("druid.indexer.fork.property.druid.x", json!([])),
        ("druid.indexer.fork.property.druid.x", json!(null)),
    ] {
        let refused = given(json!({}), json!({ key: value }), json!({}), "").refused();
        assert_eq!(refused.source, Source::Context, "{key} {value}");
        assert!(refused.message.contains(key), "{}", refused.message);
    }
}

#[test]
fn bad_quantities_are_refused_at_every_level() {
    for value in ["much", "0", "-1", "2GiB", ""] {
        for name in ["memory", "cpu"] {
            let resources = json!({"resources": limit(name, value)});
            let context = json!({format!("druid.peon.pod.{name}"): value});
            for (given, source) in [
                (given(resources.clone(), json!({}), json!({}), ""), Source::Task),
                (given(json!({}), context, json!({}), ""), Source::Context),
                (given(json!({}), json!({}), resources, ""), Source::Template),
            ] {
                let refused = given.refused();
                assert_eq!(refused.source, source, "{name} {value:?}");
                assert!(refused.message.contains(name), "{}", refused.message);
            }
        }
    }
}

#[test]
fn reserved_properties_are_refused_with_their_source() {
    let all_reserved = RESERVED.iter().map(|(name, _)| *name).chain(["druid.host"]);
    for name in all_reserved {
        let option = format!("-D{name}=other");
        let fork = format!("druid.indexer.fork.property.{name}");
        for (given, source) in [
            (
                given(json!({"javaOpts": [option]}), json!({}), json!({}), ""),
                Source::Task,
            ),
            (
                given(json!({}), json!({ fork: "other" }), json!({}), ""),
                Source::Context,
            ),
            (
                given(json!({}), json!({"druid.peon.javaOpts": option}), json!({}), ""),
                Source::Context,
            ),
            (
                given(json!({}), json!({}), json!({"properties": {name: "other"}}), ""),
                Source::Template,
            ),
        ] {
            let refused = given.refused();
            assert_eq!(refused.source, source, "{name}");
            assert!(refused.message.contains(name), "{}", refused.message);
        }
    }
    let refused = given(
        json!({}),
        json!({}),
        json!({}),
        "druid.indexer.fork.property.druid.host=x",
    )
    .refused();
    assert_eq!(refused.source, Source::Operator);
}

#[test]
fn a_reserved_property_may_be_given_as_the_operator_sets_it() {
    for (name, value) in RESERVED {
        let template = json!({"properties": {name: value}});
        assert!(
            given(json!({}), json!({}), template, "").resolve().is_ok(),
            "{name}"
        );
    }
}

/// `-Dname` sets a property too, and so does a name that holds a `=`.
#[test]
fn a_reserved_property_cannot_be_smuggled_in() {
    let options = json!({"javaOpts": ["-Ddruid.host"]});
    assert_eq!(
        given(options, json!({}), json!({}), "").refused().source,
        Source::Task
    );
    let context = json!({"druid.indexer.fork.property.druid.host=me": ""});
    assert_eq!(
        given(json!({}), context, json!({}), "").refused().source,
        Source::Context
    );
}

#[test]
fn a_step_of_the_ladder_raises_request_and_limit() {
    let at = |step, resources: Value, max: Value, ladder: &MemoryLadder| {
        let druid = json!({"type": "noop"});
        let settings = Settings::resolve(&Levels {
            task: &task(json!({"task": druid, "resources": resources})).spec,
            payload: Some(&payload(druid)),
            template: &template(json!({"overrides": max})).spec,
            operator: &RuntimeProperties::default(),
            memory_step: step,
            ladder,
        })
        .unwrap();
        let resources = &settings.resources;
        let (request, limit) = (resources.requests.as_ref(), resources.limits.as_ref());
        assert_eq!(get(limit, "memory"), Some(settings.memory.0.as_str()));
        assert_eq!(get(limit, "cpu"), Some("1"));
        (
            get(request, "memory").unwrap().to_owned(),
            settings.memory.0.clone(),
            settings.first_memory,
        )
    };
    let same =
        |request: &str, limit: &str, first: &str| (request.to_owned(), limit.to_owned(), first.to_owned());
    let default = MemoryLadder::default();
    let none = || json!({});
    assert_eq!(at(0, json!({}), none(), &default), same("2G", "2G", "2G"));
    assert_eq!(at(1, json!({}), none(), &default), same("2862Mi", "2862Mi", "2G"));
    let apart = || json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}});
    assert_eq!(at(0, apart(), none(), &default), same("1Gi", "2Gi", "2Gi"));
    assert_eq!(
        at(1, apart(), none(), &default),
        same("1610612736", "3072Mi", "2Gi")
    );
    let max = json!({"maxMemory": "2560Mi"});
    assert_eq!(at(7, apart(), max, &default), same("1342177280", "2560Mi", "2Gi"));
    let steep = MemoryLadder {
        factor_percent: Some(200),
        max: Some(Quantity("3Gi".into())),
    };
    assert_eq!(
        at(1, apart(), none(), &steep),
        same("1610612736", "3072Mi", "2Gi")
    );
}
