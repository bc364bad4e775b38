//! Workers that are announced on pods, for a Druid without ZooKeeper.
//!
//! The API server is read as Druid's Kubernetes extension reads it: pods with the labels of cluster and role, of which those
//! count whose containers are ready. Druid's own extension is not here; the overlord's part of the worker protocol is spoken
//! by the test.

use std::{
    collections::BTreeMap,
    fs::File,
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Deserializer, Value, json};

use super::{
    Case, MiddleManager, NAME, Turn, case,
    faults_network::Paused,
    list,
    process::Process,
    text,
    worker::{SMILE, Worker, assignment, smile},
};
use crate::testbed::{
    api_server::Away,
    fixture::{Fixture, LIMIT},
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[
    case(
        "middle_manager::discovery::workers_on_pods_outlive_the_processes_that_announce_them",
        announced,
    )
    .long()
    .own(),
    case(
        "middle_manager::discovery::workers_on_pods_outlive_the_api_server",
        api_server_away,
    )
    .turn(Turn::Alone)
    .own()
    .full(),
];

/// `druid.discovery.k8s.clusterIdentifier`.
const CLUSTER: &str = "analytics";

fn selector() -> String {
    format!(
        "druidDiscoveryAnnouncement-cluster-identifier={CLUSTER},druidDiscoveryAnnouncement-middleManager=true"
    )
}

/// A worker as an overlord knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    pod: String,
    instance: String,
}

/// The worker on a pod that the selector has, by its address; `None` while the pod does not count.
///
/// # Errors
/// Where a list of an overlord fails as a whole: without an annotation that can be read.
fn worker_of(pod: &Value) -> Result<Option<(String, Known)>> {
    let name = text(&pod["metadata"]["name"]);
    let node = pod["metadata"]["annotations"]["druidNodeInfo-middleManager"].as_str();
    let node: Value = serde_json::from_str(node.with_context(|| format!("{name} hides all workers"))?)?;
    ensure!(node["nodeType"] == "middleManager", "{node}");
    ensure!(node["services"]["workerNodeService"]["capacity"] == 4, "{node}");
    let containers = list(&pod["status"]["containerStatuses"]);
    if containers.is_empty() || !containers.iter().all(|c| c["ready"] == true) {
        return Ok(None);
    }
    let druid = &node["druidNode"];
    let address = format!("{}:{}", text(&druid["host"]), druid["plaintextPort"]);
    let known = Known {
        pod: name.to_owned(),
        instance: text(&druid["labels"]["peon.dev/instance"]).to_owned(),
    };
    Ok(Some((address, known)))
}

/// What an overlord knows that lists now.
fn workers(fixture: &Fixture) -> Result<BTreeMap<String, Known>> {
    let selector = selector();
    let args = ["pod", "--namespace", fixture.home(), "--selector", &selector];
    let mut workers = BTreeMap::new();
    for pod in list(&fixture.kubectl.get_json(&args)?["items"]) {
        if let Some((address, known)) = worker_of(&pod)? {
            let before = workers.insert(address, known.clone());
            ensure!(before.is_none(), "announced on two pods: {known:?}, {before:?}");
        }
    }
    Ok(workers)
}

fn until_workers(
    fixture: &Fixture,
    what: &str,
    wanted: impl Fn(&BTreeMap<String, Known>) -> bool,
) -> Result<BTreeMap<String, Known>> {
    wait_until(LIMIT, what, || Ok(Some(workers(fixture)?).filter(&wanted)))
}

/// All that a watch of an overlord sees for as long as the value lives.
struct Watched {
    kubectl: Child,
    file: PathBuf,
}

