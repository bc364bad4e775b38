//! Which Indexers of a pool are created and deleted (pure).

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::failures::Failures;
use super::indexer::{Duty, Indexer, Seen, Unwanted, Visibility, WithTasks};
use super::queries::Queries;
use super::revision::{Revision, Unusable};
use crate::api::indexer_pool::{IndexerPoolSpec, IndexerState};
use crate::api::reason::PoolReadiness;
use crate::api::{PoolOutOfMemory, PoolQuarantine, PoolScaling};
use crate::task::run::pod::death::overdue;
use crate::task::run::worker::patience;

/// Most pods that one pass creates: the next pass follows when they are seen.
const MOST_AT_ONCE: usize = 10;
/// Indexers of a new revision beyond those that are wanted, while old ones are replaced.
const SURGE: usize = 1;
/// After this time a pod is created again that the API server refused: quotas are not watched.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);
/// An Indexer that has a task and has not answered for this long, though its node is there, is deleted: its task would
/// wait for ever.
const UNREACHABLE: SignedDuration = SignedDuration::from_mins(5);

/// What a pass knows of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The pool's spec.
    pub pool: &'a IndexerPoolSpec,
    /// What its Indexers are made of, or why none can be.
    pub revision: Result<&'a Revision, &'a Unusable>,
    /// Its Indexers, by name.
    pub indexers: &'a [Indexer],
    /// Pods that were created and are not seen yet.
    pub unseen: usize,
    /// What the VirtualMiddleManager found of them.
    pub seen: &'a Seen,
    /// Indexers that ended by themselves.
    pub failures: &'a Failures,
    /// Why the API server refused the last pod, and when.
    pub refused: Option<&'a (String, Timestamp)>,
    /// Uids of the pods that the last pass wanted to drain.
    pub draining: &'a BTreeSet<String>,
    /// The time.
    pub now: Timestamp,
}

/// A pod to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub uid: String,
    /// The tasks that may have it when it is deleted.
    pub with: WithTasks,
}

/// What a pass does.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Number of pods to create.
    pub create: usize,
    /// Pods to delete.
    pub delete: Vec<Delete>,
    /// Uids of pods that get no further task, and are deleted when theirs have ended.
    pub drain: BTreeSet<String>,
    /// The reason of `Ready`.
    pub reason: PoolReadiness,
    /// Its message.
    pub message: String,
    /// When to look again, if nothing changes before.
    pub look_again: Option<Duration>,
    /// How many Indexers are aimed at, where the pool finds that out itself.
    pub scaling: Option<PoolScaling>,
    /// The last Indexers that ran out of memory.
    pub ended: Vec<PoolOutOfMemory>,
    /// The kinds of tasks that run alone therefore.
    pub quarantine: Vec<PoolQuarantine>,
    /// What became of `serving: Queries`, where the pool has it and its VirtualMiddleManager is known.
    pub queries: Option<Queries>,
}

/// Decides a pass.
#[must_use]
pub fn plan(observed: &Observed<'_>) -> Plan {
    let groups = Groups::of(observed);
    let (reason, message) = readiness(observed, &groups);
    let mut plan = Plan {
        create: 0,
        delete: groups.remains(),
        drain: BTreeSet::new(),
        scaling: None,
        ended: Vec::new(),
        quarantine: Vec::new(),
        queries: None,
        reason,
        message,
        look_again: groups
            .given_up
            .map(|then| Duration::try_from(then.duration_since(observed.now)).unwrap_or_default()),
    };
    for indexer in &groups.used_up {
        plan.delete.push(delete(indexer));
    }
    for indexer in &groups.leaving {
        plan.release(indexer);
    }
    if observed.revision.is_err() {
        // What runs is still that of the last revision that could be used.
        return plan;
    }
    replace(observed, &groups, &mut plan);
    plan
}

impl Plan {
    /// The Indexer is not wanted any more.
    fn release(&mut self, indexer: &Indexer) {
        if indexer.may_go().is_some() {
            self.delete.push(delete(indexer));
        } else {
            self.drain.insert(indexer.evidence.pod_uid.clone());
        }
    }

    fn look_again_in(&mut self, delay: Duration) {
        self.look_again = Some(self.look_again.map_or(delay, |before| before.min(delay)));
    }
}

