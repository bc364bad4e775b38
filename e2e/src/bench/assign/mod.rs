//! `make bench-assign`: how many assignments a second a VirtualMiddleManager acknowledges.
//!
//! The overlord is Druid's own class `HttpRemoteTaskRunner`, in a JVM on this machine. In each round it assigns the same
//! number of tasks to workers that acknowledge at once, and to each kind of VirtualMiddleManager. The order changes with
//! each round. The tasks of all kinds but one are held: their template has no slot left, so no pod is created, and what
//! is measured is the acknowledgement alone. The tasks of the last kind live their whole life, in pods that run nothing.

pub(super) mod cpu;
mod steps;
mod workers;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use self::{
    cpu::Cpu,
    steps::Steps,
    workers::{Kind, Workers},
};
use crate::{
    bench::logs::spread,
    testbed::{
        audit,
        cache::Cache,
        cluster::Cluster,
        druid::hrtr::{Client, Registry},
        fixture::Fixture,
        images::Classes,
        kwok::FakeNode,
        lock::Busy,
        progress::Progress,
    },
};

/// What the overlord's `druid.indexer.runner.pendingTasksRunnerNumThreads` is.
const THREADS: u32 = 5;
/// The credentials of the workers' clients.
const USER: &str = "druid_system";
const PASSWORD: &str = "password";
/// Name and path in ZooKeeper of the workers that acknowledge at once.
const STUB: &str = "stub";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Workers that assign at the same time: an overlord sends a worker one task at a time.
    pub identities: usize,
    /// Tasks of each kind in each round.
    pub tasks: usize,
    /// Rounds, after one that does not count.
    pub rounds: usize,
}

/// One kind's part of a round.
#[derive(Debug)]
struct Measured {
    /// Assignments a second.
    rate: f64,
    /// The same of the workers that acknowledge at once, in the same round.
    stub: f64,
    cpu: Cpu,
    steps: Steps,
}

/// Measures, and prints a table.
///
/// # Errors
/// When cluster, Druid, operator or workers do not start, or a task is lost.
pub fn run(cache: &Cache, busy: Busy, size: Size, progress: &Progress) -> Result<()> {
    super::on_cluster(cache, busy, progress, |fixture| measure(fixture, size, progress))
}

fn measure(fixture: &Fixture, size: Size, progress: &Progress) -> Result<String> {
    let cluster = fixture.target.own().context("no cluster of our own")?;
    let node = FakeNode::start(cluster)?;
    let mut bench = Bench {
        fixture,
        cluster,
        size,
        client: Client::start(
            Classes::Tested,
            cluster,
            Registry::ZooKeeper(fixture.druid.zookeeper()),
            (USER, PASSWORD),
            None,
        )?,
    };
    let base = format!("/{STUB}-{}", fixture.run);
    bench
        .client
        .order(&json!({"do": STUB, "base": base, "count": size.identities}))?;
    bench.client.lead(STUB, &base, THREADS, size.identities)?;
    let mut kinds = Vec::new();
    for kind in Kind::ALL {
        let step = progress.step(kind.name());
        let workers = Workers::start(fixture, &node, kind, size.identities)?;
        bench.meet(&workers)?;
        kinds.push((workers, Vec::new()));
        step.done("ready");
    }
    for round in 0..=size.rounds {
        let step = progress.step(format!("round {round} of {}", size.rounds));
        let stub = bench.rate(STUB, &format!("{STUB}-{round}_"), &json!({}))?;
        // The order changes with each round, so that none always comes first.
        let (first, last) = (round % kinds.len(), kinds.len());
        let mut said = vec![format!("{stub:.0}")];
        for at in (first..last).chain(0..first) {
            let (workers, measured) = &mut kinds[at];
            let one = bench.round(workers, round, stub)?;
            said.push(format!("{} {:.1}", workers.kind.name(), one.rate));
            if round > 0 {
                measured.push(one);
            }
        }
        step.done(format_args!("{} a second", said.join(", ")));
    }
    let mut table = format!(
        "\nAssignments a second, {} tasks in each of {} rounds, {} workers, {THREADS} threads of the overlord: median\n\
         (least – most); ratio to workers that acknowledge at once in the same round. Per assignment: requests,\n\
         milliseconds of cpu, milliseconds of each step: mean (median, most).\n",
        size.tasks, size.rounds, size.identities
    );
    for (workers, measured) in &kinds {
        table.push_str(&lines(workers.kind.name(), measured, size));
    }
    drop(kinds);
    drop(node);
    Ok(table)
}

