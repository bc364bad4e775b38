//! Tasks of an overlord in the Indexers of a pool: one each, then the Indexer is gone.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::runs::{hashed, until_hashed};
use super::{Case, MiddleManager, NAME, case, list, text};
use crate::testbed::{
    audit::{self, Request},
    druid::samples,
    fixture::{Fixture, LIMIT},
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[
    case("pool_tasks::an_ingestion_runs_warm_and_leaves_nothing", ingestion).own(),
    case("pool_tasks::each_indexer_has_one_task", one_each).own(),
    case("pool_tasks::every_end_has_its_verdict", ends).long().own(),
    case("pool_tasks::hash_partitions_run_in_indexers", hash_partitions)
        .own()
        .full(),
];

const POOL: &str = "warm";

/// A VirtualMiddleManager and a pool of the template that its tasks use.
pub(super) struct Pool<'a> {
    fixture: &'a Fixture,
    pub(super) manager: MiddleManager<'a>,
}

impl<'a> Pool<'a> {
    pub(super) fn start(fixture: &'a Fixture, spec: &Value) -> Result<Self> {
        Self::behind(MiddleManager::start(fixture)?, spec)
    }

    /// As [`Self::start`], of a VirtualMiddleManager that is there.
    pub(super) fn behind(manager: MiddleManager<'a>, spec: &Value) -> Result<Self> {
        let fixture = manager.fixture;
        let mut of_pool = json!({
            "middleManagerRef": {"name": NAME},
            "maxIndexers": 6,
            "resources": {"limits": {"memory": "640Mi", "cpu": "1"}, "requests": {"cpu": "100m"}},
        });
        for (key, value) in spec.as_object().context("a spec is an object")? {
            of_pool[key] = value.clone();
        }
        if of_pool["mode"] == "Shared"
            && let Some(of_pool) = of_pool.as_object_mut()
        {
            of_pool.remove("maxIndexers");
        }
        let object = samples::pool(POOL, &of_pool);
        fixture.apply(fixture.home(), &object)?;
        let pool = Self { fixture, manager };
        pool.until_warm(of_pool["replicas"].as_u64().unwrap_or(1))?;
        Ok(pool)
    }

    pub(super) fn until_warm(&self, wanted: u64) -> Result<Value> {
        let args = ["indexerpool", POOL, "--namespace", self.fixture.home()];
        self.fixture.kubectl.wait_for(&args, LIMIT, |pool| {
            pool["status"]["readyReplicas"].as_u64() >= Some(wanted)
        })
    }

    /// The PeonTask of a task of the overlord.
    pub(super) fn peon_task(&self, id: &str) -> Result<Value> {
        let found = self.manager.peon_tasks(id)?;
        ensure!(found.len() == 1, "{found:?}");
        found.into_iter().next().context("none")
    }

    /// The run of a task, which is in the pool.
    pub(super) fn run(&self, id: &str) -> Result<Value> {
        let task = self.peon_task(id)?;
        let run = task["status"]["run"].clone();
        ensure!(
            run["kind"] == "Worker" && run["pool"] == POOL,
            "{}",
            task["status"]
        );
        Ok(run)
    }

    pub(super) fn until_pod_is_gone(&self, pod: &str) -> Result<()> {
        let args = [
            "get",
            "pod",
            pod,
            "--namespace",
            self.fixture.home(),
            "--ignore-not-found",
            "-o",
            "name",
        ];
        wait_until(LIMIT, "the end of an Indexer", || {
            Ok(self.fixture.kubectl.run(&args)?.trim().is_empty().then_some(()))
        })
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        let pool = ["indexerpool", POOL, "--namespace", self.fixture.home()];
        if let Err(error) = self.fixture.kubectl.delete(&pool) {
            eprintln!("the pool stays: {error:#}");
        }
    }
}

