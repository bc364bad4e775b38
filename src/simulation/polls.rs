//! What a process knows of Indexers: the real views, whose answers come when the history says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use crate::druid::worker::{Answer, Counter};
use crate::indexer::client::Worker;
use crate::indexer::decide::view::{Target, Trouble, View};
use crate::indexer::polls::{Indexer, Polling};

/// The polls of a process; cheap to clone.
#[derive(Clone, Default)]
pub struct ModelPolls(Arc<Mutex<BTreeMap<String, Poll>>>);

struct Poll {
    view: Arc<View>,
    worker: Arc<dyn Worker>,
    /// An answer that is on its way, and what was asked.
    late: Option<(Option<Counter>, Answer)>,
}

impl Poll {
    fn change<T>(&mut self, change: impl FnOnce(&mut View) -> T) -> T {
        change(Arc::make_mut(&mut self.view))
    }
}

impl Polling for ModelPolls {
    fn set(&self, indexers: Vec<Indexer>) -> Vec<String> {
        let mut polls = self.0.lock();
        let mut before = std::mem::take(&mut *polls);
        for Indexer { target, worker } in indexers {
            let kept = before.remove(&target.pod_uid);
            let poll = kept.filter(|poll| *poll.view.target() == target);
            let poll = poll.unwrap_or_else(|| Poll {
                view: Arc::new(View::new(target.clone())),
                worker,
                late: None,
            });
            polls.insert(target.pod_uid, poll);
        }
        Vec::new()
    }

    fn view(&self, pod_uid: &str) -> Option<Arc<View>> {
        self.0.lock().get(pod_uid).map(|poll| poll.view.clone())
    }

    fn indexer(&self, pod_uid: &str) -> Option<Indexer> {
        let polls = self.0.lock();
        let poll = polls.get(pod_uid)?;
        Some(Indexer {
            target: poll.view.target().clone(),
            worker: poll.worker.clone(),
        })
    }
}

impl ModelPolls {
    /// What is polled.
    pub fn targets(&self) -> Vec<Target> {
        let polls = self.0.lock();
        polls.values().map(|poll| poll.view.target().clone()).collect()
    }

    /// What the next poll of this Indexer asks, once the answer that was on its way has come. Returns also whether that
    /// was news.
    pub fn asks(&self, pod_uid: &str) -> (Option<Counter>, bool) {
        let mut polls = self.0.lock();
        let Some(poll) = polls.get_mut(pod_uid) else {
            return (None, false);
        };
        let late = poll.late.take();
        let news = late.is_some_and(|(asked, answer)| {
            poll.change(|view| view.answered(asked, &answer)).unwrap_or(false)
        });
        (poll.view.asks(), news)
    }

    /// The answer to a poll comes now, or with the next poll. Returns whether it is news.
    pub fn answered(
        &self,
        pod_uid: &str,
        asked: Option<Counter>,
        answer: Option<Answer>,
        late: bool,
    ) -> bool {
        let mut polls = self.0.lock();
        let Some(poll) = polls.get_mut(pod_uid) else {
            return false;
        };
        match answer {
            None => poll.change(View::nothing_new),
            Some(answer) if late => {
                poll.late = Some((asked, answer));
                false
            }
            Some(answer) => {
                let applied = poll.change(|view| view.answered(asked, &answer));
                applied.expect("a model Indexer answers as Druid does")
            }
        }
    }

    /// There is no answer. Returns whether that is news.
    pub fn unanswered(&self, pod_uid: &str, now: Timestamp) -> bool {
        let mut polls = self.0.lock();
        polls.get_mut(pod_uid).is_some_and(|poll| {
            poll.change(|view| view.unanswered(Trouble::Unreachable("no answer".into()), now))
        })
    }
}
