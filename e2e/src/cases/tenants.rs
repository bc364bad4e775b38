//! Namespaces that share one operator: one floods it with whatever it may create, and another one's tasks run as before.

use std::{
    collections::BTreeSet,
    io::Write as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, Turn, case, full};
use crate::testbed::{
    fixture::{Fixture, LIMIT, OPERATOR_NAMESPACE},
    kubectl::condition,
    kwok::FakeNode,
    wait::wait_until,
};

pub(super) const CASES: [Case; 1] = [case(
    "tenants::one_that_floods_keeps_no_other_from_its_tasks_and_logs",
    flood,
)
.turn(Turn::Burden)
.own()];

/// Time of the other one's tasks beside a flood, as a multiple of their time alone, beyond which something is wrong and
/// not only slow. What is aimed at is 2, and what was measured is printed.
const FAR_TOO_SLOW: f64 = 10.0;
/// More than the operator reads at a time, so that all its places were taken if a namespace could have them all.
const STREAMS: usize = 210;
/// What the ids of the other one's tasks begin with; their peons write them into their logs.
const MARKER: &str = "only-the-quiet-one-knows-this";

/// How much is thrown at the operator.
struct Size {
    /// Tasks whose payload never comes.
    incomplete: usize,
    /// Peons with long logs and blocks that look like reports.
    loud: usize,
    /// Connections to the operator's port that send a request byte by byte, or never.
    connections: usize,
    /// Tasks of the other one.
    quick: usize,
}

impl Size {
    fn of_this_run() -> Self {
        if full() {
            Self {
                incomplete: 200,
                // One node of this machine has room for five peons; one place is the other tenant's.
                loud: 4,
                connections: 1000,
                quick: 50,
            }
        } else {
            Self {
                incomplete: 40,
                loud: 2,
                connections: 300,
                quick: 10,
            }
        }
    }
}

fn flood(fixture: &Fixture) -> Result<()> {
    let size = Size::of_this_run();
    let node = FakeNode::start(fixture.target.own().context("no cluster of our own")?)?;
    let (quiet, loud) = (
        fixture.namespace("tenant-quiet")?,
        fixture.namespace("tenant-loud")?,
    );
    let ran = beside(fixture, &node, &size, &quiet, &loud);
    // The fake node's pods go before it does.
    fixture.kubectl.delete(&["namespace", &loud, &quiet])?;
    ran
}

fn beside(fixture: &Fixture, node: &FakeNode, size: &Size, quiet: &str, loud: &str) -> Result<()> {
    let restarts = restarts(fixture)?;
    template(fixture, quiet, "quick", |spec| {
        spec["logs"] = json!({"collect": "None"});
        node.place(&mut spec["template"], true);
    })?;
    let alone = time(fixture, quiet, "alone", size.quick)?;

    template(fixture, loud, "streams", |spec| {
        node.place(&mut spec["template"], false);
    })?;
    template(fixture, loud, "writes", |spec| writes(fixture, spec))?;
    create(
        fixture,
        loud,
        "stream",
        STREAMS,
        &json!({"task": {"type": "noop"}, "templateRef": {"name": "streams"}}),
    )?;
    let payload = json!({"sha256": "0".repeat(64), "secrets": [{"name": "never", "key": "task"}]});
    create(
        fixture,
        loud,
        "incomplete",
        size.incomplete,
        &json!({"taskFrom": payload}),
    )?;
    let long = json!({"task": {"type": "noop", "runTime": 600_000}, "templateRef": {"name": "writes"}});
    create(fixture, loud, "writer", size.loud, &long)?;
    let _slow = slow_connections(fixture, size.connections)?;
    let running = |many: usize| {
        let tasks = fixture.kubectl.get_json(&["peontasks", "--namespace", loud])?;
        let tasks = tasks["items"].as_array().cloned().unwrap_or_default();
        let running = tasks.iter().filter(|t| t["status"]["phase"] == "Running").count();
        anyhow::Ok((running >= many).then_some(()))
    };
    wait_until(LIMIT, "the flood", || running(STREAMS + size.loud))?;

    let flooded = time(fixture, quiet, "flooded", size.quick)?;
    let ratio = flooded.as_secs_f64() / alone.as_secs_f64();
    println!(
        "{} tasks took {:.1} s alone and {:.1} s beside {STREAMS} streams, {} payloads that never come, {} peons that write \
         and {} slow connections: {ratio:.2} times as long",
        size.quick,
        alone.as_secs_f64(),
        flooded.as_secs_f64(),
        size.incomplete,
        size.loud,
        size.connections,
    );
    ensure!(ratio < FAR_TOO_SLOW, "{ratio:.2} times as long as alone");

    for at in 0..2 {
        kept(fixture, quiet, at)?;
    }
    nowhere_else(fixture)?;
    ensure!(
        self::restarts(fixture)? == restarts,
        "the operator was started anew"
    );
    Ok(())
}

