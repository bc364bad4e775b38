//! What the logs of tasks in shared Indexers have: each line of their own threads once, and no other's.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::pool_faults::Logs;
use super::super::process::Process;
use super::{heap, index, list, noop, start, text};
use crate::cases::full;
use crate::testbed::audit;
use crate::testbed::fixture::Fixture;
use crate::testbed::proxy::encoded;

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
pub(super) fn short_tasks(fixture: &Fixture) -> Result<()> {
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
        has_its_lines(fixture, &written, &run, id)?;
        if n % 3 == 0 {
            let path = format!("/druid/indexer/v1/task/{}", encoded(id));
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

/// The log of a task that the overlord serves has the lines of its threads that its Indexer wrote, and no other task's.
fn has_its_lines(fixture: &Fixture, written: &BTreeMap<String, String>, run: &Value, id: &str) -> Result<()> {
    let path = format!("/druid/indexer/v1/task/{}/log", encoded(id));
    let log = fixture.druid.get_text(&path)?;
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
    Ok(())
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

/// The operator dies twice while it reads one stream for tasks that begin before, between and after its deaths: each has its
/// verdict, in its first attempt, and a log with every line once.
pub(super) fn operator_dies(fixture: &Fixture) -> Result<()> {
    let pool = start(fixture, 1)?;
    let kept = Logs::keep(fixture)?;
    let name = |n: usize| format!("stream_{n}_{}", fixture.run);
    let submit = |n: usize, run_time: u64| -> Result<()> {
        let task = if n.is_multiple_of(2) {
            noop(&name(n), run_time)
        } else {
            index(fixture, &name(n))?
        };
        pool.manager.submit(&task).map(drop)
    };
    for n in [0, 2] {
        submit(n, 60_000)?;
        let task = pool.manager.until_assigned(&name(n))?;
        fixture.until_running(fixture.home(), &task)?;
    }
    let mut all = vec![0, 2];
    for first in [3, 7] {
        // While it reads their lines, at any of them.
        let beside: Vec<usize> = (first..first + 4).collect();
        for n in &beside {
            submit(*n, 500)?;
        }
        Process::operator(fixture).kill()?;
        for n in &beside {
            pool.manager.until_ended(&name(*n))?;
        }
        all.extend(beside);
    }
    for n in &all {
        let status = pool.manager.until_ended(&name(*n))?;
        ensure!(status["statusCode"] == "SUCCESS", "{}: {status}", name(*n));
    }
    let written = kept.texts()?;
    for n in &all {
        let status = pool.peon_task(&name(*n))?["status"].take();
        ensure!(list(&status["attempts"]).is_empty(), "{status}");
        has_its_lines(fixture, &written, &status["run"], &name(*n))?;
    }
    Ok(())
}
