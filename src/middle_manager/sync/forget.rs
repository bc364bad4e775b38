//! Finished tasks, until the overlord has forgotten them.
//!
//! A worker includes the end of a task in every complete state until the overlord is known to have processed it. So the
//! overlord is asked periodically about tasks whose end it has received, as real MiddleManagers do. Tasks that it does
//! not call running are removed from the announcements, and their PeonTasks are annotated: only then may they be
//! deleted by age.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;

use crate::api::{ANNOTATION_OVERLORD, FORGOTTEN};
use crate::apiserver::error::chain;
use crate::druid::worker::TaskState;
use crate::middle_manager::assign::Assigner;
use crate::middle_manager::http::backend::Announce;

/// Delay between the start and the first request to the overlord.
const FIRST: Duration = Duration::from_secs(60);
/// Approximate interval between requests.
const PERIOD: Duration = Duration::from_secs(300);
/// Delay before a request that was not answered is repeated.
const AGAIN: Duration = Duration::from_secs(30);
/// Tasks per request.
const MOST: usize = 1000;
/// Concurrent writes to PeonTasks.
const WRITES: usize = 8;

/// The overlord's request about tasks.
pub trait Overlord: Send + Sync + 'static {
    /// Why there is no answer.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The state of tasks: `POST /druid/indexer/v1/taskStatus`. Unknown tasks are absent. `None` if the overlord does
    /// not know the request (404), which means that all tasks may be forgotten.
    fn task_status(
        &self,
        ids: &[String],
    ) -> impl Future<Output = Result<Option<BTreeMap<String, TaskState>>, Self::Error>> + Send;
}

/// Asks the overlord periodically. Never returns.
///
/// # Access control
/// peontasks: patch.
pub async fn run<L: Announce>(assigner: Arc<Assigner<L>>, overlord: impl Overlord) {
    tokio::time::sleep(FIRST).await;
    loop {
        let answered = round(&assigner, &overlord).await;
        tokio::time::sleep(jittered(if answered { PERIOD } else { AGAIN })).await;
    }
}

/// Varies the interval, so that processes started together do not ask together.
fn jittered(period: Duration) -> Duration {
    period.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Asks about all tasks whose end the overlord has received; returns whether it answered each time. A request that
/// fails does not prevent the others.
pub(crate) async fn round<L: Announce>(assigner: &Assigner<L>, overlord: &impl Overlord) -> bool {
    let delivered = delivered(assigner);
    let mut answered = true;
    for ids in delivered.chunks(MOST) {
        let known = match overlord.task_status(ids).await {
            Ok(known) => known.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "the overlord does not report which tasks it has forgotten; it is asked again"
                );
                answered = false;
                continue;
            }
        };
        let forgotten = ids
            .iter()
            .filter(|id| known.get(*id) != Some(&TaskState::Running));
        futures::stream::iter(forgotten)
            .for_each_concurrent(WRITES, |id| forget(assigner, id))
            .await;
    }
    answered
}

fn delivered<L: Announce>(assigner: &Assigner<L>) -> Vec<String> {
    let tasks = assigner.tasks();
    let of = |identity| {
        let line = tasks.line(identity);
        let ended = tasks.ask(|known, _| known.ended(identity));
        ended
            .into_iter()
            .filter(move |id| line.is_some_and(|line| line.delivered(id)))
    };
    tasks.identities().flat_map(of).collect()
}

/// Annotates the PeonTask first: if this process dies in between, the next one need not start over.
async fn forget<L: Announce>(assigner: &Assigner<L>, id: &str) {
    let tasks = assigner.tasks();
    let target = tasks.ask(|known, _| known.target(id));
    if let Some(target) = target.filter(|t| !t.forgotten) {
        let patch = json!({"metadata": {"uid": target.uid, "annotations": {ANNOTATION_OVERLORD: FORGOTTEN}}});
        if let Err(error) = assigner.patch(&target, patch).await {
            tracing::warn!(task_id = id, %error, "the PeonTask cannot be annotated as forgotten by the \
                overlord; it is tried again");
            return;
        }
    }
    tasks.tell(|known, now| known.forget(id, now));
}

#[cfg(test)]
#[path = "forget_tests.rs"]
mod tests;
