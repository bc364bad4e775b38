//! A task that succeeded before, as another PeonTask of its name with the same Druid id and payload (pure).
//!
//! Tools that keep a cluster equal to Git create a task again whose finished object was deleted. Where the template says
//! `afterSuccess: Skip`, the history of finished tasks is asked before the first attempt. If it cannot be read, the task
//! waits: to run what may append twice is worse than to wait.

use std::time::Duration;

use kube::ResourceExt;

use super::plan::{Action, Step, look_live, settle, settle_until};
use super::status::Draft;
use crate::api::reason::{Acceptance, Waiting};
use crate::api::{AfterSuccess, Phase};
use crate::logs::format::record::Record;
use crate::logs::format::success;
use crate::task::accept::payload;
use crate::task::snapshot::Snapshot;

/// When a store that failed is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What is done before the first attempt; `None` if it may begin.
pub(crate) fn step(snapshot: &Snapshot, draft: &Draft) -> Option<Step> {
    let task = &snapshot.task;
    let skips = snapshot.template_spec()?.after_success == Some(AfterSuccess::Skip);
    let has_begun = snapshot.attempt() > 1
        || snapshot.may_have_pod
        || task.status.as_ref().is_some_and(|status| status.run.is_some());
    if !skips || has_begun || task.middle_manager().is_some() {
        return None;
    }
    match &snapshot.outcomes.success {
        None if !snapshot.keeps_logs => {
            let message = "afterSuccess: Skip needs the history of finished tasks, and this operator archives no logs: \
                           set druid.indexer.logs.* in its runtime.properties, or afterSuccess: Rerun";
            Some(settle(draft.clone().refuse(Acceptance::InvalidTemplate, message)))
        }
        None => {
            let payload = payload(snapshot).ok()?;
            let success = success::key(&task.name_any(), &payload.id, &payload.hash);
            Some(Step::Act(Action::FindSuccess { success }))
        }
        Some(Ok(Some(before))) if task.uid().as_ref() != Some(&before.uid) => {
            // A pod may have been created unseen, before the template said so.
            if snapshot.outcomes.live.is_none() {
                return Some(look_live(snapshot));
            }
            Some(settle(draft.clone().succeed_before(&message(before))))
        }
        Some(Ok(_)) => None,
        Some(Err(said)) => {
            let message =
                format!("whether the task succeeded before (afterSuccess: Skip) is not known: {said}");
            let status = draft.clone().wait(Phase::Pending, Waiting::NotCreated, &message);
            Some(settle_until(status, Some(LOOK_AGAIN)))
        }
    }
}

fn message(before: &Record) -> String {
    let when = before.completion_time.as_ref();
    let when = when.map_or_else(String::new, |time| format!(" at {}", time.0));
    format!(
        "not run: the PeonTask of this name with the uid {}, with the same Druid id and payload, succeeded{when} \
         (afterSuccess: Skip of the PeonTemplate)",
        before.uid
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::api::PeonTask;
    use crate::api::conditions::{self, COMPLETE};
    use crate::task::decide::plan::{Settlement, plan};
    use crate::task::fixtures::{TASK_UID, at, noop, snapshot, task, template};
    use crate::task::snapshot::{Live, Template};

    /// A task whose template has this.
    fn with(task: PeonTask, template_spec: Value) -> Snapshot {
        Snapshot {
            template: Template::Found(Arc::new(template(template_spec))),
            keeps_logs: true,
            ..snapshot(task)
        }
    }

    fn skipping() -> Snapshot {
        with(noop(), json!({"afterSuccess": "Skip"}))
    }

    fn action(snapshot: &Snapshot) -> &'static str {
        match plan(snapshot, at(0)) {
            Step::Act(action) => action.name(),
            Step::Settle(settlement) => panic!("{settlement:?}"),
        }
    }

    fn settled(snapshot: &Snapshot) -> Settlement {
        match plan(snapshot, at(0)) {
            Step::Settle(settlement) => *settlement,
            Step::Act(action) => panic!("{action:?}"),
        }
    }

    fn succeeded(uid: &str) -> Box<Record> {
        Box::new(Record {
            uid: uid.into(),
            ..Record::default()
        })
    }

    #[test]
    fn the_history_is_asked_where_the_template_says_so_only() {
        assert_eq!(action(&skipping()), "look up an earlier success");
        for spec in [json!({}), json!({"afterSuccess": "Rerun"})] {
            assert_eq!(action(&with(noop(), spec)), "create configmap");
        }
        let mut begun = skipping();
        begun.may_have_pod = true;
        assert_eq!(action(&begun), "create configmap");
        let other = task(json!({"task": {"type": "noop", "id": "another"}}));
        let success = |snapshot: &Snapshot| match plan(snapshot, at(0)) {
            Step::Act(Action::FindSuccess { success }) => success,
            other => panic!("{other:?}"),
        };
        let skips = json!({"afterSuccess": "Skip"});
        assert_ne!(success(&skipping()), success(&with(other, skips)));
    }

    #[test]
    fn a_task_that_succeeded_before_is_complete_without_a_pod() {
        let mut snapshot = skipping();
        snapshot.outcomes.success = Some(Ok(Some(succeeded("earlier"))));
        assert_eq!(action(&snapshot), "read the pod live");
        snapshot.outcomes.live = Some(Live {
            config_map_owner: None,
            task_version: None,
            pod: None,
        });
        let status = settled(&snapshot).status.unwrap();
        assert_eq!((status.phase, status.attempt), (Some(Phase::Succeeded), None));
        let complete = conditions::find(&status.conditions, COMPLETE).unwrap();
        assert!(
            complete.status == "True"
                && complete.message.starts_with("not run: ")
                && complete.message.contains("earlier"),
            "{complete:?}"
        );
        assert!(status.completion_time.is_some());
    }

    #[test]
    fn without_an_earlier_success_the_task_runs() {
        for found in [None, Some(succeeded(TASK_UID))] {
            let mut snapshot = skipping();
            snapshot.outcomes.success = Some(Ok(found));
            assert_eq!(action(&snapshot), "create configmap");
        }
    }

    #[test]
    fn while_the_history_is_not_known_the_task_waits() {
        let mut snapshot = skipping();
        snapshot.outcomes.success = Some(Err("the store is down".into()));
        let waits = settled(&snapshot);
        let status = waits.status.unwrap();
        assert_eq!(status.reason.as_deref(), Some("NotCreated"));
        assert!(
            conditions::find(&status.conditions, conditions::READY)
                .is_some_and(|c| c.message.ends_with("the store is down"))
        );
        assert_eq!(waits.requeue, Some(LOOK_AGAIN));
        let mut snapshot = skipping();
        snapshot.keeps_logs = false;
        let status = settled(&snapshot).status.unwrap();
        assert_eq!(status.reason.as_deref(), Some("InvalidTemplate"));
    }
}
