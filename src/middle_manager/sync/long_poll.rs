//! The long poll of one identity: a [`ChangeHistory`] that several tasks may change and poll concurrently.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::druid::worker::{Answer, Counter, TaskAnnouncement};
use crate::middle_manager::registry::change_history::{ChangeHistory, Reply};

/// Most polls held at the same time; a further one causes the oldest to be answered. An overlord has one open, and two
/// overlords overlap when the leader changes.
pub const HELD: usize = 64;
/// Longest time that a poll is held, whatever it requests. An overlord requests 3 minutes.
pub const LONGEST_HOLD: Duration = Duration::from_secs(15 * 60);

/// When an identity was last polled.
#[derive(Debug, Clone, Copy)]
pub struct Polled {
    /// By the system clock, for display.
    pub at: Timestamp,
    /// How long ago, by a monotonic clock.
    pub ago: Duration,
}

/// A [`ChangeHistory`] with the polls that wait for more of it.
#[derive(Debug)]
pub struct LongPoll {
    state: Mutex<State>,
    confirmed: watch::Sender<i64>,
}

#[derive(Debug)]
struct State {
    history: ChangeHistory,
    /// The held polls, oldest first. Each waits for its sender to be dropped.
    held: VecDeque<(u64, oneshot::Sender<Infallible>)>,
    next: u64,
    polled: Option<(Timestamp, Instant)>,
    closed: bool,
}

impl LongPoll {
    /// The long poll of a process that starts. `hash` must differ from those of all earlier processes of this identity:
    /// a random number, or the time.
    #[must_use]
    pub fn new(hash: i64) -> Self {
        let history = ChangeHistory::new(hash);
        Self {
            confirmed: watch::Sender::new(history.confirmed()),
            state: Mutex::new(State {
                history,
                held: VecDeque::new(),
                next: 0,
                polled: None,
                closed: false,
            }),
        }
    }

    /// Records the announcement of a task and answers held polls with it at once. True if it differs from the last one.
    pub fn announce(&self, announcement: TaskAnnouncement) -> bool {
        self.change(|history| history.announce(announcement))
    }

    /// Removes a task whose end was [delivered](Self::delivered). True if it was announced.
    pub fn remove(&self, task_id: &str) -> bool {
        self.change(|history| history.remove(task_id))
    }

    /// Records whether the identity is disabled. True if that changed.
    pub fn disable(&self, disabled: bool) -> bool {
        self.change(|history| history.disable(disabled))
    }

    fn change(&self, change: impl FnOnce(&mut ChangeHistory) -> bool) -> bool {
        let mut state = self.state.lock();
        let news = change(&mut state.history);
        if news {
            state.held.clear();
        }
        news
    }

    /// Answers a poll: at once if there is something new, else as soon as there is, or with nothing new after
    /// `timeout`. Cancel-safe.
    pub async fn poll(&self, asked: Counter, timeout: Duration) -> Answer {
        let (number, released) = match self.start(asked) {
            Ok(answer) => return answer,
            Err(held) => held,
        };
        // Leaves the queue however the poll ends.
        let _held = Held { line: self, number };
        let released = async {
            // Nothing is ever sent: it resolves when the sender is dropped.
            let Err(_) = released.await;
        };
        let timeout = timeout.min(LONGEST_HOLD);
        // Either way, the history has the answer.
        let _ = tokio::time::timeout(timeout, released).await;
        let mut state = self.state.lock();
        match state.history.answer(asked) {
            Reply::Now(answer) => answer,
            Reply::Hold => state.history.nothing_new(),
        }
    }

    /// The answer, or a place among the held polls.
    fn start(&self, asked: Counter) -> Result<Answer, (u64, oneshot::Receiver<Infallible>)> {
        let mut state = self.state.lock();
        state.polled = Some((Timestamp::now(), Instant::now()));
        let reply = state.history.answer(asked);
        let confirmed = state.history.confirmed();
        self.confirmed
            .send_if_modified(|known| std::mem::replace(known, confirmed) != confirmed);
        match reply {
            Reply::Now(answer) => Ok(answer),
            Reply::Hold if state.closed => Ok(state.history.nothing_new()),
            Reply::Hold => {
                if state.held.len() >= HELD {
                    state.held.pop_front();
                }
                let (sender, receiver) = oneshot::channel();
                let number = state.next;
                state.next += 1;
                state.held.push_back((number, sender));
                Err((number, receiver))
            }
        }
    }

    /// Answers all held polls, and holds none from now on: the process ends.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.held.clear();
    }

    /// The last announcement of a task; `None` if it was not announced, or was removed.
    #[must_use]
    pub fn announced(&self, task_id: &str) -> Option<Arc<TaskAnnouncement>> {
        self.state.lock().history.announced(task_id)
    }

    /// Whether a poller knows the last announcement of a task; false if it is not announced.
    #[must_use]
    pub fn delivered(&self, task_id: &str) -> bool {
        self.state.lock().history.delivered(task_id)
    }

    /// Whether a poller knows all changes so far.
    #[must_use]
    pub fn told_all(&self) -> bool {
        let state = self.state.lock();
        state.history.confirmed() >= state.history.newest()
    }

    /// Waits until a poller knows all changes so far. Never resolves if there is no poller.
    pub async fn delivered_all(&self) {
        let newest = self.state.lock().history.newest();
        let mut confirmed = self.confirmed.subscribe();
        // The sender lives as long as the long poll, so this cannot fail.
        let _ = confirmed.wait_for(|confirmed| *confirmed >= newest).await;
    }

    /// The newest confirmed change; when it grows, something may have been delivered.
    #[must_use]
    pub fn deliveries(&self) -> watch::Receiver<i64> {
        self.confirmed.subscribe()
    }

    /// Slots used by running tasks.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.state.lock().history.used()
    }

    /// Ids of the tasks that are announced as running, in their order.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        let state = self.state.lock();
        state.history.running().map(|task| task.id.clone()).collect()
    }

    /// Whether the identity is disabled.
    #[must_use]
    pub fn disabled(&self) -> bool {
        self.state.lock().history.disabled()
    }

    /// Number of polls held now. A held poll proves more than [`Self::last_poll`]: a poller is connected.
    #[must_use]
    pub fn held(&self) -> usize {
        self.state.lock().held.len()
    }

    /// When the last poll began; `None` if there was none.
    #[must_use]
    pub fn last_poll(&self) -> Option<Polled> {
        let polled = self.state.lock().polled;
        polled.map(|(at, since)| Polled {
            at,
            ago: since.elapsed(),
        })
    }
}

/// The place of a poll among the held ones.
struct Held<'a> {
    line: &'a LongPoll,
    number: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.line.state.lock();
        state.held.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
#[path = "long_poll_tests.rs"]
mod tests;
