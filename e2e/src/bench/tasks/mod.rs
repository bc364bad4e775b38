//! `make bench`: what a task costs that runs in its own pod, beside what it costs at least.
//!
//! Four ways take turns in each round, each with a burst of tasks: a bare client with trivial objects, a bare client with
//! PeonTasks, the Job controller, and the operator. All create a ConfigMap and a pod of the same content for each task.
//! The pods are on a node that kwok simulates, name that node, and end as soon as they run, so neither a scheduler nor a
//! kubelet takes part. One program (`run_tasks`) creates the tasks, watches them, and reads the cpu of all processes
//! meanwhile. Operator and `run_tasks` are compiled with optimisation and run on the machine, outside the cluster.

mod ground;
mod memory;
mod operator;
mod report;
mod round;

use std::path::PathBuf;

use anyhow::Result;

use self::{ground::Ground, report::Results, round::Load};
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

/// How tasks become pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Way {
    Plain,
    Crd,
    Job,
    Operator,
    /// As `Operator`, with the program that was given.
    #[value(skip)]
    Other,
}

impl Way {
    const ALL: [Self; 4] = [Self::Plain, Self::Crd, Self::Job, Self::Operator];

    /// In table and picture.
    fn title(self) -> &'static str {
        match self {
            Self::Plain => "floor, trivial objects",
            Self::Crd => "floor, PeonTasks",
            Self::Job => "Jobs",
            Self::Operator => "this operator",
            Self::Other => "the other build",
        }
    }

    /// As `run_tasks` and namespaces call it.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Crd => "crd",
            Self::Job => "job",
            Self::Operator | Self::Other => "operator",
        }
    }

    fn is_operator(self) -> bool {
        matches!(self, Self::Operator | Self::Other)
    }

    fn namespace(self) -> String {
        format!("bench-{}", self.name())
    }
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
    let ground = Ground::prepare(cluster, plan.other.clone())?;
    step.done("ready");
    let mut results = Results::new(plan.tasks, plan.rounds);
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
