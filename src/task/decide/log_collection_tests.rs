use crate::task::run::pod::evidence::Evidence;
use crate::task::snapshot::Outcomes;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::api::PeonTaskStatus;
use crate::api::conditions::{COMPLETE, find};
use crate::api::reason::LogsArchived;
use crate::logs::format::record::Recorded;
use crate::logs::format::state::Kept;
use crate::task::decide::plan::{Settlement, plan};
use crate::task::fixtures::{
    ENDED, ID, at, ended, evidence, recorded, running, snapshot, task_status, template,
};
use crate::task::snapshot::Template;

const URL: &str = "s3://bucket/id/log";

fn archived() -> LogState {
    LogState::Archived {
        url: URL.into(),
        gaps: 0,
        conflict: None,
    }
}

fn with(pod: Option<Evidence>, last: bool, state: Option<LogState>) -> Snapshot {
    Snapshot {
        keeps_logs: true,
        cached: pod,
        outcomes: Outcomes {
            log: state.map(|state| Kept { last, state }),
            recorded: Some(in_history()),
            ..Outcomes::default()
        },
        ..snapshot(recorded())
    }
}

/// What comes of the history is told elsewhere.
fn in_history() -> Recorded {
    Recorded {
        completed: at(ENDED),
        outcome: Ok(()),
    }
}

fn ask_of(step: Step) -> KeepLog {
    match step {
        Step::Act(Action::KeepLog(ask)) => ask,
        other => panic!("{other:?}"),
    }
}

fn settled(snapshot: &Snapshot, now: i64) -> Settlement {
    match plan(snapshot, at(now)) {
        Step::Settle(settlement) => *settlement,
        other @ Step::Act(_) => panic!("{other:?}"),
    }
}

fn said(status: &PeonTaskStatus) -> (String, String) {
    let condition = find(&status.conditions, LOGS_ARCHIVED).unwrap();
    (condition.status.clone(), condition.reason.clone())
}

fn success() -> Evidence {
    evidence(ended(0, "Completed", &task_status(ID, "SUCCESS", None)))
}

#[test]
fn the_log_is_read_as_soon_as_the_peon_runs() {
    let ask = ask_of(plan(&with(Some(evidence(running())), false, None), at(150)));
    assert_eq!((ask.attempt, ask.ended, ask.last), (1, false, false));
    assert_eq!(ask.pod, "nightly-1");
    assert_eq!((ask.pod_uid, ask.seen), (evidence(running()).pod_uid, true));
    // Once it was asked for, the status is what it always is.
    let status = settled(
        &with(Some(evidence(running())), false, Some(LogState::Collecting)),
        150,
    );
    let status = status.status.unwrap();
    assert!(find(&status.conditions, LOGS_ARCHIVED).is_none());
}

#[test]
fn nobody_is_asked_where_logs_are_not_kept() {
    let mut without = with(Some(evidence(running())), false, None);
    without.keeps_logs = false;
    assert!(matches!(plan(&without, at(150)), Step::Settle(_)));
    let mut none = with(Some(evidence(running())), false, None);
    none.template = Template::Found(Arc::new(template(json!({"logs": {"collect": "None"}}))));
    assert!(matches!(plan(&none, at(150)), Step::Settle(_)));
}

#[test]
fn a_verdict_waits_a_moment_for_the_log() {
    let end = ask_of(plan(&with(Some(success()), false, None), at(ENDED)));
    assert_eq!((end.ended, end.last), (true, false));
    let last = ask_of(plan(
        &with(Some(success()), false, Some(LogState::Collecting)),
        at(ENDED),
    ));
    assert!(last.last);
    let waits = settled(
        &with(Some(success()), true, Some(LogState::Collecting)),
        ENDED + 1,
    );
    assert_eq!(
        (waits.status, waits.requeue),
        (None, Some(Duration::from_secs(4)))
    );
    let both = settled(&with(Some(success()), true, Some(archived())), ENDED + 1)
        .status
        .unwrap();
    assert_eq!(
        said(&both),
        ("True".into(), LogsArchived::Archived.as_str().into())
    );
    assert!(find(&both.conditions, COMPLETE).is_some());
    let alone = settled(&with(Some(success()), true, Some(LogState::Queued)), ENDED + 5);
    let status = alone.status.unwrap();
    assert_eq!(
        said(&status),
        ("False".into(), LogsArchived::FollowerCap.as_str().into())
    );
    assert!(find(&status.conditions, COMPLETE).is_some());
}

/// What the verdict rests on goes with the pod.
#[test]
fn the_verdict_of_a_pod_that_goes_waits_for_nothing() {
    let mut pod = success();
    pod.deletion_requested = Some(at(ENDED));
    let status = settled(&with(Some(pod), true, Some(LogState::Collecting)), ENDED + 1).status;
    assert!(find(&status.unwrap().conditions, COMPLETE).is_some());
}

fn finished(state: LogState) -> Snapshot {
    let status = settled(&with(Some(success()), true, Some(state)), ENDED + 10)
        .status
        .unwrap();
    let mut task = recorded();
    task.status = Some(status);
    Snapshot {
        keeps_logs: true,
        cached: Some(success()),
        outcomes: Outcomes {
            recorded: Some(in_history()),
            ..Outcomes::default()
        },
        ..snapshot(task)
    }
}

#[test]
fn a_task_is_kept_until_its_log_is_archived() {
    let long_after = ENDED + 10 * 3600;
    let mut task = finished(LogState::Collecting);
    assert!(ask_of(plan(&task, at(long_after))).last);
    task.outcomes.log = Some(Kept {
        last: true,
        state: LogState::Failing {
            message: "no bucket".into(),
        },
    });
    let failing = settled(&task, long_after);
    assert_eq!(
        said(failing.status.as_ref().unwrap()),
        ("False".into(), LogsArchived::StoreFailed.as_str().into())
    );
    assert!(failing.requeue.is_some());
    task.outcomes.log = Some(Kept {
        last: true,
        state: archived(),
    });
    let done = settled(&task, long_after).status.unwrap();
    assert_eq!(
        said(&done),
        ("True".into(), LogsArchived::Archived.as_str().into())
    );
    // From then on its time counts.
    let mut next = finished(archived());
    next.outcomes.log = None;
    assert!(matches!(
        plan(&next, at(long_after)),
        Step::Act(Action::DeleteTask { .. })
    ));
}

#[test]
fn a_store_that_never_takes_the_log_keeps_no_task_for_ever() {
    let task = finished(LogState::Collecting);
    let after_a_day = ENDED + 25 * 3600;
    let status = settled(&task, after_a_day).status.unwrap();
    assert_eq!(
        said(&status),
        ("False".into(), LogsArchived::GaveUp.as_str().into())
    );
    let mut next = finished(archived());
    let mut given_up = (*next.task).clone();
    given_up.status = Some(status);
    next.task = Arc::new(given_up);
    assert!(matches!(
        plan(&next, at(after_a_day)),
        Step::Act(Action::DeleteTask { .. })
    ));
}
