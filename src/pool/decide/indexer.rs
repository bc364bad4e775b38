//! One Indexer of a pool, as its pod shows it (pure).

use std::collections::BTreeSet;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::heap::watchdog::{Cordon, Heap, Judged};
use super::revision::slots_of;
use crate::api::indexer_pool::{IndexerDiscovery, IndexerPoolSpec, IndexerState};
use crate::api::{
    ANNOTATION_HEAP, ANNOTATION_INDEXER_PORTS, ANNOTATION_SLOTS, LABEL_REVISION, PoolSlots, conditions,
};
use crate::apiserver::classify::watched_pod::WatchedPod;
use crate::druid::indexer_ports::IndexerPorts;
use crate::indexer::decide::meaning::strangers;
use crate::indexer::decide::view::View;
use crate::task::aggregates::idle_indexers::{Load, Use};
use crate::task::run::pod::evidence::{Container, Evidence};

/// Default of `recycle.maxAgeSeconds`: a day.
const MAX_AGE_SECONDS: u32 = 86_400;
/// The reason of a pod's `Ready` that the kubelet gives when a probe fails. The control plane gives none for a lost node.
const NOT_READY: &str = "ContainersNotReady";
/// Default of `recycle.maxTasks`.
const MAX_TASKS: u32 = 2000;

/// An Indexer.
#[derive(Debug, Clone, PartialEq)]
pub struct Indexer {
    /// What its pod shows of it.
    pub evidence: Evidence,
    /// The revision that it was made from.
    pub revision: String,
    /// When its pod was created.
    pub created: Timestamp,
    /// Whether its pod is ready: it is announced, and answers.
    pub ready: bool,
    /// Whether the kubelet says whether it answers. Pods of a lost node are not ready, and no probe of theirs failed.
    pub probed: bool,
    /// Its ports.
    pub ports: IndexerPorts,
    /// Its slots, if it runs several tasks.
    pub slots: Option<PoolSlots>,
    /// The tasks on it, if it runs several.
    pub load: Load,
    /// Whether no stop on it may still be confirmed in time.
    pub stops_are_due: bool,
    /// Its heap, if it runs several tasks.
    pub heap: Option<Heap>,
    /// What the last full collection left of it, in percent.
    pub live_percent: Option<u8>,
    /// Why it gets no task for now, if it gets none.
    pub cordon: Option<Cordon>,
    /// What is known of its tasks.
    pub duty: Duty,
    /// Since when it does not answer, if it runs several tasks.
    pub silent_since: Option<Timestamp>,
    /// Why it refuses the operator's requests, if it does.
    pub refuses: Option<String>,
    /// Why another one is to take its place, besides its revision.
    pub unwanted: Option<Unwanted>,
}

/// The tasks that may have an Indexer that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithTasks {
    /// None.
    None,
    /// Those that were asked to stop.
    Stopped,
    /// Any: it does not answer.
    Any,
}

/// Why an Indexer is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwanted {
    /// Its node is cordoned: it is deleted at once, so that a drain does not wait for it.
    Cordoned,
    /// It is older than `recycle.maxAgeSeconds`.
    Old,
    /// It had `recycle.maxTasks` tasks.
    Worn,
    /// Its heap stays full.
    Leaking,
}

impl Unwanted {
    fn details(self) -> &'static str {
        match self {
            Self::Cordoned => "its node is cordoned",
            Self::Old => "it is older than recycle.maxAgeSeconds",
            Self::Leaking => "its heap stays full, beyond recycle.liveHeapPercent",
            Self::Worn => "it had as many tasks as recycle.maxTasks allows",
        }
    }
}

/// What is known of the tasks of an Indexer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// Its tasks are not known, for this reason: it can take none.
    Unread(String),
    /// It can take a task: it never had one, or runs several.
    Idle,
    /// It has a task, or is to get one, and is silent since the time given, if it is.
    Busy(Option<Timestamp>),
    /// It runs several tasks, and gets no further one, for this reason.
    Draining(&'static str),
    /// It had its task, which needs it no longer.
    Over,
    /// It has, or had, a task that no PeonTask claims: it came from a process that no longer leads.
    Stranger,
}

