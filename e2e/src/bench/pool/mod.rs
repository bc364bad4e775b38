//! `make bench-pool`: small ingestions through one overlord, many at once and one after the other, in all ways in which
//! they can run: in shared Indexers, in Indexers of one task, in pods of their own, behind a stock MiddleManager, and in
//! stock Indexers to which the overlord assigns them.
//!
//! The ways take turns. Of a way only what it needs is there while it is measured: its pool, or its stock workers. Where no
//! JVM starts for a task, all tasks are submitted at once; where one does, as many as run at a time, for some time, and the rate
//! is that of these.

mod load;
mod overlord;
mod report;
pub mod start;
mod usage;
mod ways;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use self::load::Load;
use self::overlord::Overlord;
use self::report::Results;
use self::usage::Others;
use self::ways::{Ground, WAYS, Way, long_lived_template};
use super::middle_manager::{
    VIRTUAL, send_to, until_idle,
    workers::{Virtual, peon_options},
};
use crate::testbed::{
    cache::{self, Cache},
    fixture::{Fixture, LIMIT},
    lock::Busy,
    progress::Progress,
    wait::wait_until,
};

/// Tasks that the VirtualMiddleManager takes: those of eight slots, and some that wait for one.
const CAPACITY: usize = 12;

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// Tasks of each way in each round; of those that start JVMs as many as begin in `--seconds`.
    #[arg(long, default_value_t = 1000)]
    tasks: usize,
    /// How long tasks are submitted of a way that starts a JVM for each.
    #[arg(long, default_value_t = 100)]
    seconds: u64,
    /// Rounds. One with 1,000 tasks takes twenty minutes.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Tasks that run alone in each round, of ways that start no JVM; a quarter as many of the others.
    #[arg(long, default_value_t = 20)]
    alone: usize,
    /// Only these ways.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Way>,
    /// File for the measured values (JSON).
    #[arg(long, default_value = "target/bench/pool.json")]
    json: PathBuf,
    /// File for a picture of the table (SVG).
    #[arg(long)]
    picture: Option<PathBuf>,
}

/// Measures, prints a table, and writes the values and the picture.
///
/// # Errors
/// When cluster, Druid, operator, a pool or a worker does not start, or a task does not succeed.
pub fn run(cache: &Cache, busy: Busy, plan: &Plan, progress: &Progress) -> Result<()> {
    super::on_cluster(cache, busy, progress, |fixture| {
        let results = measure(fixture, plan, progress)?;
        let json = serde_json::to_string_pretty(&report::json(&results))?;
        cache::write(&plan.json, json + "\n")?;
        progress.say(format_args!("the values are in {}", plan.json.display()));
        if let Some(path) = &plan.picture {
            cache::write(path, report::picture(&results))?;
        }
        Ok(report::table(&results))
    })
}

fn measure(fixture: &Fixture, plan: &Plan, progress: &Progress) -> Result<Results> {
    let step = progress.step("VirtualMiddleManager");
    let workers = Virtual::start(fixture, CAPACITY)?;
    long_lived_template(fixture)?;
    send_to(fixture, VIRTUAL)?;
    // The options of its JVM are those of the JVMs of a stock MiddleManager.
    let overlord = Overlord::of(&fixture.druid)?;
    let first = Way::Pod.task(fixture, "options")?;
    overlord.submit(&first)?;
    let options = peon_options(fixture)?;
    let id = first["id"].as_str().unwrap_or_default();
    wait_until(LIMIT, "the first task", || {
        Ok((overlord.status(id)? == "SUCCESS").then_some(()))
    })?;
    step.done("ready");
    until_idle(fixture)?;
    // Their cpu is read on the machine.
    let cluster = fixture.target.own().context("no cluster of our own")?;
    let others = Others::now(&fixture.kubectl, cluster)?;
    let ways: Vec<Way> = WAYS
        .into_iter()
        .filter(|way| plan.only.is_empty() || plan.only.contains(way))
        .collect();
    let mut results = Results::new();
    for round in 0..plan.rounds {
        // The order changes with each round, so that none always comes first.
        for at in 0..ways.len() {
            let way = ways[(at + round) % ways.len()];
            let step = progress.step(format!("round {} of {}, {}", round + 1, plan.rounds, way.title()));
            let ground = Ground::start(fixture, way, &options)?;
            let load = Load {
                fixture,
                overlord,
                way,
                round,
                slow: Duration::from_secs(plan.seconds),
            };
            let alone = if way.is_fast() {
                plan.alone
            } else {
                plan.alone.div_ceil(4)
            };
            let measured = load.measure(&ground, &others, plan.tasks, alone)?;
            step.done(format_args!(
                "{} tasks in {:.1} s",
                measured.tasks, measured.seconds
            ));
            results.entry(way).or_default().push(measured);
        }
    }
    drop(workers);
    Ok(results)
}