/// The Indexers by what they are good for.
struct Groups<'a> {
    /// Indexers that are wanted: idle ones, where each runs one task.
    wanted: usize,
    /// Shared ones that have tasks and do not answer.
    silent: usize,
    /// Get no further task.
    leaving: Vec<&'a Indexer>,
    /// Can take a task.
    ready: Vec<&'a Indexer>,
    /// Get no task for now.
    cordoned: Vec<&'a Indexer>,
    /// Of the current revision; they start.
    starting: Vec<&'a Indexer>,
    /// Of another revision or too old, and alive.
    outdated: Vec<&'a Indexer>,
    /// Ended.
    failed: Vec<&'a Indexer>,
    /// Of the current revision, and the overlord sees them.
    visible: usize,
    /// Not needed any more, or of no use.
    used_up: Vec<&'a Indexer>,
    /// When the first of those is given up that have a task and do not answer, or do not confirm a stop.
    given_up: Option<Timestamp>,
    /// Pods that may have a living process.
    alive: usize,
    /// Whether one of those ends in a moment.
    leaves_room: bool,
}

impl<'a> Groups<'a> {
    fn of(observed: &Observed<'a>) -> Self {
        let Observed { pool, indexers, .. } = *observed;
        let revision = observed.revision.ok().map(|revision| revision.hash.as_str());
        let busy = |indexer: &&Indexer| matches!(indexer.duty, Duty::Busy(_)) && indexer.evidence.may_live();
        let busy = indexers.iter().filter(busy).count();
        let replicas = as_count(pool.replicas);
        let mut groups = Self {
            wanted: match pool.shared_slots() {
                Some(_) => replicas,
                None => replicas.min(most(pool).saturating_sub(busy)),
            },
            silent: 0,
            leaving: Vec::new(),
            ready: Vec::new(),
            cordoned: Vec::new(),
            starting: Vec::new(),
            outdated: Vec::new(),
            failed: Vec::new(),
            visible: 0,
            used_up: Vec::new(),
            given_up: None,
            alive: indexers.iter().filter(|i| i.evidence.may_live()).count() + observed.unseen,
            leaves_room: indexers.iter().any(|i| {
                i.evidence.may_live() && overdue(&i.evidence).is_some_and(|overdue| overdue > observed.now)
            }),
        };
        for indexer in indexers {
            let (state, _) = indexer.state(revision, observed.seen);
            match state {
                IndexerState::Ready => groups.ready.push(indexer),
                IndexerState::Cordoned => groups.cordoned.push(indexer),
                IndexerState::Starting if Self::is_lost(indexer, observed.seen) => {
                    groups.used_up.push(indexer);
                }
                IndexerState::Starting => {
                    let visibility = observed.seen.of(&indexer.evidence.pod_uid);
                    groups.visible += usize::from(visibility == Visibility::Visible);
                    groups.starting.push(indexer);
                }
                IndexerState::Outdated if indexer.unwanted == Some(Unwanted::Cordoned) => {
                    groups.leaving.push(indexer);
                }
                IndexerState::Draining => {
                    groups.leaving.push(indexer);
                    if indexer.may_go().is_none() {
                        groups.silent_since(indexer, indexer.silent_since, observed.now);
                    }
                }
                IndexerState::Outdated => groups.outdated.push(indexer),
                IndexerState::Failed => groups.failed.push(indexer),
                IndexerState::Used => {
                    groups.used(indexer, observed.now);
                    let is_current = revision.is_none_or(|revision| revision == indexer.revision);
                    let counts = is_current && indexer.slots.is_some() && indexer.evidence.may_live();
                    groups.silent += usize::from(counts);
                }
                IndexerState::Terminating => {}
            }
        }
        for indexer in indexers {
            groups.stops_due(indexer, pool, observed.now);
        }
        groups
    }

    /// Whether it is ready and is not announced: it will never be given a task.
    fn is_lost(indexer: &Indexer, seen: &Seen) -> bool {
        indexer.ready && indexer.load.known() == 0 && seen.is_unannounced(&indexer.evidence.pod_uid)
    }

    /// When a stop on a shared Indexer ought to be confirmed.
    fn stops_due(&mut self, indexer: &Indexer, pool: &IndexerPoolSpec, now: Timestamp) {
        let patience = patience(Duration::from_secs(pool.kill_grace_seconds.into()));
        let due = indexer
            .load
            .stopping_since
            .and_then(|since| since.checked_add(SignedDuration::try_from(patience).ok()?).ok());
        if let Some(due) = due.filter(|due| *due > now) {
            self.given_up = Some(self.given_up.map_or(due, |before| before.min(due)));
        }
    }

