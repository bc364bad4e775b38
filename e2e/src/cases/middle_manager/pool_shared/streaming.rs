//! Streaming tasks share Indexers, and brokers query what they have not published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use super::super::pool_faults::jvm;
use super::super::pool_tasks::Pool;
use super::super::process::Process;
use super::super::streaming::{Faults, REPLICAS, TASKS, TEMPLATE, exactly_once, template, topic};
use super::{change_template, spec, text};
use crate::testbed::druid::{broker::Broker, historical::Historical};
use crate::testbed::fixture::{Fixture, LIMIT};
use crate::testbed::peons::kill_hard;
use crate::testbed::wait::wait_until;

/// Time for what was published to be loaded, in milliseconds.
const HAND_OVER: u32 = 300_000;

/// Two replicas of two tasks. While the first read, the JVM of an Indexer is killed; in the first roll-over all Indexers are
/// replaced; in the second the operator is killed.
pub(super) fn read(fixture: &Fixture) -> Result<()> {
    template(fixture)?;
    let mut of_pool = spec(2, "60Mi");
    of_pool["templateRef"] = json!({"name": TEMPLATE});
    of_pool["serving"] = json!("Queries");
    let pool = Pool::start(fixture, &of_pool)?;
    let broker = Broker::deploy(fixture)?;
    let _historical = Historical::start(fixture)?;
    let first = std::cell::RefCell::new(BTreeSet::new());
    let faults = Faults {
        reading: &|tasks| {
            let pods = apart(&pool, tasks)?;
            let killed = pods.keys().next().context("no Indexer")?.clone();
            first.replace(pods.into_keys().collect());
            kill_hard(jvm(&json!({"podUID": killed}))?)
        },
        first: &|_| change_template(fixture, TEMPLATE),
        second: &|_| Process::operator(fixture).kill(),
        reruns: TASKS,
        hand_over: HAND_OVER,
    };
    let topic = topic(fixture);
    let over = AtomicBool::new(false);
    let (tasks, watched) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&broker, &topic, &over));
        let tasks = exactly_once(fixture, &pool.manager, &faults);
        over.store(true, Ordering::Relaxed);
        let watched = watching
            .join()
            .map_err(|_| anyhow!("the thread that queries panicked"));
        (tasks, watched)
    });
    let (tasks, watched) = (tasks?, watched?);
    println!(
        "SQL saw {} rows; after a kill, a roll-over with new Indexers and one without an operator, rows were missing for at \
         most {:.1} s",
        watched.most,
        watched.longest.as_secs_f32()
    );
    let mut warm = 0;
    for id in &tasks {
        let run = &pool.peon_task(id)?["status"]["run"];
        warm += usize::from(run["kind"] == "Worker");
    }
    println!("{warm} of {} tasks ended in Indexers", tasks.len());
    ensure!(warm >= REPLICAS * TASKS, "{warm} of {tasks:?} ran in Indexers");
    // Those of before went when their tasks had rolled over.
    wait_until(LIMIT, "the end of the first Indexers", || {
        let selector = [
            "pod",
            "--namespace",
            fixture.home(),
            "--selector",
            "peon.dev/pool=warm",
        ];
        let found = fixture.kubectl.get_json(&selector)?.to_string();
        Ok(first
            .borrow()
            .iter()
            .all(|uid| !found.contains(uid.as_str()))
            .then_some(()))
    })
}

/// The tasks by the Indexers that have them; replicas have different ones.
fn apart(pool: &Pool<'_>, tasks: &BTreeSet<String>) -> Result<BTreeMap<String, Vec<String>>> {
    let mut pods: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in tasks {
        let run = pool.run(id)?;
        pods.entry(text(&run["podUID"]).to_owned())
            .or_default()
            .push(id.clone());
    }
    // All but the last part of an id is the same in replicas.
    let group = |id: &String| id.rsplit_once('_').map(|(group, _)| group.to_owned());
    for tasks in pods.values() {
        let groups: BTreeSet<_> = tasks.iter().map(group).collect();
        ensure!(groups.len() == tasks.len(), "replicas share an Indexer: {pods:?}");
    }
    ensure!(pods.len() == REPLICAS, "{pods:?}");
    Ok(pods)
}

/// What SQL said.
struct Watched {
    /// Most rows that it counted.
    most: u64,
    /// For how long at most it counted fewer than before, or answered nothing.
    longest: Duration,
}

/// Counts the rows again and again, from when there are some.
fn watch(broker: &Broker<'_>, topic: &str, over: &AtomicBool) -> Watched {
    let query = format!("SELECT COUNT(*) FROM \"{topic}\"");
    let mut watched = Watched {
        most: 0,
        longest: Duration::ZERO,
    };
    let mut missing: Option<Instant> = None;
    while !over.load(Ordering::Relaxed) {
        let rows = broker.sql(&query).unwrap_or_default();
        let rows = rows.first().and_then(|row| row[0].as_u64()).unwrap_or_default();
        if rows >= watched.most {
            watched.most = rows;
            if let Some(since) = missing.take()
                && since.elapsed() > Duration::from_secs(1)
            {
                println!("rows were missing for {:.1} s", since.elapsed().as_secs_f32());
            }
        } else {
            let since = *missing.get_or_insert_with(Instant::now);
            watched.longest = watched.longest.max(since.elapsed());
        }
        thread::sleep(Duration::from_millis(200));
    }
    watched
}
