//! Random histories of several tasks in shared Indexers: the real passes over all of them, and those over their pool.
//!
//! Beside those of [`super`], where one task is looked at and its Indexer runs no other. Here the machines never fail, and
//! what is checked is what tasks of one JVM may do to one another: JVMs die with several tasks, stops are not confirmed,
//! answers are lost, processes are replaced at any request, Indexers fall silent, are drained because there are too many,
//! their node is cordoned or their revision is old, and users delete pods and tasks.
//!
//! `SHARED_SEED=<seed>` replays one history; `HISTORIES=<n>` sets how many are tried: a fifth, since each is as long as
//! several of those.

mod events;
mod indexers;
mod planted_tests;
mod pods;
mod pool_pass;
mod requests;
mod world;

use self::world::World;
use super::coverage::Coverage;
use super::world::Violation;
use super::{number, run_many, show};
use crate::task::controller::Plan;
use crate::task::decide::plan::plan;

/// How many are tried, unless said otherwise.
const HISTORIES: u64 = super::HISTORIES / FEWER;
/// One of these for so many of the others.
const FEWER: u64 = 5;

/// The operator of a history.
#[derive(Clone, Copy)]
struct Operator {
    plan: Plan,
    planted: Planted,
}

/// A bug that is not in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// It does not wait until the tasks of an Indexer have ended that it drains.
    DeletesWhatItDrains,
    /// It takes an Indexer whose tasks were not read yet for one without any.
    TrustsUnreadLists,
    /// Every line that names the id is the task's.
    TakesNeighboursLines,
    /// It offers one heavy slot more than there are.
    CountsASlotTwice,
    /// It forgets which ids an Indexer had.
    ForgetsIds,
}

const REAL: Operator = Operator {
    plan,
    planted: Planted::Nothing,
};

fn run(seed: u64, operator: Operator) -> (Coverage, Option<Violation>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, operator);
        let many = 150 + world.dice.below(250);
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

/// What has to be reached.
const REACHED: [(&str, &str); 17] = [
    ("places", "a slot"),
    ("places", "a pod"),
    ("tasks beside one that begins", "2"),
    ("Indexers deleted by their pool", "None"),
    ("Indexers deleted by their pool", "Stopped"),
    ("attempts ended by", "OOMKilled"),
    ("attempts ended by", "JavaOutOfMemory"),
    ("attempts ended by", "PodDeleted"),
    ("verdicts", "Succeeded"),
    ("verdicts", "TaskFailed"),
    ("verdicts", "Cancelled"),
    ("verdicts", "OOMKilled"),
    ("happenings", "a stop has no effect"),
    ("happenings", "an Indexer forgets"),
    ("happenings", "an id comes again"),
    ("reasons", "PoolFull"),
    ("reasons", "Stopping"),
];

#[test]
fn whatever_happens_to_tasks_that_share_indexers_the_invariants_hold() {
    if let Some(seed) = number("SHARED_SEED") {
        let (_, violation) = run(seed, REAL);
        assert!(
            violation.is_none(),
            "{}",
            violation.map_or_else(String::new, |v| show(seed, &v))
        );
        return;
    }
    let many = number("HISTORIES").map_or(HISTORIES, |many| many.div_ceil(FEWER));
    let began = std::time::Instant::now();
    let (seen, worst) = run_many(many, |seed| run(seed, REAL));
    println!(
        "{many} histories of shared Indexers in {:?}\n{seen}",
        began.elapsed()
    );
    for (invariant, (seed, violation)) in &worst {
        println!("{invariant}: SHARED_SEED={seed}, {} steps", violation.trail.len());
    }
    let shortest = worst.into_values().min_by_key(|(_, v)| v.trail.len());
    assert!(
        shortest.is_none(),
        "{}",
        shortest.map_or_else(String::new, |(seed, v)| show(seed, &v))
    );
    if many >= HISTORIES {
        for (group, name) in REACHED {
            assert!(seen.of(group, name) > 0, "never reached: {group}, {name}");
        }
    }
}
