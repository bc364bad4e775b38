//! The state of the proof of each Indexer, and what is to be read and asked next (pure).
//!
//! An Indexer is hidden once its own announcement was read and offers no worker, *and* the overlord was asked for its
//! workers after that and does not list it. From then on it stays hidden until its pod is gone, unless a later list has
//! it. The order is that of turns, which every reading and every question takes: times could be equal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::finding::Finding;
use super::pod::{Endpoint, IndexerPod, PoolId};

/// Shortest interval between questions to the overlord.
const LEAST: Duration = Duration::from_secs(1);
/// How often the overlord is asked at least, while there are Indexers that it could see.
const AT_LEAST: Duration = Duration::from_secs(60);
/// Delay before an Indexer that the overlord lists is checked from the beginning: the worker may have been an earlier
/// process at its address.
const LISTED: Duration = Duration::from_secs(10);
/// Longest delay before an announcement that was absent is looked for again. The first is a second.
const ABSENT: Duration = Duration::from_secs(10);
/// Delay while there is no session. Then nothing is requested.
const NO_SESSION: Duration = Duration::from_secs(5);
/// Longest delay after failures. The first is a second.
const FAILED: Duration = Duration::from_secs(60);

/// An announcement to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Uid of the pod.
    pub uid: String,
    /// Where its Indexer can be called.
    pub endpoint: Endpoint,
}

/// A question to the overlord, and which readings came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Asked(u64);

/// How far the proof of an Indexer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Its own announcement was not read yet.
    Missing,
    /// Its own announcement was read in this turn, and offers no worker.
    Read(u64),
    /// The overlord did not list it after that.
    Hidden,
    /// Its own announcement offers a worker. Druid does not change an announcement.
    Announced,
    /// The overlord lists it. Its announcement may have been read since, in that turn, and offers no worker.
    Listed(Option<u64>),
}

/// What is known of the Indexer of one pod.
#[derive(Debug)]
pub(super) struct Check {
    /// Its IndexerPool.
    pub(super) pool: PoolId,
    pub(super) is_terminating: bool,
    is_ready: bool,
    endpoint: Option<Endpoint>,
    /// When `endpoint` was seen first.
    since: Instant,
    proof: Proof,
    /// Why the last reading was no proof.
    unproven: Option<Finding>,
    failures: u32,
    /// When its announcement is read next, if that is needed.
    next: Instant,
}

/// What a status says of an Indexer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// Nothing yet, and why the last reading was no proof.
    Unproven(Option<&'a Finding>),
    /// The overlord does not see it.
    Hidden,
    /// Its announcement offers a worker.
    Announced,
    /// The overlord lists it.
    Listed(Option<&'a Finding>),
}

/// The proofs of all Indexers of one overlord.
#[derive(Debug, Default)]
pub struct Checks {
    /// By uid of the pod.
    pods: BTreeMap<String, Check>,
    turn: u64,
    /// When the overlord was last asked.
    asked: Option<Instant>,
    /// It is not asked earlier.
    not_before: Option<Instant>,
    failures: u32,
    /// Why it did not list its workers when it was last asked.
    error: Option<String>,
}

impl Checks {
    /// The pods that there are: all that have not ended.
    pub fn see(&mut self, pods: &[IndexerPod], now: Instant) {
        let uids: BTreeSet<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
        self.pods.retain(|uid, _| uids.contains(uid.as_str()));
        for pod in pods {
            let check = self
                .pods
                .entry(pod.uid.clone())
                .or_insert_with(|| Check::new(pod, now));
            check.is_terminating = pod.is_terminating;
            check.is_ready = pod.ready.is_some();
            if pod.ready.is_some() && pod.ready != check.endpoint {
                // A process of which nothing is known.
                *check = Check::new(pod, now);
            }
        }
    }

    /// The announcements that are to be read now.
    #[must_use]
    pub fn reads(&self, now: Instant) -> Vec<Read> {
        let due = self
            .pods
            .iter()
            .filter(|(_, check)| check.read_due().is_some_and(|at| at <= now));
        due.filter_map(|(uid, check)| {
            Some(Read {
                uid: uid.clone(),
                endpoint: check.endpoint.clone()?,
            })
        })
        .collect()
    }

    /// An announcement was read, or was not to be read.
    pub fn read(&mut self, read: &Read, finding: Finding, now: Instant) {
        self.turn += 1;
        let turn = self.turn;
        if let Some(check) = self.pods.get_mut(&read.uid)
            && check.endpoint.as_ref() == Some(&read.endpoint)
        {
            check.found(finding, turn, now);
        }
    }

    /// When the overlord is to be asked for its workers; `None` if there is nothing to ask for.
    #[must_use]
    pub fn list_due(&self) -> Option<Instant> {
        let proofs = || self.pods.values().map(|check| check.proof);
        let is_awaited = |proof| matches!(proof, Proof::Read(_) | Proof::Listed(Some(_)));
        let could_be_listed = |proof| matches!(proof, Proof::Hidden | Proof::Listed(None));
        let soon = proofs().any(is_awaited);
        if !soon && !proofs().any(could_be_listed) {
            return None;
        }
        // Indexers are there, so it was asked before, or there is a reading.
        let due = match self.asked {
            Some(asked) if soon => asked + LEAST,
            Some(asked) => asked + AT_LEAST,
            None => self.pods.values().map(|check| check.since).min()?,
        };
        Some(self.not_before.map_or(due, |at| due.max(at)))
    }

    /// The overlord is asked now: to be called before the request is sent.
    pub fn ask(&mut self, now: Instant) -> Asked {
        self.turn += 1;
        self.asked = Some(now);
        Asked(self.turn)
    }

    /// The overlord has answered with the `host:port` of all workers, or has not, and why.
    pub fn listed(&mut self, asked: Asked, workers: Result<&BTreeSet<String>, String>, now: Instant) {
        let workers = match workers {
            Ok(workers) => workers,
            Err(error) => {
                self.not_before = Some(now + delay(self.failures, FAILED));
                self.failures = self.failures.saturating_add(1);
                self.error = Some(error);
                return;
            }
        };
        self.failures = 0;
        self.error = None;
        self.not_before = None;
        for check in self.pods.values_mut() {
            check.listed(asked, workers, now);
        }
    }

    /// When there is something to read or to ask; `None` until the pods change.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let reads = self.pods.values().filter_map(Check::read_due);
        reads.chain(self.list_due()).min()
    }

    /// Whether it is proven that the overlord does not see the Indexer of the pod with this uid.
    pub(super) fn is_hidden(&self, uid: &str) -> bool {
        let check = self.pods.get(uid);
        check.is_some_and(|check| check.verdict() == Verdict::Hidden)
    }

    /// What is known of the pods of a pool, by uid.
    pub(super) fn of<'a>(&'a self, pool: &'a PoolId) -> impl Iterator<Item = (&'a str, &'a Check)> {
        let all = self.pods.iter().filter(move |(_, check)| check.pool == *pool);
        all.map(|(uid, check)| (uid.as_str(), check))
    }

    /// The IndexerPools of all pods.
    pub(super) fn pools(&self) -> BTreeSet<&PoolId> {
        self.pods.values().map(|check| &check.pool).collect()
    }

    /// Why the overlord did not list its workers when it was last asked.
    pub(super) fn overlord_error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

