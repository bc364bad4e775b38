//! Announces the identities where the overlord discovers workers, and reports their state.
//!
//! The input is a map of identities; a [`Discovery`] makes the announcements match it, whatever happens to connections
//! and to nodes of others. It never ends by itself and never fails: errors are reported in the states, and it tries
//! again.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::druid::discovery::{Process, Worker};
use crate::middle_manager::registry::identity::Ordinal;

/// How long withdrawing may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(10);

/// The workers to announce.
pub type Wanted = BTreeMap<Ordinal, Worker>;

/// The state of each of them.
pub type States = BTreeMap<Ordinal, AnnouncementState>;

/// State of an identity in discovery.
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

/// A discovery service where identities are announced: ZooKeeper.
pub trait Discovery: Send + 'static {
    /// Makes the announcements match `wanted` for as long as it runs. An announcement whose worker changed is removed
    /// and made again, since Druid ignores changes. Ends when the sender of `wanted` is gone, after having withdrawn
    /// everything.
    fn keep(self, wanted: watch::Receiver<Wanted>, board: Board) -> impl Future<Output = ()> + Send;
}

/// Where a [`Discovery`] writes the states.
#[derive(Debug, Clone)]
pub struct Board(watch::Sender<States>);

impl Board {
    /// Sets what is announced, and clears the error.
    pub fn set(&self, identity: Ordinal, presence: Presence) {
        self.change(identity, |state| {
            *state = AnnouncementState {
                presence,
                error: None,
            };
        });
    }

    /// Sets an error of one identity; what is announced is unchanged.
    pub fn wrong(&self, identity: Ordinal, error: &str) {
        self.change(identity, |state| state.error = Some(error.to_owned()));
    }

    /// Sets an error of all identities. With `gone`, nothing of this process is announced any more.
    pub fn all_wrong(&self, wanted: &Wanted, gone: bool, error: &str) {
        let of = |before: Option<&AnnouncementState>| AnnouncementState {
            presence: match before {
                Some(state) if !gone => state.presence.clone(),
                _ => Presence::Absent,
            },
            error: Some(error.to_owned()),
        };
        self.0.send_if_modified(|states| {
            let now: States = wanted.keys().map(|o| (*o, of(states.get(o)))).collect();
            let new = *states != now;
            *states = now;
            new
        });
    }

    /// The identity is no longer wanted, and nothing of this process is announced for it.
    pub fn withdrawn(&self, identity: Ordinal) {
        self.0
            .send_if_modified(|states| states.remove(&identity).is_some());
    }

    fn change(&self, identity: Ordinal, change: impl FnOnce(&mut AnnouncementState)) {
        self.0.send_if_modified(|states| {
            let state = states.entry(identity).or_default();
            let before = state.clone();
            change(state);
            *state != before
        });
    }
}

/// Announces identities for as long as it lives.
///
/// Dropped, it withdraws them in the background; [`Announcer::stop`] waits for that.
#[derive(Debug)]
pub struct Announcer {
    wanted: watch::Sender<Wanted>,
    states: watch::Receiver<States>,
    keeping: JoinHandle<()>,
}

/// The process ends and its announcements may remain.
#[derive(Debug, thiserror::Error)]
#[error(
    "the workers may remain announced until their session ends: {0}. Tasks that are assigned until then wait"
)]
pub struct StillAnnounced(String);

impl Announcer {
    /// Starts without any identities to announce.
    #[must_use]
    pub fn start(discovery: impl Discovery) -> Self {
        let (wanted, of_wanted) = watch::channel(Wanted::new());
        let (of_states, states) = watch::channel(States::new());
        let keeping = tokio::spawn(discovery.keep(of_wanted, Board(of_states)));
        Self {
            wanted,
            states,
            keeping,
        }
    }

    /// Announces an identity; announces it anew if the worker changed.
    pub fn announce(&self, identity: Ordinal, worker: Worker) {
        self.wanted.send_if_modified(|wanted| {
            let new = wanted.get(&identity) != Some(&worker);
            wanted.insert(identity, worker);
            new
        });
    }

    /// Withdraws an identity. It is removed from the states once it is withdrawn.
    pub fn withdraw(&self, identity: Ordinal) {
        self.wanted
            .send_if_modified(|wanted| wanted.remove(&identity).is_some());
    }

    /// The current and later states of the identities. An identity of which nothing is known yet is missing.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<States> {
        self.states.clone()
    }

    /// Withdraws all identities, within ten seconds.
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
