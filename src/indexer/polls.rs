//! One long poll for each Indexer, and what is known of it.
//!
//! A poll that fails is repeated with growing, random delays; one that panics costs only its Indexer. Readers take the
//! newest [`View`], and learn which pods' views have changed as a set: however slow a reader is, nothing queues up.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::client::{POLL, Polled, Worker};
use super::decide::view::{Target, Trouble, View};
use crate::apiserver::error::panicked;
use crate::clock::Clock;
use crate::druid::worker::Counter;

/// Most Indexers that are polled.
pub const MOST: usize = 1000;
/// Least time from the beginning of one poll to that of the next, however fast an Indexer answers.
const LEAST: Duration = Duration::from_millis(20);
/// An Indexer that answers that nothing has changed, and sooner than this, did not hold the poll.
const NOT_HELD: Duration = Duration::from_secs(1);
/// First and longest delay after a failure, before the random part.
const DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
/// Time between the first polls of Indexers that are new together.
const APART: Duration = Duration::from_millis(2);

/// An Indexer and the client that has its settings.
#[derive(Clone)]
pub struct Indexer {
    /// Where it is.
    pub target: Target,
    /// Sends the requests.
    pub worker: Arc<dyn Worker>,
}

/// Who polls Indexers and knows what they answered: [`Polls`], or what a test of pools has in its place. Cheap to clone.
pub trait Polling: Clone + Send + Sync + 'static {
    /// As [`Polls::set`].
    #[must_use]
    fn set(&self, indexers: Vec<Indexer>) -> Vec<String>;

    /// As [`Polls::view`].
    #[must_use]
    fn view(&self, pod_uid: &str) -> Option<Arc<View>>;

    /// As [`Polls::indexer`].
    #[must_use]
    fn indexer(&self, pod_uid: &str) -> Option<Indexer>;
}

/// The long polls of all Indexers; cheap to clone. They end with the last clone.
#[derive(Clone)]
pub struct Polls(Arc<Shared>);

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    /// Told whenever `State::changed` gets a member.
    told: Notify,
}

#[derive(Default)]
struct State {
    polls: HashMap<String, Poll>,
    /// Uids of pods whose views have changed since they were last taken.
    changed: BTreeSet<String>,
    next: u64,
}

/// The poll of one Indexer. Dropping it ends the poll.
struct Poll {
    view: Arc<View>,
    worker: Arc<dyn Worker>,
    /// Tells it from an earlier poll of the same pod.
    number: u64,
    task: JoinHandle<()>,
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Polls {
    /// No polls yet. The clock says since when an Indexer is silent.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Shared {
            clock,
            state: Mutex::default(),
            told: Notify::new(),
        }))
    }

    /// Polls these Indexers from now on, and no others. What is known of one that stays is kept, unless its address
    /// has changed. Of more than [`MOST`], those that are polled already stay; the uids of the pods that are left out
    /// are returned. Call it within a Tokio runtime.
    #[must_use]
    pub fn set(&self, indexers: Vec<Indexer>) -> Vec<String> {
        let mut state = self.0.state.lock();
        let state = &mut *state;
        let mut before = std::mem::take(&mut state.polls);
        let mut new = Vec::new();
        for Indexer { target, worker } in indexers {
            match before.remove(&target.pod_uid) {
                Some(mut poll) if *poll.view.target() == target => {
                    poll.worker = worker;
                    state.polls.insert(target.pod_uid, poll);
                }
                _ => new.push(Indexer { target, worker }),
            }
        }
        let mut changed: BTreeSet<String> = before.into_keys().collect();
        let mut left_out = Vec::new();
        for (at, Indexer { target, worker }) in (0_u32..).zip(new) {
            let uid = target.pod_uid.clone();
            if state.polls.len() >= MOST {
                left_out.push(uid);
                continue;
            }
            let number = state.next;
            state.next += 1;
            let poll = poll_on(Arc::downgrade(&self.0), uid.clone(), number, APART * at);
            let poll = Poll {
                view: Arc::new(View::new(target)),
                worker,
                number,
                task: tokio::spawn(poll),
            };
            changed.insert(uid.clone());
            state.polls.insert(uid, poll);
        }
        // Views that are gone and were never taken are of no interest any more, but for those that went now.
        state.changed.retain(|uid| state.polls.contains_key(uid));
        if !changed.is_empty() {
            state.changed.append(&mut changed);
            self.0.told.notify_one();
        }
        left_out
    }

    /// The newest view of the Indexer in this pod; `None` if it is not polled.
    #[must_use]
    pub fn view(&self, pod_uid: &str) -> Option<Arc<View>> {
        self.0
            .state
            .lock()
            .polls
            .get(pod_uid)
            .map(|poll| poll.view.clone())
    }

    /// The Indexer in this pod, for other requests; `None` if it is not polled.
    #[must_use]
    pub fn indexer(&self, pod_uid: &str) -> Option<Indexer> {
        let state = self.0.state.lock();
        let poll = state.polls.get(pod_uid)?;
        Some(Indexer {
            target: poll.view.target().clone(),
            worker: poll.worker.clone(),
        })
    }

    /// Waits until views have changed, and returns the uids of their pods, those that are no longer polled included.
    /// For one reader: each change is returned once. Cancel-safe.
    pub async fn changed(&self) -> BTreeSet<String> {
        loop {
            let told = self.0.told.notified();
            let changed = std::mem::take(&mut self.0.state.lock().changed);
            if !changed.is_empty() {
                return changed;
            }
            told.await;
        }
    }
}