impl Watched {
    fn begin(fixture: &Fixture) -> Result<Self> {
        let name = format!("announcements-{}-{}.json", std::process::id(), fixture.run);
        let file = std::env::temp_dir().join(name);
        let kubectl = fixture
            .kubectl
            .command()
            .args([
                "get",
                "pod",
                "--namespace",
                fixture.home(),
                "--selector",
                &selector(),
            ])
            .args(["--output", "json", "--watch", "--output-watch-events"])
            .stdout(Stdio::from(File::create(&file)?))
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { kubectl, file })
    }

    /// Makes sure that no event hid all workers, and that none was on two pods at a time.
    fn check(&self) -> Result<()> {
        let seen = std::fs::read(&self.file)?;
        let mut pods: BTreeMap<String, String> = BTreeMap::new();
        let mut count = 0;
        // What kubectl was writing when it was read is no event.
        for event in Deserializer::from_slice(&seen)
            .into_iter::<Value>()
            .map_while(Result::ok)
        {
            count += 1;
            let (kind, pod) = (&event["type"], &event["object"]);
            let name = text(&pod["metadata"]["name"]).to_owned();
            if kind == "DELETED" {
                pods.remove(&name);
                continue;
            }
            if let Some((address, _)) = worker_of(pod)? {
                ensure!(
                    pods.iter().all(|(other, on)| *other == name || *on != address),
                    "{address} is on {pods:?} and {name}"
                );
                pods.insert(name, address);
            }
        }
        ensure!(count > 2, "{count} events");
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It is this test's own process, and may have ended.
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}

fn start(fixture: &Fixture) -> Result<MiddleManager<'_>> {
    MiddleManager::create(fixture, |spec| {
        spec["discovery"] = json!({"kubernetes": {"clusterIdentifier": CLUSTER}});
    })
}

/// Both identities, each on the pod that is named like its Service, as the status says.
fn until_both(fixture: &Fixture, manager: &MiddleManager) -> Result<BTreeMap<String, Known>> {
    let both = until_workers(fixture, "two workers on pods", |workers| workers.len() == 2)?;
    wait_until(LIMIT, "a status with both", || {
        let identities = list(&manager.status()?["identities"]);
        let announced = identities.iter().all(|identity| {
            let known = both.get(text(&identity["address"]));
            let pod = format!("{NAME}-vmm-{}", identity["ordinal"]);
            identity["announced"] == true
                && identity["announcedAt"] == pod.as_str()
                && known.is_some_and(|known| known.pod == pod)
        });
        Ok((announced && identities.len() == 2).then_some(()))
    })?;
    Ok(both)
}

/// Assigns a noop to the first identity as an overlord does.
fn assign(fixture: &Fixture, manager: &MiddleManager, name: &str, run_time: u64) -> Result<(Worker, String)> {
    let worker = Worker::of(manager, 0)?;
    let id = format!("{name}_{}", fixture.run);
    let answer = worker.assign(&smile(&assignment(&id, run_time))?, SMILE)?;
    ensure!(answer.code == 200, "{answer:?}");
    Ok((worker, id))
}

/// Waits until the worker says that the task succeeded; it must not be missing in the meantime.
fn until_success(manager: &MiddleManager, worker: &Worker, id: &str) -> Result<()> {
    wait_until(LIMIT, "the end of the task", || {
        // A process that begins answers later.
        let Ok(said) = worker.says_within(id, PATIENCE) else {
            return Ok(None);
        };
        let state = said.with_context(|| format!("{id} is missing, so that an overlord fails it"))?;
        ensure!(state != "FAILED", "{id} failed");
        Ok((state == "SUCCESS").then_some(()))
    })?;
    let tasks = manager.peon_tasks(id)?;
    ensure!(tasks.len() == 1, "{tasks:?}");
    ensure!(
        tasks[0]["status"]["attempt"].as_u64().unwrap_or(1) == 1,
        "{}",
        tasks[0]
    );
    Ok(())
}

fn others(before: &BTreeMap<String, Known>, now: &BTreeMap<String, Known>) -> bool {
    now.keys().eq(before.keys())
        && now
            .iter()
            .all(|(address, known)| known.instance != before[address].instance)
}

