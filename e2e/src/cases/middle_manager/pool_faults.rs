//! Tasks in the Indexers of a pool while something dies: the operator, the JVM, what both talk to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::faults_network::Paused;
use super::pool_tasks::Pool;
use super::process::Process;
use super::{Case, Turn, case, list, text};
use crate::cases::full;
use crate::testbed::api_server::Away;
use crate::testbed::audit::{self, Request};
use crate::testbed::cluster::pod_processes;
use crate::testbed::druid::samples;
use crate::testbed::fixture::{Fixture, LIMIT, OPERATOR_NAMESPACE};
use crate::testbed::gate::Kill;
use crate::testbed::kubectl::is_ready;
use crate::testbed::outside::Grounds;
use crate::testbed::peons::kill_hard;
use crate::testbed::wait::wait_until;

pub(super) const CASES: &[Case] = &[
    case(
        "pool_faults::an_operator_killed_between_any_two_writes_posts_to_one_indexer",
        killed_anywhere,
    )
    .turn(Turn::Outside)
    .own()
    .full(),
    case(
        "pool_faults::a_leader_that_slept_after_its_claim_posts_nothing",
        slept,
    )
    .turn(Turn::Outside)
    .own(),
    case(
        "pool_faults::a_task_ends_while_the_api_server_is_away",
        api_server_away,
    )
    .turn(Turn::Alone)
    .own()
    .full(),
    case(
        "pool_faults::what_a_task_needs_may_restart_while_it_runs",
        restarts,
    )
    .own()
    .full(),
    case("pool_faults::an_indexer_that_dies_fails_no_safe_task", deaths)
        .long()
        .own(),
    case("pool_faults::a_task_that_does_not_stop_loses_its_pod", stuck)
        .own()
        .full(),
    case("pool_faults::a_task_takes_few_writes_and_no_list", writes).own(),
];

/// Parts of the paths of writes about tasks and their Indexers.
const OF_TASKS: &[&str] = &["/peontasks/", "/pods"];
/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(60);
/// Most writes of the operator for a task in a pool, on average.
const MOST_WRITES: usize = 7;
/// What is written for each task; other objects are written now and then, however many tasks there are.
const OF_A_TASK: &[&str] = &[
    "peontasks",
    "peontasks/status",
    "pods",
    "configmaps",
    "secrets",
    "events",
];

/// A noop that runs in a pool and nowhere else.
fn noop(fixture: &Fixture, name: &str, run_time: u64) -> Value {
    let mut task = super::noop(fixture, name, run_time);
    task["context"] = json!({"druid.peon.placement": "Pool"});
    task
}

/// An ingestion of a datasource of its own that runs in a pool and nowhere else.
pub(super) fn ingestion(fixture: &Fixture, name: &str) -> Result<Value> {
    let id = format!("{name}_{}", fixture.run);
    let mut task = samples::index_parallel("unused", &id, &id)?["spec"]["task"].take();
    task["context"] = json!({"druid.peon.placement": "Pool"});
    Ok(task)
}

/// The logs of all peons and Indexers of a namespace, which can be read when their pods are gone.
pub(super) struct Logs {
    files: Arc<Mutex<BTreeMap<String, File>>>,
}

impl Logs {
    /// Opens each of them as soon as it is there.
    pub(super) fn keep(fixture: &Fixture) -> Result<Self> {
        let folder = fixture.target.own().context("no cluster of our own")?.pod_logs();
        let files = Arc::<Mutex<BTreeMap<String, File>>>::default();
        let (kept, prefix) = (Arc::downgrade(&files), format!("{}_", fixture.home()));
        thread::spawn(move || {
            while Self::open(&kept, &folder, &prefix).is_some() {
                thread::sleep(Duration::from_millis(100));
            }
        });
        Ok(Self { files })
    }