    fn used(&mut self, indexer: &'a Indexer, now: Timestamp) {
        let Duty::Busy(silence) = indexer.duty else {
            self.used_up.push(indexer);
            return;
        };
        self.silent_since(indexer, silence, now);
    }

    /// One that has not answered since then is given up after a while, with its tasks.
    fn silent_since(&mut self, indexer: &'a Indexer, silence: Option<Timestamp>, now: Timestamp) {
        // The pod's own evidence decides what became of one that has ended, or whose node is lost.
        let until = silence.filter(|_| indexer.probed && indexer.evidence.may_live());
        let Some(until) = until.and_then(|since| since.checked_add(UNREACHABLE).ok()) else {
            return;
        };
        if until <= now {
            self.used_up.push(indexer);
        } else {
            self.given_up = Some(self.given_up.map_or(until, |before| before.min(until)));
        }
    }

    /// Pods that ended. The last one of them is left for its log while none is ready, though one is wanted.
    fn remains(&self) -> Vec<Delete> {
        let mut failed = self.failed.clone();
        failed.sort_by_key(|indexer| indexer.created);
        if self.ready.is_empty() && self.wanted > 0 {
            failed.pop();
        }
        failed.into_iter().map(delete).collect()
    }
}

fn replace(observed: &Observed<'_>, groups: &Groups<'_>, plan: &mut Plan) {
    let Groups { wanted, .. } = *groups;
    // One that gets no task for now is not replaced.
    let current =
        groups.ready.len() + groups.cordoned.len() + groups.starting.len() + observed.unseen + groups.silent;
    // What is drained already goes on to be; then those that cannot take a task, those with the fewest, the youngest.
    let mut surplus: Vec<&Indexer> = [&groups.ready[..], &groups.cordoned[..], &groups.starting[..]].concat();
    let is_ready = |indexer: &Indexer| groups.ready.iter().any(|ready| ready.name() == indexer.name());
    let is_drained = |indexer: &Indexer| observed.draining.contains(&indexer.evidence.pod_uid);
    surplus.sort_by_key(|indexer| {
        let (tasks, created) = (indexer.load.tasks, Reverse(indexer.created));
        (!is_drained(indexer), is_ready(indexer), tasks, created)
    });
    for indexer in surplus.into_iter().take(current.saturating_sub(wanted)) {
        plan.release(indexer);
    }

    // An old one goes when a new one has taken its place; one that is not ready, or seen by the overlord, at once.
    let is_useful = |indexer: &&&Indexer| {
        indexer.ready && observed.seen.of(&indexer.evidence.pod_uid) != Visibility::Visible
    };
    let (mut useful, useless): (Vec<&Indexer>, Vec<&Indexer>) = groups.outdated.iter().partition(is_useful);
    for indexer in useless {
        plan.release(indexer);
    }
    // Those first that cannot take a task yet: until they were checked, they stand for nothing.
    useful.sort_by_key(|indexer| {
        let is_warm = indexer.is_warm(observed.seen);
        (!is_drained(indexer), is_warm, indexer.created)
    });
    let replaced = (groups.ready.len() + groups.cordoned.len() + useful.len()).saturating_sub(wanted);
    let mut replaced = replaced.min(useful.len());
    let missing = wanted.saturating_sub(current);
    let most = most(observed.pool);
    // None goes for one that starts already, or while another one that goes leaves room.
    let waits = !groups.starting.is_empty() || observed.unseen > 0 || groups.leaves_room;
    if missing > 0 && replaced == 0 && groups.alive >= most && !waits && !useful.is_empty() {
        // There is no room for a new one beside the old ones.
        replaced = 1;
    }
    for indexer in &useful[..replaced] {
        plan.release(indexer);
    }

    if missing == 0 {
        return;
    }
    if groups.visible > 0 {
        return;
    }
    if let Some(delay) = observed.failures.delay(observed.now) {
        plan.look_again_in(delay);
        return;
    }
    if let Some(delay) = refused_again(observed) {
        plan.look_again_in(delay);
        return;
    }
    let room = most.saturating_sub(groups.alive);
    let surge = match useful.len() - replaced {
        0 => missing,
        kept => (wanted + SURGE).saturating_sub(current + kept),
    };
    // After a failure one is tried, not all.
    let careful = if observed.failures.any() || observed.refused.is_some() {
        1_usize.saturating_sub(groups.starting.len() + observed.unseen)
    } else {
        MOST_AT_ONCE
    };
    plan.create = missing.min(room).min(surge).min(careful);
}

