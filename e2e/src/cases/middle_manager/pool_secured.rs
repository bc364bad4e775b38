//! A pool whose Indexers want a user, and speak TLS only.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Case, MiddleManager, case, list, noop, pools, text};
use crate::testbed::{cache::Cache, exec, fixture::Fixture, images, progress::Progress};

pub(super) const CASES: &[Case] = &[case(
    "pool_secured::indexers_are_called_with_credentials_and_tls",
    secured,
)
.own()
.full()];

const POOL: &str = "secured";
const USER: &str = "druid_system";
const PASSWORD: &str = "sesame";
const STORE_PASSWORD: &str = "changeit";
/// An authenticator that knows one user. The extension for basic security is not among Maven's artifacts.
const AUTHENTICATOR: &str = include_str!("../../../druid/secured/OneUserModule.java");
/// Where the image has extensions; its name is that of the folder.
const EXTENSION: &str = "/opt/druid/extensions/one-user";

fn secured(fixture: &Fixture) -> Result<()> {
    let cluster = fixture.target.own().context("no cluster of our own")?;
    let folder = cluster.scratch("secured")?;
    let ca = keystore(&folder)?;
    extension(&folder)?;
    let files = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": POOL},
        "binaryData": {
            "one-user.jar": STANDARD.encode(fs::read(folder.join("one-user.jar"))?),
            "keystore.p12": STANDARD.encode(fs::read(folder.join("keystore.p12"))?),
        },
    });
    let _objects = Objects(fixture);
    fixture.apply(fixture.home(), &files)?;
    let certificates = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "druid-ca"}, "stringData": {"ca.crt": ca},
    });
    fixture.apply(fixture.home(), &certificates)?;
    escalator(fixture, "not the password")?;

    // The overlord of this cluster knows no users, so these workers are closed to it; it answers them all the same, which
    // is all that a pool needs to be warm.
    let manager = MiddleManager::create(fixture, |spec| {
        spec["authRef"] = json!({"name": "escalator"});
    })?;
    let spec =
        |hostnames: bool| json!({"tls": {"caRef": {"name": "druid-ca"}, "validateHostnames": hostnames}});
    pools::pool(fixture, POOL, &template(true), &spec(false))?;
    let refused = pools::until(fixture, POOL, "NotAuthorized")?;
    let message = pools::ready(&refused)["message"].take();
    ensure!(text(&message).contains("401"), "{message}");

    // Only the Secret changes, and the operator does not watch it.
    escalator(fixture, PASSWORD)?;
    let warm = pools::until(fixture, POOL, "Warm")?;
    ensure!(
        list(&warm["status"]["discovery"]["hidden"]).len() == 1,
        "{}",
        warm["status"]
    );

    // The certificate names no address.
    pools::pool(fixture, POOL, &template(true), &spec(true))?;
    pools::until_pool(fixture, POOL, |pool| {
        let ready = pools::ready(pool);
        ready["reason"] == "Starting" && text(&ready["message"]).contains("certificate")
    })?;
    pools::pool(fixture, POOL, &template(true), &spec(false))?;
    pools::until(fixture, POOL, "Warm")?;

    // A task is assigned by the overlord, so its workers, and the Indexers, want no user now.
    manager.change(&json!({"authRef": null, "allowAnonymous": true}))?;
    pools::pool(fixture, POOL, &template(false), &spec(false))?;
    manager.until_ready()?;
    manager.until_workers(2)?;
    pools::until_pool(fixture, POOL, |pool| {
        let status = &pool["status"];
        pools::ready(pool)["reason"] == "Warm" && status["updatedReplicas"] == 1 && status["replicas"] == 1
    })?;
    let mut task = noop(fixture, "over_tls", 10_000);
    task["context"] = json!({"druid.peon.placement": "Pool"});
    let id = manager.submit(&task)?;
    let running = manager.until_status(&id, |status| status["location"]["tlsPort"] == 8291)?;
    ensure!(running["location"]["port"] == -1, "{running}");
    let status = manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let tasks = manager.peon_tasks(&id)?;
    ensure!(
        tasks.len() == 1 && tasks[0]["status"]["run"]["pool"] == POOL,
        "{tasks:?}"
    );
    Ok(())
}

