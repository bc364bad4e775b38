//! The end-to-end cases.

mod api;
mod attempts;
mod budget;
mod causes;
mod cli;
mod faults;
mod fuzz;
mod history;
mod hostile;
pub mod java;
mod life;
mod lifecycle;
mod logs;
mod middle_manager;
mod nodes;
mod payloads;
mod refusals;
mod release;
pub mod selftest;
pub mod stores;
mod templates;
mod tenants;
mod transcripts;
mod waits;
pub mod zookeeper;

use anyhow::Result;

use crate::testbed::{cache::Cache, fixture::Fixture, progress::Progress};

/// A case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name: the module's, then what must hold.
    pub name: &'static str,
    /// When it runs.
    pub turn: Turn,
    /// Whether it needs what only our own cluster has: the audit log, processes on this machine, a second node.
    pub own_cluster: bool,
    /// Whether it only runs where everything is asked for: it takes minutes, or is one of many pairs of what can be combined.
    pub full: bool,
    /// Whether it takes long: such a case begins before the others of its turn, or all would have to wait for it at the end.
    pub long: bool,
    /// The case.
    pub run: fn(&Fixture) -> Result<()>,
}

/// When a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Before the operator is installed, on a cluster that never had it.
    First,
    /// Beside others.
    Beside,
    /// Beside others, and one after the other: it has the second node, or a JVM with Druid's own client of workers.
    OneByOne,
    /// Beside others of this turn, while the release that all other cases use has no pods: operators of its own run
    /// outside the cluster, each for a namespace.
    Outside,
    /// As `Beside`, and before those: most of the time it waits for something that cannot be hurried.
    Waiting,
    /// Beside others, in a lane: a namespace with a Druid that it may change, and whose workers it may kill.
    Lane,
    /// Beside others of this turn, with which it shares one VirtualMiddleManager in one lane.
    Workers,
    /// Beside others of this turn only: they give the operator much to do, and judge what it does meanwhile.
    Burden,
    /// While no other runs.
    Alone,
    /// As `Alone`, and only when all others ran: it judges what they did.
    Last,
}

/// A case that needs no operator in a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its name: the module's, then what must hold.
    pub name: &'static str,
    /// The case.
    pub run: fn(&Cache, &Progress) -> Result<()>,
    /// Whether it only runs where everything is asked for: see [`full`].
    pub full: bool,
}

const fn standalone(name: &'static str, run: fn(&Cache, &Progress) -> Result<()>) -> Check {
    Check {
        name,
        run,
        full: false,
    }
}

impl Check {
    const fn full(self) -> Self {
        Self { full: true, ..self }
    }
}

const fn case(name: &'static str, run: fn(&Fixture) -> Result<()>) -> Case {
    Case {
        name,
        turn: Turn::Beside,
        own_cluster: false,
        full: false,
        long: false,
        run,
    }
}

impl Case {
    const fn turn(self, turn: Turn) -> Self {
        Self { turn, ..self }
    }

    const fn full(self) -> Self {
        Self { full: true, ..self }
    }

    const fn long(self) -> Self {
        Self { long: true, ..self }
    }

    const fn own(self) -> Self {
        Self {
            own_cluster: true,
            ..self
        }
    }
}

/// Whether everything is asked for, by the variable `FULL`: see `make test-full`.
#[must_use]
pub fn full() -> bool {
    std::env::var_os("FULL").is_some()
}

/// All cases, those that take long only where everything or just this one is asked for; of those that run in the same way, in the
/// order in which they begin.
#[must_use]
pub fn all(filter: Option<&str>) -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    all.extend(api::CASES);
    all.extend(waits::CASES);
    all.extend(lifecycle::CASES);
    all.extend(life::CASES);
    all.extend(history::CASES);
    all.extend(logs::cases());
    all.extend(attempts::CASES);
    all.extend(payloads::CASES);
    all.extend(cli::CASES);
    all.extend(transcripts::CASES);
    all.extend(causes::CASES);
    all.extend(refusals::CASES);
    all.extend(templates::CASES);
    all.extend(budget::CASES);
    all.extend(fuzz::CASES);
    all.extend(tenants::CASES);
    all.extend(hostile::CASES);
    all.extend(nodes::CASES);
    all.extend(faults::CASES);
    all.extend(middle_manager::cases());
    // Judges what the others made the operator do; uninstalling takes the rights of an operator that still runs.
    all.push(budget::RIGHTS);
    all.extend(release::CASES);
    all.retain(|case| !case.full || full() || filter == Some(case.name));
    all.sort_by_key(|case| !case.long);
    all
}
