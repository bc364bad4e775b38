//! Indexers go while they have tasks, and others take their place.

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::faults_network::Paused;
use super::super::faults_node::Cordoned;
use super::super::pool_faults::jvm;
use super::super::pool_tasks::Pool;
use super::source::Source;
use super::{change_template, index, list, noop, spec, text};
use crate::cases::full;
use crate::testbed::cluster::NODE;
use crate::testbed::fixture::{Fixture, LIMIT};

/// Name of the template that changes.
const TEMPLATE: &str = "changing";

/// A template for the tasks of a case, for as long as the value lives.
struct Template<'a>(&'a Fixture);

impl<'a> Template<'a> {
    fn begin(fixture: &'a Fixture) -> Result<Self> {
        fixture.template(fixture.home(), TEMPLATE, |spec| {
            spec["match"] = json!({"types": ["index", "noop"]});
            spec["priority"] = json!(10);
            spec["resources"]["requests"]["cpu"] = json!("50m");
        })?;
        Ok(Self(fixture))
    }
}

impl Drop for Template<'_> {
    fn drop(&mut self) {
        let template = ["peontemplate", TEMPLATE, "--namespace", self.0.home()];
        if let Err(error) = self.0.kubectl.delete(&template) {
            eprintln!("a template stays: {error:#}");
        }
    }
}

/// Tasks that read until they are allowed to end, each in an Indexer of its own, with the pods.
struct Held {
    ids: Vec<String>,
    pods: Vec<(String, String)>,
}

impl Held {
    fn begin(pool: &Pool<'_>, fixture: &Fixture, source: &Source, name: &str, tasks: usize) -> Result<Self> {
        let ids: Vec<String> = (0..tasks)
            .map(|n| format!("{name}_{n}_{}", fixture.run))
            .collect();
        let mut pods = Vec::new();
        for id in &ids {
            pool.manager.submit(&source.feed(index(fixture, id)?)?)?;
            source.until_read_by(id)?;
            let run = pool.run(id)?;
            pods.push((text(&run["pod"]).to_owned(), text(&run["podUID"]).to_owned()));
        }
        let different: BTreeSet<_> = pods.iter().collect();
        ensure!(different.len() == tasks, "{ids:?} are in {pods:?}");
        Ok(Self { ids, pods })
    }

    /// Each succeeded where it began.
    fn ended_there(&self, pool: &Pool<'_>) -> Result<()> {
        for (id, (_, uid)) in self.ids.iter().zip(&self.pods) {
            let status = undisturbed(pool, id)?;
            ensure!(status["run"]["podUID"] == json!(uid), "{id}: {status}");
        }
        Ok(())
    }
}

/// Tasks that are submitted all at once and run one after the other.
fn load(fixture: &Fixture, pool: &Pool<'_>, name: &str, tasks: usize) -> Result<Vec<String>> {
    let ids: Vec<String> = (0..tasks)
        .map(|n| format!("{name}_{n}_{}", fixture.run))
        .collect();
    for (n, id) in ids.iter().enumerate() {
        let task = match n % 3 {
            0 => index(fixture, id)?,
            _ => noop(id, 3000),
        };
        pool.manager.submit(&task)?;
    }
    Ok(ids)
}

/// The task succeeded in the pool, in its first attempt; returns the status of its PeonTask.
fn undisturbed(pool: &Pool<'_>, id: &str) -> Result<Value> {
    let status = pool.manager.until_ended(id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
    pool.run(id)?;
    let status = pool.peon_task(id)?["status"].take();
    ensure!(list(&status["attempts"]).is_empty(), "{id}: {status}");
    Ok(status)
}

/// Waits until the status of the pool is as wanted, and returns its Indexers that get no further task, by pod.
fn until(fixture: &Fixture, wanted: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
    let args = ["indexerpool", "warm", "--namespace", fixture.home()];
    let pool = fixture
        .kubectl
        .wait_for(&args, LIMIT, |pool| wanted(&pool["status"]))?;
    Ok(list(&pool["status"]["indexers"]))
}

fn state<'a>(status: &'a Value, pod: &str) -> &'a str {
    let all = status["indexers"].as_array().into_iter().flatten();
    let of_pod = all.into_iter().find(|indexer| indexer["pod"] == pod);
    of_pod.map_or("", |indexer| text(&indexer["state"]))
}

