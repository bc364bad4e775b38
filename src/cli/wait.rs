//! `kubectl peon wait`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::future::try_join_all;

use super::connection::Cluster;
use super::follow::{attend, follow};
use super::outcome::Outcome;
use super::output::{self, Format, note};
use super::progress::{Progress, ending};
use super::{advice, duration, tasks};
use crate::api::{PeonTask, Phase};

#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Names of the PeonTasks.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,

    /// What to wait for.
    #[arg(long = "for", value_enum, default_value = "complete", value_name = "STATE")]
    goal: Goal,

    /// Give up after this time, such as 90s, 5m or 1h30m, with exit code 4. Default: never.
    #[arg(long, value_parser = duration::parse, value_name = "TIME")]
    timeout: Option<Duration>,

    /// Print the tasks in this format when the wait ends.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// What a task is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Goal {
    /// Every task succeeded; exit code 3 as soon as all have ended and one failed.
    Complete,
    /// Every task ended, successfully or not.
    Finished,
    /// Every peon runs, or ran; exit code 3 if a task failed before.
    Running,
}

impl Goal {
    /// What has become of the wait, once that is known.
    pub(super) fn reached(self, task: &PeonTask) -> Option<Outcome> {
        match (self, tasks::verdict(task), tasks::phase(task)) {
            (Self::Finished, Some(_), _)
            | (_, Some(Phase::Succeeded), _)
            | (Self::Running, None, Phase::Running) => Some(Outcome::Done),
            (_, Some(_), _) => Some(Outcome::TaskFailed),
            (_, None, _) => None,
        }
    }
}

impl Wait {
    /// Waits for tasks.
    ///
    /// # Access control
    /// peontasks: get, list, watch; for the rows in the display pods/proxy: get.
    pub(super) async fn run(&self, cluster: &Cluster) -> anyhow::Result<Outcome> {
        until(cluster, &self.names, self.goal, self.timeout, self.output).await
    }
}

/// Waits for tasks and prints how they ended.
pub(super) async fn until(
    cluster: &Cluster,
    names: &[String],
    goal: Goal,
    limit: Option<Duration>,
    format: Option<Format>,
) -> anyhow::Result<Outcome> {
    let of_all = names.len();
    let waits = names.iter().map(|name| async move {
        let mut progress = Progress::of(of_all);
        let reached = |task: &PeonTask| goal.reached(task).map(|outcome| (outcome, task.clone()));
        let (outcome, task) = follow(cluster, name, &mut progress, reached).await?;
        if format.is_none() {
            output::print(&(said(&task) + "\n"))?;
            advise(&task);
        }
        anyhow::Ok((outcome, task))
    });
    let work = async {
        let (outcomes, tasks): (Vec<_>, Vec<_>) = try_join_all(waits).await?.into_iter().unzip();
        if let Some(format) = format {
            output::print(&output::tasks(format, &tasks)?)?;
        }
        Ok(outcomes.into_iter().max().unwrap_or(Outcome::Done))
    };
    attend(names, limit, work).await
}

/// Says what to do about a task that failed.
fn advise(task: &PeonTask) {
    let status = tasks::status(task);
    let advice = advice::about(&tasks::standing(&status).0, true);
    if let (Some(Phase::Failed), Some(advice)) = (tasks::verdict(task), advice) {
        note(&format!("what to do: {}", advice.action));
    }
}

/// What has become of a task, in one line.
fn said(task: &PeonTask) -> String {
    let name = output::reference(task.metadata.name.as_deref().unwrap_or_default());
    ending(task).unwrap_or_else(|| format!("{name} runs"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use super::*;
    use crate::cli::tasks::tests::{condition, task};
    use serde_json::json;

    #[test]
    fn success_and_failure_race() {
        let of = |phase: &str, conditions: serde_json::Value| {
            task("a", json!({}), json!({"phase": phase, "conditions": conditions}))
        };
        let complete = of(
            "Succeeded",
            json!([condition("Complete", "True", "Succeeded", "")]),
        );
        let failed = of("Failed", json!([condition("Failed", "True", "OOMKilled", "")]));
        let running = of("Running", json!([condition("Started", "True", "Started", "")]));
        let pending = of("Pending", json!([condition("Complete", "False", "x", "")]));
        let table = [
            (
                Goal::Complete,
                [Some(Outcome::Done), Some(Outcome::TaskFailed), None, None],
            ),
            (
                Goal::Finished,
                [Some(Outcome::Done), Some(Outcome::Done), None, None],
            ),
            (
                Goal::Running,
                [
                    Some(Outcome::Done),
                    Some(Outcome::TaskFailed),
                    Some(Outcome::Done),
                    None,
                ],
            ),
        ];
        for (goal, expected) in table {
            let reached = [&complete, &failed, &running, &pending].map(|t| goal.reached(t));
            assert_eq!(reached, expected, "{goal:?}");
        }
        assert_eq!(said(&running), "peontask.peon.dev/a runs");
    }
}
