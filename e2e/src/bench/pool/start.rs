//! `make bench-pool-start`: how soon a small ingestion ends in a warm Indexer, in a pod of its own, and behind a stock
//! MiddleManager, which forks a JVM for it; the first two also with the class-data archive of the test image.
//!
//! All are there at the same time, under one overlord, and take turns: each round is one task for each, and then
//! ten at once for each, on a machine that does nothing else. The next turn begins when nothing runs and as many
//! Indexers are warm as the turn needs: what it costs to warm them is not in the times.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::bench::{
    chart::{self, Row, Spread},
    logs::spread,
    middle_manager::{
        STOCK, VIRTUAL, send_to,
        timing::time,
        until_category, until_idle,
        workers::{NAME, Virtual, peon_options},
    },
};
use crate::testbed::{
    cache::{self, Cache},
    druid::{samples, stock_middle_manager::StockMiddleManager},
    fixture::{Fixture, LIMIT, NAMESPACE},
    interrupt,
    lock::Busy,
    progress::Progress,
    wait::wait_until,
};

/// Tasks at once.
const AT_ONCE: usize = 10;
/// How often the overlord is asked for all of them.
const POLL: Duration = Duration::from_millis(50);
/// Template, pool and tag of tasks whose JVMs use the archive.
const ARCHIVED: &str = "archived";
/// Pool of the others.
const PLAIN: &str = "plain";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Warm,
    WarmArchived,
    Pod,
    PodArchived,
    Stock,
}

const WAYS: [(Way, &str); 5] = [
    (Way::Warm, "warm Indexer"),
    (Way::WarmArchived, "warm Indexer, archive"),
    (Way::Pod, "own pod"),
    (Way::PodArchived, "own pod, archive"),
    (Way::Stock, "stock MiddleManager"),
];

/// Measures `rounds` rounds after a first one whose times are dropped, prints a table, and writes it to `picture` as SVG.
///
/// # Errors
/// When cluster, Druid, operator, a worker or the pool does not start, or a task does not succeed.
pub fn run(
    cache: &Cache,
    busy: Busy,
    rounds: usize,
    picture: Option<&Path>,
    progress: &Progress,
) -> Result<()> {
    crate::bench::on_cluster(cache, busy, progress, |fixture| {
        let (table, rows) = measure(fixture, rounds, progress)?;
        if let Some(path) = picture {
            let panels = [
                "one task alone, seconds".to_owned(),
                format!("the last of {AT_ONCE} at once, seconds"),
            ];
            let title = "Seconds from submitting a small ingestion until SUCCESS";
            cache::write(path, chart::svg(title, &panels, &rows))?;
        }
        Ok(table)
    })
}

fn measure(fixture: &Fixture, rounds: usize, progress: &Progress) -> Result<(String, Vec<Row>)> {
    let step = progress.step("VirtualMiddleManager");
    let workers = Virtual::start(fixture, AT_ONCE)?;
    send_to(fixture, VIRTUAL)?;
    let first = fixture.druid.submit(&task(fixture, Way::Pod, "options"))?;
    let options = peon_options(fixture)?;
    wait_until(LIMIT, "the first task", || {
        Ok((fixture.druid.status(&first)?["statusCode"] == "SUCCESS").then_some(()))
    })?;
    step.done("ready");
    let step = progress.step("stock MiddleManager");
    let stock = StockMiddleManager::start(fixture, &options, 1)?;
    until_category(fixture, STOCK)?;
    step.done("ready");
    let bench = Bench { fixture };
    bench.archived_template()?;
    bench.pool(PLAIN)?;
    bench.pool(ARCHIVED)?;
    let mut alone = WAYS.map(|_| Vec::new());
    let mut median = WAYS.map(|_| Vec::new());
    let mut all = WAYS.map(|_| Vec::new());
    for round in 0..=rounds {
        // The order changes with each round, so that none always comes first.
        for at in 0..WAYS.len() {
            let at = (at + round) % WAYS.len();
            let (way, name) = WAYS[at];
            let step = progress.step(format!("round {round} of {rounds}, {name}"));
            let one = bench.alone(way, round)?;
            // A MiddleManager forks as many JVMs as it has slots, one: ten at once would wait for one another.
            let ten = if way == Way::Stock {
                Vec::new()
            } else {
                bench.at_once(way, round)?
            };
            let last = ten.iter().copied().fold(0.0, f64::max);
            if ten.is_empty() {
                step.done(format_args!("{one:.2} s"));
            } else {
                step.done(format_args!("{one:.2} s, {AT_ONCE} at once {last:.2} s"));
            }
            if round > 0 {
                alone[at].push(one);
                if !ten.is_empty() {
                    median[at].push(spread(ten).0);
                    all[at].push(last);
                }
            }
        }
    }
    drop((stock, workers));
    let mut table = format!(
        "\nSeconds from submitting a small index_parallel until the overlord says SUCCESS, {rounds} rounds: median (least \
         – most).\nOf {AT_ONCE} at once: the median of each round's tasks, and its last task.\n"
    );
    let mut rows = Vec::new();
    for (at, (_, name)) in WAYS.iter().enumerate() {
        rows.push(Row {
            name,
            values: vec![
                Some(times(&alone[at])),
                (!all[at].is_empty()).then(|| times(&all[at])),
            ],
        });
        let mut line = format!("  {name:<22}");
        for (title, times) in [
            ("alone", &alone[at]),
            ("at once", &median[at]),
            ("the last", &all[at]),
        ] {
            if !times.is_empty() {
                let (middle, least, most) = spread(times.clone());
                let _ = write!(line, "   {title} {middle:>6.2} ({least:.2} – {most:.2})");
            }
        }
        table.push_str(&line);
        table.push('\n');
    }
    Ok((table, rows))
}