/// A template without deep storage under this name, changed.
fn template(fixture: &Fixture, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut template = fixture.bare_sample()?;
    template["metadata"]["name"] = json!(name);
    change(&mut template["spec"]);
    fixture.apply(namespace, &template)
}

/// A container beside the peon that writes into the peon's output what may be a report and has no end, and then a long log.
fn writes(fixture: &Fixture, spec: &mut Value) {
    // The pattern does not match the command line that it stands in.
    let script = "until peon=$(grep -lza '@/etc/peon/jvm.arg[s]' /proc/[0-9]*/cmdline 2>/dev/null | head -n 1) && \
                  [ -n \"$peon\" ]; do sleep 1; done\n\
                  while sleep 1; do\n\
                  { echo; echo '-----BEGIN PEON REPORT 8388608 00-----'; \
                  head -c 3000000 /dev/urandom | base64; echo; seq -f 'a long log, line %.0f' 20000; } \
                  > \"${peon%cmdline}fd/1\" || break\n\
                  done\n\
                  exec sleep 100000";
    let pod = &mut spec["template"]["spec"];
    pod["shareProcessNamespace"] = json!(true);
    // The namespace is deleted with everything in it, and the writer does not stop by itself.
    pod["terminationGracePeriodSeconds"] = json!(1);
    pod["initContainers"] = json!([{
        "name": "writer", "image": fixture.druid_image, "restartPolicy": "Always",
        "command": ["/bin/sh", "-c", script],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        // The operator is shared, and is what is measured; the node's cpu is shared by its kubelet.
        "resources": {"limits": {"memory": "64Mi", "cpu": "100m"}, "requests": {"cpu": "10m"}},
    }]);
}

/// Creates so many tasks at once.
fn create(fixture: &Fixture, namespace: &str, name: &str, many: usize, spec: &Value) -> Result<()> {
    let items: Vec<Value> = (0..many)
        .map(|at| {
            let metadata = json!({"name": format!("{name}-{at}"), "namespace": namespace});
            json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "metadata": metadata, "spec": spec})
        })
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    fixture
        .kubectl
        .run_with_input(&["create", "-f", "-"], &list.to_string())
        .map(drop)
}

/// How long so many tasks take that end as soon as they run.
fn time(fixture: &Fixture, namespace: &str, name: &str, many: usize) -> Result<Duration> {
    let began = Instant::now();
    let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": "quick"}});
    create(fixture, namespace, name, many, &spec)?;
    wait_until(LIMIT, "tasks that end at once", || {
        let tasks = fixture
            .kubectl
            .get_json(&["peontasks", "--namespace", namespace])?;
        let all = tasks["items"].as_array().cloned().unwrap_or_default();
        let of = |task: &&Value| {
            task["metadata"]["name"]
                .as_str()
                .is_some_and(|n| n.starts_with(name))
        };
        let ended: Vec<&Value> = all
            .iter()
            .filter(of)
            .filter(|t| matches!(t["status"]["phase"].as_str(), Some("Succeeded" | "Failed")))
            .collect();
        for task in &ended {
            ensure!(task["status"]["phase"] == "Succeeded", "{}", task["status"]);
        }
        Ok((ended.len() == many).then_some(()))
    })?;
    Ok(began.elapsed())
}