fn ingestion(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &json!({"replicas": 1}))?;
    let datasource = format!("warm_{}", fixture.run);
    let id = format!("warm_{}", fixture.run);
    let mut sample = samples::index_parallel("unused", &id, &datasource)?;
    let began = Instant::now();
    pool.manager.submit(&sample["spec"]["task"].take())?;
    let status = pool.manager.until_ended(&id)?;
    println!(
        "an ingestion in a warm Indexer took {:.2} s",
        began.elapsed().as_secs_f64()
    );
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let run = pool.run(&id)?;
    ensure!(run["host"].is_null(), "the location of a finished task: {run}");
    wait_until(LIMIT, "the segments", || {
        Ok((fixture.druid.segments(&datasource)?.len() == 2).then_some(()))
    })?;
    let log = fixture
        .druid
        .get_text(&format!("/druid/indexer/v1/task/{id}/log"))?;
    ensure!(
        log.contains(&format!("Task [{id}] completed with status")),
        "{log}"
    );
    ensure!(!log.contains("may be missing"), "{log}");
    pool.manager.check_report(&id)?;
    // With its task it was given its cpu, in place.
    if let Some(own) = fixture.target.own() {
        let resized = wait_until(LIMIT, "the audit log", || {
            let of = |r: &Request| r.resource == "pods/resize" && r.name == text(&run["pod"]);
            Ok(audit::of_operator(own)?.into_iter().find(of))
        })?;
        ensure!(resized.code == 200, "{resized:?}");
    }
    // The Indexer is not used again, and another one takes its place.
    pool.until_pod_is_gone(text(&run["pod"]))?;
    // The status follows the pods by some seconds.
    let args = ["indexerpool", POOL, "--namespace", fixture.home()];
    let replaced = |pool: &Value| {
        let status = &pool["status"];
        let others = list(&status["indexers"]);
        status["readyReplicas"].as_u64() >= Some(1) && others.iter().all(|other| other["pod"] != run["pod"])
    };
    fixture.kubectl.wait_for(&args, LIMIT, replaced).map(drop)
}

fn one_each(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &json!({"replicas": 2}))?;
    let ids: Vec<String> = (0..5)
        .map(|n| {
            pool.manager
                .submit(&super::noop(fixture, &format!("one_of_five_{n}"), 500))
        })
        .collect::<Result<_>>()?;
    let mut kinds = BTreeSet::new();
    let mut pods = BTreeSet::new();
    for id in &ids {
        let status = pool.manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
        let run = pool.peon_task(id)?["status"]["run"].clone();
        let uid = text(&run["podUID"]).to_owned();
        ensure!(
            !uid.is_empty() && pods.insert(uid),
            "a pod has had two tasks: {run}"
        );
        kinds.insert(text(&run["kind"]).to_owned());
        let log = fixture
            .druid
            .get_text(&format!("/druid/indexer/v1/task/{id}/log"))?;
        ensure!(log.contains(id) && !log.contains("may be missing"), "{log}");
        for other in ids.iter().filter(|other| *other != id) {
            ensure!(
                !log.contains(other.as_str()),
                "the log of {id} has lines of {other}"
            );
        }
    }
    ensure!(kinds.contains("Worker"), "{kinds:?}");
    Ok(())
}

/// The supervisor and its subtasks, each in a JVM of its own, which exchange partitions through deep storage.
fn hash_partitions(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &json!({"replicas": 6, "maxIndexers": 8}))?;
    let (task, datasource) = hashed(fixture, "hashed_warm")?;
    let id = pool.manager.submit(&task)?;
    let statuses = until_hashed(fixture, &pool.manager, &id, &datasource)?;
    let warm = statuses.iter().filter(|s| s["run"]["kind"] == "Worker");
    let pods: BTreeSet<&str> = warm.map(|s| text(&s["run"]["podUID"])).collect();
    // Subtasks wait for no Indexer that starts.
    ensure!(pods.len() >= 4, "few ran in Indexers: {statuses:?}");
    pool.run(&id).map(drop)
}

fn ends(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &json!({"replicas": 2}))?;
    let long = |name: &str| super::noop(fixture, name, 600_000);

    // Stopped by the overlord.
    let id = pool.manager.submit(&long("stopped_warm"))?;
    let name = pool.manager.until_assigned(&id)?;
    fixture.until_running(fixture.home(), &name)?;
    let run = pool.run(&id)?;
    fixture
        .druid
        .post(&format!("/druid/indexer/v1/task/{id}/shutdown"), &json!({}))?;
    let status = pool.manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    fixture.until_reason(fixture.home(), &name, "Cancelled")?;
    pool.until_pod_is_gone(text(&run["pod"]))?;

    // Killed: the task, which writes nothing, runs again, and the overlord sees no failure.
    pool.until_warm(2)?;
    let id = pool
        .manager
        .submit(&super::noop(fixture, "killed_warm", 20_000))?;
    let name = pool.manager.until_assigned(&id)?;
    fixture.until_running(fixture.home(), &name)?;
    let run = pool.run(&id)?;
    let pod = text(&run["pod"]);
    fixture.kubectl.run(&[
        "delete",
        "pod",
        pod,
        "--namespace",
        fixture.home(),
        "--wait=false",
        "--grace-period=1",
    ])?;
    let status = pool.manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let task = pool.peon_task(&id)?;
    ensure!(list(&task["status"]["attempts"]).len() == 1, "{}", task["status"]);
    ensure!(
        task["status"]["run"]["podUID"] != run["podUID"],
        "{}",
        task["status"]
    );
    Ok(())
}
