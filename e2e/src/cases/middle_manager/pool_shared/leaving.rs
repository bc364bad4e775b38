//! Indexers go while they have tasks, and others take their place.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::super::MiddleManager;
use super::super::faults_network::Paused;
use super::super::faults_node::Cordoned;
use super::super::pool_faults::jvm;
use super::super::pool_nodes::DRAIN;
use super::super::pool_tasks::Pool;
use super::source::Source;
use super::{change_template, index, list, noop, spec, text};
use crate::testbed::fixture::{Fixture, LIMIT};

/// Name of the template that changes.
const TEMPLATE: &str = "changing";
/// Indexers of the pool that changes, and tasks that it has while it does.
const MANY: u32 = 3;
const LOAD: usize = 90;

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

/// Tasks that read until they are allowed to end, with the pods of their Indexers.
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

/// A node is drained under load. What runs there ends there; what comes meanwhile waits for a node.
pub(super) fn drained(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &spec(2, "40Mi"))?;
    let source = Source::start(fixture)?;
    let held = Held::begin(&pool, fixture, &source, "drained", 2)?;
    let mut ids = load(fixture, &pool, "while_drained", 12)?;
    let cordoned = Cordoned::begin(fixture)?;
    let said = thread::scope(|scope| {
        let draining = scope.spawn(|| fixture.kubectl.run(&DRAIN));
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

/// Under load: a task does not stop, the template changes, and the pool gets smaller. All other tasks succeed where they
/// began.
pub(super) fn replaced(fixture: &Fixture) -> Result<()> {
    let _template = Template::begin(fixture)?;
    let mut of_pool = spec(MANY, "30Mi");
    of_pool["templateRef"] = json!({"name": TEMPLATE});
    of_pool["resources"] =
        json!({"limits": {"memory": "1Gi", "cpu": "2"}, "requests": {"cpu": "50m", "memory": "400Mi"}});
    // Slots at the overlord for all tasks that are held, and for as many as the pool can run beside them.
    let manager = MiddleManager::start_with(fixture, |spec| spec["capacity"] = json!(10))?;
    let pool = Pool::behind(manager, &of_pool)?;
    let source = Source::start(fixture)?;
    let many = usize::try_from(MANY)?;

    // It does not confirm its stop in time: its JVM stands still for a while, with a neighbour.
    let neighbours = Held::begin(&pool, fixture, &source, "neighbour", many)?;
    let stuck = format!("stuck_{}", fixture.run);
    pool.manager.submit(&source.feed(index(fixture, &stuck)?)?)?;
    source.until_read_by(&stuck)?;
    let run = pool.run(&stuck)?;
    let pod = text(&run["pod"]).to_owned();
    let has_neighbour = neighbours.pods.iter().any(|(of, _)| *of == pod);
    ensure!(has_neighbour, "{pod} has no neighbour");
    let hangs = Paused::by(jvm(&run)?, Signal::SIGSTOP)?;
    fixture.druid.shutdown(&stuck)?;
    let mut ids = load(fixture, &pool, "under_load", LOAD)?;
    // Those that are replaced count as `readyReplicas`, too.
    let is_whole = |status: &Value| {
        let indexers = list(&status["indexers"]);
        let ready = indexers.iter().filter(|indexer| indexer["state"] == "Ready");
        ready.count() == many
    };
    until(fixture, |status| {
        state(status, &pod) == "Draining" && is_whole(status)
    })?;
    drop(hangs);

    change_template(fixture, TEMPLATE)?;
    until(fixture, |status| {
        let goes = |pod: &String| ["Outdated", "Draining"].contains(&state(status, pod));
        let all_go = neighbours.pods.iter().all(|(pod, _)| goes(pod));
        is_whole(status) && status["updatedReplicas"].as_u64() == Some(MANY.into()) && all_go
    })?;
    let after = Held::begin(&pool, fixture, &source, "after", many)?;
    let scale = ["scale", "indexerpool/warm", "--replicas=1"];
    fixture
        .kubectl
        .run(&[&scale[..], &["--namespace", fixture.home()]].concat())?;
    ids.extend(load(fixture, &pool, "in_fewer", LOAD / 10)?);
    for id in &ids {
        undisturbed(&pool, id)?;
    }
    let there = until(fixture, |_| true)?;
    for (pod, _) in neighbours.pods.iter().chain(&after.pods) {
        let is_there = there.iter().any(|indexer| indexer["pod"] == json!(pod));
        ensure!(is_there, "{pod} has a task and is not there: {there:?}");
    }
    // The one that was stopped has one verdict, and its neighbour did not notice.
    let status = pool.manager.until_ended(&stuck)?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    let name = pool.manager.until_assigned(&stuck)?;
    let task = fixture.until_reason(fixture.home(), &name, "Cancelled")?;
    ensure!(list(&task["status"]["attempts"]).is_empty(), "{task}");
    source.open();
    neighbours.ended_there(&pool)?;
    after.ended_there(&pool)?;
    for (pod, _) in &neighbours.pods {
        pool.until_pod_is_gone(pod)?;
    }
    println!(
        "{} tasks under load, {} that were held: none was disturbed",
        ids.len(),
        2 * many
    );
    until(fixture, |status| {
        status["replicas"].as_u64() == Some(1) && status["readyReplicas"].as_u64() == Some(1)
    })
    .map(drop)
}

/// A JVM with three tasks stands still. One of them is stopped: another Indexer takes its place. The others wait until the
/// JVM is given up: one runs again, one that may have written fails.
pub(super) fn hung(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &spec(1, "40Mi"))?;
    let source = Source::start(fixture)?;
    let [stopped, safe, appends] =
        ["stopped", "safe", "appends"].map(|name| format!("hung_{name}_{}", fixture.run));
    for id in [&stopped, &safe] {
        pool.manager.submit(&noop(id, 60_000))?;
    }
    let mut task = source.feed(index(fixture, &appends)?)?;
    task["spec"]["ioConfig"]["appendToExisting"] = json!(true);
    pool.manager.submit(&task)?;
    source.until_read_by(&appends)?;
    for id in [&stopped, &safe] {
        let name = pool.manager.until_assigned(id)?;
        fixture.until_running(fixture.home(), &name)?;
    }
    let run = pool.run(&safe)?;
    for id in [&stopped, &appends] {
        ensure!(pool.run(id)?["podUID"] == run["podUID"], "{run}");
    }
    let hangs = Paused::by(jvm(&run)?, Signal::SIGSTOP)?;
    let pod = text(&run["pod"]);
    // It gets no further task, and is not replaced while it may come back.
    until(fixture, |status| state(status, pod) == "Used")?;
    fixture.druid.shutdown(&stopped)?;
    until(fixture, |status| {
        state(status, pod) == "Draining" && status["readyReplicas"].as_u64() == Some(1)
    })?;
    let later = format!("hung_later_{}", fixture.run);
    pool.manager.submit(&noop(&later, 500))?;
    let status = undisturbed(&pool, &later)?;
    ensure!(status["run"]["podUID"] != run["podUID"], "{status}");

    let status = pool.manager.until_ended(&safe)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let status = &pool.peon_task(&safe)?["status"];
    let attempts = list(&status["attempts"]);
    ensure!(attempts.len() == 1 && status["run"]["kind"] == "Pod", "{status}");
    let status = pool.manager.until_ended(&appends)?;
    let said = text(&status["errorMsg"]);
    ensure!(
        status["statusCode"] == "FAILED" && said.contains("the JVM was shared with other tasks"),
        "{status}"
    );
    let status = &pool.peon_task(&appends)?["status"];
    ensure!(
        status["reason"] == attempts[0]["cause"] && list(&status["attempts"]).is_empty(),
        "{attempts:?}, but {status}"
    );
    println!("given up: {}, {}: {said}", attempts[0]["cause"], status["reason"]);
    let status = pool.manager.until_ended(&stopped)?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    let name = pool.manager.until_assigned(&stopped)?;
    fixture.until_reason(fixture.home(), &name, "Cancelled")?;
    drop(hangs);
    pool.until_pod_is_gone(pod)
}