impl Duty {
    /// What a task claims, and what the Indexer's answers say.
    #[must_use]
    pub fn of(claimed: &Use, view: Option<&View>) -> Self {
        match claimed {
            Use::Unknown => return Self::Unread("the tasks have not been listed yet".to_owned()),
            Use::Claimed => {
                // One that refuses the operator's requests lives, and its task goes on.
                let silence = view.and_then(View::silence);
                let silence = silence.filter(|silence| !silence.trouble.is_refused());
                return Self::Busy(silence.map(|silence| silence.since));
            }
            Use::Over => return Self::Over,
            Use::None => {}
        }
        let Some(view) = view else {
            return Self::Unread("the operator has not asked it for its tasks yet".to_owned());
        };
        // Every task is a change in its history, so the history of one that never had a task is empty.
        let changes = view.counter().is_some_and(|counter| counter.counter > 0);
        if changes || view.replaced().is_some() || view.tasks().next().is_some() {
            return Self::Stranger;
        }
        if let Some(silence) = view.silence() {
            return Self::Unread(format!("it does not answer: {}", silence.trouble));
        }
        if !view.complete() {
            return Self::Unread("it has not said yet which tasks it has".to_owned());
        }
        if view.disabled() {
            return Self::Unread("it announces that it takes no tasks".to_owned());
        }
        Self::Idle
    }

    /// As [`Self::of`], of an Indexer that runs several tasks. A stop that was recorded at
    /// `stops_by` or before ought to be confirmed.
    #[must_use]
    pub fn shared(load: Option<&Load>, view: Option<&View>, is_alive: bool, stops_by: Timestamp) -> Self {
        let Some(load) = load else {
            return Self::Unread("the tasks have not been listed yet".to_owned());
        };
        let silent_or_unread = |why: String, since: Option<Timestamp>| match load.known() {
            0 => Self::Unread(why),
            _ => Self::Busy(since),
        };
        if !is_alive {
            return silent_or_unread("it has ended".to_owned(), None);
        }
        if load.retired {
            return Self::Draining("it is being deleted");
        }
        if load.orphans > 0 {
            return Self::Draining("the PeonTask of a task was deleted while it ran there");
        }
        if load.stopping_since.is_some_and(|since| since <= stops_by) {
            return Self::Draining(
                "a task has not ended that was asked to stop, or waits for the end of the JVM",
            );
        }
        let Some(view) = view else {
            return silent_or_unread("the operator has not asked it for its tasks yet".to_owned(), None);
        };
        if view.replaced().is_some() {
            return Self::Draining("another JVM answers at its address");
        }
        if view.ran_again().is_some() {
            return Self::Draining("it ran a task a second time");
        }
        let claimed = |id: &str| load.ids.iter().any(|claimed| claimed == id);
        if !strangers(view, claimed).is_empty() {
            return Self::Draining("it runs a task that was not given to it");
        }
        if let Some(silence) = view.silence() {
            let since = Some(silence.since).filter(|_| !silence.trouble.is_refused());
            return silent_or_unread(format!("it does not answer: {}", silence.trouble), since);
        }
        if !view.complete() {
            return silent_or_unread("it has not said yet which tasks it has".to_owned(), None);
        }
        if view.disabled() {
            return silent_or_unread("it announces that it takes no tasks".to_owned(), None);
        }
        Self::Idle
    }
}

impl Indexer {
    /// Reads a pod.
    #[must_use]
    pub fn of(pod: &WatchedPod) -> Self {
        let labels = pod.metadata.labels.iter();
        let revision = labels.flatten().find(|(name, _)| *name == LABEL_REVISION);
        let annotations = pod.metadata.annotations.as_ref();
        let ports = annotations.and_then(|all| all.get(ANNOTATION_INDEXER_PORTS));
        let slots = annotations.and_then(|all| all.get(ANNOTATION_SLOTS));
        let mut all = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let condition = all.find(|c| c.type_ == conditions::READY);
        let ready = condition.is_some_and(|c| c.status == "True");
        let unready = condition.is_some_and(|c| c.reason.as_deref() == Some(NOT_READY));
        Self {
            evidence: Evidence::of(pod),
            ports: IndexerPorts::read(ports.map(String::as_str)),
            heap: Heap::read(
                annotations
                    .and_then(|all| all.get(ANNOTATION_HEAP))
                    .map(String::as_str),
            ),
            live_percent: None,
            cordon: None,
            slots: slots_of(slots.map(String::as_str)),
            load: Load::default(),
            stops_are_due: false,
            refuses: None,
            revision: revision.map(|(_, hash)| hash.clone()).unwrap_or_default(),
            created: pod
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            ready,
            probed: ready || unready,
            duty: Duty::of(&Use::Unknown, None),
            silent_since: None,
            unwanted: None,
        }
    }

