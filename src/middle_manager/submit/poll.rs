//! Asks the overlord about the state of submitted tasks.

use std::time::Duration;

use futures::StreamExt;

use super::Submitter;
use super::decide::submission;
use super::task_queue::TaskQueue;
use crate::apiserver::error::chain;
use crate::middle_manager::http::backend::Announce;

/// How often the overlord is asked about all submitted tasks that are not assigned here.
const POLL: Duration = Duration::from_secs(5);
/// Tasks per request.
pub(super) const MOST: usize = 1000;
/// Concurrent requests to the overlord.
const QUESTIONS: usize = 4;
/// Concurrent status writes for the answer to one request.
const WRITES: usize = 8;

impl<L: Announce, Q: TaskQueue> Submitter<L, Q> {
    pub(super) async fn poll(&self) {
        loop {
            tokio::time::sleep(POLL).await;
            self.ask().await;
        }
    }

    /// Asks the overlord about all submitted tasks that are not assigned here, many at a time. A request that fails
    /// does not prevent the others.
    pub(super) async fn ask(&self) {
        let asked = self.backlog.lock().asked();
        futures::stream::iter(asked.chunks(MOST))
            .for_each_concurrent(QUESTIONS, |some| self.ask_about(some))
            .await;
    }

    async fn ask_about(&self, some: &[(String, String)]) {
        let ids: Vec<String> = some.iter().map(|(_, id)| id.clone()).collect();
        let states = match self.queue.states(&ids).await {
            Ok(states) => states,
            Err(error) => {
                return tracing::warn!(
                    error = chain(&error),
                    tasks = ids.len(),
                    "the overlord does not report the states of submitted tasks; it is asked again"
                );
            }
        };
        let news = some.iter().filter_map(|(uid, id)| {
            let applied = self.backlog.lock().get(uid).cloned()?;
            // It was assigned here, and the watch lags.
            let target = self.assigner.tasks().ask(|known, _| known.target(id));
            let is_here = target.is_some_and(|target| target.uid == *uid);
            let next = submission::polled(applied.submission.as_ref()?, states.get(id))?;
            (!is_here).then_some((applied, next))
        });
        futures::stream::iter(news.collect::<Vec<_>>())
            .for_each_concurrent(WRITES, |(applied, next)| async move {
                if let Err(error) = self.say(&applied, &next).await {
                    tracing::warn!(task = applied.name, %error, "the state that the overlord reported \
                        cannot be recorded; it is tried again");
                }
            })
            .await;
    }
}