fn times(seconds: &[f64]) -> Spread {
    spread(seconds.to_vec()).into()
}

/// A small ingestion of its own datasource.
fn task(fixture: &Fixture, way: Way, name: &str) -> Value {
    let name = format!("{name}_{}", fixture.run);
    let mut task = samples::index_parallel(&name, &name, &name)
        .map(|mut sample| sample["spec"]["task"].take())
        .unwrap_or_default();
    if let Some(placement) = way.placement() {
        let classes = if way.archived() { ARCHIVED } else { PLAIN };
        task["context"] = json!({"druid.peon.placement": placement, "tags": {"classes": classes}});
    }
    task
}

impl Way {
    /// Where the operator is to run the task, unless it goes to the stock MiddleManager.
    fn placement(self) -> Option<&'static str> {
        match self {
            Self::Warm | Self::WarmArchived => Some("Pool"),
            Self::Pod | Self::PodArchived => Some("Pod"),
            Self::Stock => None,
        }
    }

    fn archived(self) -> bool {
        matches!(self, Self::WarmArchived | Self::PodArchived)
    }
}

struct Bench<'a> {
    fixture: &'a Fixture,
}

impl Bench<'_> {
    /// As the template of all others, for tasks with the tag.
    fn archived_template(&self) -> Result<()> {
        let args = ["peontemplate", "default", "--namespace", NAMESPACE];
        let template = self.fixture.kubectl.get_json(&args)?;
        let mut spec = samples::with_class_archive(template)["spec"].take();
        spec["match"] = json!({"contextTags": {"classes": [ARCHIVED]}});
        spec["priority"] = json!(10);
        let object = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate", "metadata": {"name": ARCHIVED}, "spec": spec,
        });
        self.fixture.apply(NAMESPACE, &object)
    }

    /// The pool of this name, whose tasks have it as their tag.
    fn pool(&self, name: &str) -> Result<()> {
        let template = if name == ARCHIVED { ARCHIVED } else { "default" };
        let spec = json!({
            "middleManagerRef": {"name": NAME},
            "templateRef": {"name": template},
            "match": {"contextTags": {"classes": [name]}},
            "replicas": AT_ONCE,
            "maxIndexers": AT_ONCE + 2,
            "resources": {"limits": {"memory": "640Mi", "cpu": "2"}, "requests": {"cpu": "150m"}},
        });
        let object = samples::pool(name, &spec);
        self.fixture.apply(NAMESPACE, &object)
    }

    /// Nothing runs, and all idle Indexers are warm.
    fn quiet(&self) -> Result<()> {
        until_idle(self.fixture)?;
        let warm = |pool: &Value| {
            pool["status"]["readyReplicas"] == AT_ONCE && pool["status"]["replicas"] == AT_ONCE
        };
        for name in [PLAIN, ARCHIVED] {
            let args = ["indexerpool", name, "--namespace", NAMESPACE];
            self.fixture.kubectl.wait_for(&args, LIMIT, warm)?;
        }
        Ok(())
    }

    fn alone(&self, way: Way, round: usize) -> Result<f64> {
        self.quiet()?;
        send_to(self.fixture, if way == Way::Stock { STOCK } else { VIRTUAL })?;
        let task = task(
            self.fixture,
            way,
            &format!("alone_{way:?}_{round}").to_lowercase(),
        );
        Ok(time(self.fixture, &task)?.ended)
    }

    /// Seconds of each of the tasks.
    fn at_once(&self, way: Way, round: usize) -> Result<Vec<f64>> {
        self.quiet()?;
        let mut pending = Vec::new();
        for n in 0..AT_ONCE {
            let task = task(
                self.fixture,
                way,
                &format!("ten_{way:?}_{round}_{n}").to_lowercase(),
            );
            let began = Instant::now();
            pending.push((self.fixture.druid.submit(&task)?, began));
        }
        let began = Instant::now();
        let mut took = Vec::new();
        while !pending.is_empty() {
            interrupt::check()?;
            let mut left = Vec::new();
            for (id, began) in pending {
                let status = self.fixture.druid.status(&id)?;
                match status["statusCode"].as_str().unwrap_or_default() {
                    "SUCCESS" => took.push(began.elapsed().as_secs_f64()),
                    "RUNNING" => left.push((id, began)),
                    _ => bail!("{id}: {status}"),
                }
            }
            pending = left;
            thread::sleep(POLL);
            ensure!(began.elapsed() < LIMIT, "{pending:?} do not end");
        }
        Ok(took)
    }
}
