//! Indexers go while they have tasks.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use super::super::faults_node::Cordoned;
use super::super::pool_nodes::DRAIN;
use super::super::pool_tasks::Pool;
use super::source::Source;
use super::{index, list, noop, spec, text};
use crate::testbed::fixture::{Fixture, LIMIT};

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
