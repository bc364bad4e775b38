//! Tasks that share the JVMs of a pool.

mod heap;
mod leaving;
mod memory;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::source::Source;
use super::pool_faults::{Logs, ingestion, jvm};
use super::pool_tasks::Pool;
use super::{Case, NAME, Turn, case, list, text};
use crate::cases::full;
use crate::testbed::audit;
use crate::testbed::druid::samples;
use crate::testbed::fixture::{Fixture, LIMIT};
use crate::testbed::peons::kill_hard;
use crate::testbed::proxy::encoded;

pub(super) const CASES: &[Case] = &[
    case("pool_shared::short_tasks_share_two_indexers", short_tasks).own(),
    case("pool_shared::a_jvm_that_dies_leaves_each_task_a_verdict", deaths)
        .long()
        .own(),
    case(
        "pool_shared::what_ran_when_memory_ran_out_runs_alone",
        memory::runs_out,
    )
    .own()
    .full(),
    case("pool_shared::a_full_heap_gets_no_task_for_now", heap::full)
        .own()
        .full(),
    case("pool_shared::fewer_and_newer_indexers_lose_no_task", drained)
        .long()
        .own(),
    case("pool_shared::a_drain_waits_for_all_tasks", leaving::drained)
        .turn(Turn::Alone)
        .own(),
    case(
        "pool_shared::a_jvm_that_hangs_is_given_up_with_its_tasks",
        leaving::hung,
    )
    .long()
    .own()
    .full(),
    case(
        "pool_shared::a_task_that_does_not_stop_and_changes_under_load_lose_none",
        leaving::replaced,
    )
    .long()
    .own()
    .full(),
    case("pool_shared::indexers_come_with_tasks_and_go_without", scaled)
        .long()
        .own(),
    case("pool_shared::kubectl_scales_a_pool", scaled_by_others).own(),
];

/// A pool of shared Indexers.
fn start(fixture: &Fixture, replicas: u32) -> Result<Pool<'_>> {
    Pool::start(fixture, &spec(replicas, "40Mi"))
}

fn spec(replicas: u32, task_bytes: &str) -> Value {
    json!({
        "mode": "Shared", "replicas": replicas, "slots": {"heavy": 4, "light": 2},
        "resources": {"limits": {"memory": "1536Mi", "cpu": "2"}, "requests": {"cpu": "100m"}},
        "sizing": {"taskBytes": task_bytes}, "killGraceSeconds": 5,
    })
}

/// Changes the spec of the pool.
fn change(fixture: &Fixture, spec: &Value) -> Result<()> {
    let mut of_pool = json!({"middleManagerRef": {"name": NAME}});
    for (key, value) in spec.as_object().context("a spec is an object")? {
        of_pool[key] = value.clone();
    }
    fixture.apply(fixture.home(), &samples::pool("warm", &of_pool))
}

/// Makes another revision of the Indexers that this template is of.
fn change_template(fixture: &Fixture, name: &str) -> Result<()> {
    let properties = json!({"properties": {"druid.startup.logging.logProperties": "false"}});
    fixture.change_of("peontemplate", fixture.home(), name, &properties)
}

/// A small ingestion that replaces what it writes, read by one task.
fn index(fixture: &Fixture, id: &str) -> Result<Value> {
    // Tasks of one datasource would wait for one another's locks.
    let plain: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    index_of(
        fixture,
        id,
        &format!("shared_{plain}_{}_{}", id.len(), fixture.run),
    )
}

/// The same, of this datasource.
fn index_of(fixture: &Fixture, id: &str, datasource: &str) -> Result<Value> {
    let mut task = ingestion(fixture, "unused")?;
    task["id"] = json!(id);
    task["spec"]["dataSchema"]["dataSource"] = json!(datasource);
    task["type"] = json!("index");
    task["spec"]["ioConfig"]["type"] = json!("index");
    task["spec"]["tuningConfig"]["type"] = json!("index");
    Ok(task)
}

fn noop(id: &str, run_time: u64) -> Value {
    json!({"type": "noop", "id": id, "runTime": run_time, "context": {"druid.peon.placement": "Pool"}})
}

/// Ids that could be taken for one another, or for the end of a thread's name.
fn ids(run: &str, tasks: usize) -> Vec<String> {
    let odd = ["a", "a b", "a%41", "a]", "[a]", "aa", "a$b", "a(", "]", "ä"];
    let name = |n: usize| match odd.get(n) {
        Some(odd) => format!("{run}-{odd}"),
        None => format!("{run}-{n}"),
    };
    (0..tasks).map(name).collect()
}

