//! Finished tasks, until the overlord has forgotten them.
//!
//! A worker repeats the end of a task to every overlord that asks for its complete state, until the overlord says that it
//! knows. So now and then it is asked about those whose end it has received, as real MiddleManagers do; what it does not
//! call running is told no more, and its PeonTask says so: only then may it be deleted for its age.

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

/// How long after its start the overlord is asked for the first time.
const FIRST: Duration = Duration::from_secs(60);
/// How often it is asked, about.
const PERIOD: Duration = Duration::from_secs(300);
/// How soon it is asked again where it did not answer.
const AGAIN: Duration = Duration::from_secs(30);
/// Tasks in one question.
const MOST: usize = 1000;
/// PeonTasks that are written to at the same time.
const WRITES: usize = 8;

/// The overlord, as far as it is asked about tasks.
pub trait Overlord: Send + Sync + 'static {
    /// Why there is no answer.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What became of tasks: `POST /druid/indexer/v1/taskStatus`. Those that it does not know are absent. `None` where it
    /// does not know the question (404), which means that all may be forgotten.
    fn task_status(
        &self,
        ids: &[String],
    ) -> impl Future<Output = Result<Option<BTreeMap<String, TaskState>>, Self::Error>> + Send;
}

/// Asks the overlord now and then, for ever.
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

/// Several processes that were started together do not ask together.
fn jittered(period: Duration) -> Duration {
    period.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Asks about all tasks whose end the overlord has received; says whether it answered each time. A question that is not
/// answered keeps no other from being asked.
pub(crate) async fn round<L: Announce>(assigner: &Assigner<L>, overlord: &impl Overlord) -> bool {
    let delivered = delivered(assigner);
    let mut answered = true;
    for ids in delivered.chunks(MOST) {
        let known = match overlord.task_status(ids).await {
            Ok(known) => known.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "the overlord does not say what it has forgotten"
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

/// The PeonTask first: should this process die in between, the next one does not begin anew.
async fn forget<L: Announce>(assigner: &Assigner<L>, id: &str) {
    let tasks = assigner.tasks();
    let target = tasks.ask(|known, _| known.target(id));
    if let Some(target) = target.filter(|t| !t.forgotten) {
        let patch = json!({"metadata": {"uid": target.uid, "annotations": {ANNOTATION_OVERLORD: FORGOTTEN}}});
        if let Err(error) = assigner.patch(&target, patch).await {
            tracing::warn!(task_id = id, %error, "what the overlord has forgotten is asked about again");
            return;
        }
    }
    tasks.tell(|known, now| known.forget(id, now));
}

#[cfg(test)]
#[path = "forget_tests.rs"]
mod tests;
