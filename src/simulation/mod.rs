//! Random histories that drive the real passes (caches, plan, actor and live reads) against a model of the cluster.
//!
//! A history is a sequence of events: two processes of the operator, each with caches that lag, lose and repeat watch
//! events; requests that fail before or after they take effect, or arrive after their sender died; a leader that is
//! stopped and deposed; users, kubelets, machines and the control plane. Every third history has a [`pool`], to whose
//! VirtualMiddleManager the task is assigned: its [`indexers`] forget tasks, fall silent, are replaced at their address,
//! and get requests late or twice; its passes are those of the product, and its pods are the model's. JVMs are modelled apart from pods: they live
//! on machines, so "two at the same time" means two processes and not two objects. After every event and every request
//! the [`invariants`] are checked and, at the end, with all faults over, whether the task comes to [`rest`].
//!
//! Three cases are counted and tolerated, since no client can rule them out: a pod created by a request that a process
//! sent before it was deposed and that arrives when its attempt is over (it is deleted on sight), a pod that is removed by
//! force before any process recorded it, and a task that is posted in time and arrives in the Indexer that has the address
//! by then (the pool deletes it).
//!
//! Planted bugs test that the histories find errors: plans that decide wrongly in one respect.
//!
//! `HISTORY_SEED=<seed>` replays one history and prints it; `HISTORIES=<n>` sets how many are tried. The coverage is
//! printed (`--nocapture`) and written to `histories.txt` in the target directory.

mod claims;
mod client;
mod cluster;
mod coverage;
mod events;
mod indexers;
mod invariants;
pub(crate) mod model_api;
mod placement_rules;
mod planted_tests;
mod polls;
mod pool;
mod process;
mod rest;
mod rng;
mod shared;
mod wire;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coverage::Coverage;
use world::{Operator, Violation, World};

use crate::api::reason::{Acceptance, Cause, Readiness, Waiting};
use crate::task::decide::plan::plan;

/// How many histories are tried, unless said otherwise; enough to reach every cause and reason.
const HISTORIES: u64 = 3_000;

/// The operator as it is.
const REAL: Operator = Operator {
    plan,
    is_hasty: false,
    is_impatient: false,
};

fn run(seed: u64, operator: Operator) -> (Coverage, Option<Violation>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, operator);
        let many = 30 + world.dice.below(70);
        for _ in 0..many {
            world.happen().await;
            if world.violation.is_some() {
                return (world.seen, world.violation);
            }
        }
        world.come_to_rest().await;
        (world.seen, world.violation)
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn show(seed: u64, violation: &Violation) -> String {
    format!(
        "{}\n{}: {}\nreplay with HISTORY_SEED={seed}",
        violation.trail.join("\n"),
        violation.invariant,
        violation.detail
    )
}

/// Violations by invariant, each with the first history that broke it.
type Violations = std::collections::BTreeMap<&'static str, (u64, Violation)>;

/// Runs histories on as many threads as there are processors.
fn run_many(
    many: u64,
    run: impl Fn(u64) -> (Coverage, Option<Violation>) + Clone + Send + 'static,
) -> (Coverage, Violations) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let next = Arc::new(AtomicU64::new(0));
    let part = move |next: &AtomicU64| {
        let (mut all, mut violations) = (Coverage::default(), Violations::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= many {
                return (all, violations);
            }
            let (reached, violation) = run(seed);
            all.add(&reached);
            if let Some(violation) = violation {
                violations.entry(violation.invariant).or_insert((seed, violation));
            }
        }
    };
    let parts: Vec<_> = (0..threads)
        .map(|_| {
            let (next, part) = (next.clone(), part.clone());
            std::thread::spawn(move || part(&next))
        })
        .collect();
    let (mut all, mut violations) = (Coverage::default(), Violations::new());
    for part in parts {
        let (seen, more) = part.join().unwrap();
        all.add(&seen);
        for (invariant, (seed, violation)) in more {
            if violations.get(invariant).is_none_or(|(first, _)| seed < *first) {
                violations.insert(invariant, (seed, violation));
            }
        }
    }
    (all, violations)
}

/// As [`run`], of the operator as it is; the time of histories with a pool is added up.
fn timed(seed: u64, in_pools: &AtomicU64) -> (Coverage, Option<Violation>) {
    let began = std::time::Instant::now();
    let ran = run(seed, REAL);
    if pool::has_pool(seed) {
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        in_pools.fetch_add(micros, Ordering::Relaxed);
    }
    ran
}