    /// Opens those that are new; `None` once the value that keeps them is dropped.
    fn open(kept: &Weak<Mutex<BTreeMap<String, File>>>, folder: &Path, prefix: &str) -> Option<()> {
        let kept = kept.upgrade()?;
        for found in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = found.file_name().to_string_lossy().into_owned();
            let Some(pod) = name.strip_prefix(prefix) else {
                continue;
            };
            let mut files = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if !files.contains_key(pod)
                && let Ok(file) = File::open(found.path().join("peon/0.log"))
            {
                files.insert(pod.to_owned(), file);
            }
        }
        Some(())
    }

    /// The text of each log, by `POD_UID`.
    pub(super) fn texts(&self) -> Result<BTreeMap<String, String>> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let read = files.iter().map(|(pod, mut file)| {
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok((pod.clone(), String::from_utf8_lossy(&bytes).into_owned()))
        });
        read.collect()
    }

    /// The pods whose logs name a task.
    pub(super) fn naming(&self, id: &str) -> Result<Vec<String>> {
        let texts = self.texts()?;
        let names = |(pod, text): (String, String)| text.contains(id).then_some(pod);
        Ok(texts.into_iter().filter_map(names).collect())
    }
}

/// A Druid of its own and a namespace with an operator outside of the cluster. The Druid ends with the value.
struct Lane(Fixture);

impl Lane {
    fn start(fixture: &Fixture, name: &str) -> Result<Self> {
        fixture.lane(name).map(Self)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let end = ["scale", "deployment", "overlord", "zookeeper", "--replicas=0"];
        let args = [&end[..], &["--namespace", self.0.home()]].concat();
        if let Err(error) = self.0.kubectl.run(&args) {
            eprintln!("a Druid stays: {error:#}");
        }
    }
}

/// Waits until a task has succeeded in its first attempt, in the one Indexer that ever had it, and returns its status.
fn ran_once(pool: &Pool<'_>, logs: &Logs, id: &str) -> Result<Value> {
    let status = succeeded(pool, id)?;
    let run = &status["run"];
    ensure!(run["kind"] == "Worker", "{status}");
    ensure!(
        status["attempt"].as_u64().unwrap_or(1) == 1 && list(&status["attempts"]).is_empty(),
        "{status}"
    );
    let pod = format!("{}_{}", text(&run["pod"]), text(&run["podUID"]));
    let had = logs.naming(id)?;
    ensure!(had == [pod], "the logs of {had:?} name {id}: {status}");
    Ok(status)
}

