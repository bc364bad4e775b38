//! Druid itself on every version of Java: a peon that runs a task to its end, an Indexer that answers. Beside them is only a
//! ZooKeeper.

use std::{ffi::OsString, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{argument_files, samples, template, with_class_path};
use crate::{
    cases::{full, zookeeper::server::Server},
    testbed::{
        background::Background,
        cache::Cache,
        java_runtimes::RUNTIMES,
        object_stores::{http, server::Folder},
        ports,
        progress::Progress,
        wait::wait_until,
    },
};

/// For a JVM of Druid to do all that it is to do. It takes some seconds.
const LIMIT: Duration = Duration::from_secs(180);
const LOG4J: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders>
    <Console name="Console" target="SYSTEM_OUT"><PatternLayout pattern="%p %c - %m%n"/></Console>
  </Appenders>
  <Loggers><Root level="info"><AppenderRef ref="Console"/></Root></Loggers>
</Configuration>
"#;

/// A JVM of Druid and its folder, which stands for the pod's file system.
struct Druid {
    process: Background,
    folder: Folder,
}

impl Druid {
    /// Starts it with the operator's argument file: its folders are in a folder of this machine, and its port is a free one.
    fn start(java: &Path, server: &Server, file: &str, ports: (u16, u16)) -> Result<Self> {
        let folder = Folder::new()?;
        let root = folder.path().join("peon");
        for needed in ["task/attempt/1", "tmp", "base"] {
            fs::create_dir_all(root.join(needed))?;
        }
        fs::write(root.join("log4j2.xml"), LOG4J)?;
        let task = json!({"type": "noop", "id": "noop", "runTime": 1});
        fs::write(root.join("task/task.json"), task.to_string())?;
        let file = with_class_path(file, server.class_path())?;
        let (before, after) = ports;
        let file = file
            .replace(&format!("Port={before}\""), &format!("Port={after}\""))
            .replace("/etc/peon/", "/peon/")
            .replace("\"/peon/", &format!("\"{}/", root.display()))
            .replace("=/peon/", &format!("={}/", root.display()));
        let arguments = folder.path().join("jvm.args");
        fs::write(&arguments, file)?;
        let mut argument = OsString::from("@");
        argument.push(&arguments);
        let mut command = Command::new(java);
        command
            .current_dir(&root)
            .args(["-Ddruid.host=127.0.0.1"])
            .arg(argument);
        let process = Background::start(&mut command, &folder.path().join("log"))?;
        Ok(Self { process, folder })
    }
}

/// What a Druid without coordinator and deep storage needs.
fn properties(server: &Server) -> Value {
    json!({
        "druid.zk.service.host": server.hosts(),
        "druid.extensions.loadList": "[]",
        "druid.emitter": "noop",
        // There is no coordinator that has lookups.
        "druid.lookup.enableLookupSyncOnStartup": "false",
        "druid.indexer.logs.type": "noop",
    })
}

fn on_every_version(cache: &Cache, progress: &Progress, check: impl Fn(&Path) -> Result<()>) -> Result<()> {
    for runtime in RUNTIMES {
        // The oldest is that of the image on which all other cases run.
        if runtime.major == RUNTIMES[0].major && !full() {
            continue;
        }
        let java = runtime.java(cache, progress)?;
        check(&java).with_context(|| format!("on Java {}", runtime.major))?;
    }
    Ok(())
}

/// The peon runs a task and writes its status.
pub(super) fn runs_a_peon(cache: &Cache, progress: &Progress) -> Result<()> {
    let server = Server::start(cache, progress)?;
    let mut spec = samples()?.swap_remove(0)["spec"].take();
    spec["properties"] = properties(&server);
    let files = argument_files(&[template("peon", &spec)])?;
    let file = files.values().next().context("no argument file")?;
    on_every_version(cache, progress, |java| {
        let mut druid = Druid::start(java, &server, file, (8100, ports::free()?.port()))?;
        let waited = wait_until(LIMIT, "the peon to end", || druid.process.ended());
        let ended = waited.with_context(|| druid.process.tail())?;
        ensure!(ended.success(), "{ended}: {}", druid.process.tail());
        let status = fs::read(druid.folder.path().join("peon/task/attempt/1/status.json"))?;
        let status: Value = serde_json::from_slice(&status)?;
        ensure!(
            status["status"] == "SUCCESS" && status["id"] == "noop",
            "{status}"
        );
        Ok(())
    })
}

/// The Indexer says that it takes tasks.
pub(super) fn runs_an_indexer(cache: &Cache, progress: &Progress) -> Result<()> {
    let server = Server::start(cache, progress)?;
    let pool = json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool", "metadata": {"name": "small"},
        "spec": {
            "templateRef": {"name": "indexer"},
            "middleManagerRef": {"name": "none"},
            "replicas": 1,
            "maxIndexers": 1,
            "resources": {"limits": {"memory": "1Gi", "cpu": "1"}},
        },
    });
    let template = template("indexer", &json!({"properties": properties(&server)}));
    let files = argument_files(&[template, pool])?;
    let file = files.get("indexer: small").context("no argument file")?;
    on_every_version(cache, progress, |java| {
        let port = ports::free()?.port();
        let mut druid = Druid::start(java, &server, file, (8091, port))?;
        let address = format!("127.0.0.1:{port}");
        druid.process.until(LIMIT, "the Indexer to answer", || {
            let answer = http::request_to(&address, "GET", "/druid/worker/v1/enabled", "", b"");
            let Ok((200, body)) = answer else {
                return Ok(None);
            };
            let body = String::from_utf8_lossy(&body);
            ensure!(body.ends_with(":true}"), "{body}");
            Ok(Some(()))
        })?;
        druid.process.terminate(LIMIT)
    })
}
