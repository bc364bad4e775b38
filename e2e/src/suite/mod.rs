//! Runs the cases.

mod admission;
mod cores;
mod group;
mod lanes;

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};

use self::{
    group::{Group, Job, Outcome, together},
    lanes::Lanes,
};
use crate::{
    cases::{self, Case, Check, Turn, java, selftest, stores, zookeeper},
    testbed::{
        cache::Cache, cluster::Cluster, druid::middle_manager::MiddleManager, fixture::Fixture, lock::Busy,
        progress::Progress, target::Target,
    },
};

/// Cases that run beside each other. More peons than this start too slowly on two cores.
const BESIDE: usize = 4;
/// Cases that mostly wait, beside these.
const WAITING: usize = 4;
/// Cases with operators of their own that run beside each other.
const OUTSIDE: usize = 5;
/// Cases that start versions of Java, beside the others that need no cluster.
const JAVA: usize = 2;
/// Lanes.
const LANES: usize = 4;
/// Cases that share workers and run beside each other, and beside the lanes.
const WORKERS: usize = 2;

/// Cases beside each other that give the operator much to do.
const BURDENS: usize = 2;

/// What needs no cluster.
const NO_CLUSTER: [&str; 3] = ["java::", "stores::", "zookeeper::"];

/// Runs the cases whose names contain `filter`; says whether all passed.
///
/// Our own cluster is started and ended, unless one is up already. Cases of `java::`, `stores::` and `zookeeper::` need none.
///
/// # Errors
/// When cluster, Druid or operator cannot be started.
pub fn run(cache: &Cache, busy: Busy, filter: Option<&str>, progress: &Progress) -> Result<bool> {
    let with = (cache, filter, progress);
    // Logs are archived in object stores, workers are announced in servers of ZooKeeper, and versions of Java start, on
    // this machine.
    let mut first = vec![
        vec![checks(("stores", BESIDE), stores::CASES, with)],
        vec![
            checks(("zookeeper", BESIDE), zookeeper::CASES, with),
            checks(("java", JAVA), java::CASES, with),
        ],
    ];
    let is_enough = filter.is_some_and(|filter| NO_CLUSTER.iter().any(|part| filter.starts_with(part)));
    let of_cluster = checks(("cluster", 1), selftest::CASES, with);
    // One that is up is left up, and one that is not ours is not tested. These take the lock themselves, one after the other.
    let is_tested = !is_enough && !of_cluster.jobs.is_empty() && Target::is_own()?;
    if is_tested && Cluster::attach(cache, busy, progress)?.is_none() {
        first.push(vec![of_cluster]);
    }
    let mut ended = together(first);
    if !is_enough {
        on_cluster(cache, busy, filter, progress, &mut ended)?;
    }
    for outcome in &ended {
        println!("{}", outcome.line());
    }
    for failure in ended.iter().flat_map(Outcome::failures) {
        println!("{failure}");
    }
    Ok(ended.iter().all(Outcome::is_good))
}

/// Runs the cases that need cluster, Druid and operator.
fn on_cluster(
    cache: &Cache,
    busy: Busy,
    filter: Option<&str>,
    progress: &Progress,
    ended: &mut Vec<Outcome>,
) -> Result<()> {
    let target = Target::choose_running(cache, busy, progress)?;
    let fixture = Arc::new(Fixture::prepare(target, cache, progress)?.with_class_archive());
    let groups = Groups::new(&fixture, filter);
    let new = fixture
        .kubectl
        .run(&["get", "crd", "peontasks.peon.dev"])
        .is_err();
    ended.extend(groups.of("first", &[Turn::First], 1, |_| new).run());
    fixture.install(progress)?;
    // Those that wait take little of the machine: what needs more begins when they end, or when those beside them do.
    let beside = together(vec![
        vec![
            groups.of("waiting", &[Turn::Waiting], WAITING, |_| true),
            groups.sharing_workers("workers", &[Turn::Workers], WORKERS),
        ],
        vec![
            groups.of("beside", &[Turn::Beside], BESIDE, |_| true),
            groups.in_lanes("lanes", &[Turn::Lane], LANES),
        ],
        vec![groups.of("one by one", &[Turn::OneByOne], 1, |_| true)],
    ]);
    if beside.iter().all(Outcome::is_good) {
        fixture.end_lanes()?;
    }
    ended.extend(beside);
    ended.extend(groups.of("outside", &[Turn::Outside], OUTSIDE, |_| true).run());
    ended.extend(groups.of("burden", &[Turn::Burden], BURDENS, |_| true).run());
    // Some only make sense after all others.
    let all = filter.is_none();
    let last = |case: &Case| all || case.turn != Turn::Last;
    ended.extend(groups.of("alone", &[Turn::Alone, Turn::Last], 1, last).run());
    if !ended.iter().all(Outcome::is_good) {
        let folder = cache.path("run/failed");
        crate::testbed::cache::remove(&folder)?;
        fixture.target.collect_logs(&folder)?;
        progress.say(format_args!("logs of everything are in {}", folder.display()));
    }
    let fixture = Arc::into_inner(fixture).context("a case still runs")?;
    if fixture.target.own().is_none() {
        fixture.remove(progress)?;
    }
    fixture.into_target()?.down()
}