/// Waits until a task has succeeded at the overlord, and returns the status of its PeonTask.
fn succeeded(pool: &Pool<'_>, id: &str) -> Result<Value> {
    let status = pool.manager.until_ended(id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
    let status = pool.peon_task(id)?["status"].take();
    ensure!(status["reason"] == "Succeeded", "{status}");
    Ok(status)
}

/// Submits a noop and waits until it runs in an Indexer. Returns its id and its run.
pub(super) fn running(
    fixture: &Fixture,
    pool: &Pool<'_>,
    name: &str,
    run_time: u64,
) -> Result<(String, Value)> {
    let id = pool.manager.submit(&noop(fixture, name, run_time))?;
    let name = pool.manager.until_assigned(&id)?;
    fixture.until_running(fixture.home(), &name)?;
    let run = pool.run(&id)?;
    Ok((id, run))
}

/// Waits until a pool has this number of Indexers, all idle.
fn until_at_rest(fixture: &Fixture, pool: &Pool<'_>, idle: usize) -> Result<()> {
    pool.until_warm(idle as u64)?;
    let pods = [
        "pod",
        "--namespace",
        fixture.home(),
        "--selector",
        "peon.dev/pool=warm",
    ];
    fixture
        .kubectl
        .wait_for(&pods, LIMIT, |found| {
            let found = list(&found["items"]);
            found.len() == idle && found.iter().all(is_ready)
        })
        .map(drop)
}

fn killed_anywhere(fixture: &Fixture) -> Result<()> {
    let lane = Lane::start(fixture, "killed")?;
    let lane = &lane.0;
    let grounds = Grounds::within(lane, lane.home().to_owned())?;
    let mut operator = grounds.start_with_pools()?;
    let pool = Pool::start(lane, &json!({"replicas": 1})).with_context(|| operator.tail())?;
    let logs = Logs::keep(lane)?;
    // The claim, another Indexer in its place, Running, the verdict and the deletion; the second may come later.
    let writes = 1..=5;
    let points: Vec<Kill> = if full() {
        writes
            .clone()
            .map(Kill::After)
            .chain(writes.map(Kill::Before))
            .collect()
    } else {
        vec![Kill::After(1), Kill::Before(3), Kill::After(4)]
    };
    let mut verdicts = BTreeMap::new();
    for point in &points {
        until_at_rest(lane, &pool, 1).with_context(|| operator.tail())?;
        grounds
            .gate
            .guard_writes_of(OF_TASKS, operator.id(), Some(*point));
        let name = format!("{point:?}").to_lowercase().replace(['(', ')'], "_");
        let id = pool.manager.submit(&noop(lane, &name, 2000))?;
        let code = operator.wait(LIMIT);
        let code = code.with_context(|| format!("{point:?} was not reached"))?;
        ensure!(
            code.is_none() && !grounds.gate.is_armed(),
            "{point:?} was not hit: {}",
            operator.tail()
        );
        operator = grounds.start_with_pools()?;
        grounds.gate.guard(operator.id(), None);
        let status = ran_once(&pool, &logs, &id);
        let status = status.with_context(|| format!("after {point:?}: {}", operator.tail()))?;
        pool.until_pod_is_gone(text(&status["run"]["pod"]))?;
        verdicts.insert(id, status);
    }
    println!("killed at {} points: {points:?}", points.len());
    // Later lives changed none of it.
    for (id, before) in verdicts {
        let after = ran_once(&pool, &logs, &id)?;
        ensure!(
            after["conditions"] == before["conditions"],
            "{before}, then {after}"
        );
    }
    Ok(())
}

/// Stopped after the claim of an Indexer and before the POST to it, with the answer to the claim in its socket.
fn slept(fixture: &Fixture) -> Result<()> {
    let lane = Lane::start(fixture, "slept")?;
    let lane = &lane.0;
    let grounds = Grounds::within(lane, lane.home().to_owned())?;
    let mut sleeper = grounds.start_with_pools()?;
    sleeper.until_log("leading", LIMIT)?;
    let second = grounds.start_with_pools()?;
    second.until_log("standing by", LIMIT)?;
    let pool = Pool::start(lane, &json!({"replicas": 1})).with_context(|| sleeper.tail())?;
    let logs = Logs::keep(lane)?;
    until_at_rest(lane, &pool, 1)?;
    grounds
        .gate
        .guard_writes_of(OF_TASKS, sleeper.id(), Some(Kill::StopAfter(1)));
    let id = pool.manager.submit(&noop(lane, "slept_through", 2000))?;
    wait_until(LIMIT, "the leader to be stopped", || {
        Ok((!grounds.gate.is_armed()).then_some(()))
    })?;
    let claimed = pool.run(&id)?;
    ensure!(logs.naming(&id)?.is_empty(), "it was posted before: {claimed}");
    let before = ran_once(&pool, &logs, &id).with_context(|| second.tail())?;
    ensure!(
        before["run"]["podUID"] == claimed["podUID"],
        "{claimed}, then {before}"
    );
    // Another Indexer may have the address by now.
    pool.until_pod_is_gone(text(&claimed["pod"]))?;
    until_at_rest(lane, &pool, 1)?;
    sleeper.signal(Signal::SIGCONT)?;
    let code = sleeper.wait(LIMIT)?;
    ensure!(code == Some(1), "exit code {code:?}: {}", sleeper.tail());
    // Had it posted anything, this would come after it.
    let later = pool.manager.submit(&noop(lane, "after_it_slept", 500))?;
    ran_once(&pool, &logs, &later).with_context(|| second.tail())?;
    let after = ran_once(&pool, &logs, &id)?;
    ensure!(after == before, "{before}, then {after}");
    Ok(())
}

fn api_server_away(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &json!({"replicas": 1}))?;
    let logs = Logs::keep(fixture)?;
    let (id, _) = running(fixture, &pool, "under_no_api_server_warm", 10_000)?;
    let away = Away::begin(fixture)?;
    let ends = format!("Task [{id}] completed with status");
    wait_until(LIMIT, "the end of the task, and of the outage", || {
        let has_ended = logs.texts()?.values().any(|log| log.contains(&ends));
        Ok((has_ended && away.since.elapsed() >= AWAY).then_some(()))
    })?;
    drop(away);
    ran_once(&pool, &logs, &id).map(drop)
}

