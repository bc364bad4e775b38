//! Following PeonTasks by a watch.

use std::future::Future;
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures::StreamExt;
use kube::ResourceExt;
use kube::runtime::watcher::{self, watch_object};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::complaint::passes;
use super::connection::Cluster;
use super::duration;
use super::outcome::Outcome;
use super::output::note;
use super::progress::Progress;
use crate::api::PeonTask;
use crate::apiserver::error::chain;

/// Longest pause between attempts to reach an API server that does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the display is made anew while nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// Follows a task until `until` says something of it.
///
/// # Access control
/// peontasks: list, watch; for the rows in the display also pods/proxy: get.
pub(super) async fn follow<T>(
    cluster: &Cluster,
    name: &str,
    progress: &mut Progress,
    mut until: impl FnMut(&PeonTask) -> Option<T>,
) -> anyhow::Result<T> {
    let mut stream = Box::pin(watch_object(cluster.tasks(), name));
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut uid: Option<String> = None;
    let mut pause = Duration::ZERO;
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            _ = ticks.tick() => {
                progress.tick();
                continue;
            }
        };
        match event {
            Some(Ok(Some(task))) => {
                pause = Duration::ZERO;
                if uid.is_some() && uid != task.uid() {
                    bail!("{name} was deleted and created again during the wait");
                }
                uid = task.uid();
                progress.show(cluster, &task);
                if let Some(reached) = until(&task) {
                    progress.end();
                    return Ok(reached);
                }
            }
            Some(Ok(None)) | None => {
                progress.end();
                if uid.is_some() {
                    bail!("{name} was deleted during the wait");
                }
                // Not found: the same words as everywhere.
                let task = cluster.task(name).await?;
                bail!(
                    "{} has only just been created: run the command again",
                    task.name_any()
                );
            }
            Some(Err(error)) => {
                let error = fatal(cluster, name, error)?;
                if pause == Duration::ZERO {
                    progress.end();
                    note(&format!("{error}; trying again"));
                }
                pause = (pause * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE);
                sleep(pause).await;
            }
        }
    }
}

/// An error of the watch in words: as an error if trying again cannot help.
fn fatal(cluster: &Cluster, name: &str, error: watcher::Error) -> anyhow::Result<anyhow::Error> {
    let (verb, error) = match error {
        watcher::Error::InitialListFailed(error) => ("list", error),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => ("watch", error),
        watcher::Error::WatchError(status) => ("watch", kube::Error::Api(status)),
        other @ watcher::Error::NoResourceVersion => return Err(anyhow!(chain(&other))),
    };
    let (passes, error) = (
        passes(&error),
        cluster.doing(verb, "peontasks", name).failed(error),
    );
    if passes { Ok(error) } else { Err(error) }
}

/// Waits for `work`, for at most `limit`, and not after Ctrl-C, which stops no task.
pub(super) async fn attend(
    names: &[String],
    limit: Option<Duration>,
    work: impl Future<Output = anyhow::Result<Outcome>>,
) -> anyhow::Result<Outcome> {
    let limited = async {
        let Some(limit) = limit else {
            return work.await;
        };
        if let Ok(done) = timeout(limit, work).await {
            return done;
        }
        let after = duration::show(i64::try_from(limit.as_secs()).unwrap_or(i64::MAX));
        note(&format!("timed out after {after}: {}", onward(names)));
        Ok(Outcome::TimedOut)
    };
    tokio::select! {
        done = limited => done,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            note(&format!("interrupted: {}", onward(names)));
            Ok(Outcome::Interrupted)
        }
    }
}

/// What goes on, and how to come back to it.
fn onward(names: &[String]) -> String {
    let runs = if names.len() == 1 {
        "the task keeps running"
    } else {
        "the tasks keep running"
    };
    let names = names.join(" ");
    format!("{runs}; `kubectl peon wait {names}` waits again, `kubectl peon cancel {names}` ends it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_limit_that_passes_is_an_outcome() {
        let names = ["a".to_owned()];
        let outcome = attend(&names, Some(Duration::ZERO), std::future::pending()).await;
        assert_eq!(outcome.unwrap(), Outcome::TimedOut);
        let done = attend(&names, None, async { Ok(Outcome::TaskFailed) }).await;
        assert_eq!(done.unwrap(), Outcome::TaskFailed);
    }

    #[test]
    fn an_interrupted_wait_says_that_the_task_runs_on() {
        assert_eq!(
            onward(&["a".into()]),
            "the task keeps running; `kubectl peon wait a` waits again, `kubectl peon cancel a` ends it"
        );
    }
}
