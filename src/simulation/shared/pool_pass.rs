//! Passes over the pool, and the polls of its Indexers.

use std::collections::{BTreeSet, HashSet};

use serde_json::json;

use super::super::model_api::Request;
use super::super::process::Process;
use super::Planted;
use super::world::{Pool, World};
use crate::api::indexer_pool::IndexerDiscovery;
use crate::indexer::polls::Polling;
use crate::pool::decide::connection::Connection;
use crate::pool::decide::failures::Failures;
use crate::pool::decide::indexer::{Indexer, Seen, WithTasks};
use crate::pool::decide::plan::{Delete, Observed, plan};
use crate::pool::fixtures::POOL_UID;
use crate::task::fixtures::at;

/// Namespace and name of the pool.
const POOL: (&str, &str) = ("ns", "warm");
/// A stop that was recorded so many seconds ago ought to be confirmed: `killGraceSeconds` and half a minute.
const PATIENCE: i64 = 60;
/// An Indexer with tasks that is silent for so many seconds may be deleted by its pool.
const UNREACHABLE: i64 = 300;

#[derive(Default)]
struct Pass {
    delete: Vec<Delete>,
    create: usize,
    /// Uids of those that are given up.
    silent: HashSet<String>,
}

fn pass(
    process: &mut Process,
    pool: &Pool,
    cordoned: &BTreeSet<String>,
    planted: Planted,
    now: u32,
) -> Option<Pass> {
    let work = process.work.as_ref()?;
    let of_pool = |p: &crate::apiserver::classify::watched_pod::WatchedPod| {
        let owners = p.metadata.owner_references.as_ref();
        owners.is_some_and(|o| o.iter().any(|o| o.kind == "IndexerPool"))
    };
    let pods = process.caches.pods.state_filter(of_pool);
    let mut indexers: Vec<Indexer> = pods.iter().map(|pod| Indexer::of(pod)).collect();
    indexers.sort_by(|a, b| a.name().cmp(b.name()));
    let uids: HashSet<String> = indexers.iter().map(|i| i.evidence.pod_uid.clone()).collect();
    process
        .unseen
        .retain(|(uid, since)| since + 30 > now && !uids.contains(uid));
    work.call_with(POOL_UID, Connection::default()).unwrap();
    let (now, second) = (at(now.into()), i64::from(now));
    work.observe(POOL.0, POOL.1, &mut indexers, at(second - PATIENCE));
    for indexer in &mut indexers {
        let node = indexer.evidence.node.as_deref();
        let is_cordoned = node.is_some_and(|node| cordoned.contains(node));
        indexer.age(&pool.object.spec, is_cordoned, now);
    }
    let seen = Seen::from(Some(&IndexerDiscovery {
        hidden: uids.into_iter().collect(),
        ..IndexerDiscovery::default()
    }));
    let mut plan = plan(&Observed {
        pool: &pool.object.spec,
        revision: Ok(&pool.revision),
        indexers: &indexers,
        unseen: process.unseen.len(),
        seen: &seen,
        failures: &Failures::default(),
        refused: None,
        draining: &process.draining,
        now,
    });
    let instant = process.clock.instant();
    let mut delete: Vec<Delete> = std::mem::take(&mut plan.delete)
        .into_iter()
        .filter(|d| work.retire(POOL.0, POOL.1, d, instant))
        .collect();
    match planted {
        Planted::DeletesWhatItDrains => {
            let drained = indexers
                .iter()
                .filter(|i| plan.drain.contains(&i.evidence.pod_uid));
            delete.extend(drained.map(at_once));
        }
        Planted::TrustsUnreadLists => {
            let unread = |i: &&Indexer| {
                let view = process.polls.view(&i.evidence.pod_uid);
                i.ready && view.is_none_or(|view| !view.complete() && view.tasks().next().is_none())
            };
            delete.extend(indexers.iter().filter(unread).map(at_once));
        }
        Planted::CountsASlotTwice => {
            for slots in indexers.iter_mut().filter_map(|indexer| indexer.slots.as_mut()) {
                slots.heavy += 1;
            }
        }
        Planted::ForgetsIds => process.caches.aggregates.indexers.forget_ids(),
        Planted::Nothing | Planted::TakesNeighboursLines => {}
    }
    work.offer(&pool.object, &indexers, &seen, &plan, None, &[]);
    process.draining = plan.drain;
    let silent = indexers.iter().filter_map(|i| {
        let is_over = i.silent_since?.as_second() + UNREACHABLE <= second;
        is_over.then(|| i.evidence.pod_uid.clone())
    });
    Some(Pass {
        delete,
        create: plan.create,
        silent: silent.collect(),
    })
}