/// Causes and reasons that histories have to reach.
const CAUSES: [&str; 17] = [
    "Succeeded",
    Cause::TaskFailed.as_str(),
    Cause::OomKilled.as_str(),
    Cause::JavaOutOfMemory.as_str(),
    Cause::Evicted.as_str(),
    Cause::Drained.as_str(),
    Cause::Preempted.as_str(),
    Cause::NodeShutdown.as_str(),
    Cause::NodeLost.as_str(),
    Cause::PodRejected.as_str(),
    Cause::StartDeadline.as_str(),
    Cause::Cancelled.as_str(),
    Cause::Deadline.as_str(),
    Cause::PodDeleted.as_str(),
    Cause::ImagePull.as_str(),
    Cause::ContainerStart.as_str(),
    Cause::NoVerdict.as_str(),
];
/// Verdicts on tasks in Indexers that histories with a pool have to reach.
const IN_A_POOL: [&str; 7] = [
    "Succeeded",
    Cause::TaskFailed.as_str(),
    Cause::OomKilled.as_str(),
    Cause::Evicted.as_str(),
    Cause::NodeLost.as_str(),
    Cause::NoVerdict.as_str(),
    Cause::Cancelled.as_str(),
];
/// What else has to be reached with a pool.
const WITH_A_POOL: [(&str, &str); 8] = [
    ("reasons", Waiting::PoolFull.as_str()),
    ("reasons", Waiting::NoPool.as_str()),
    ("places", "a pod"),
    ("places", "an Indexer that another process had claimed"),
    ("places", "an Indexer for another task"),
    ("happenings in a pool", "an Indexer forgets"),
    ("happenings in a pool", "another JVM at an address"),
    ("happenings in a pool", "a stranger comes"),
];
const REASONS: [&str; 12] = [
    Waiting::Starting.as_str(),
    Waiting::Unschedulable.as_str(),
    Waiting::QuotaExceeded.as_str(),
    Waiting::ImagePull.as_str(),
    Waiting::ContainerConfig.as_str(),
    Waiting::ContainerStart.as_str(),
    Waiting::NameConflict.as_str(),
    Waiting::NotCreated.as_str(),
    Readiness::Stopping.as_str(),
    Readiness::AwaitingNodeProof.as_str(),
    Acceptance::NoTemplate.as_str(),
    "Running",
];

#[test]
fn whatever_happens_the_invariants_hold() {
    if let Some(seed) = number("HISTORY_SEED") {
        let (_, violation) = run(seed, REAL);
        assert!(
            violation.is_none(),
            "{}",
            violation.map_or_else(String::new, |v| show(seed, &v))
        );
        return;
    }
    let many = number("HISTORIES").unwrap_or(HISTORIES);
    let began = std::time::Instant::now();
    let in_pools = Arc::new(AtomicU64::new(0));
    let counted = in_pools.clone();
    let (seen, violations) = run_many(many, move |seed| timed(seed, &counted));
    println!(
        "{} ms of all threads in pools",
        in_pools.load(Ordering::Relaxed) / 1000
    );
    let report = format!("{many} histories in {:?}\n{seen}", began.elapsed());
    println!("{report}");
    write_down(&report);
    for (seed, violation) in violations.values() {
        println!("{}: HISTORY_SEED={seed}", violation.invariant);
    }
    let shortest = violations.into_values().min_by_key(|(_, v)| v.trail.len());
    assert!(
        shortest.is_none(),
        "{}",
        shortest.map_or_else(String::new, |(seed, v)| show(seed, &v))
    );
    if many >= HISTORIES {
        for cause in CAUSES {
            assert!(seen.of("verdicts", cause) > 0, "no verdict was ever {cause}");
        }
        for verdict in IN_A_POOL {
            let many = seen.of("verdicts in a pool", verdict);
            assert!(many > 0, "no verdict in a pool was ever {verdict}");
        }
        for (group, name) in WITH_A_POOL {
            assert!(seen.of(group, name) > 0, "never reached: {group}, {name}");
        }
        for cause in Cause::retried() {
            assert!(
                seen.of("attempts ended by", cause.as_str()) > 0,
                "no attempt was ever followed after {cause}"
            );
        }
        for reason in REASONS {
            assert!(seen.of("reasons", reason) > 0, "no status was ever {reason}");
        }
    }
}

/// Beside the build, where whoever looks for the coverage finds it.
fn write_down(report: &str) {
    let program = std::env::current_exe().unwrap();
    if let Some(target) = program.ancestors().nth(3) {
        std::fs::write(target.join("histories.txt"), report).unwrap();
    }
}