impl Check {
    fn new(pod: &IndexerPod, now: Instant) -> Self {
        Self {
            pool: pod.pool.clone(),
            is_terminating: pod.is_terminating,
            is_ready: pod.ready.is_some(),
            endpoint: pod.ready.clone(),
            since: now,
            proof: Proof::Missing,
            unproven: None,
            failures: 0,
            next: now,
        }
    }

    /// When the announcement is to be read.
    fn read_due(&self) -> Option<Instant> {
        let is_needed = matches!(self.proof, Proof::Missing | Proof::Listed(None));
        (is_needed && self.is_ready && !self.is_terminating).then_some(self.next)
    }

    fn found(&mut self, finding: Finding, turn: u64, now: Instant) {
        self.next = now
            + match finding {
                Finding::Hidden | Finding::OffersWorker => LISTED,
                Finding::Absent | Finding::Earlier => delay(self.failures, ABSENT),
                Finding::NoSession => NO_SESSION,
                Finding::Invalid(_) | Finding::Failed(_) => delay(self.failures, FAILED),
            };
        match finding {
            Finding::OffersWorker => self.proof = Proof::Announced,
            Finding::Hidden => {
                self.proof = match self.proof {
                    Proof::Missing => Proof::Read(turn),
                    Proof::Listed(None) => Proof::Listed(Some(turn)),
                    known => known,
                };
            }
            Finding::NoSession => {}
            _ => self.failures = self.failures.saturating_add(1),
        }
        let is_proof = matches!(finding, Finding::Hidden | Finding::OffersWorker);
        if is_proof {
            self.failures = 0;
        }
        self.unproven = (!is_proof).then_some(finding);
    }

    fn listed(&mut self, asked: Asked, workers: &BTreeSet<String>, now: Instant) {
        let Some(address) = self.address() else {
            return;
        };
        let is_listed = workers.contains(&address);
        self.proof = match self.proof {
            // Before its own announcement is read, a worker at this address may be another.
            Proof::Missing | Proof::Announced | Proof::Listed(None) => return,
            Proof::Read(turn) | Proof::Listed(Some(turn)) if turn >= asked.0 => return,
            Proof::Hidden if !is_listed => return,
            Proof::Read(_) | Proof::Listed(Some(_)) if !is_listed => Proof::Hidden,
            Proof::Read(_) | Proof::Hidden | Proof::Listed(Some(_)) => {
                self.next = now + LISTED;
                Proof::Listed(None)
            }
        };
    }

    /// `host:port`, as far as known.
    pub(super) fn address(&self) -> Option<String> {
        self.endpoint.as_ref().map(Endpoint::address)
    }

    /// What a status says of it.
    pub(super) fn verdict(&self) -> Verdict<'_> {
        let unproven = self.unproven.as_ref().filter(|_| self.is_ready);
        match self.proof {
            Proof::Missing | Proof::Read(_) => Verdict::Unproven(unproven),
            Proof::Hidden => Verdict::Hidden,
            Proof::Announced => Verdict::Announced,
            Proof::Listed(_) => Verdict::Listed(unproven),
        }
    }

    /// Whether its own announcement was read, so that the overlord's list says something of it.
    pub(super) fn awaits_list(&self) -> bool {
        matches!(self.proof, Proof::Read(_) | Proof::Hidden | Proof::Listed(_))
    }

    /// When its address was seen first.
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

/// The delay after so many failures before: it doubles, from a second to `longest`.
pub(super) fn delay(failures: u32, longest: Duration) -> Duration {
    Duration::from_secs(1 << failures.min(6)).min(longest)
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