/// What runs in a pool that tasks share: each has its verdict, its log and no other's lines, its report.
fn short_tasks(fixture: &Fixture) -> Result<()> {
    let pool = start(fixture, 2)?;
    let kept = Logs::keep(fixture)?;
    let from = audit::end(fixture.target.own().context("no cluster of our own")?)?;
    let tasks = if full() { 300 } else { 30 };
    let ids = ids(&fixture.run, tasks);
    let began = Instant::now();
    for (n, id) in ids.iter().enumerate() {
        let task = if n % 3 == 0 {
            index(fixture, id)?
        } else {
            noop(id, 100)
        };
        pool.manager.submit(&task)?;
    }
    let mut pods = BTreeMap::<String, usize>::new();
    for id in &ids {
        let status = pool.manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
    }
    println!(
        "{tasks} short tasks in two shared Indexers took {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let written = kept.texts()?;
    for (n, id) in ids.iter().enumerate() {
        let run = pool.run(id)?;
        ensure!(run["slot"] == "Heavy", "{run}");
        *pods.entry(text(&run["pod"]).to_owned()).or_default() += 1;
        let path = format!("/druid/indexer/v1/task/{}", encoded(id));
        let log = fixture.druid.get_text(&format!("{path}/log"))?;
        check_log(&log, id)?;
        let of_pod = written.get(&format!("{}_{}", text(&run["pod"]), text(&run["podUID"])));
        let of_pod = lines_after(of_pod.context("no log of its pod")?, &format!(" [][[{id}]-"));
        let own = lines_after(&log, &format!(" [[{id}]-"));
        ensure!(
            own == of_pod,
            "{id}: of {} lines of its threads its log has {}: {own:?}, and not {of_pod:?}",
            of_pod.len(),
            own.len()
        );
        if n % 3 == 0 {
            let report = fixture.druid.get(&format!("{path}/reports"))?;
            let report = &report["ingestionStatsAndErrors"]["payload"];
            let rows = &report["rowStats"]["buildSegments"]["processed"];
            ensure!(
                report["ingestionState"] == "COMPLETED" && rows.as_u64() == Some(3),
                "{id}: {report}"
            );
        }
    }
    ensure!(pods.len() == 2, "they ran in {pods:?}");
    let status = pool.until_warm(2)?["status"].take();
    ensure!(status["tasks"].as_u64().is_some(), "{status}");
    let pods: Vec<String> = pods.into_keys().collect();
    heap::few_streams(fixture, &pool, from, &pods)
}

/// What follows this in the lines that have it.
fn lines_after<'a>(log: &'a str, head: &str) -> Vec<&'a str> {
    let after = log.lines().filter_map(|line| line.split_once(head));
    after.map(|(_, after)| after).collect()
}

/// Whether a log has lines of this task, and of no other.
fn check_log(log: &str, id: &str) -> Result<()> {
    let thread = format!("[[{id}]-");
    let heads: Vec<&str> = log.lines().filter(|line| line.contains(" [[")).collect();
    ensure!(
        !heads.is_empty(),
        "{id}: its log has no line of its threads: {log}"
    );
    let other = heads.iter().find(|line| !line.contains(&thread));
    ensure!(other.is_none(), "the log of {id} has {other:?}");
    ensure!(!log.contains("may be missing"), "{id}: {log}");
    Ok(())
}

fn deaths(fixture: &Fixture) -> Result<()> {
    let pool = start(fixture, 1)?;
    let source = Source::start(fixture)?;
    let run = &fixture.run;
    let safe: Vec<String> = (0..3).map(|n| format!("safe_{n}_{run}")).collect();
    for id in &safe {
        pool.manager.submit(&noop(id, 30_000))?;
    }
    // One that may have written, and waits for rows that never come.
    let appends = format!("appends_{run}");
    let mut task = source.feed(index(fixture, &appends)?)?;
    task["spec"]["ioConfig"]["appendToExisting"] = json!(true);
    pool.manager.submit(&task)?;
    source.until_read_by(&appends)?;
    for id in &safe {
        let name = pool.manager.until_assigned(id)?;
        fixture.until_running(fixture.home(), &name)?;
    }
    let place = pool.run(&appends)?;
    kill_hard(jvm(&place)?)?;
    let status = pool.manager.until_ended(&appends)?;
    let said = text(&status["errorMsg"]);
    ensure!(
        status["statusCode"] == "FAILED" && said.contains("the JVM was shared with other tasks"),
        "{status}"
    );
    for id in &safe {
        let status = pool.manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
        let task = pool.peon_task(id)?;
        let status = &task["status"];
        let attempts = list(&status["attempts"]);
        ensure!(
            attempts.len() == 1 && attempts[0]["cause"] == "NoVerdict" && status["run"]["kind"] == "Pod",
            "{id}: {status}"
        );
    }
    pool.until_pod_is_gone(text(&place["pod"]))?;
    pool.until_warm(1).map(drop)
}

