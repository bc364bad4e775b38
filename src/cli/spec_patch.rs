//! `kubectl peon cancel`, `suspend` and `resume`: the fields of a PeonTask that may be changed.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::connection::Cluster;
use super::follow::{attend, follow};
use super::outcome::Outcome;
use super::output::{self, Format, note};
use super::progress::{Progress, ending};
use super::{duration, tasks};
use crate::api::conditions::{self, SUSPENDED};
use crate::api::reason::{Cause, Suspension};
use crate::api::{PeonTask, Phase};

/// Tasks in one answer of the API server.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
pub(super) struct Change {
    /// Names of the PeonTasks.
    #[arg(required_unless_present_any = ["selector", "all"], value_name = "NAME")]
    names: Vec<String>,

    /// The tasks with these labels that have not ended, such as `team=ads,stage!=test`.
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "names")]
    selector: Option<String>,

    /// All tasks of the namespace that have not ended.
    #[arg(long, conflicts_with_all = ["names", "selector"])]
    all: bool,

    /// Let the API server check the change, and change nothing.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,

    /// Wait until the change has taken effect.
    #[arg(short, long)]
    wait: bool,

    /// With --wait: give up after this time, such as 90s or 5m, with exit code 4. Default: never.
    #[arg(long, value_parser = duration::parse, value_name = "TIME", requires = "wait")]
    timeout: Option<Duration>,

    /// Print the tasks in this format instead of a line for each.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// What is wanted of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpecPatch {
    Cancel,
    Suspend,
    Resume,
}

impl SpecPatch {
    fn patch(self) -> Value {
        match self {
            Self::Cancel => json!({"spec": {"cancel": true}}),
            Self::Suspend => json!({"spec": {"suspend": true}}),
            Self::Resume => json!({"spec": {"suspend": false}}),
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
        }
    }

    /// Why the task cannot be changed any more; `Ok(false)` where there is nothing to change.
    fn applies(self, task: &PeonTask) -> Result<bool, String> {
        let already = match self {
            Self::Cancel => task.spec.cancel,
            Self::Suspend => task.spec.suspend,
            Self::Resume => !task.spec.suspend,
        };
        let Some(verdict) = tasks::verdict(task) else {
            if self != Self::Cancel && task.spec.cancel {
                return Err(format!(
                    "{} is being cancelled, which cannot be undone",
                    task.name_any()
                ));
            }
            return Ok(!already);
        };
        let (reason, _) = tasks::standing(&tasks::status(task));
        if self == Self::Cancel && Cause::parse(&reason) == Some(Cause::Cancelled) {
            return Ok(false);
        }
        let how = if verdict == Phase::Succeeded {
            "succeeded".to_owned()
        } else {
            format!("failed ({reason})")
        };
        Err(format!(
            "{} has already {how}, which is final: to run it again, create another PeonTask",
            task.name_any()
        ))
    }

    /// Whether it has happened, or never will, which is the error.
    fn reached(self, task: &PeonTask) -> Option<Result<(), String>> {
        if tasks::verdict(task).is_some() {
            return Some(Ok(()));
        }
        let status = tasks::status(task);
        let condition = conditions::find(&status.conditions, SUSPENDED);
        match self {
            Self::Cancel => None,
            Self::Suspend => {
                condition.and_then(|c| match (c.status.as_str(), Suspension::parse(&c.reason)) {
                    ("True", _) => Some(Ok(())),
                    (_, Some(Suspension::NotRestartable)) => Some(Err(format!(
                        "{} is not suspended: {}",
                        task.name_any(),
                        c.message
                    ))),
                    (_, Some(Suspension::Suspended | Suspension::Resumed) | None) => None,
                })
            }
            Self::Resume => {
                let held =
                    condition.is_some_and(|c| c.status == "True") || tasks::phase(task) == Phase::Suspended;
                (!held).then_some(Ok(()))
            }
        }
    }
}

impl Change {
    /// Changes tasks.
    ///
    /// # Access control
    /// peontasks: get, patch; with `--wait`, `-l` or `--all` also list; with `--wait` watch.
    pub(super) async fn run(&self, cluster: &Cluster, desire: SpecPatch) -> anyhow::Result<Outcome> {
        let mut failed = Vec::new();
        let mut changed = Vec::new();
        let selected = self.selected(cluster).await?;
        for name in selected.as_ref().unwrap_or(&self.names) {
            match self.change(cluster, desire, name, selected.is_some()).await {
                Ok(task) => changed.extend(task),
                Err(error) => failed.push(error),
            }
        }
        if selected.is_some() && changed.is_empty() && failed.is_empty() {
            note(&format!(
                "no such PeonTask that has not ended in the namespace {}",
                cluster.namespace
            ));
        }
        let mut outcome = Outcome::Done;
        if self.wait && !changed.is_empty() {
            let names: Vec<String> = changed.iter().map(ResourceExt::name_any).collect();
            let work = async {
                for task in &mut changed {
                    let mut progress = Progress::of(1);
                    let reached = |task: &PeonTask| desire.reached(task).map(|r| r.map(|()| task.clone()));
                    match follow(cluster, &task.name_any(), &mut progress, reached).await? {
                        Ok(now) => *task = now,
                        Err(message) => bail!(message),
                    }
                    if let Some(ending) = ending(task).filter(|_| self.output.is_none()) {
                        output::print(&(ending + "\n"))?;
                    }
                }
                Ok(Outcome::Done)
            };
            outcome = Box::pin(attend(&names, self.timeout, work)).await?;
        }
        if let Some(format) = self.output {
            output::print(&output::tasks(format, &changed)?)?;
        }
        match failed.pop() {
            None => Ok(outcome),
            Some(last) => {
                for error in &failed {
                    note(&format!("error: {error:#}"));
                }
                Err(last)
            }
        }
    }

