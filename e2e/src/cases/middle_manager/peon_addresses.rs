//! Peons that speak TLS only, and have names.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Case, MiddleManager, case, noop, text};
use crate::testbed::{exec, fixture::Fixture};

pub(super) const CASES: &[Case] = &[case(
    "middle_manager::peons_with_tls_are_called_by_their_names",
    tls_only,
)
.own()
.full()];

/// Name of the template and of what it mounts.
const NAME: &str = "druid-tls";
const STORE_PASSWORD: &str = "changeit";
const PORT: &str = "8101";

fn tls_only(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.home();
    let cluster = fixture.target.own().context("no cluster of our own")?;
    let domain = format!("{namespace}.pod.cluster.local");
    let keys = keystore(&cluster.scratch(NAME)?, &domain)?;
    let _objects = Objects(fixture);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME},
        "data": {"keystore.p12": STANDARD.encode(keys)}, "stringData": {"password": STORE_PASSWORD},
    });
    fixture.apply(namespace, &secret)?;
    let manager = MiddleManager::start(fixture)?;

    template(fixture, false)?;
    let running = started(&manager, "tls_only")?;
    let address = text(&running.pod["status"]["podIP"]).to_owned();
    let host = format!("{}.{domain}", address.replace('.', "-"));
    let location = &running.status["location"];
    ensure!(
        location["host"] == json!(host) && location["port"] == -1 && location["tlsPort"] == 8101,
        "{location}"
    );
    let run = &running.task["status"]["run"];
    ensure!(
        run["host"] == json!(host) && run["tlsPort"] == 8101 && run["port"].is_null(),
        "{run}"
    );
    ensure!(running.is_ready, "{}", running.pod["status"]);
    // The certificate that it shows is for the name in the location.
    let mut keytool = Command::new("keytool");
    let shown = exec::output(keytool.args(["-printcert", "-sslserver", &format!("{address}:{PORT}")]))?;
    ensure!(shown.contains(&format!("*.{domain}")), "{shown}");
    let health = health(fixture, &running.pod)?;
    ensure!(health.trim() == "true", "{health}");
    ended(&manager, &running)?;

    // The kubelet has no certificate: its probe opens a connection, and callers without one are refused.
    template(fixture, true)?;
    let running = started(&manager, "mutual_tls")?;
    ensure!(
        running.status["location"]["tlsPort"] == 8101,
        "{}",
        running.status
    );
    ensure!(
        self::health(fixture, &running.pod).is_err(),
        "no certificate was wanted"
    );
    ended(&manager, &running)
}

/// A task with a location.
struct Started {
    id: String,
    status: Value,
    task: Value,
    pod: Value,
    is_ready: bool,
}

fn started(manager: &MiddleManager<'_>, name: &str) -> Result<Started> {
    let fixture = manager.fixture;
    let id = manager.submit(&noop(fixture, name, 20_000))?;
    let assigned = manager.until_assigned(&id)?;
    let status = manager.until_status(&id, |s| {
        s["location"]["host"].is_string() || s["statusCode"] != "RUNNING"
    })?;
    let pod = fixture.pod_of(fixture.home(), &assigned)?;
    let conditions = pod["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    Ok(Started {
        id,
        status,
        task: fixture.get(fixture.home(), &assigned)?,
        is_ready: conditions
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True"),
        pod,
    })
}

fn ended(manager: &MiddleManager<'_>, running: &Started) -> Result<()> {
    let status = manager.until_ended(&running.id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    Ok(())
}

/// What the peon answers to a client that has no certificate: the API server.
fn health(fixture: &Fixture, pod: &Value) -> Result<String> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/https:{}:{PORT}/proxy/status/health",
        fixture.home(),
        text(&pod["metadata"]["name"])
    );
    fixture.kubectl.run(&["get", "--raw", &path])
}

/// Peons of the noops, with a port for TLS only.
fn template(fixture: &Fixture, wants_certificate: bool) -> Result<()> {
    fixture.template(fixture.home(), NAME, |spec| {
        spec["match"] = json!({"types": ["noop"]});
        spec["priority"] = json!(10);
        spec["host"] = json!("{dashedAddress}.{namespace}.pod.cluster.local");
        let password = json!({"type": "environment", "variable": "TLS_PASSWORD"}).to_string();
        for (name, value) in [
            ("druid.enablePlaintextPort", "false"),
            ("druid.enableTlsPort", "true"),
            ("druid.tlsPort", PORT),
            ("druid.server.https.keyStorePath", "/tls/keystore.p12"),
            ("druid.server.https.keyStoreType", "PKCS12"),
            ("druid.server.https.certAlias", "druid"),
            ("druid.server.https.keyStorePassword", &password),
        ] {
            spec["properties"][name] = json!(value);
        }
        if wants_certificate {
            for (name, value) in [
                ("druid.server.https.requireClientCertificate", "true"),
                ("druid.server.https.trustStorePath", "/tls/keystore.p12"),
                ("druid.server.https.trustStoreType", "PKCS12"),
                ("druid.server.https.trustStorePassword", &password),
            ] {
                spec["properties"][name] = json!(value);
            }
        }
        let peon = &mut spec["template"]["spec"]["containers"][0];
        let from = json!({"secretKeyRef": {"name": NAME, "key": "password"}});
        peon["env"] = json!([{"name": "TLS_PASSWORD", "valueFrom": from}]);
        if let Some(mounts) = peon["volumeMounts"].as_array_mut() {
            mounts.push(json!({"name": "tls", "mountPath": "/tls", "readOnly": true}));
        }
        if let Some(volumes) = spec["template"]["spec"]["volumes"].as_array_mut() {
            volumes.push(json!({"name": "tls", "secret": {"secretName": NAME}}));
        }
    })
}

/// A key with a certificate for all pods of a namespace.
fn keystore(folder: &Path, domain: &str) -> Result<Vec<u8>> {
    let file = folder.join("keystore.p12");
    if file.exists() {
        fs::remove_file(&file)?;
    }
    let mut keytool = Command::new("keytool");
    keytool.args([
        "-genkeypair",
        "-keyalg",
        "EC",
        "-dname",
        "CN=peons",
        "-alias",
        "druid",
    ]);
    keytool.args(["-ext", &format!("SAN=dns:*.{domain}"), "-storetype", "PKCS12"]);
    keytool
        .args(["-storepass", STORE_PASSWORD, "-keystore"])
        .arg(&file);
    exec::output(&mut keytool)?;
    Ok(fs::read(&file)?)
}

/// Template and Secret, which go with the value: other cases have noops, too.
struct Objects<'a>(&'a Fixture);

impl Drop for Objects<'_> {
    fn drop(&mut self) {
        let args = ["peontemplate,secret", NAME, "--namespace", self.0.home()];
        if let Err(error) = self.0.kubectl.delete(&args) {
            eprintln!("the template stays: {error:#}");
        }
    }
}