fn readiness(observed: &Observed<'_>, groups: &Groups<'_>) -> (PoolReadiness, String) {
    if let Err(unusable) = observed.revision {
        return (unusable.reason, unusable.message.clone());
    }
    let outdated = groups
        .outdated
        .iter()
        .filter(|i| i.is_warm(observed.seen))
        .count();
    let (ready, wanted) = (groups.ready.len() + outdated, groups.wanted);
    if groups.visible > 0 {
        let found = observed
            .seen
            .message
            .as_deref()
            .unwrap_or("it lists one as a worker");
        let message = format!(
            "the overlord sees {} of the Indexers as workers and assigns tasks to them, so that no task is placed on \
             any: {found}; check the image, and that druid.modules.excludeList takes effect in it",
            groups.visible
        );
        return (PoolReadiness::NotHidden, message);
    }
    let refusing = observed.indexers.iter().find_map(|indexer| {
        let why = indexer.refuses.as_ref().filter(|_| indexer.evidence.may_live())?;
        Some((indexer.name(), why))
    });
    if let Some((name, why)) = refusing {
        let message = format!(
            "{name} refuses the requests of the operator: {why}; authRef of the VirtualMiddleManager {} has to be the \
             Secret of Druid's escalator user, who needs STATE READ and WRITE",
            observed.pool.middle_manager_ref.name
        );
        return (PoolReadiness::NotAuthorized, message);
    }
    if ready >= wanted {
        let message = match (wanted, groups.outdated.len()) {
            (0, _) if observed.pool.autoscaling.is_some() => {
                "no task has a slot or waits for one: there are no Indexers until one does".to_owned()
            }
            (0, _) => "no idle Indexers are kept".to_owned(),
            (_, 0) => format!("{ready} of {wanted} Indexers can take a task"),
            (_, old) => format!("{ready} of {wanted} Indexers can take a task; {old} are being replaced"),
        };
        return (PoolReadiness::Warm, message);
    }
    if let Some(said) = cordoned(observed, groups, ready) {
        return said;
    }
    if observed.failures.any() {
        let message = format!(
            "Indexers end before they are ready; {}",
            observed.failures.message
        );
        return (PoolReadiness::IndexerFails, message);
    }
    if let Some((why, _)) = observed.refused {
        let message =
            format!("{ready} of {wanted} Indexers can take a task; the API server refuses pods: {why}");
        return (PoolReadiness::NotCreated, message);
    }
    let revision = observed.revision.ok().map(|revision| revision.hash.as_str());
    let waits = groups.starting.iter().find_map(|indexer| {
        let (_, details) = indexer.state(revision, observed.seen);
        details.map(|details| format!("; {}: {details}", indexer.name()))
    });
    let checked = observed.seen.message.as_deref().map(|said| format!(" ({said})"));
    let message = format!(
        "{ready} of {wanted} Indexers can take a task{}{}",
        waits.unwrap_or_default(),
        checked.unwrap_or_default()
    );
    (PoolReadiness::Starting, message)
}

/// What is said if no more is missing than what is cordoned.
fn cordoned(observed: &Observed<'_>, groups: &Groups<'_>, ready: usize) -> Option<(PoolReadiness, String)> {
    let first = groups.cordoned.first()?;
    let wanted = groups.wanted;
    if ready + groups.cordoned.len() < wanted {
        return None;
    }
    let reason = match ready {
        0 => PoolReadiness::Cordoned,
        _ => PoolReadiness::Warm,
    };
    let revision = observed.revision.ok().map(|revision| revision.hash.as_str());
    let (_, details) = first.state(revision, observed.seen);
    let message = format!(
        "{ready} of {wanted} Indexers can take a task; {}: {}",
        first.name(),
        details.unwrap_or_default()
    );
    Some((reason, message))
}

fn refused_again(observed: &Observed<'_>) -> Option<Duration> {
    let (_, at) = observed.refused?;
    let since = Duration::try_from(observed.now.duration_since(*at)).unwrap_or_default();
    let left = REFUSED_AGAIN.saturating_sub(since);
    (!left.is_zero()).then_some(left)
}

fn delete(indexer: &Indexer) -> Delete {
    Delete {
        pod: indexer.name().to_owned(),
        uid: indexer.evidence.pod_uid.clone(),
        with: indexer.may_go().unwrap_or(WithTasks::Any),
    }
}

/// Most Indexers at the same time.
fn most(pool: &IndexerPoolSpec) -> usize {
    pool.max_indexers.map_or(usize::MAX, as_count)
}

fn as_count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