    /// Names of the tasks that `-l` or `--all` selects; none where names are given.
    async fn selected(&self, cluster: &Cluster) -> anyhow::Result<Option<Vec<String>>> {
        if self.selector.is_none() && !self.all {
            return Ok(None);
        }
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector.clone_from(&self.selector);
        let mut names = Vec::new();
        loop {
            // Metadata alone: a task that cannot be decoded hides no other.
            let page = cluster.tasks().list_metadata(&params).await;
            let page = page.map_err(|e| cluster.doing("list", "peontasks", "").failed(e))?;
            names.extend(page.items.iter().map(ResourceExt::name_any));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(Some(names)),
            }
        }
    }

    /// Changes a task; none if it was selected and has ended.
    async fn change(
        &self,
        cluster: &Cluster,
        desire: SpecPatch,
        name: &str,
        selected: bool,
    ) -> anyhow::Result<Option<PeonTask>> {
        let task = cluster.task(name).await?;
        if selected && tasks::verdict(&task).is_some() {
            return Ok(None);
        }
        let (task, done) = match desire.applies(&task) {
            Err(message) => bail!(message),
            Ok(false) => (task, format!("{} already", desire.done())),
            Ok(true) => {
                let patch = Patch::Merge(desire.patch());
                let params = PatchParams {
                    dry_run: self.dry_run,
                    ..PatchParams::default()
                };
                let patched = cluster.tasks().patch(name, &params, &patch).await;
                let failed = |e| cluster.doing("patch", "peontasks", name).failed(e);
                let how = if self.dry_run { " (server dry run)" } else { "" };
                (patched.map_err(failed)?, format!("{}{how}", desire.done()))
            }
        };
        if self.output.is_none() {
            output::print(&format!("{} {done}\n", output::reference(name)))?;
        }
        Ok(Some(task))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use super::*;
    use crate::cli::tasks::tests::{condition, task};

    fn with(spec: Value, conditions: Value) -> PeonTask {
        task("a", spec, json!({"conditions": conditions}))
    }

    #[test]
    fn what_is_final_cannot_be_changed_and_says_so() {
        let complete = with(json!({}), json!([condition("Complete", "True", "Succeeded", "")]));
        for desire in [SpecPatch::Cancel, SpecPatch::Suspend, SpecPatch::Resume] {
            let message = desire.applies(&complete).unwrap_err();
            assert!(
                message.starts_with("a has already succeeded, which is final"),
                "{message}"
            );
        }
        let cancelled = with(
            json!({"cancel": true}),
            json!([condition("Failed", "True", "Cancelled", "")]),
        );
        assert_eq!(SpecPatch::Cancel.applies(&cancelled), Ok(false));
        let message = SpecPatch::Suspend.applies(&cancelled).unwrap_err();
        assert!(message.contains("failed (Cancelled)"), "{message}");
    }

    #[test]
    fn tasks_are_named_or_selected() {
        use clap::Parser;
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            change: Change,
        }
        let parsed = |line: &[&str]| Line::try_parse_from(["cancel"].iter().chain(line)).is_ok();
        for line in [
            &["a", "b"][..],
            &["-l", "team=ads"],
            &["--all"],
            &["--all", "--dry-run"],
            &["a", "-w"],
        ] {
            assert!(parsed(line), "{line:?}");
        }
        for line in [
            &[][..],
            &["a", "--all"],
            &["a", "-l", "x"],
            &["--all", "-l", "x"],
            &["a", "--dry-run", "-w"],
        ] {
            assert!(!parsed(line), "{line:?}");
        }
    }

    #[test]
    fn what_is_so_already_is_left_alone() {
        let held = with(json!({"suspend": true}), json!([]));
        assert_eq!(SpecPatch::Suspend.applies(&held), Ok(false));
        assert_eq!(SpecPatch::Resume.applies(&held), Ok(true));
        assert_eq!(SpecPatch::Cancel.applies(&held), Ok(true));
        let cancelling = with(json!({"cancel": true}), json!([]));
        assert!(SpecPatch::Suspend.applies(&cancelling).is_err());
    }

    #[test]
    fn a_wait_ends_when_it_happened_or_never_will() {
        let held = with(
            json!({"suspend": true}),
            json!([condition("Suspended", "True", "Suspended", "")]),
        );
        assert_eq!(SpecPatch::Suspend.reached(&held), Some(Ok(())));
        assert_eq!(SpecPatch::Resume.reached(&held), None);
        let runs_on = with(
            json!({}),
            json!([condition("Suspended", "False", "NotRestartable", "it appends")]),
        );
        assert_eq!(
            SpecPatch::Suspend.reached(&runs_on),
            Some(Err("a is not suspended: it appends".into()))
        );
        let ended = with(json!({}), json!([condition("Failed", "True", "Cancelled", "")]));
        assert_eq!(SpecPatch::Cancel.reached(&ended), Some(Ok(())));
        assert_eq!(SpecPatch::Cancel.reached(&held), None);
    }
}