/// Pool and template, which would take the noops of the cases that follow. They go with the value.
struct Objects<'a>(&'a Fixture);

impl Drop for Objects<'_> {
    fn drop(&mut self) {
        let args = ["indexerpool,peontemplate", POOL, "--namespace", self.0.home()];
        if let Err(error) = self.0.kubectl.delete(&args) {
            eprintln!("the template stays: {error:#}");
        }
    }
}

/// The Secret with the user of Druid's escalator.
fn escalator(fixture: &Fixture, password: &str) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "escalator"}, "type": "kubernetes.io/basic-auth",
        "stringData": {"username": USER, "password": password},
    });
    fixture.apply(fixture.home(), &secret)
}

/// Indexers with a port for TLS only, which know one user, or none.
fn template(knows_a_user: bool) -> Value {
    let mut properties = json!({
        "druid.enableTlsPort": "true",
        "druid.enablePlaintextPort": "false",
        "druid.server.https.keyStoreType": "PKCS12",
        "druid.server.https.keyStorePath": format!("{EXTENSION}/keystore.p12"),
        "druid.server.https.keyStorePassword": STORE_PASSWORD,
        "druid.server.https.certAlias": "indexer",
        "druid.extensions.loadList": "[\"one-user\"]",
    });
    if knows_a_user {
        properties["druid.auth.authenticatorChain"] = json!("[\"one\"]");
        properties["druid.auth.authenticator.one.type"] = json!("one-user");
        properties["druid.auth.authenticator.one.username"] = json!(USER);
        properties["druid.auth.authenticator.one.password"] = json!(PASSWORD);
    }
    json!({
        "match": {"types": ["noop"]},
        "priority": 10,
        "properties": properties,
        "template": {"spec": {
            "containers": [{
                "name": "peon",
                "imagePullPolicy": "IfNotPresent",
                "volumeMounts": [{"name": "secured", "mountPath": EXTENSION}],
            }],
            "volumes": [{"name": "secured", "configMap": {"name": POOL}}],
        }},
    })
}

/// Makes a key with a certificate of a name that nobody calls, and returns the certificate.
fn keystore(folder: &Path) -> Result<String> {
    let file = folder.join("keystore.p12");
    let keytool = |goal: &[&str]| {
        let mut keytool = Command::new("keytool");
        keytool.args(goal).arg("-keystore").arg(&file);
        keytool.args([
            "-storetype",
            "PKCS12",
            "-storepass",
            STORE_PASSWORD,
            "-alias",
            "indexer",
        ]);
        exec::output(&mut keytool)
    };
    if file.exists() {
        fs::remove_file(&file)?;
    }
    keytool(&[
        "-genkeypair",
        "-keyalg",
        "EC",
        "-dname",
        "CN=indexers",
        "-ext",
        "SAN=dns:indexers.druid.svc",
    ])?;
    keytool(&["-exportcert", "-rfc"])
}

/// Compiles the extension with Druid's own classes.
fn extension(folder: &Path) -> Result<()> {
    let class_path = images::druid_class_path(&Cache::open()?, &Progress::default())?;
    let (source, classes) = (folder.join("OneUserModule.java"), folder.join("classes"));
    let services = classes.join("META-INF/services");
    fs::create_dir_all(&services)?;
    fs::write(&source, AUTHENTICATOR)?;
    let module = services.join("org.apache.druid.initialization.DruidModule");
    fs::write(module, "OneUserModule\n")?;
    let mut javac = Command::new("javac");
    javac.args(["-proc:none", "-cp", &class_path, "-d"]);
    exec::output(javac.arg(&classes).arg(&source))?;
    let mut jar = Command::new("jar");
    jar.arg("--create").arg("--file").arg(folder.join("one-user.jar"));
    exec::output(jar.arg("-C").arg(&classes).arg(".")).map(drop)
}