impl Polling for Polls {
    fn set(&self, indexers: Vec<Indexer>) -> Vec<String> {
        Polls::set(self, indexers)
    }

    fn view(&self, pod_uid: &str) -> Option<Arc<View>> {
        Polls::view(self, pod_uid)
    }

    fn indexer(&self, pod_uid: &str) -> Option<Indexer> {
        Polls::indexer(self, pod_uid)
    }
}

impl Shared {
    /// What the next poll of this Indexer asks; `None` if the poll has been ended.
    fn question(&self, uid: &str, number: u64) -> Option<(Indexer, Option<Counter>)> {
        let state = self.state.lock();
        let poll = state.polls.get(uid).filter(|poll| poll.number == number)?;
        let indexer = Indexer {
            target: poll.view.target().clone(),
            worker: poll.worker.clone(),
        };
        Some((indexer, poll.view.asks()))
    }

    /// Applies what came of a poll; `None` if the poll has been ended.
    fn note(
        &self,
        uid: &str,
        number: u64,
        asked: Option<Counter>,
        polled: Result<Polled, Trouble>,
    ) -> Option<Noted> {
        let mut state = self.state.lock();
        let poll = state.polls.get_mut(uid).filter(|poll| poll.number == number)?;
        // The old view stays if this panics.
        let mut view = View::clone(&poll.view);
        let applied = match polled {
            Ok(Polled::Answer(answer)) => view
                .answered(asked, &answer)
                .map_err(|nonsense| Trouble::Nonsense(nonsense.to_string())),
            Ok(Polled::NothingNew) if asked.is_none() => Err(Trouble::Nonsense(
                "it has nothing to say where everything was asked for".to_owned(),
            )),
            Ok(Polled::NothingNew) => Ok(view.nothing_new()),
            Err(trouble) => Err(trouble),
        };
        let (noted, news) = match applied {
            Ok(news) if !view.complete() => (Noted::Reset, news),
            Ok(news) if asked.is_none() => (Noted::Listed, news),
            Ok(news) if view.asks() == asked => (Noted::NothingNew, news),
            Ok(news) => (Noted::Changes, news),
            Err(trouble) => {
                tracing::debug!(pod_uid = uid, host = view.target().host, %trouble, "the poll of the Indexer failed");
                (Noted::Failed, view.unanswered(trouble, self.clock.wall()))
            }
        };
        poll.view = Arc::new(view);
        if news && state.changed.insert(uid.to_owned()) {
            self.told.notify_one();
        }
        Some(noted)
    }
}

/// What came of one poll, for the time until the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    Changes,
    NothingNew,
    Listed,
    Reset,
    Failed,
}

/// Polls until the poll is ended or all [`Polls`] are dropped.
async fn poll_on(shared: Weak<Shared>, uid: String, number: u64, first: Duration) {
    sleep(first).await;
    let mut failures = 0_u32;
    loop {
        let began = Instant::now();
        let once = AssertUnwindSafe(poll_once(&shared, &uid, number)).catch_unwind();
        let noted = once.await.unwrap_or_else(|panic| {
            let trouble = Trouble::Panicked(panicked(&*panic));
            tracing::error!(pod_uid = uid, %trouble, "the poll of the Indexer is repeated");
            shared.upgrade()?.note(&uid, number, None, Err(trouble))
        });
        let Some(noted) = noted else {
            return;
        };
        match noted {
            Noted::Changes | Noted::NothingNew => failures = 0,
            // A JVM that resets after each list has the same delays as one that does not answer.
            Noted::Listed => {}
            Noted::Reset | Noted::Failed => failures = failures.saturating_add(1),
        }
        let pause = match noted {
            Noted::Failed => delay(failures),
            Noted::Reset if failures > 1 => delay(failures),
            Noted::NothingNew => NOT_HELD.saturating_sub(began.elapsed()),
            Noted::Reset | Noted::Listed | Noted::Changes => LEAST.saturating_sub(began.elapsed()),
        };
        sleep(pause).await;
    }
}

async fn poll_once(shared: &Weak<Shared>, uid: &str, number: u64) -> Option<Noted> {
    let (indexer, asked) = shared.upgrade()?.question(uid, number)?;
    let polled = timeout(POLL, indexer.worker.poll(&indexer.target, asked)).await;
    let late = || Trouble::Unreachable(format!("no answer within {} s", POLL.as_secs()));
    let polled = polled.unwrap_or_else(|_| Err(late()));
    shared.upgrade()?.note(uid, number, asked, polled)
}

/// The delay after so many failures: it doubles up to a limit, and a quarter of it is random, so that Indexers that
/// failed together are not polled together.
fn delay(failures: u32) -> Duration {
    let (first, longest) = DELAYS;
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(longest).mul_f64(0.75 + fastrand::f64() / 4.0)
}

#[cfg(test)]
#[path = "polls_tests.rs"]
mod tests;
