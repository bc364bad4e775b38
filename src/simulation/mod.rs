//! Random histories that drive the real passes (caches, plan, actor and live reads) against a model of the cluster.
//!
//! A history is a sequence of events: two processes of the operator, each with caches that lag, lose and repeat watch
//! events; requests that fail before or after they take effect, or arrive after their sender died; a leader that is
//! stopped and deposed; users, kubelets, machines and the control plane. JVMs are modelled apart from pods: they live
//! on machines, so "two at the same time" means two processes and not two objects. After every event and every request
//! the [`invariants`] are checked and, at the end, with all faults over, whether the task comes to [`rest`].
//!
//! Two cases are counted and tolerated, since no client of the API server can rule them out: a pod created by a request
//! that a process sent before it was deposed and that arrives when its attempt is over (it is deleted on sight), and a
//! pod that is removed by force before any process recorded it.
//!
//! Planted bugs test that the histories find errors: plans that decide wrongly in one respect.
//!
//! `HISTORY_SEED=<seed>` replays one history and prints it; `HISTORIES=<n>` sets how many are tried. The coverage is
//! printed (`--nocapture`) and written to `histories.txt` in the target directory.

mod cluster;
mod coverage;
mod events;
mod invariants;
pub(crate) mod model_api;
mod process;
mod rest;
mod rng;
mod wire;
mod world;

use coverage::Coverage;
use k8s_openapi::jiff::Timestamp;
use world::{Violation, World};

use crate::api::reason::{Acceptance, Cause, Readiness, Waiting};
use crate::task::controller::Plan;
use crate::task::decide::plan::{Action, Step, plan};
use crate::task::fixtures::{ID, task_status};
use crate::task::run::death::NodeState;
use crate::task::run::pod::evidence::Container;
use crate::task::run::pod::run::StopPod;
use crate::task::snapshot::Snapshot;

/// How many histories are tried, unless said otherwise; enough to reach every cause and reason.
const HISTORIES: u64 = 3_000;

fn run(seed: u64, plan: Plan) -> (Coverage, Option<Violation>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, plan);
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
        let (_, violation) = run(seed, plan);
        assert!(
            violation.is_none(),
            "{}",
            violation.map_or_else(String::new, |v| show(seed, &v))
        );
        return;
    }
    let many = number("HISTORIES").unwrap_or(HISTORIES);
    let began = std::time::Instant::now();
    let (seen, violations) = run_many(many, plan);
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

/// A plan that takes the absence of a pod for its peon's death.
fn trusts_absence(snapshot: &Snapshot, now: Timestamp) -> Step {
    let mut trusting = snapshot.clone();
    trusting.outcomes.node = snapshot.outcomes.node.as_ref().map(|_| NodeState::NeverBound);
    plan(&trusting, now)
}

/// A plan that takes an exit code of 0 for success.
fn trusts_the_exit_code(snapshot: &Snapshot, now: Timestamp) -> Step {
    let mut trusting = snapshot.clone();
    let live = trusting.outcomes.live.as_mut().and_then(|l| l.pod.as_mut());
    for pod in [trusting.cached.as_mut(), trusting.departed.as_mut(), live]
        .into_iter()
        .flatten()
    {
        if let Container::Terminated(ended) = &mut pod.peon
            && ended.exit_code == 0
            && ended.message.is_empty()
        {
            ended.message = task_status(ID, "SUCCESS", None);
        }
    }
    plan(&trusting, now)
}

/// A plan that deletes whatever bears the uid, as it may be by now.
fn deletes_unseen(snapshot: &Snapshot, now: Timestamp) -> Step {
    match plan(snapshot, now) {
        Step::Act(Action::DeletePod(seen)) => Step::Act(Action::DeletePod(StopPod {
            version: None,
            ..seen
        })),
        other => other,
    }
}

/// Some history breaks one of the invariants `by`. The search begins at `first`, a history that is known to, and goes on
/// through all others: which one it is changes with every change of the passes or of the model.
fn is_caught(planted: Plan, by: &[&str], first: u64) {
    for seed in (first..HISTORIES).chain(0..first) {
        let (_, violation) = run(seed, planted);
        if let Some(violation) = violation.filter(|v| by.contains(&v.invariant)) {
            println!("caught by history {seed}: {}", violation.invariant);
            return;
        }
    }
    panic!("none of {HISTORIES} histories caught it");
}

#[test]
fn a_planted_double_start_is_caught() {
    let by = ["a new attempt needs a dead JVM", "at most one live JVM"];
    is_caught(trusts_absence, &by, 2_008);
}

#[test]
fn a_planted_guess_is_caught() {
    is_caught(trusts_the_exit_code, &["no success is invented"], 372);
}

#[test]
fn a_planted_loss_of_a_log_is_caught() {
    is_caught(deletes_unseen, &["no pod that has ended is deleted"], 418);
}
