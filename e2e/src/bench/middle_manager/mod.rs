//! `make bench-middle-manager`: how soon tasks run and end behind a VirtualMiddleManager, and behind a stock one.
//!
//! Both are workers of one overlord at the same time, and take turns: each round is one task for each, one after the
//! other, on a machine that does nothing else. Their peons are JVMs with the same options. Worker categories send a
//! task to the one or the other.

pub(in crate::bench) mod timing;
pub(in crate::bench) mod workers;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::{
    timing::{STAGES, Times, time},
    workers::{Virtual, peon_options},
};
use crate::{
    bench::logs::spread,
    testbed::{
        cache::Cache,
        druid::{samples, stock_middle_manager::StockMiddleManager},
        fixture::{Fixture, LIMIT, NAMESPACE},
        lock::Busy,
        progress::Progress,
        wait::wait_until,
    },
};

/// Milliseconds that a noop runs: long enough to be seen running.
const NOOP: u64 = 5000;

/// Worker categories, and the names that the table gives them.
pub(in crate::bench) const STOCK: &str = "stock";
pub(in crate::bench) const VIRTUAL: &str = "virtual";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Noop,
    IndexParallel,
}

const KINDS: [(Kind, &str); 2] = [(Kind::Noop, "noop"), (Kind::IndexParallel, "index_parallel")];

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// Pairs of tasks of each kind, after one that does not count.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// JVMs in pods start from the archive of classes in the image. Those of the stock MiddleManager never do.
    #[arg(long)]
    class_archive: bool,
}

/// Measures, and prints a table.
///
/// # Errors
/// When cluster, Druid, operator or one of the workers does not start, or a task does not succeed.
pub fn run(cache: &Cache, busy: Busy, plan: &Plan, progress: &Progress) -> Result<()> {
    let prepare = |fixture: Fixture| {
        if plan.class_archive {
            fixture.with_class_archive()
        } else {
            fixture
        }
    };
    super::on_prepared_cluster(cache, busy, progress, prepare, |fixture| {
        measure(fixture, plan.rounds, progress)
    })
}

fn measure(fixture: &Fixture, number: usize, progress: &Progress) -> Result<String> {
    let step = progress.step("VirtualMiddleManager");
    let workers = Virtual::start(fixture, 1)?;
    step.done("ready");
    // The first task warms up, and shows the options of its JVM, which the others' have, too.
    let bench = Bench { fixture };
    bench.send_to(VIRTUAL)?;
    let id = fixture.druid.submit(&bench.task(Kind::Noop, "options"))?;
    let options = peon_options(fixture)?;
    wait_until(LIMIT, "the first task", || {
        Ok((fixture.druid.status(&id)?["statusCode"] == "SUCCESS").then_some(()))
    })?;
    let step = progress.step("stock MiddleManager");
    let stock_options: Vec<String> = options
        .iter()
        .filter(|o| !o.contains("SharedArchiveFile"))
        .cloned()
        .collect();
    let stock = StockMiddleManager::start(fixture, &stock_options, 1)?;
    until_category(fixture, STOCK)?;
    step.done("ready");
    let mut table = format!(
        "\nSeconds from submitting a task, {number} rounds: median (least – most); ratio to the stock MiddleManager\n\
         of the same round. JVM options of peons in pods: {}; the others have no SharedArchiveFile\n",
        options.join(" ")
    );
    for (kind, name) in KINDS {
        let mut rounds = Vec::new();
        for round in 0..=number {
            let step = progress.step(format!("{name}, round {round} of {number}"));
            let (stock, virtual_) = bench.round(kind, name, round)?;
            step.done(format_args!(
                "SUCCESS after {:.1} s and {:.1} s",
                stock.ended, virtual_.ended
            ));
            if round > 0 {
                rounds.push((stock, virtual_));
            }
        }
        table.push_str(&lines(name, &rounds));
    }
    drop((stock, workers));
    Ok(table)
}

struct Bench<'a> {
    fixture: &'a Fixture,
}