fn announced(fixture: &Fixture) -> Result<()> {
    let watched = Watched::begin(fixture)?;
    let manager = start(fixture)?;
    let first = until_both(fixture, &manager)?;
    let (worker, id) = assign(fixture, &manager, "on_pods", 60_000)?;
    manager.until_assigned(&id)?;

    // Killed: what it announced stays, and the next process replaces it.
    Process::server(fixture).kill()?;
    let second = until_workers(fixture, "workers of the next process", |now| others(&first, now))?;

    // A change of the configuration: another pod takes over while the first one still runs.
    manager.change(&json!({"taskLabels": {"team": "ads"}}))?;
    let third = until_workers(fixture, "workers of the next pod", |now| others(&second, now))?;
    until_success(&manager, &worker, &id)?;

    // It stands still: its workers vanish for an overlord, and come back with it.
    let paused = Paused::by(Process::server(fixture).until_there()?, Signal::SIGSTOP)?;
    until_workers(fixture, "workers that are not ready", BTreeMap::is_empty)?;
    drop(paused);
    until_workers(fixture, "workers that are ready again", |now| {
        now.keys().eq(third.keys())
    })?;

    fewer(fixture, &manager)?;
    drop(manager);
    until_workers(fixture, "no workers", BTreeMap::is_empty)?;
    watched.check()
}

/// One identity goes: it is withdrawn once an overlord knows that it takes no tasks, and its pod goes.
fn fewer(fixture: &Fixture, manager: &MiddleManager) -> Result<()> {
    let last = Worker::of(manager, 1)?;
    manager.change(&json!({"identities": 1}))?;
    wait_until(LIMIT, "a worker that is withdrawn", || {
        // An overlord that polls, and says what it has heard.
        if let Ok(answer) = last.poll(1000)
            && let Ok(said) = answer.json()
        {
            let counter = &said["counter"];
            let heard = format!(
                "/druid-internal/v1/worker?counter={}&hash={}&timeout=1000",
                counter["counter"], counter["hash"]
            );
            // It may have gone by now.
            let _ = last.get(&heard);
        }
        Ok((workers(fixture)?.len() == 1).then_some(()))
    })?;
    let pod = format!("{NAME}-vmm-1");
    let args = ["pod", "--namespace", fixture.home(), "--field-selector"];
    let name = format!("metadata.name={pod}");
    let gone = |found: &Value| list(&found["items"]).is_empty();
    let args = [args.as_slice(), &[name.as_str()]].concat();
    fixture.kubectl.wait_for(&args, LIMIT, gone).map(drop)
}

/// How long a worker may look for a complete state, in milliseconds. While the API server is away it finds none: it is asked
/// several times in that time.
const PATIENCE: u32 = 5000;

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(40);

fn api_server_away(fixture: &Fixture) -> Result<()> {
    let manager = start(fixture)?;
    let before = until_both(fixture, &manager)?;
    let (worker, id) = assign(fixture, &manager, "on_pods_without_api_server", 60_000)?;
    manager.until_assigned(&id)?;
    let away = Away::begin(fixture)?;
    wait_until(LIMIT, "some time without an API server", || {
        // A complete state may be refused now, and must not lack it.
        if let Ok(said) = worker.says_within(&id, PATIENCE) {
            ensure!(said.is_some(), "{id} is missing");
        }
        Ok((away.since.elapsed() >= AWAY).then_some(()))
    })?;
    drop(away);
    let after = until_workers(fixture, "the same workers", |now| now.len() == 2)?;
    ensure!(after == before, "{before:?} {after:?}");
    until_success(&manager, &worker, &id)?;
    // What changed meanwhile is seen again: another capacity would hide behind a watch that does not work.
    Process::server(fixture).kill()?;
    until_workers(fixture, "workers of the next process", |now| others(&before, now)).map(drop)
}