/// Makes groups of the cases that need a fixture.
struct Groups<'a> {
    fixture: &'a Arc<Fixture>,
    filter: Option<&'a str>,
    own: bool,
}

impl<'a> Groups<'a> {
    fn new(fixture: &'a Arc<Fixture>, filter: Option<&'a str>) -> Self {
        Self {
            fixture,
            filter,
            own: fixture.target.own().is_some(),
        }
    }

    fn cases(&self, turns: &[Turn]) -> Vec<Case> {
        cases::all(self.filter)
            .into_iter()
            .filter(|case| turns.contains(&case.turn) && matches(self.filter, case.name))
            .collect()
    }

    fn group(
        &self,
        (name, turns, beside): (&'static str, &[Turn], usize),
        possible: impl Fn(&Case) -> bool,
        run: impl Fn(&Case) -> Box<dyn FnOnce() -> Result<()> + Send>,
    ) -> Group {
        let job = |case: Case| Job {
            name: case.name,
            ignored: !possible(&case) || (case.own_cluster && !self.own),
            run: run(&case),
        };
        let jobs = self.cases(turns).into_iter().map(job).collect();
        Group { name, beside, jobs }
    }

    /// Cases with the fixture that all have.
    fn of(
        &self,
        name: &'static str,
        turns: &[Turn],
        beside: usize,
        possible: impl Fn(&Case) -> bool,
    ) -> Group {
        self.group((name, turns, beside), possible, |case| {
            let (fixture, run) = (Arc::clone(self.fixture), case.run);
            Box::new(move || run(&fixture))
        })
    }

    /// Cases of which each has a lane while it runs.
    fn in_lanes(&self, name: &'static str, turns: &[Turn], lanes: usize) -> Group {
        let all = Arc::new(Lanes::new(self.fixture));
        self.group(
            (name, turns, lanes),
            |_| true,
            |case| {
                let (lanes, run) = (Arc::clone(&all), case.run);
                Box::new(move || lanes.run(run))
            },
        )
    }

    /// Cases that share one lane and its workers, which end with the last of them.
    fn sharing_workers(&self, name: &'static str, turns: &[Turn], beside: usize) -> Group {
        let shared = Arc::new(Shared {
            fixture: Arc::clone(self.fixture),
            lane: OnceLock::new(),
        });
        self.group(
            (name, turns, beside),
            |_| true,
            |case| {
                let (shared, run) = (Arc::clone(&shared), case.run);
                Box::new(move || run(shared.lane()?))
            },
        )
    }
}

/// A lane that several cases have at the same time.
struct Shared {
    fixture: Arc<Fixture>,
    lane: OnceLock<Result<Fixture, String>>,
}

impl Shared {
    fn lane(&self) -> Result<&Fixture> {
        let lane = self.lane.get_or_init(|| {
            let made = self.fixture.lane("workers");
            made.map_err(|error| format!("{error:#}"))
        });
        lane.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(Ok(lane)) = self.lane.get() {
            MiddleManager::end_shared(lane);
        }
    }
}

fn matches(filter: Option<&str>, name: &str) -> bool {
    filter.is_none_or(|filter| filter.split(',').any(|part| name.contains(part)))
}

/// A group of the cases that need no operator in a cluster.
fn checks(
    (name, beside): (&'static str, usize),
    checks: &[Check],
    (cache, filter, progress): (&Cache, Option<&str>, &Progress),
) -> Group {
    let job = |case: &Check| {
        let (cache, progress, run) = (cache.clone(), *progress, case.run);
        Job {
            name: case.name,
            ignored: false,
            run: Box::new(move || run(&cache, &progress)),
        }
    };
    let is_due = |case: &&Check| !case.full || cases::full() || filter == Some(case.name);
    let jobs = checks
        .iter()
        .filter(is_due)
        .filter(|case| matches(filter, case.name))
        .map(job)
        .collect();
    Group { name, beside, jobs }
}
