//! `make bench`: what a task costs that runs in its own pod or in a pool of Indexers, beside what it costs at least.
//!
//! Six ways take turns in each round, each with a burst of tasks: a bare client with trivial objects, a bare client with
//! PeonTasks, the same without pods, the Job controller, and the operator, with pods and with a pool. Those with pods create
//! a ConfigMap and a pod of the same content for each task. The pods are on a node that kwok simulates, name that node, and
//! end as soon as they run, so neither a scheduler nor a kubelet takes part. The Indexers of the pool are pods of that node,
//! too, and a program (`model_indexers`) answers at their addresses. Another one (`run_tasks`) creates the tasks, watches
//! them, and reads the cpu of all processes meanwhile. All are compiled with optimisation and run on the machine, outside the
//! cluster, as the operator does.

mod ground;
mod memory;
mod operator;
mod payload;
mod pool;
mod report;
mod round;
mod table;
mod targets;
mod way;

use std::path::PathBuf;

use anyhow::Result;

use self::{ground::Ground, report::Results, round::Load, way::Way};
use crate::testbed::{
    cache::{self, Cache},
    cluster::Cluster,
    lock::Busy,
    progress::Progress,
};

/// Tasks of the round that does not count.
const WARM_UP: usize = 100;
/// Share of the most tasks a second at which latencies are measured, and for how many seconds.
const STEADY: (f64, f64) = (0.5, 20.0);

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// Tasks of each way in each round.
    #[arg(long, default_value_t = 1000)]
    tasks: usize,
    /// Rounds, after a short one that does not count.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these ways, and no steady rate; the table has the others empty.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Way>,
    /// KiB of JSON of each task. Default: the smallest task, of some bytes.
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u8).range(1..=64))]
    payload: Option<u8>,
    /// The pool.
    #[command(flatten)]
    pool: pool::Size,
    /// Another build of the operator, which is measured in turns with this one.
    #[arg(long)]
    other: Option<PathBuf>,
    /// File for the measured values (JSON).
    #[arg(long, default_value = "target/bench/latest.json")]
    json: PathBuf,
    /// File for a picture of the table (SVG).
    #[arg(long)]
    picture: Option<PathBuf>,
}

/// Measures, prints a table, and writes JSON and picture.
///
/// # Errors
/// When the cluster does not start, a task fails, or a file cannot be written.
pub fn run(cache: &Cache, busy: Busy, plan: &Plan, progress: &Progress) -> Result<()> {
    // The control plane is restarted with other limits, so a cluster of its own.
    let cluster = Cluster::up(cache, busy, progress)?;
    let results = measure(&cluster, plan, progress);
    if results.is_err() {
        let folder = cache.path("run/failed");
        cache::remove(&folder)?;
        cluster.collect_logs(&folder)?;
        progress.say(format_args!("logs of everything are in {}", folder.display()));
    }
    cluster.down()?;
    let results = results?;
    let json = serde_json::to_string_pretty(&results.json())?;
    cache::write(&plan.json, json + "\n")?;
    if let Some(path) = &plan.picture {
        cache::write(path, results.picture())?;
    }
    print!("{}", results.table());
    progress.say(format_args!("the values are in {}", plan.json.display()));
    Ok(())
}

fn measure(cluster: &Cluster, plan: &Plan, progress: &Progress) -> Result<Results> {
    let step = progress.step("fake node, custom resources, samples");
    let ground = Ground::prepare(cluster, plan)?;
    step.done("ready");
    let mut results = Results::new(plan.tasks, plan.rounds, plan.payload, plan.pool);
    let all = Way::ALL.into_iter();
    let mut ways: Vec<Way> = all
        .filter(|way| plan.only.is_empty() || plan.only.contains(way))
        .collect();
    ways.extend(plan.other.iter().map(|_| Way::Other));
    for round in 0..=plan.rounds {
        let tasks = if round == 0 {
            WARM_UP.min(plan.tasks)
        } else {
            plan.tasks
        };
        for turn in 0..ways.len() {
            // Which one comes first changes with the rounds.
            let way = ways[(turn + round) % ways.len()];
            let step = progress.step(format!("round {round} of {}, {}", plan.rounds, way.title()));
            let load = Load {
                tasks,
                rate: None,
                prefix: format!("r{round}"),
            };
            let measured = round::measure(&ground, way, &load)?;
            step.done(format_args!(
                "{:.1} tasks a second, {:.1} ms of the API server",
                measured.rate(),
                measured.cpu.apiserver
            ));
            if round > 0 {
                results.bursts.entry(way).or_default().push(measured);
            }
        }
    }
    if plan.only.is_empty() {
        for way in ways.iter().copied() {
            let (share, seconds) = STEADY;
            let rate = results.rate(way).median * share;
            let step = progress.step(format!("{rate:.1} tasks a second, {}", way.title()));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A few hundred.
            let tasks = (rate * seconds).ceil() as usize;
            let load = Load {
                tasks: tasks.min(plan.tasks),
                rate: Some(rate),
                prefix: "steady".to_owned(),
            };
            let measured = round::measure(&ground, way, &load)?;
            step.done("measured");
            results.steady.insert(way, measured);
        }
    }
    if ways.contains(&Way::Operator) {
        results.memory = Some(memory::measure(&ground, Way::Operator, plan.tasks, progress)?);
    }
    if ways.contains(&Way::Other) {
        results.other_memory = Some(memory::measure(&ground, Way::Other, plan.tasks, progress)?);
    }
    Ok(results)
}
