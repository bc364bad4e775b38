//! The line between one identity and whoever polls it: a [`ChangeHistory`] that several may change and poll at once.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::druid::worker::{Answer, Counter, TaskAnnouncement};
use crate::middle_manager::registry::change_history::{ChangeHistory, Reply};

/// So many polls are held at the same time; the oldest is answered for one more. An overlord has one open, and two
/// overlords overlap when the leader changes.
pub const HELD: usize = 64;
/// For so long a poll is held at most, whatever it says. An overlord says 3 minutes.
pub const LONGEST_HOLD: Duration = Duration::from_secs(15 * 60);

/// When an identity was last polled.
#[derive(Debug, Clone, Copy)]
pub struct Polled {
    /// By the clock on the wall, for people.
    pub at: Timestamp,
    /// How long ago, whatever became of that clock.
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
    /// The polls that are held, the oldest first. Each waits for its sender to be dropped.
    held: VecDeque<(u64, oneshot::Sender<Infallible>)>,
    next: u64,
    polled: Option<(Timestamp, Instant)>,
    closed: bool,
}

impl LongPoll {
    /// The line of a process that starts. `hash` is one that no earlier process of this identity had: a random number,
    /// or the time.
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

    /// Says what there is to say of a task. Polls that are held are answered with it at once. True where it is news.
    pub fn announce(&self, announcement: TaskAnnouncement) -> bool {
        self.change(|history| history.announce(announcement))
    }

    /// Forgets a task, whose end was [delivered](Self::delivered). True where it was announced.
    pub fn remove(&self, task_id: &str) -> bool {
        self.change(|history| history.remove(task_id))
    }

    /// Says whether no tasks are taken. True where it is news.
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

    /// Answers a poll: at once where there is something to tell, else as soon as there is, or with nothing new after
    /// `timeout`. It may be dropped at any time.
    pub async fn poll(&self, asked: Counter, timeout: Duration) -> Answer {
        let (number, released) = match self.start(asked) {
            Ok(answer) => return answer,
            Err(held) => held,
        };
        // Leaves the queue however the poll ends.
        let _held = Held { line: self, number };
        let released = async {
            // Nothing can be sent, so what comes is that the sender is gone.
            let Err(_) = released.await;
        };
        let timeout = timeout.min(LONGEST_HOLD);
        // Which of the two it was is no matter: the history says what there is.
        let _ = tokio::time::timeout(timeout, released).await;
        let mut state = self.state.lock();
        match state.history.answer(asked) {
            Reply::Now(answer) => answer,
            Reply::Hold => state.history.nothing_new(),
        }
    }

    /// The answer, or a place among the polls that are held.
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

    /// Answers every poll that is held, and holds none from now on: the process ends.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.held.clear();
    }

    /// What was last announced of a task; `None` for one that was not, or that was removed.
    #[must_use]
    pub fn announced(&self, task_id: &str) -> Option<Arc<TaskAnnouncement>> {
        self.state.lock().history.announced(task_id)
    }

    /// Whether a poller knows what was last announced of a task; false for one that is not announced.
    #[must_use]
    pub fn delivered(&self, task_id: &str) -> bool {
        self.state.lock().history.delivered(task_id)
    }

    /// Whether a poller knows everything that was said until now.
    #[must_use]
    pub fn told_all(&self) -> bool {
        let state = self.state.lock();
        state.history.confirmed() >= state.history.newest()
    }

    /// Waits until a poller knows everything that was said until now. For ever, where nobody polls.
    pub async fn delivered_all(&self) {
        let newest = self.state.lock().history.newest();
        let mut confirmed = self.confirmed.subscribe();
        // The sender lives as long as the line, so there is no other way out.
        let _ = confirmed.wait_for(|confirmed| *confirmed >= newest).await;
    }

    /// What pollers have shown to know, to be told when it grows: then something may have been delivered.
    #[must_use]
    pub fn deliveries(&self) -> watch::Receiver<i64> {
        self.confirmed.subscribe()
    }

    /// Slots that running tasks take.
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

    /// Whether no tasks are taken.
    #[must_use]
    pub fn disabled(&self) -> bool {
        self.state.lock().history.disabled()
    }

    /// How many polls are held now. One that is held says more than [`Self::last_poll`]: somebody listens.
    #[must_use]
    pub fn held(&self) -> usize {
        self.state.lock().held.len()
    }

    /// When somebody last began to poll; `None` where nobody has.
    #[must_use]
    pub fn last_poll(&self) -> Option<Polled> {
        let polled = self.state.lock().polled;
        polled.map(|(at, since)| Polled {
            at,
            ago: since.elapsed(),
        })
    }
}

/// The place of a poll among those that are held.
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