/// The pool gets smaller, and then other Indexers, while its tasks run; one task is stopped, and the others do not notice.
fn drained(fixture: &Fixture) -> Result<()> {
    let pool = start(fixture, 2)?;
    let run = &fixture.run;
    let ids: Vec<String> = (0..6).map(|n| format!("drained_{n}_{run}")).collect();
    for id in &ids {
        pool.manager.submit(&noop(id, 45_000))?;
    }
    let mut pods = BTreeSet::new();
    for id in &ids {
        let name = pool.manager.until_assigned(id)?;
        fixture.until_running(fixture.home(), &name)?;
        pods.insert(text(&pool.run(id)?["pod"]).to_owned());
    }
    ensure!(pods.len() == 2, "{pods:?}");
    change(fixture, &spec(1, "40Mi"))?;
    change(fixture, &spec(1, "41Mi"))?;
    fixture.druid.shutdown(&ids[0])?;
    let status = pool.manager.until_ended(&ids[0])?;
    ensure!(status["statusCode"] == "FAILED", "{status}");
    for id in &ids[1..] {
        let status = pool.manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
        let task = pool.peon_task(id)?;
        ensure!(
            list(&task["status"]["attempts"]).is_empty(),
            "{id}: {}",
            task["status"]
        );
    }
    // The Indexers that had them are gone, and one of the new revision is there.
    for pod in &pods {
        pool.until_pod_is_gone(pod)?;
    }
    pool.until_warm(1).map(drop)
}

/// A pool without tasks has no Indexer; tasks that wait start some, up to the maximum, and afterwards there is none again.
fn scaled(fixture: &Fixture) -> Result<()> {
    let mut of_pool = spec(0, "40Mi");
    of_pool["autoscaling"] = json!({"min": 0, "max": 2, "targetPercent": 100, "scaleDownAfterSeconds": 20});
    let pool = Pool::start(fixture, &of_pool)?;
    let ids: Vec<String> = (0..6).map(|n| format!("scaled_{n}_{}", fixture.run)).collect();
    for id in &ids {
        pool.manager.submit(&noop(id, 20_000))?;
    }
    let args = ["indexerpool", "warm", "--namespace", fixture.home()];
    let desired = |pool: &Value| pool["status"]["scaling"]["desiredReplicas"].as_u64();
    let many = fixture
        .kubectl
        .wait_for(&args, LIMIT, |pool| desired(pool) == Some(2))?;
    let message = text(&many["status"]["scaling"]["message"]);
    ensure!(message.contains("wait for one"), "{message}");
    let mut pods = BTreeSet::new();
    for id in &ids {
        let status = pool.manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
        pods.insert(text(&pool.run(id)?["pod"]).to_owned());
    }
    fixture
        .kubectl
        .wait_for(&args, LIMIT, |pool| desired(pool) == Some(0))?;
    for pod in &pods {
        pool.until_pod_is_gone(pod)?;
    }
    // Applying the pool again, which says nothing of a number, changes nothing.
    if let Some(fields) = of_pool.as_object_mut() {
        fields.remove("replicas");
    }
    change(fixture, &of_pool)?;
    let again = fixture.kubectl.get_json(&args)?;
    ensure!(desired(&again) == Some(0), "{again}");
    Ok(())
}

/// The scale subresource sets the number of Indexers, and says which pods they are.
fn scaled_by_others(fixture: &Fixture) -> Result<()> {
    let pool = start(fixture, 1)?;
    let namespace = ["--namespace", fixture.home()];
    let scale = ["scale", "indexerpool/warm", "--replicas=2"];
    fixture.kubectl.run(&[&scale[..], &namespace[..]].concat())?;
    let status = pool.until_warm(2)?["status"].take();
    let selector = text(&status["selector"]).to_owned();
    let pods = ["get", "pods", "--selector", &selector, "--output", "name"];
    let found = fixture.kubectl.run(&[&pods[..], &namespace[..]].concat())?;
    ensure!(found.lines().count() == 2, "{selector}: {found}");
    fixture
        .kubectl
        .run(&[&["scale", "indexerpool/warm", "--replicas=1"][..], &namespace[..]].concat())?;
    let args = ["indexerpool", "warm", "--namespace", fixture.home()];
    fixture
        .kubectl
        .wait_for(&args, LIMIT, |pool| pool["status"]["replicas"] == 1)
        .map(drop)
}