    /// Decides whether it is replaced, whatever its revision.
    pub fn age(&mut self, pool: &IndexerPoolSpec, is_cordoned: bool, now: Timestamp) {
        let recycle = pool.recycle.as_ref();
        let oldest = recycle.and_then(|recycle| recycle.max_age_seconds);
        let oldest = SignedDuration::from_secs(oldest.unwrap_or(MAX_AGE_SECONDS).into());
        let most = recycle.and_then(|recycle| recycle.max_tasks).unwrap_or(MAX_TASKS);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.unwanted = if is_cordoned {
            Some(Unwanted::Cordoned)
        } else if now.duration_since(self.created) > oldest {
            Some(Unwanted::Old)
        } else {
            (self.slots.is_some() && self.load.had >= most).then_some(Unwanted::Worn)
        };
    }

    /// Takes what the collections of its garbage say; after [`Self::age`].
    pub fn judged(&mut self, judged: Judged) {
        self.live_percent = judged.live_percent;
        self.cordon = judged.cordon;
        if judged.is_leaking {
            self.unwanted = self.unwanted.or(Some(Unwanted::Leaking));
        }
    }

    /// Takes what a task claims, and what the Indexer's answers say.
    pub fn observe(&mut self, claimed: &Use, view: Option<&View>) {
        self.duty = Duty::of(claimed, view);
        self.refused(view);
    }

    /// As [`Self::observe`], of an Indexer that runs several tasks.
    pub fn observe_shared(&mut self, load: Option<&Load>, view: Option<&View>, stops_by: Timestamp) {
        self.duty = Duty::shared(load, view, self.evidence.may_live(), stops_by);
        self.load = load.cloned().unwrap_or_default();
        let silence = view.and_then(View::silence);
        let silence = silence.filter(|silence| !silence.trouble.is_refused());
        self.silent_since = silence.map(|silence| silence.since);
        self.stops_are_due = self.load.stopping_since.is_none_or(|since| since <= stops_by);
        self.refused(view);
    }

    fn refused(&mut self, view: Option<&View>) {
        let trouble = view.and_then(View::silence).map(|silence| &silence.trouble);
        self.refuses = trouble
            .filter(|trouble| trouble.is_refused())
            .map(ToString::to_string);
    }

