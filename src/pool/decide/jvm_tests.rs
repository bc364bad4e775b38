use serde_json::json;

use super::*;
use crate::api::{MemoryLadder, PeonTaskSpec};
use crate::druid::properties::RuntimeProperties;
use crate::pool::fixtures::pool;
use crate::task::accept::settings::Levels;
use crate::task::fixtures::template;

fn settings(template_spec: Value) -> Settings {
    Settings::resolve(&Levels {
        task: &PeonTaskSpec::default(),
        payload: None,
        template: &template(template_spec).spec,
        operator: &RuntimeProperties::default(),
        memory_step: 0,
        ladder: &MemoryLadder::default(),
    })
    .unwrap()
}

fn sizing() -> Sizing {
    size(&pool(json!({})).spec).unwrap()
}

fn arguments(template_spec: Value) -> Result<String, String> {
    let settings = settings(template_spec);
    argument_file(&settings, &sizing(), ports(&settings)?, 30)
}

fn has(arguments: &str, argument: &str) -> bool {
    arguments.lines().any(|line| line.trim_matches('"') == argument)
}

#[test]
fn an_indexer_is_hidden_has_one_slot_and_the_sizes_of_the_pool() {
    let arguments = arguments(json!({
        "javaOpts": ["-Xmx8g", "-Xms8g", "-XX:+UseParallelGC"],
        "properties": {"druid.processing.numThreads": "7", "druid.zk.service.host": "z:2181"},
    }))
    .unwrap();
    for argument in [
        "-Ddruid.worker.capacity=1",
        "-Ddruid.worker.numConcurrentMerges=1",
        "-Ddruid.indexer.task.gracefulShutdownTimeout=PT30S",
        "-Ddruid.indexer.task.restoreTasksOnRestart=false",
        "-Ddruid.processing.intermediaryData.storage.type=deepstore",
        "-Ddruid.plaintextPort=8091",
        "-Ddruid.zk.service.host=z:2181",
        "-Ddruid.processing.numThreads=1",
        "-XX:+UseParallelGC",
        "-XX:+ExitOnOutOfMemoryError",
        &format!("-Xmx{}", 531_u64 << 20),
        &format!(
            "-Ddruid.worker.globalIngestionHeapLimitBytes={}",
            (531_u64 << 20) / 6
        ),
    ] {
        assert!(has(&arguments, argument), "{argument}: {arguments}");
    }
    assert!(!arguments.contains("8g") && !arguments.contains("numThreads=7"));
    assert!(arguments.contains("IndexerServiceModule"));
}

#[test]
fn a_list_of_excluded_modules_is_kept() {
    assert_eq!(
        excluded_modules(None).unwrap(),
        r#"["org.apache.druid.guice.IndexerServiceModule"]"#
    );
    assert_eq!(
        excluded_modules(Some(r#"["a.B"]"#)).unwrap(),
        r#"["a.B","org.apache.druid.guice.IndexerServiceModule"]"#
    );
    let own = r#"["org.apache.druid.guice.IndexerServiceModule"]"#;
    assert_eq!(excluded_modules(Some(own)).unwrap(), own);
    let properties = json!({"properties": {"druid.modules.excludeList": "a.B"}});
    let error = arguments(properties).unwrap_err();
    assert!(error.contains("must be a JSON array of strings"), "{error}");
}

#[test]
fn what_would_give_an_indexer_more_than_its_task_is_refused() {
    for (name, value) in [
        ("druid.worker.capacity", "4"),
        ("druid.indexer.task.gracefulShutdownTimeout", "PT5M"),
        ("druid.indexer.task.restoreTasksOnRestart", "true"),
        ("druid.processing.intermediaryData.storage.type", "local"),
        ("druid.worker.globalIngestionHeapLimitBytes", "1"),
    ] {
        let error = arguments(json!({"properties": {name: value}})).unwrap_err();
        assert!(error.contains(name) && error.contains("remove"), "{error}");
    }
    // What the operator sets anyway may stand in the template, and so may the port of peons.
    let same = json!({"properties": {"druid.worker.capacity": "1", "druid.plaintextPort": "8100"}});
    assert!(has(&arguments(same).unwrap(), "-Ddruid.plaintextPort=8091"));
}

#[test]
fn the_ports_are_those_that_the_template_enables() {
    let (plain, tls) = ("druid.enablePlaintextPort", "druid.enableTlsPort");
    for (properties, expected) in [
        (json!({}), IndexerPorts::Plain),
        (json!({tls: "false"}), IndexerPorts::Plain),
        (json!({tls: "true"}), IndexerPorts::Both),
        (json!({tls: "TRUE", plain: "true"}), IndexerPorts::Both),
        (json!({tls: "true", plain: "false"}), IndexerPorts::Tls),
    ] {
        let spec = json!({"properties": properties});
        assert_eq!(ports(&settings(spec.clone())), Ok(expected), "{spec}");
        let arguments = arguments(spec).unwrap();
        assert_eq!(arguments.contains("druid.tlsPort"), expected.tls().is_some());
    }
    // That of a template is its peons'.
    let of_peons = json!({"properties": {tls: "true", "druid.tlsPort": "8300"}});
    assert!(has(&arguments(of_peons).unwrap(), "-Ddruid.tlsPort=8291"));
    let certificate = "druid.server.https.requireClientCertificate";
    for (properties, said) in [
        (json!({plain: "false"}), "an Indexer has no port then"),
        (json!({tls: "yes"}), "it must be true or false"),
        (json!({tls: "true", certificate: "true"}), certificate),
    ] {
        let error = arguments(json!({"properties": properties})).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert!(arguments(json!({"properties": {certificate: "true"}})).is_ok());
}

#[test]
fn a_pool_without_a_memory_limit_or_with_one_that_cannot_be_read_is_refused() {
    let of = |resources: Value| size(&pool(json!({"resources": resources})).spec).unwrap_err();
    assert!(of(json!({"requests": {"memory": "1Gi"}})).contains("resources.limits.memory is not set"));
    assert!(of(json!({"limits": {"memory": "1 GB"}})).contains("resources.limits.memory"));
    let spec = json!({"sizing": {"taskBytes": "none"}});
    assert!(size(&pool(spec).spec).unwrap_err().contains("sizing.taskBytes"));
}