/// Connections to the port of the operator's probes whose requests never end.
fn slow_connections(fixture: &Fixture, many: usize) -> Result<Vec<TcpStream>> {
    let pod = operator(fixture)?;
    let address = pod["status"]["podIP"].as_str().context("no podIP")?;
    let connect = |_| {
        let mut stream = TcpStream::connect((address, 8080))?;
        // It may be closed already, for a later one.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:");
        Ok(stream)
    };
    (0..many).map(connect).collect()
}

fn operator(fixture: &Fixture) -> Result<Value> {
    let selector = "app.kubernetes.io/name=peon-operator";
    let pods =
        fixture
            .kubectl
            .get_json(&["pods", "--namespace", OPERATOR_NAMESPACE, "--selector", selector])?;
    Ok(pods["items"][0].clone())
}

/// Which process of the operator runs, and how often it was started anew.
fn restarts(fixture: &Fixture) -> Result<(Value, Value)> {
    let pod = operator(fixture)?;
    let restarts = pod["status"]["containerStatuses"][0]["restartCount"].clone();
    Ok((pod["metadata"]["uid"].clone(), restarts))
}

/// The id of such a task.
fn kept_id(fixture: &Fixture, at: usize) -> String {
    format!("{MARKER}-{at}-{}", fixture.run)
}

/// A real peon's log is archived beside the flood, as it was written.
fn kept(fixture: &Fixture, namespace: &str, at: usize) -> Result<()> {
    let (name, id) = (&format!("kept-{at}"), kept_id(fixture, at));
    fixture.task(
        namespace,
        name,
        &json!({"task": {"type": "noop", "id": id, "runTime": 1}}),
    )?;
    fixture.until_reason(namespace, name, "Succeeded")?;
    let task = fixture.until(namespace, name, |s| {
        condition(s, "LogsArchived", "True").is_some()
    })?;
    let archived = condition(&task["status"], "LogsArchived", "True").context("no condition")?;
    ensure!(archived["reason"] == "Archived", "{archived}");
    let log = fixture.archived(&format!("{id}.log"))?.context("no log")?;
    let log = String::from_utf8_lossy(&log);
    let pod = format!("{name}-1");
    let written = fixture
        .kubectl
        .run(&["logs", &pod, "--namespace", namespace, "--container", "peon"])?;
    let written = written
        .split("-----BEGIN PEON REPORT ")
        .next()
        .unwrap_or_default();
    ensure!(log.contains(&id), "the id is not in the log of {name}: {log}");
    ensure!(
        log.trim_end() == written.trim_end(),
        "{name}: {} bytes were archived, {} written",
        log.len(),
        written.len()
    );
    Ok(())
}

/// Nothing of the quiet one stands in what others can read: the logs and reports of other tasks.
fn nowhere_else(fixture: &Fixture) -> Result<()> {
    let mut with = BTreeSet::new();
    for file in std::fs::read_dir(fixture.logs_folder()?)? {
        let path = file?.path();
        if path.is_file() && memchr::memmem::find(&std::fs::read(&path)?, MARKER.as_bytes()).is_some() {
            with.insert(
                path.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    for at in 0..2 {
        let own = format!("{}.log", kept_id(fixture, at));
        ensure!(with.contains(&own), "{own} is not among {with:?}");
    }
    with.retain(|file| !file.starts_with(MARKER));
    ensure!(with.is_empty(), "ids of the quiet one are in {with:?}");
    Ok(())
}