struct Bench<'a> {
    fixture: &'a Fixture,
    cluster: &'a Cluster,
    size: Size,
    client: Client,
}

impl Bench<'_> {
    /// Has an overlord lead for these workers, and takes the slot of the template whose tasks are held.
    fn meet(&mut self, workers: &Workers) -> Result<()> {
        let name = workers.kind.name();
        self.client
            .lead(name, &workers.base, THREADS, self.size.identities)?;
        if workers.kind.is_held() {
            let prefix = self.prefix(name, "slot");
            self.client.run(name, &prefix, 1, &workers.kind.tags())?;
            workers.until_slot_taken()?;
        }
        Ok(())
    }

    fn round(&mut self, workers: &Workers, round: usize, stub: f64) -> Result<Measured> {
        let name = workers.kind.name();
        let from = audit::end(self.cluster)?;
        let before = Cpu::now(self.cluster)?;
        let prefix = self.prefix(name, &round.to_string());
        let rate = self.rate(name, &prefix, &workers.kind.tags())?;
        let cpu = Cpu::now(self.cluster)?.since(&before);
        let requests = audit::of_operator_from(self.cluster, from)?;
        let steps = Steps::of(&requests, &workers.namespace);
        // What is left to do for these tasks is no part of the next measurement.
        let all = (round + 1) * self.size.tasks;
        if workers.kind.is_held() {
            // And the one that has the slot.
            workers.until_held(all)?;
        } else {
            self.client.until("all tasks to succeed", |said| {
                let ended = said
                    .iter()
                    .filter(|s| s["overlord"] == name && s["status"] == "SUCCESS");
                (ended.count() >= all).then_some(())
            })?;
        }
        Ok(Measured {
            rate,
            stub,
            cpu,
            steps,
        })
    }

    fn rate(&mut self, overlord: &str, prefix: &str, tags: &Value) -> Result<f64> {
        let seconds = self.client.run(overlord, prefix, self.size.tasks, tags)?;
        Ok(count(self.size.tasks) / seconds)
    }

    fn prefix(&self, name: &str, round: &str) -> String {
        format!("{name}-{round}_{}_", self.fixture.run).replace(' ', "-")
    }
}

fn lines(name: &str, measured: &[Measured], size: Size) -> String {
    let of = |value: fn(&Measured) -> f64| spread(measured.iter().map(value).collect());
    let (rate, stub, ratio) = (of(|m| m.rate), of(|m| m.stub), of(|m| m.rate / m.stub));
    let assignments = count(size.tasks * size.rounds);
    // An identity has one assignment at a time.
    let seconds: f64 = measured.iter().map(|m| count(size.tasks) / m.rate).sum();
    let whole = seconds * 1000.0 * count(size.identities) / assignments;
    let cpu = measured.iter().fold(Cpu::default(), |all, one| all.and(&one.cpu));
    let steps = measured
        .iter()
        .fold(Steps::default(), |all, one| all.and(&one.steps));
    format!(
        "{name}\n  a second   {:>6.1} ({:.1} – {:.1})   at once {:.0} ({:.0} – {:.0})   ratio {:.2} ({:.2} – {:.2})\n  \
         requests   {}\n  cpu        {}\n  steps      {}\n",
        rate.0,
        rate.1,
        rate.2,
        stub.0,
        stub.1,
        stub.2,
        ratio.0,
        ratio.1,
        ratio.2,
        steps.requests(assignments),
        cpu.line(assignments),
        steps.line(whole),
    )
}

#[allow(clippy::cast_precision_loss)] // A number of tasks.
fn count(n: usize) -> f64 {
    n as f64
}
