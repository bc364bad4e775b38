//! `status.discovery` of the IndexerPools: its content, and when it is written (pure).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::checks::{Check, Checks, Verdict, delay};
use super::finding::Finding;
use super::pod::PoolId;
use crate::api::indexer_pool::{IndexerDiscovery, MOST_INDEXERS};

/// Shortest interval between writes to one pool.
const LEAST: Duration = Duration::from_secs(1);
/// How long the first write waits for the proofs of pods that were there before this process: an earlier one may have
/// written them.
const FIRST: Duration = Duration::from_secs(10);
/// How often the status is written unchanged: another client may have changed it.
const RESTATED: Duration = Duration::from_secs(300);
/// Longest delay after writes that failed, and the delay after one that was refused.
const FAILED: Duration = Duration::from_secs(60);
/// For so long after the pod became ready it is not worth a message that its Indexer is not announced: a session of an
/// earlier process at its address lasts half a minute.
const SILENT: Duration = Duration::from_secs(60);
/// After this time an Indexer that is not announced is replaced: Druid does not repeat an announcement that it failed to
/// make.
const GIVEN_UP: Duration = Duration::from_secs(120);
/// Most characters of a message.
const MOST: usize = 512;

/// A status to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The pool.
    pub pool: PoolId,
    /// The status.
    pub discovery: IndexerDiscovery,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The API server has it.
    Kept,
    /// There is no such pool, or it may not be written.
    Refused,
    /// It is not known.
    Failed,
}

/// The status of each pool.
#[derive(Debug, Default)]
pub struct PoolStatuses(BTreeMap<PoolId, Pool>);

#[derive(Debug)]
struct Pool {
    /// When its first pod was seen.
    since: Instant,
    /// What was written last, and when. `None` at first: then the status may be an earlier process's.
    written: Option<(IndexerDiscovery, Instant)>,
    /// It is not written earlier.
    not_before: Instant,
    failures: u32,
    said: Option<Said>,
}

/// What a message is about. One about the same is not changed: details may vary with every try.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    topic: Topic,
    message: String,
}

/// In the order of their importance.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Topic {
    Announced(String),
    Listed(String),
    Session,
    Overlord,
    Failed(String),
    Invalid(String),
    Absent(String),
    Earlier(String),
}

impl PoolStatuses {
    /// Updates the pools and the messages by what is known of their pods.
    pub fn see(&mut self, checks: &Checks, now: Instant) {
        for pool in checks.pools() {
            self.0.entry(pool.clone()).or_insert_with(|| Pool::new(now));
        }
        self.0.retain(|id, pool| {
            pool.said = pool.say(id, checks, now);
            // A pool without pods is of no interest any more, once its status has none.
            let is_empty = pool
                .written
                .as_ref()
                .is_none_or(|(w, _)| *w == IndexerDiscovery::default());
            !is_empty || checks.of(id).next().is_some()
        });
    }

    /// The writes that are due.
    #[must_use]
    pub fn writes(&self, checks: &Checks, now: Instant) -> Vec<Write> {
        let due = self.0.iter().filter_map(|(id, pool)| {
            let (at, discovery) = pool.due(id, checks, now);
            (at <= now).then(|| Write {
                pool: id.clone(),
                discovery,
            })
        });
        due.collect()
    }

    /// Records what became of a write.
    pub fn written(&mut self, write: &Write, outcome: Written, now: Instant) {
        let Some(pool) = self.0.get_mut(&write.pool) else {
            return;
        };
        match outcome {
            Written::Kept => {
                pool.written = Some((write.discovery.clone(), now));
                pool.failures = 0;
                pool.not_before = now + LEAST;
            }
            Written::Refused => {
                // Nothing of this process is there.
                pool.written = None;
                pool.not_before = now + FAILED;
            }
            Written::Failed => {
                pool.not_before = now + delay(pool.failures, FAILED);
                pool.failures = pool.failures.saturating_add(1);
            }
        }
    }

    /// When a write is due, if nothing else changes; `None` without pools.
    #[must_use]
    pub fn next(&self, checks: &Checks, now: Instant) -> Option<Instant> {
        self.0.iter().map(|(id, pool)| pool.due(id, checks, now).0).min()
    }
}

impl Pool {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            written: None,
            not_before: now,
            failures: 0,
            said: None,
        }
    }

    /// What is to be written, and when.
    fn due(&self, id: &PoolId, checks: &Checks, now: Instant) -> (Instant, IndexerDiscovery) {
        let discovery = IndexerDiscovery {
            hidden: uids(id, checks, |check| check.verdict() == Verdict::Hidden),
            visible: uids(id, checks, |check| {
                matches!(check.verdict(), Verdict::Announced | Verdict::Listed(_))
            }),
            unannounced: uids(id, checks, |check| is_given_up(check, now)),
            message: self.said.as_ref().map(|said| said.message.clone()),
        };
        let at = match &self.written {
            Some((written, at)) if *written == discovery => *at + RESTATED,
            None if checks.of(id).any(|(_, check)| is_unsettled(check)) => self.since + FIRST,
            Some(_) | None => now,
        };
        (at.max(self.not_before), discovery)
    }

    fn say(&self, id: &PoolId, checks: &Checks, now: Instant) -> Option<Said> {
        let (topic, message) = message(id, checks, now)?;
        match &self.said {
            Some(said) if said.topic == topic => Some(said.clone()),
            _ => Some(Said {
                topic,
                message: limited(&message),
            }),
        }
    }
}