fn restarts(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &json!({"replicas": 1}))?;
    let logs = Logs::keep(fixture)?;
    let delete = |selector: &str| -> Result<()> {
        let pods = [
            "delete",
            "pod",
            "--namespace",
            fixture.home(),
            "--selector",
            selector,
        ];
        fixture.kubectl.run(&pods).map(drop)
    };
    let faults: [(&str, &dyn Fn() -> Result<()>); 3] = [
        ("overlord", &|| Process::overlord(fixture).kill()),
        ("zookeeper", &|| delete("app=zookeeper")),
        ("workers", &|| delete("peon.dev/serves")),
    ];
    for (name, fault) in faults {
        pool.until_warm(1)?;
        let (id, _) = running(fixture, &pool, &format!("without_{name}"), 15_000)?;
        fault()?;
        ran_once(&pool, &logs, &id).with_context(|| format!("without {name}"))?;
        pool.manager.until_workers(2)?;
    }
    Ok(())
}

/// The JVM of an Indexer.
pub(super) fn jvm(run: &Value) -> Result<i32> {
    let uid = text(&run["podUID"]);
    wait_until(LIMIT, "the JVM of an Indexer", || {
        let mut all = pod_processes().into_iter();
        let found = all.find(|process| process.pod == uid && process.program == "java");
        Ok(found.map(|process| process.id))
    })
}

fn deaths(fixture: &Fixture) -> Result<()> {
    let spec = json!({"replicas": 1, "disruption": {"blockWhileBusy": false}});
    let pool = Pool::start(fixture, &spec)?;
    let again = |name: &str, cause: &str, kill: &dyn Fn(&Value) -> Result<()>| -> Result<()> {
        pool.until_warm(1)?;
        let (id, run) = running(fixture, &pool, name, 15_000)?;
        kill(&run)?;
        let status = succeeded(&pool, &id)?;
        let attempts = list(&status["attempts"]);
        ensure!(
            attempts.len() == 1 && attempts[0]["cause"] == cause && status["run"]["podUID"] != run["podUID"],
            "{status}"
        );
        Ok(())
    };
    again("killed_jvm", "NoVerdict", &|run| kill_hard(jvm(run)?))?;

    // One that may have written is not run again, and its message says so.
    let own = fixture.target.own().context("no cluster of our own")?;
    let source = TcpListener::bind((own.machine_address(), 0))?;
    source.set_nonblocking(true)?;
    let mut task = ingestion(fixture, "killed_append")?;
    let id = text(&task["id"]).to_owned();
    let url = format!("http://{}/rows", source.local_addr()?);
    task["spec"]["ioConfig"]["inputSource"] = json!({"type": "http", "uris": [url]});
    task["spec"]["ioConfig"]["appendToExisting"] = json!(true);
    task["spec"]["tuningConfig"]["partitionsSpec"] = json!({"type": "dynamic"});
    pool.until_warm(1)?;
    pool.manager.submit(&task)?;
    // It is answered nothing.
    let connection = wait_until(LIMIT, "the task to read", || Ok(source.accept().ok()))?;
    kill_hard(jvm(&pool.run(&id)?)?)?;
    let status = pool.manager.until_ended(&id)?;
    drop(connection);
    let said = text(&status["errorMsg"]);
    let expected = ["signal 9", "segments may already be published", "not run again"];
    ensure!(
        status["statusCode"] == "FAILED" && expected.iter().all(|part| said.contains(part)),
        "{status}"
    );
    ensure!(fixture.druid.segments(&id)?.is_empty(), "{id} has segments");

    again("evicted_warm", "Drained", &|run| {
        fixture.evict(fixture.home(), text(&run["pod"]))
    })
}