    /// Name of its pod.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.evidence.pod_name
    }

    /// Its state, and details where there are any.
    #[must_use]
    pub fn state(&self, revision: Option<&str>, seen: &Seen) -> (IndexerState, Option<String>) {
        let evidence = &self.evidence;
        if evidence.deletion_requested.is_some() {
            return (IndexerState::Terminating, None);
        }
        match self.duty {
            Duty::Busy(_) if self.slots.is_some() => {
                let details = "it has tasks, and the operator does not know what they do".to_owned();
                return (IndexerState::Used, Some(details));
            }
            Duty::Busy(_) => return (IndexerState::Used, None),
            Duty::Draining(why) => return (IndexerState::Draining, Some(why.to_owned())),
            Duty::Over => {
                return (
                    IndexerState::Used,
                    Some("its task does not need it any more".to_owned()),
                );
            }
            Duty::Stranger => {
                let details = "it has, or had, a task that was not given to it".to_owned();
                return (IndexerState::Used, Some(details));
            }
            Duty::Unread(_) | Duty::Idle => {}
        }
        if !evidence.may_live() {
            return (IndexerState::Failed, Some(self.how_it_ended()));
        }
        if revision.is_some_and(|revision| revision != self.revision) {
            return (IndexerState::Outdated, None);
        }
        if let Some(why) = self.unwanted {
            return (IndexerState::Outdated, Some(why.details().to_owned()));
        }
        if !self.ready {
            return (IndexerState::Starting, self.what_it_waits_for());
        }
        match seen.of(&evidence.pod_uid) {
            Visibility::Hidden => match &self.duty {
                Duty::Unread(why) => (IndexerState::Starting, Some(why.clone())),
                _ if self.cordon.is_some() => (IndexerState::Cordoned, self.cordon.map(Cordon::details)),
                _ => (IndexerState::Ready, None),
            },
            Visibility::Visible => {
                let details = "the overlord sees the Indexer as a worker".to_owned();
                (IndexerState::Starting, Some(details))
            }
            Visibility::Unknown => {
                let details =
                    "the VirtualMiddleManager has not checked yet that the overlord does not see it";
                (IndexerState::Starting, Some(details.to_owned()))
            }
        }
    }

    /// Whether it can take a task, also if it is to be replaced.
    #[must_use]
    pub fn is_warm(&self, seen: &Seen) -> bool {
        let evidence = &self.evidence;
        self.ready
            && self.duty == Duty::Idle
            && self.unwanted != Some(Unwanted::Cordoned)
            && self.cordon.is_none()
            && evidence.may_live()
            && evidence.deletion_requested.is_none()
            && seen.of(&evidence.pod_uid) == Visibility::Hidden
    }

    /// How it may be deleted now, with or without tasks that were asked to stop; `None` while others need it.
    #[must_use]
    pub fn may_go(&self) -> Option<WithTasks> {
        if self.slots.is_none() {
            return Some(match self.duty {
                Duty::Busy(_) => WithTasks::Any,
                _ => WithTasks::None,
            });
        }
        if self.load.known() == 0 {
            return Some(WithTasks::None);
        }
        let is_dirty = matches!(self.duty, Duty::Draining(_)) && self.stops_are_due;
        (is_dirty && self.load.unstopped == 0).then_some(WithTasks::Stopped)
    }

    fn what_it_waits_for(&self) -> Option<String> {
        let evidence = &self.evidence;
        if let Some(message) = &evidence.unschedulable {
            return Some(message.clone());
        }
        let waits = |container: &Container| match container {
            Container::Waiting { reason, message } if reason != "PodInitializing" => Some(
                format!("{reason}: {message}")
                    .trim_end_matches([':', ' '])
                    .to_owned(),
            ),
            _ => None,
        };
        let init = evidence.init.as_ref().and_then(|(_, container)| waits(container));
        init.or_else(|| waits(&evidence.peon))
    }

    /// How it ended, in one line.
    #[must_use]
    pub fn how_it_ended(&self) -> String {
        let evidence = &self.evidence;
        if let Container::Terminated(ended) = &evidence.peon {
            let (code, reason) = (ended.exit_code, &ended.reason);
            return match ended.message.trim() {
                "" => format!("exit code {code}, {reason}"),
                message => format!("exit code {code}, {reason}: {message}"),
            };
        }
        let reason = evidence.reason.as_deref().unwrap_or("its pod ended");
        format!("{reason}: {}", evidence.message)
            .trim_end_matches([':', ' '])
            .to_owned()
    }
}

/// Whether the overlord sees an Indexer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// It was not checked yet.
    Unknown,
    /// It does not.
    Hidden,
    /// It does.
    Visible,
}

/// What the VirtualMiddleManager found of all Indexers of a pool, by uid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    hidden: BTreeSet<String>,
    visible: BTreeSet<String>,
    unannounced: BTreeSet<String>,
    /// Its message.
    pub message: Option<String>,
}

impl Seen {
    /// Reads the status.
    #[must_use]
    pub fn from(discovery: Option<&IndexerDiscovery>) -> Self {
        discovery.map_or_else(Self::default, |found| Self {
            hidden: found.hidden.iter().cloned().collect(),
            visible: found.visible.iter().cloned().collect(),
            unannounced: found.unannounced.iter().cloned().collect(),
            message: found.message.clone(),
        })
    }

    /// Whether the announcement of the Indexer with this pod was not found for so long that it is replaced.
    #[must_use]
    pub fn is_unannounced(&self, uid: &str) -> bool {
        self.unannounced.contains(uid)
    }

    /// Whether the overlord sees the Indexer with this pod. One that is in both lists is visible.
    #[must_use]
    pub fn of(&self, uid: &str) -> Visibility {
        if self.visible.contains(uid) {
            Visibility::Visible
        } else if self.hidden.contains(uid) {
            Visibility::Hidden
        } else {
            Visibility::Unknown
        }
    }
}

#[cfg(test)]
#[path = "indexer_tests.rs"]
mod tests;