/// Whether a proof may still come that an earlier process had.
fn is_unsettled(check: &Check) -> bool {
    !check.is_terminating && matches!(check.verdict(), Verdict::Unproven(_))
}

/// Whether it was not found for so long that it will not be.
fn is_given_up(check: &Check, now: Instant) -> bool {
    let absent = Verdict::Unproven(Some(&Finding::Absent));
    let earlier = Verdict::Unproven(Some(&Finding::Earlier));
    [absent, earlier].contains(&check.verdict()) && now.saturating_duration_since(check.since()) >= GIVEN_UP
}

/// Uids of such Indexers, sorted; if there are too many, those of pods that are not being deleted.
fn uids(id: &PoolId, checks: &Checks, is: impl Fn(&Check) -> bool) -> Vec<String> {
    let mut found: Vec<(bool, &str)> = checks
        .of(id)
        .filter(|(_, check)| is(check))
        .map(|(uid, check)| (check.is_terminating, uid))
        .collect();
    found.sort_unstable();
    found.truncate(usize::try_from(MOST_INDEXERS).unwrap_or(usize::MAX));
    let mut uids: Vec<String> = found.into_iter().map(|(_, uid)| uid.to_owned()).collect();
    uids.sort_unstable();
    uids
}

/// The most important of what there is to say.
fn message(id: &PoolId, checks: &Checks, now: Instant) -> Option<(Topic, String)> {
    let pods = || checks.of(id).map(|(_, check)| check);
    // The first by address.
    let first = |is: &dyn Fn(&Check) -> bool| {
        let addresses = pods().filter(|check| is(check)).filter_map(Check::address);
        addresses.min()
    };
    let found = |is: &dyn Fn(&Finding) -> bool| {
        let mut found: Vec<(String, &Finding, &Check)> = pods()
            .filter_map(|check| match check.verdict() {
                Verdict::Unproven(Some(finding)) | Verdict::Listed(Some(finding)) if is(finding) => {
                    Some((check.address()?, finding, check))
                }
                _ => None,
            })
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    };
    if let Some(address) = first(&|check| check.verdict() == Verdict::Announced) {
        let message = format!("{address} announces workerNodeService: the overlord assigns tasks to it");
        return Some((Topic::Announced(address), message));
    }
    if let Some(address) = first(&|check| matches!(check.verdict(), Verdict::Listed(_))) {
        let message = format!("the overlord lists {address} as a worker, and assigns tasks to it");
        return Some((Topic::Listed(address), message));
    }
    if !found(&|finding| *finding == Finding::NoSession).is_empty() {
        let message = "no announcement can be read: the VirtualMiddleManager has no session with ZooKeeper; its \
                       condition Announced says why";
        return Some((Topic::Session, message.to_owned()));
    }
    if let Some(error) = checks.overlord_error()
        && pods().any(Check::awaits_list)
    {
        return Some((
            Topic::Overlord,
            format!("the overlord's workers are not known: {error}"),
        ));
    }
    if let Some((address, Finding::Failed(why), _)) = found(&|f| matches!(f, Finding::Failed(_))).first() {
        let message = format!("the announcement of {address} cannot be read: {why}");
        return Some((Topic::Failed(address.clone()), message));
    }
    if let Some((address, Finding::Invalid(why), _)) = found(&|f| matches!(f, Finding::Invalid(_))).first() {
        let message = format!("the announcement of {address} does not say whether it is a worker: {why}");
        return Some((Topic::Invalid(address.clone()), message));
    }
    let silent = found(&|f| matches!(f, Finding::Absent | Finding::Earlier));
    let (address, finding, _) = silent
        .into_iter()
        .find(|(_, _, check)| now.saturating_duration_since(check.since()) >= SILENT)?;
    if *finding == Finding::Absent {
        let message = format!("{address} is not announced in Druid's discovery");
        return Some((Topic::Absent(address), message));
    }
    let message = format!("{address} is announced only by a process that began before its pod");
    Some((Topic::Earlier(address), message))
}

/// On one line, and no longer than the schema allows.
fn limited(message: &str) -> String {
    let mut chars = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = chars.by_ref().take(MOST - 1).collect();
    match (chars.next(), chars.next()) {
        (Some(last), None) => short.push(last),
        (Some(_), Some(_)) => short.push('…'),
        (None, _) => {}
    }
    short
}

#[cfg(test)]
#[path = "pool_status_tests.rs"]
mod tests;
