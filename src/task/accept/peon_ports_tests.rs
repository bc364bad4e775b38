#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use std::process::Command;

use serde_json::{Value, json};

use super::*;
use crate::api::{MemoryLadder, PeonTaskSpec};
use crate::druid::properties::RuntimeProperties;
use crate::task::accept::settings::Levels;
use crate::task::fixtures::template;

fn settings(template_spec: Value) -> Settings {
    let levels = Levels {
        task: &PeonTaskSpec::default(),
        payload: None,
        template: &template(template_spec).spec,
        operator: &RuntimeProperties::default(),
        memory_step: 0,
        ladder: &MemoryLadder::default(),
    };
    Settings::resolve(&levels).unwrap()
}

fn ports(properties: Value) -> Result<PeonPorts, InvalidSetting> {
    of(&settings(json!({ "properties": properties })))
}

const STORE: &str = "druid.server.https.keyStorePath";

#[test]
fn the_properties_decide_the_ports() {
    for (properties, plain, tls, wants_certificate) in [
        (json!({}), Some(8100), None, false),
        (json!({PLAIN: "TRUE", TLS: " false "}), Some(8100), None, false),
        (
            json!({TLS: "true", STORE: "/tls/k"}),
            Some(8100),
            Some(8300),
            false,
        ),
        (
            json!({PLAIN: "false", TLS: "true", TLS_PORT: "8101", STORE: "/tls/k"}),
            None,
            Some(8101),
            false,
        ),
        (
            json!({PLAIN: "false", TLS: "true", TLS_PORT: "8100", STORE: "/tls/k", WANTS_CERTIFICATE: "true"}),
            None,
            Some(8100),
            true,
        ),
        (json!({TLS_PORT: "-1"}), Some(8100), None, false),
    ] {
        let expected = PeonPorts {
            plain,
            tls,
            wants_certificate,
        };
        assert_eq!(ports(properties.clone()), Ok(expected), "{properties}");
    }
}

#[test]
fn what_cannot_work_is_refused_with_the_property() {
    for (properties, expected) in [
        (json!({PLAIN: "false"}), "the peon has no port"),
        (json!({PLAIN: "no"}), "it must be true or false"),
        (json!({TLS: "true"}), "does not start without a key store"),
        (
            json!({TLS: "true", STORE: "/k", TLS_PORT: "8100"}),
            "the port without TLS",
        ),
        (
            json!({TLS: "true", STORE: "/k", TLS_PORT: "-1"}),
            "a port from 1 to 65535",
        ),
        (
            json!({TLS: "true", STORE: "/k", TLS_PORT: "70000"}),
            "a port from 1 to 65535",
        ),
    ] {
        let error = ports(properties.clone()).unwrap_err();
        assert_eq!(error.source, Source::Template);
        assert!(
            error.message.contains(expected),
            "{properties}: {}",
            error.message
        );
    }
    let key_store_elsewhere = json!({
        "properties": {TLS: "true"}, "propertiesFrom": [{"secretRef": {"name": "tls"}}],
    });
    assert!(of(&settings(key_store_elsewhere)).is_ok());
}

/// Runs the script behind this file: its exit code and what it prints.
fn check(name: &str, template_spec: Value, file: &str) -> (Option<i32>, String) {
    let dir = std::env::temp_dir().join(format!("peon-ports-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("runtime.properties"), file).unwrap();
    let refuse = "set -eu\nrefuse_properties() { echo \"$1\" >&2; exit 64; }\n";
    let script = format!("{refuse}{}", script(&settings(template_spec)));
    let script = script.replace("/peon-properties/", &format!("{}/", dir.display()));
    let run = Command::new("sh").args(["-c", &script]).output().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    (run.status.code(), String::from_utf8(run.stderr).unwrap())
}

#[test]
fn ports_that_only_the_pod_knows_are_compared_with_what_is_announced() {
    let from = json!([{"configMapRef": {"name": "common"}}]);
    let only_from = json!({ "propertiesFrom": from });
    let said = json!({
        "propertiesFrom": from,
        "properties": {PLAIN: "false", TLS: "true", TLS_PORT: "8101"},
    });
    let tls_only = "druid.enablePlaintextPort = False\ndruid.enableTlsPort:true\n";
    let (code, text) = check("refused", only_from.clone(), tls_only);
    assert_eq!(code, Some(64));
    assert!(text.contains("properties of the PeonTemplate"), "{text}");
    let both = "druid.enablePlaintextPort=false\ndruid.enablePlaintextPort=true\ndruid.enableTlsPort=true\n";
    let (code, text) = check("both", only_from.clone(), both);
    assert_eq!(code, Some(0));
    assert!(text.contains("without TLS"), "{text}");
    let quiet = (Some(0), String::new());
    assert_eq!(
        check("plain", only_from, "druid.enableTlsPort=false\nx=1\n"),
        quiet
    );
    assert_eq!(check("said", said.clone(), tls_only), quiet);
    assert_eq!(script(&settings(said)), "");
    assert_eq!(script(&settings(json!({}))), "");
}
