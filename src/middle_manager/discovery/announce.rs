//! Announces the identities where the overlord discovers workers, and Indexers where brokers discover what they can query;
//! reports their state.
//!
//! The input is a map of them; a [`Discovery`] makes the announcements match it, whatever happens to connections
//! and to nodes of others. It never ends by itself and never fails: errors are reported in the states, and it tries
//! again.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::Future;
use std::hash::BuildHasher;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::druid::discovery::{BasePath, Process, Worker};
use crate::druid::query_server::QueryServer;
use crate::middle_manager::registry::identity::Ordinal;

/// How long withdrawing may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(10);

/// What is announced in discovery.
pub trait Subject: Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// Tells those of this process apart.
    type Key: Clone + fmt::Debug + fmt::Display + Ord + Send + Sync + 'static;

    /// The node under which all of its kind are announced.
    fn folder(base: &BasePath) -> String;

    /// Its `host:port`, after which its node is named.
    fn address(&self) -> String;

    /// Its announcement by that process, as JSON.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    fn announcement(&self, process: &Process) -> serde_json::Result<Vec<u8>>;
}

impl Subject for Worker {
    type Key = Ordinal;

    fn folder(base: &BasePath) -> String {
        base.workers()
    }

    fn address(&self) -> String {
        self.address()
    }

    fn announcement(&self, process: &Process) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.announcement(process))
    }
}

/// By `host:port`.
impl Subject for QueryServer {
    type Key = String;

    fn folder(base: &BasePath) -> String {
        base.query_servers()
    }

    fn address(&self) -> String {
        self.address()
    }

    fn announcement(&self, process: &Process) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.announcement(process))
    }
}

/// What is to be announced.
pub type Wanted<S = Worker> = BTreeMap<<S as Subject>::Key, S>;

/// The state of each of them.
pub type States<S = Worker> = BTreeMap<<S as Subject>::Key, AnnouncementState>;

/// State of an announcement in discovery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnnouncementState {
    /// What is known to be announced.
    pub presence: Presence,
    /// The current error, if any, and what to do about it.
    pub error: Option<String>,
}

impl AnnouncementState {
    /// Whether the overlord finds the identity by this process's announcement.
    #[must_use]
    pub fn announced(&self) -> bool {
        self.presence == Presence::Announced
    }
}

/// What is announced in discovery under an identity's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Presence {
    /// Nothing of this process.
    #[default]
    Absent,
    /// This process's announcement. While the connection is lost it remains as long as the session lives.
    Announced,
    /// The announcement of a younger process, which has the identity now. This process announces it again when that one
    /// goes.
    Superseded {
        /// Name of that process.
        by: String,
    },
}

/// A discovery service: ZooKeeper, or the API server of Kubernetes.
pub trait Discovery<S: Subject = Worker>: Send + 'static {
    /// Makes the announcements match `wanted` for as long as it runs. An announcement whose content changed is removed
    /// and made again, since Druid ignores changes. Ends when the sender of `wanted` is gone, after having withdrawn
    /// everything.
    fn keep(self, wanted: watch::Receiver<Wanted<S>>, board: Board<S>) -> impl Future<Output = ()> + Send;
}

/// Where a [`Discovery`] writes the states.
#[derive(Debug, Clone)]
pub struct Board<S: Subject = Worker>(watch::Sender<States<S>>);

impl<S: Subject> Board<S> {
    /// Sets what is announced, and clears the error.
    pub fn set(&self, key: &S::Key, presence: Presence) {
        self.change(key, |state| {
            *state = AnnouncementState {
                presence,
                error: None,
            };
        });
    }

    /// Sets what is announced, and what is wrong with it.
    pub fn tell(&self, key: &S::Key, presence: Presence, error: String) {
        self.change(key, |state| {
            *state = AnnouncementState {
                presence,
                error: Some(error),
            };
        });
    }

    /// Sets an error of one announcement; what is announced is unchanged.
    pub fn wrong(&self, key: &S::Key, error: &str) {
        self.change(key, |state| state.error = Some(error.to_owned()));
    }

    /// Sets an error of all announcements. With `gone`, nothing of this process is announced any more.
    pub fn all_wrong(&self, wanted: &Wanted<S>, gone: bool, error: &str) {
        let of = |before: Option<&AnnouncementState>| AnnouncementState {
            presence: match before {
                Some(state) if !gone => state.presence.clone(),
                _ => Presence::Absent,
            },
            error: Some(error.to_owned()),
        };
        self.0.send_if_modified(|states| {
            let now: States<S> = wanted
                .keys()
                .map(|key| (key.clone(), of(states.get(key))))
                .collect();
            let new = *states != now;
            *states = now;
            new
        });
    }