fn stuck(fixture: &Fixture) -> Result<()> {
    let pool = Pool::start(fixture, &json!({"replicas": 1, "killGraceSeconds": 5}))?;
    let (id, run) = running(fixture, &pool, "stuck_warm", 3_600_000)?;
    let jvm = jvm(&run)?;
    let paused = Paused::by(jvm, Signal::SIGSTOP)?;
    fixture.druid.shutdown(&id)?;
    let status = pool.manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    let name = pool.manager.until_assigned(&id)?;
    fixture.until_reason(fixture.home(), &name, "Cancelled")?;
    // The verdict waited for the proof that it is dead.
    ensure!(
        !pod_processes().iter().any(|process| process.id == jvm),
        "the JVM lives: {status}"
    );
    drop(paused);
    pool.until_pod_is_gone(text(&run["pod"]))
}

fn writes(fixture: &Fixture) -> Result<()> {
    let (tasks, at_once) = if full() { (100, 10) } else { (10, 4) };
    let pool = Pool::start(fixture, &json!({"replicas": at_once, "maxIndexers": at_once + 2}))?;
    let own = fixture.target.own().context("no cluster of our own")?;
    let logs = Logs::keep(fixture)?;
    until_at_rest(fixture, &pool, at_once)?;
    let begin = audit::end(own)?;
    let (mut ids, mut pods) = (Vec::new(), BTreeSet::new());
    for n in 0..tasks {
        if let Some(before) = usize::checked_sub(n, at_once) {
            let before: &String = &ids[before];
            pool.manager.until_ended(before)?;
        }
        let name = format!("counted_{n}");
        let task = if n % 5 == 0 {
            ingestion(fixture, &name)?
        } else {
            noop(fixture, &name, 1000)
        };
        ids.push(pool.manager.submit(&task)?);
    }
    for (n, id) in ids.iter().enumerate() {
        let status = ran_once(&pool, &logs, id)?;
        if n % 5 == 0 {
            pool.manager.check_report(id)?;
        }
        let pod = text(&status["run"]["pod"]).to_owned();
        pool.until_pod_is_gone(&pod)?;
        ensure!(pods.insert(pod), "an Indexer had two tasks: {status}");
    }
    for (pod, log) in logs.texts()? {
        let named: Vec<_> = ids.iter().filter(|id| log.contains(id.as_str())).collect();
        ensure!(named.len() < 2, "the JVM of {pod} had {named:?}");
    }
    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:");
    let requests = audit::of_operator_from(own, begin)?;
    let ours = |r: &&Request| r.namespace == fixture.home() && r.user.starts_with(&user) && r.verb != "watch";
    let (mut counts, mut writes) = (BTreeMap::<String, usize>::new(), 0);
    for request in requests.iter().filter(ours) {
        let of_tasks = OF_A_TASK.contains(&request.resource.as_str());
        writes += usize::from(of_tasks && request.is_write());
        ensure!(!of_tasks || request.verb != "list", "{request:?}");
        let what = format!("{} {}", request.verb, request.resource);
        *counts.entry(what).or_default() += 1;
    }
    println!("requests for {tasks} tasks in a pool, {writes} writes about them: {counts:?}");
    ensure!(
        (5 * tasks..=MOST_WRITES * tasks).contains(&writes),
        "{writes} writes: {counts:?}"
    );
    let reads = counts.get("get secrets").copied().unwrap_or_default();
    // One has the payload. On a busy machine some are requested before they are written; what is usual is in the docs.
    ensure!(reads <= tasks * 4, "{reads} reads of payloads: {counts:?}");
    Ok(())
}