/// What is planted deletes whatever tasks there are.
fn at_once(indexer: &Indexer) -> Delete {
    Delete {
        pod: indexer.name().to_owned(),
        uid: indexer.evidence.pod_uid.clone(),
        with: WithTasks::None,
    }
}

impl World {
    /// A pass over the pool in this process, which has no effect but on its own memory if it does not lead.
    pub fn pass_over_pool(&mut self, process: usize, faults: bool) {
        if !self.processes[process].led || self.processes[process].stopped {
            return;
        }
        let (now, planted) = (self.now(), self.operator.planted);
        let Some(pass) = pass(
            &mut self.processes[process],
            &self.pool,
            &self.cordoned,
            planted,
            now,
        ) else {
            return;
        };
        if self.leader != Some(process) {
            return;
        }
        for delete in &pass.delete {
            self.delete_indexer(delete, pass.silent.contains(&delete.uid), faults);
        }
        for _ in 0..pass.create {
            if faults && self.dice.one_in(8) {
                continue;
            }
            let uid = self.create_indexer();
            self.note(format!("the pool creates {uid}"));
            self.processes[process].unseen.push((uid, now));
        }
    }

    fn delete_indexer(&mut self, delete: &Delete, given_up: bool, faults: bool) {
        let needed = self.needing(&delete.uid);
        let given_up = given_up && delete.with == WithTasks::Any;
        self.hold(
            "no Indexer is deleted that a task needs",
            needed.is_empty() || given_up,
            || format!("{needed:?}: {delete:?}"),
        );
        self.note(format!("the pool deletes {} {:?}", delete.uid, delete.with));
        self.seen
            .count("Indexers deleted by their pool", &format!("{:?}", delete.with));
        let request = Request {
            method: "DELETE".into(),
            path: format!("/api/v1/namespaces/ns/pods/{}", delete.pod),
            query: String::new(),
            body: json!({"gracePeriodSeconds": 1, "preconditions": {"uid": delete.uid}}),
        };
        match faults.then(|| self.dice.below(8)) {
            Some(0) => {}
            Some(1) => self.flights.push(request),
            _ => {
                self.api.serve(&request);
            }
        }
    }

    /// This process polls the Indexers that its last pass over the pool wants polled.
    pub fn poll(&mut self, process: usize, faults: bool) {
        if self.processes[process].stopped {
            return;
        }
        let now = at(self.now().into());
        for target in self.processes[process].polls.targets() {
            if faults && self.dice.one_in(3) {
                continue;
            }
            let polls = self.processes[process].polls.clone();
            let (mut asked, mut news) = polls.asks(&target.pod_uid);
            for _ in 0..2 {
                let late = faults && self.dice.one_in(6);
                news |= match self.poll_at(&target.host, asked) {
                    Ok(answer) => polls.answered(&target.pod_uid, asked, answer, late),
                    Err(()) => polls.unanswered(&target.pod_uid, now),
                };
                let next = polls.view(&target.pod_uid).and_then(|view| view.asks());
                if late || next.is_some() {
                    break;
                }
                asked = next;
            }
            if news {
                self.processes[process].heard(&target.pod_uid);
            }
        }
    }
}