    /// It is no longer wanted, and nothing of this process is announced for it.
    pub fn withdrawn(&self, key: &S::Key) {
        self.0.send_if_modified(|states| states.remove(key).is_some());
    }

    fn change(&self, key: &S::Key, change: impl FnOnce(&mut AnnouncementState)) {
        self.0.send_if_modified(|states| {
            let state = states.entry(key.clone()).or_default();
            let before = state.clone();
            change(state);
            *state != before
        });
    }
}

/// Announces for as long as it lives.
///
/// Dropped, it withdraws everything in the background; [`Announcer::stop`] waits for that.
#[derive(Debug)]
pub struct Announcer<S: Subject = Worker> {
    wanted: watch::Sender<Wanted<S>>,
    states: watch::Receiver<States<S>>,
    keeping: JoinHandle<()>,
}

/// The process ends and its announcements may remain.
#[derive(Debug, thiserror::Error)]
#[error(
    "the workers may remain announced until their session with ZooKeeper ends, or their announcing pods are not ready: \
     {0}. Tasks that are assigned until then wait"
)]
pub struct StillAnnounced(String);

impl<S: Subject> Announcer<S> {
    /// Starts without anything to announce.
    #[must_use]
    pub fn start(discovery: impl Discovery<S>) -> Self {
        let (wanted, of_wanted) = watch::channel(Wanted::<S>::new());
        let (of_states, states) = watch::channel(States::<S>::new());
        let keeping = tokio::spawn(discovery.keep(of_wanted, Board(of_states)));
        Self {
            wanted,
            states,
            keeping,
        }
    }

    /// Announces this; announces it anew if it changed.
    pub fn announce(&self, key: S::Key, subject: S) {
        self.wanted.send_if_modified(|wanted| {
            let new = wanted.get(&key) != Some(&subject);
            wanted.insert(key, subject);
            new
        });
    }

    /// Announces these, and nothing else.
    pub fn announce_only(&self, all: Wanted<S>) {
        self.wanted.send_if_modified(|wanted| {
            let new = *wanted != all;
            *wanted = all;
            new
        });
    }

    /// Withdraws one. It is removed from the states once it is withdrawn.
    pub fn withdraw(&self, key: &S::Key) {
        self.wanted
            .send_if_modified(|wanted| wanted.remove(key).is_some());
    }

    /// The current and later states. One of which nothing is known yet is missing.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<States<S>> {
        self.states.clone()
    }

    /// Ends as a process does that is killed: it withdraws nothing.
    #[cfg(test)]
    pub(crate) async fn stop_at_once(self) {
        self.keeping.abort();
        // Cancelled, as was asked for.
        let _ = self.keeping.await;
    }

    /// Withdraws everything, within ten seconds.
    ///
    /// # Errors
    /// When that could not be made sure of.
    pub async fn stop(self) -> Result<(), StillAnnounced> {
        let Self {
            wanted,
            states,
            mut keeping,
        } = self;
        drop(wanted);
        let unsure = |why: String| {
            let states = states.borrow();
            let error = states.values().find_map(|state| state.error.clone());
            StillAnnounced(error.unwrap_or(why))
        };
        match tokio::time::timeout(FAREWELL, &mut keeping).await {
            Ok(Ok(())) if states.borrow().values().any(AnnouncementState::announced) => {
                Err(unsure("the withdrawal was not confirmed".to_owned()))
            }
            Ok(Ok(())) => Ok(()),
            Ok(Err(ended)) => Err(unsure(ended.to_string())),
            Err(_) => {
                keeping.abort();
                Err(unsure(format!("no answer within {} s", FAREWELL.as_secs())))
            }
        }
    }
}

/// A description of this process, with now as its start. `name` identifies it in announcements, for example the pod's
/// name; a random suffix is added, since a restarted container has the same name.
#[must_use]
pub fn this_process(name: &str) -> Process {
    let random = RandomState::new().hash_one(name);
    Process {
        instance: format!("{name}/{random:016x}"),
        started: Timestamp::now(),
    }
}

#[cfg(test)]
#[path = "announce_tests.rs"]
mod tests;