/// Under load: a task does not stop, the template changes, and the pool gets smaller.
pub(super) fn replaced(fixture: &Fixture) -> Result<()> {
    let many: u32 = if full() { 3 } else { 2 };
    let _template = Template::begin(fixture)?;
    let mut of_pool = spec(many, "30Mi");
    of_pool["templateRef"] = json!({"name": TEMPLATE});
    of_pool["resources"] =
        json!({"limits": {"memory": "1Gi", "cpu": "2"}, "requests": {"cpu": "50m", "memory": "400Mi"}});
    let pool = Pool::start(fixture, &of_pool)?;
    let source = Source::start(fixture)?;

    // The JVM of one hangs, and does not confirm that it stops.
    let stuck = format!("stuck_{}", fixture.run);
    pool.manager.submit(&source.feed(index(fixture, &stuck)?)?)?;
    source.until_read_by(&stuck)?;
    let run = pool.run(&stuck)?;
    let pod = text(&run["pod"]).to_owned();
    let hangs = Paused::by(jvm(&run)?, Signal::SIGSTOP)?;
    fixture.druid.shutdown(&stuck)?;
    until(fixture, |status| {
        ["Draining", "Terminating", ""].contains(&state(status, &pod))
    })?;
    let mut ids = load(fixture, &pool, "under_load", if full() { 90 } else { 24 })?;
    let status = pool.manager.until_ended(&stuck)?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    let status = &pool.peon_task(&stuck)?["status"];
    ensure!(
        status["reason"] == "Cancelled" && list(&status["attempts"]).is_empty(),
        "{status}"
    );
    pool.until_pod_is_gone(&pod)?;
    drop(hangs);
    // Those that are replaced count as `readyReplicas`, too.
    let ready = |status: &Value| {
        let indexers = list(&status["indexers"]);
        let ready = indexers.iter().filter(|indexer| indexer["state"] == "Ready");
        ready.count() == usize::try_from(many).unwrap_or_default()
    };
    until(fixture, ready)?;

    let before = Held::begin(&pool, fixture, &source, "before", usize::try_from(many)?)?;
    change_template(fixture, TEMPLATE)?;
    until(fixture, |status| {
        let drained = before
            .pods
            .iter()
            .all(|(pod, _)| state(status, pod) == "Outdated");
        ready(status) && status["updatedReplicas"].as_u64() == Some(many.into()) && drained
    })?;
    let after = Held::begin(&pool, fixture, &source, "after", usize::try_from(many)?)?;
    let scale = ["scale", "indexerpool/warm", "--replicas=1"];
    fixture
        .kubectl
        .run(&[&scale[..], &["--namespace", fixture.home()]].concat())?;
    ids.extend(load(fixture, &pool, "in_fewer", 6)?);
    for id in &ids {
        undisturbed(&pool, id)?;
    }
    let all: Vec<_> = before.pods.iter().chain(&after.pods).collect();
    let there = until(fixture, |_| true)?;
    for (pod, _) in &all {
        let is_there = there.iter().any(|indexer| indexer["pod"] == json!(pod));
        ensure!(is_there, "{pod} has a task and is not there: {there:?}");
    }
    source.open();
    before.ended_there(&pool)?;
    after.ended_there(&pool)?;
    for (pod, _) in &before.pods {
        pool.until_pod_is_gone(pod)?;
    }
    until(fixture, |status| {
        status["replicas"].as_u64() == Some(1) && status["readyReplicas"].as_u64() == Some(1)
    })
    .map(drop)
}

/// The JVM of two tasks hangs. One of them is to stop, so another Indexer takes its place soon; the other runs again when
/// nobody waits for an answer any longer.
pub(super) fn hung(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &spec(1, "40Mi"))?;
    let ids = ["stopped", "neighbour"].map(|name| format!("{name}_{}", fixture.run));
    for id in &ids {
        pool.manager.submit(&noop(id, 20_000))?;
        let name = pool.manager.until_assigned(id)?;
        fixture.until_running(fixture.home(), &name)?;
    }
    let run = pool.run(&ids[0])?;
    ensure!(pool.run(&ids[1])?["podUID"] == run["podUID"], "{run}");
    let hangs = Paused::by(jvm(&run)?, Signal::SIGSTOP)?;
    fixture.druid.shutdown(&ids[0])?;
    let pod = text(&run["pod"]);
    until(fixture, |status| {
        state(status, pod) == "Draining" && status["readyReplicas"].as_u64() == Some(1)
    })?;
    let later = format!("later_{}", fixture.run);
    pool.manager.submit(&noop(&later, 500))?;
    let status = undisturbed(&pool, &later)?;
    ensure!(status["run"]["podUID"] != run["podUID"], "{status}");
    let status = pool.manager.until_ended(&ids[1])?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let status = &pool.peon_task(&ids[1])?["status"];
    ensure!(
        list(&status["attempts"]).len() == 1 && status["run"]["kind"] == "Pod",
        "{status}"
    );
    let status = pool.manager.until_ended(&ids[0])?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    let status = &pool.peon_task(&ids[0])?["status"];
    ensure!(status["reason"] == "Cancelled", "{status}");
    drop(hangs);
    pool.until_pod_is_gone(pod)
}

/// A node is drained under load. What runs there ends there; what comes meanwhile waits for a node.
pub(super) fn drained(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &spec(2, "40Mi"))?;
    let source = Source::start(fixture)?;
    let held = Held::begin(&pool, fixture, &source, "drained", 2)?;
    let mut ids = load(fixture, &pool, "while_drained", 12)?;
    let cordoned = Cordoned::begin(fixture)?;
    let drain = [
        "drain",
        NODE,
        "--pod-selector=peon.dev/pool=warm",
        "--delete-emptydir-data",
        "--timeout=300s",
    ];
    let said = thread::scope(|scope| {
        let draining = scope.spawn(|| fixture.kubectl.run(&drain));
        let leaves = until(fixture, |status| {
            held.pods.iter().all(|(pod, _)| state(status, pod) == "Outdated")
        });
        let waits = load(fixture, &pool, "meanwhile", 3);
        source.open();
        let ended = held.ended_there(&pool);
        let said = draining.join().map_err(|_| anyhow!("kubectl drain panicked"))?;
        leaves.context("the Indexers are to be drained")?;
        ended?;
        ids.extend(waits?);
        said
    })?;
    ensure!(said.contains("drained"), "{said}");
    for (pod, _) in &held.pods {
        pool.until_pod_is_gone(pod)?;
    }
    drop(cordoned);
    for id in &ids {
        undisturbed(&pool, id)?;
    }
    Ok(())
}