impl Bench<'_> {
    /// One task behind each.
    fn round(&self, kind: Kind, name: &str, round: usize) -> Result<(Times, Times)> {
        let one = |category: &str| -> Result<Times> {
            self.send_to(category)?;
            let task = self.task(kind, &format!("bench_{name}_{category}_{round}"));
            let times = time(self.fixture, &task)?;
            self.until_idle()?;
            Ok(times)
        };
        // The order changes with each round, so that none always comes first.
        if round.is_multiple_of(2) {
            let stock = one(STOCK)?;
            Ok((stock, one(VIRTUAL)?))
        } else {
            let virtual_ = one(VIRTUAL)?;
            Ok((one(STOCK)?, virtual_))
        }
    }

    fn task(&self, kind: Kind, name: &str) -> Value {
        let name = format!("{name}_{}", self.fixture.run);
        match kind {
            Kind::Noop => json!({"type": "noop", "id": name, "runTime": NOOP}),
            Kind::IndexParallel => samples::index_parallel(&name, &name, &name)
                .map(|mut sample| sample["spec"]["task"].take())
                .unwrap_or_default(),
        }
    }

    /// From now on the overlord assigns to workers of this category only.
    fn send_to(&self, category: &str) -> Result<()> {
        send_to(self.fixture, category)
    }

    /// Waits until no worker has a task and no pod of a task runs.
    fn until_idle(&self) -> Result<()> {
        until_idle(self.fixture)
    }
}

/// From now on the overlord assigns to workers of this category only.
pub(in crate::bench) fn send_to(fixture: &Fixture, category: &str) -> Result<()> {
    let of = json!({"defaultCategory": category});
    let strategy = json!({
        "type": "equalDistributionWithCategorySpec",
        "workerCategorySpec": {"strong": true, "categoryMap": {"noop": of, "index": of, "index_parallel": of}},
    });
    let body = json!({"selectStrategy": strategy});
    fixture.druid.tell("/druid/indexer/v1/worker", &body)
}

/// Waits until no worker has a task and no pod of a task runs.
pub(in crate::bench) fn until_idle(fixture: &Fixture) -> Result<()> {
    let mut last = Value::Null;
    let idle = wait_until(LIMIT, "the workers to be idle", || {
        last = fixture.druid.get("/druid/indexer/v1/workers")?;
        let mut workers = last.as_array().into_iter().flatten();
        Ok(workers.all(|w| w["currCapacityUsed"] == 0).then_some(()))
    });
    idle.with_context(|| last.to_string())?;
    let pods = ["pod", "--selector=peon.dev/task", "--namespace", NAMESPACE];
    let ended = |found: &Value| {
        let mut pods = found["items"].as_array().into_iter().flatten();
        pods.all(|pod| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")))
    };
    fixture.kubectl.wait_for(&pods, LIMIT, ended).map(drop)
}

fn lines(name: &str, rounds: &[(Times, Times)]) -> String {
    let mut lines = format!("{name}\n");
    for (stage, of) in STAGES {
        let pair = |(stock, virtual_): &(Times, Times)| Some((of(stock)?, of(virtual_)?));
        let pairs: Vec<(f64, f64)> = rounds.iter().filter_map(pair).collect();
        if pairs.is_empty() {
            continue;
        }
        let stock = spread(pairs.iter().map(|(stock, _)| *stock).collect());
        let virtual_ = spread(pairs.iter().map(|(_, virtual_)| *virtual_).collect());
        let ratio = spread(pairs.iter().map(|(s, v)| v / s).collect());
        let line = format!(
            "  {stage:<16} {:>2} pairs   stock {:>5.2} ({:.2} – {:.2})   virtual {:>5.2} ({:.2} – {:.2})   ratio {:>5.2} ({:.2} – {:.2})\n",
            pairs.len(),
            stock.0,
            stock.1,
            stock.2,
            virtual_.0,
            virtual_.1,
            virtual_.2,
            ratio.0,
            ratio.1,
            ratio.2
        );
        lines.push_str(&line);
    }
    lines
}

/// That a worker's category is known to the overlord.
pub(in crate::bench) fn until_category(fixture: &Fixture, category: &str) -> Result<()> {
    let mut last = Value::Null;
    let known = wait_until(LIMIT, "a worker", || {
        last = fixture.druid.get("/druid/indexer/v1/workers")?;
        let mut workers = last.as_array().into_iter().flatten();
        let of = |w: &Value| w["worker"]["category"] == category && w["worker"]["version"] != "";
        Ok(workers.any(of).then_some(()))
    });
    known.with_context(|| last.to_string())?;
    ensure!(last.is_array(), "{last}");
    Ok(())
}
