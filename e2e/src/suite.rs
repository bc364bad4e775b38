//! Runs the cases.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Trial};

use crate::{
    cache::Cache,
    cases::{self, Case, Turn},
    cluster::Cluster,
    fixture::Fixture,
    lock::Busy,
    middle_manager::MiddleManager,
    object_stores,
    progress::Progress,
    selftest,
    target::Target,
    zookeeper,
};

/// Cases that run beside each other. More peons than this start too slowly on two cores.
const BESIDE: usize = 4;
/// Two, so that a case is named when it has ended, and not in the middle of somebody else's line; [`ONE_NODE`] has them
/// wait for each other.
const NODES: usize = 2;
/// Held by the case that has the second node.
static ONE_NODE: Mutex<()> = Mutex::new(());
/// Cases with operators of their own that run beside each other.
const OUTSIDE: usize = 3;

/// What needs no cluster.
const NO_CLUSTER: [&str; 2] = ["stores::", "zookeeper::"];

/// Runs the cases whose names contain `filter`; says whether all passed.
///
/// Our own cluster is started and ended, unless one is up already. Cases of `stores::` and `zookeeper::` need none.
///
/// # Errors
/// When cluster, Druid or operator cannot be started.
pub fn run(cache: &Cache, busy: Busy, filter: Option<&str>, progress: &Progress) -> Result<bool> {
    let mut passed = check_stores(cache, filter, progress);
    passed &= check_zookeeper(cache, filter, progress);
    if filter.is_some_and(|filter| NO_CLUSTER.iter().any(|part| filter.starts_with(part))) {
        return Ok(passed);
    }
    passed &= check_cluster(cache, busy, filter, progress)?;
    let target = Target::choose_running(cache, busy, progress)?;
    let own = target.own().is_some();
    let fixture = Arc::new(Fixture::prepare(target, cache, progress)?);
    let new = fixture
        .kubectl
        .run(&["get", "crd", "peontasks.peon.dev"])
        .is_err();
    let at = |turns: &[Turn]| -> Vec<Case> {
        cases::all(filter)
            .into_iter()
            .filter(|c| turns.contains(&c.turn))
            .collect()
    };
    let run = |cases: Vec<Case>, threads, possible: &dyn Fn(&Case) -> bool| {
        let trials = cases
            .into_iter()
            .map(|case| trial(case, &fixture, possible(&case)))
            .collect();
        let filter = filter.map(str::to_owned);
        let arguments = Arguments {
            filter,
            test_threads: Some(threads),
            ..Arguments::default()
        };
        !libtest_mimic::run(&arguments, trials).has_failed()
    };
    passed &= run(at(&[Turn::First]), 1, &|_| new);
    fixture.install(progress)?;
    // Some only make sense after all others.
    let possible = |case: &Case| (own || !case.own_cluster) && (filter.is_none() || case.turn != Turn::Last);
    passed &= thread::scope(|scope| {
        let nodes = scope.spawn(|| run(at(&[Turn::Node]), NODES, &possible));
        let beside = run(at(&[Turn::Beside]), BESIDE, &possible);
        // A case that panics has failed: the others of its kind went on.
        nodes.join().unwrap_or(false) && beside
    });
    passed &= run(at(&[Turn::Outside]), OUTSIDE, &possible);
    passed &= run(at(&[Turn::Workers]), BESIDE, &possible);
    MiddleManager::end_shared(&fixture);
    passed &= run(at(&[Turn::Alone, Turn::Last]), 1, &possible);
    if !passed {
        let folder = cache.path("run/failed");
        crate::cache::remove(&folder)?;
        fixture.target.collect_logs(&folder)?;
        progress.say(format_args!("logs of everything are in {}", folder.display()));
    }
    let fixture = Arc::into_inner(fixture).context("a case still runs")?;
    if !own {
        fixture.remove(progress)?;
    }
    let Fixture { target, druid, .. } = fixture;
    // Its connection ends with it, before the cluster does.
    drop(druid);
    target.down()?;
    Ok(passed)
}

/// Archives logs in object stores on this machine.
fn check_stores(cache: &Cache, filter: Option<&str>, progress: &Progress) -> bool {
    let progress = *progress;
    let trial = |case: &object_stores::StoreCase| {
        let (case, cache) = (*case, cache.clone());
        Trial::test(case.name, move || {
            (case.run)(&cache, &progress).map_err(|e| format!("{e:#}").into())
        })
    };
    let arguments = Arguments {
        filter: filter.map(str::to_owned),
        test_threads: Some(BESIDE),
        ..Arguments::default()
    };
    let possible = |case: &&object_stores::StoreCase| !case.full || cases::full();
    let trials = object_stores::CASES.iter().filter(possible).map(trial).collect();
    !libtest_mimic::run(&arguments, trials).has_failed()
}

/// Announces workers in servers of ZooKeeper on this machine.
fn check_zookeeper(cache: &Cache, filter: Option<&str>, progress: &Progress) -> bool {
    let progress = *progress;
    let trial = |case: &zookeeper::ZooKeeperCase| {
        let (case, cache) = (*case, cache.clone());
        Trial::test(case.name, move || {
            let begun = Instant::now();
            let ended = (case.run)(&cache, &progress);
            println!("{} took {:.1} s", case.name, begun.elapsed().as_secs_f32());
            ended.map_err(|e| format!("{e:#}").into())
        })
    };
    let arguments = Arguments {
        filter: filter.map(str::to_owned),
        test_threads: Some(BESIDE),
        ..Arguments::default()
    };
    !libtest_mimic::run(&arguments, zookeeper::CASES.iter().map(trial).collect()).has_failed()
}

/// Checks the test cluster itself, unless one is up already or it is not ours.
fn check_cluster(cache: &Cache, busy: Busy, filter: Option<&str>, progress: &Progress) -> Result<bool> {
    if !Target::is_own()? || Cluster::attach(cache, busy, progress)?.is_some() {
        return Ok(true);
    }
    let progress = *progress;
    let check = |check: fn(&Cache, &Progress) -> Result<()>| {
        let cache = cache.clone();
        move || check(&cache, &progress).map_err(|e| format!("{e:#}").into())
    };
    let trials = vec![
        Trial::test(
            "cluster::works_and_leaves_nothing",
            check(selftest::works_and_goes),
        ),
        Trial::test(
            "cluster::leaves_nothing_when_interrupted",
            check(selftest::goes_when_interrupted),
        ),
        Trial::test(
            "cluster::a_second_node_fails_and_recovers",
            check(selftest::fails_and_recovers),
        ),
        Trial::test(
            "cluster::a_second_node_leaves_nothing_when_interrupted",
            check(selftest::second_node_goes_when_interrupted),
        ),
    ];
    let filter = filter.map(str::to_owned);
    let arguments = Arguments {
        filter,
        test_threads: Some(1),
        ..Arguments::default()
    };
    Ok(!libtest_mimic::run(&arguments, trials).has_failed())
}

fn trial(case: Case, fixture: &Arc<Fixture>, possible: bool) -> Trial {
    let fixture = Arc::clone(fixture);
    let run = move || {
        let turn = (case.turn == Turn::Node).then(|| ONE_NODE.lock().unwrap_or_else(PoisonError::into_inner));
        let begun = Instant::now();
        let ended = (case.run)(&fixture);
        println!("{} took {:.1} s", case.name, begun.elapsed().as_secs_f32());
        drop(turn);
        ended.map_err(|e| format!("{e:#}").into())
    };
    Trial::test(case.name, run).with_ignored_flag(!possible)
}
