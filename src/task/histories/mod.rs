//! Random histories that drive the real passes: caches, plan, actor and looks, against a model of the cluster.
//!
//! A history is a sequence of happenings: two processes of the operator with caches of their own that lag, lose and
//! repeat what their watches tell; requests that fail before or after they take effect, or arrive after their sender
//! died; a leader that is stopped and deposed; users, kubelets, machines and the control plane. JVMs are kept apart
//! from pods: they live on machines, so "two at the same time" means two processes and not two objects. After every
//! happening and every request the [`invariants`] are checked, and at the end, with all faults over, whether the task
//! comes to [`rest`].
//!
//! `HISTORY_SEED=<seed>` replays one history and prints it; `HISTORIES=<n>` sets how many are tried. The coverage is
//! printed (`--nocapture`) and written to `histories.txt` in the target directory.

mod cluster;
mod coverage;
mod dice;
mod happenings;
mod invariants;
mod model_api;
mod process;
mod rest;
mod wire;
mod world;

use coverage::Coverage;
use k8s_openapi::jiff::Timestamp;
use world::{Violation, World};

use super::controller::Plan;
use super::death::NodeState;
use super::plan::{Action, Step, plan};
use super::snapshot::{Creation, Snapshot};
use crate::api::conditions::{cause, waiting};

/// How many histories are tried.
const HISTORIES: u64 = 10_000;

fn run(seed: u64, plan: Plan) -> (Coverage, Option<Violation>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, plan);
        let many = 40 + world.dice.below(100);
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
fn run_many(many: u64, plan: Plan) -> (Coverage, Violations) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let part = move |thread: u64| {
        let (mut all, mut violations) = (Coverage::default(), Violations::new());
        for seed in (thread..many).step_by(usize::try_from(threads).unwrap_or(1)) {
            let (seen, violation) = run(seed, plan);
            all.add(&seen);
            if let Some(violation) = violation {
                violations.entry(violation.invariant).or_insert((seed, violation));
            }
        }
        (all, violations)
    };
    let parts: Vec<_> = (0..threads)
        .map(|thread| std::thread::spawn(move || part(thread)))
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

#[test]
fn whatever_happens_the_invariants_hold() {
    if let Some(seed) = number("HISTORY_SEED") {
        let (_, violation) = run(seed, plan);
        assert!(
            violation.is_none(),
            "{}",
            violation.map_or_else(String::new, |v| show(seed, &v))
        );
        return;
    }
    let many = number("HISTORIES").unwrap_or(HISTORIES);
    let (seen, violations) = run_many(many, plan);
    println!("{many} histories\n{seen}");
    for (seed, violation) in violations.values() {
        println!("{}: HISTORY_SEED={seed}", violation.invariant);
    }
    let shortest = violations.into_values().min_by_key(|(_, v)| v.trail.len());
    assert!(
        shortest.is_none(),
        "{}",
        shortest.map_or_else(String::new, |(seed, v)| show(seed, &v))
    );
}
