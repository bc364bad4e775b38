use crate::task::snapshot::Outcomes;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::api::conditions::{find, is_true};
use crate::api::reason::{LogsArchived, Recording};
use crate::logs::format::state::{Heard, Kept, LogState};
use crate::task::decide::plan::{Settlement, plan};
use crate::task::fixtures::{
    ENDED, ID, TASK_UID, at, ended, evidence, noop, recorded, snapshot, task, task_status, template,
    with_status,
};
use crate::task::run::pod::evidence::Evidence;
use crate::task::snapshot::Template;

fn success() -> Evidence {
    evidence(ended(0, "Completed", &task_status(ID, "SUCCESS", None)))
}

fn ended_with(log: LogState) -> Snapshot {
    Snapshot {
        keeps_logs: true,
        cached: Some(success()),
        outcomes: Outcomes {
            log: Some(Kept {
                last: true,
                state: log,
                heard: Heard::default(),
            }),
            ..Outcomes::default()
        },
        ..snapshot(recorded())
    }
}

fn archived() -> LogState {
    LogState::Archived {
        url: "s3://bucket/id/log".into(),
        gaps: 0,
        conflict: None,
    }
}

fn entry_of(step: Step) -> Entry {
    match step {
        Step::Act(Action::Record(entry)) => *entry,
        other => panic!("{other:?}"),
    }
}

fn settled(snapshot: &Snapshot, now: i64) -> Settlement {
    match plan(snapshot, at(now)) {
        Step::Settle(settlement) => *settlement,
        other @ Step::Act(_) => panic!("{other:?}"),
    }
}

fn told(mut snapshot: Snapshot, completed: i64, outcome: Result<(), &str>) -> Snapshot {
    snapshot.outcomes.recorded = Some(Recorded {
        completed: at(completed),
        outcome: outcome.map_err(str::to_owned),
    });
    snapshot
}

fn said(status: &PeonTaskStatus) -> (&str, &str) {
    let condition = find(&status.conditions, RECORDED).unwrap();
    (&condition.status, &condition.reason)
}

/// The task once this status is written: nothing of the last pass is known any more.
fn then(status: PeonTaskStatus) -> Snapshot {
    Snapshot {
        keeps_logs: true,
        ..snapshot(with_status(noop(), status))
    }
}

#[test]
fn an_entry_is_what_the_status_says_and_comes_before_it() {
    let before = ended_with(archived());
    let entry = entry_of(plan(&before, at(ENDED + 1)));
    assert_eq!(entry.completed, at(ENDED));
    let record = &entry.record;
    assert_eq!(record.version, VERSION);
    assert_eq!((record.name.as_str(), record.uid.as_str()), ("nightly", TASK_UID));
    assert_eq!(record.task_id.as_deref(), Some(ID));
    assert_eq!(record.phase.as_deref(), Some("Succeeded"));
    assert_eq!(record.message.as_deref(), Some("Druid reported SUCCESS"));
    assert_eq!((record.exit_code, record.attempt), (Some(0), Some(1)));
    assert_eq!(record.node.as_deref(), Some("node"));
    let log = record.log.as_ref().unwrap();
    assert!(log.archived && log.reason == LogsArchived::Archived.as_str());
    // Then one write says verdict, log and history.
    let status = settled(&told(before, ENDED, Ok(())), ENDED + 1).status.unwrap();
    assert!(is_true(&status.conditions, COMPLETE) && is_true(&status.conditions, LOGS_ARCHIVED));
    assert_eq!(said(&status), ("True", Recording::Recorded.as_str()));
    assert!(!matches!(
        plan(&then(status), at(ENDED + 2)),
        Step::Act(Action::Record(_))
    ));
}

#[test]
fn a_store_that_fails_holds_up_no_verdict() {
    let failed = told(ended_with(archived()), ENDED, Err("s3://bucket: no answer"));
    let status = settled(&failed, ENDED + 1).status.unwrap();
    assert!(is_true(&status.conditions, COMPLETE));
    assert_eq!(said(&status), ("False", Recording::StoreFailed.as_str()));
    // It is tried again, and the status is not written again for it.
    let next = then(status.clone());
    entry_of(plan(&next, at(ENDED + 60)));
    let again = settled(&told(next.clone(), ENDED, Err("something else")), ENDED + 60);
    assert_eq!((again.status, again.requeue), (None, Some(LOOK_AGAIN)));
    let done = settled(&told(next, ENDED, Ok(())), ENDED + 120).status.unwrap();
    assert_eq!(said(&done), ("True", Recording::Recorded.as_str()));
    assert_eq!(done.completion_time, status.completion_time);
}

#[test]
fn a_log_that_comes_later_takes_its_entry_along() {
    let verdict = settled(&ended_with(LogState::Collecting), ENDED + 10)
        .status
        .unwrap();
    assert!(is_true(&verdict.conditions, COMPLETE));
    assert!(find(&verdict.conditions, RECORDED).is_none());
    let mut later = then(verdict);
    later.outcomes.log = Some(Kept {
        last: true,
        state: LogState::Collecting,
        heard: Heard::default(),
    });
    assert_eq!(settled(&later, ENDED + 20).status, None);
    later.outcomes.log = Some(Kept {
        last: true,
        state: archived(),
        heard: Heard::default(),
    });
    let entry = entry_of(plan(&later, at(ENDED + 30)));
    assert!(entry.record.log.unwrap().archived);
    let status = settled(&told(later, ENDED, Ok(())), ENDED + 30).status.unwrap();
    assert!(is_true(&status.conditions, LOGS_ARCHIVED));
    assert_eq!(said(&status), ("True", Recording::Recorded.as_str()));
}

/// What is known is kept, though the log may never come.
#[test]
fn a_log_that_a_store_refuses_is_recorded_as_that_and_once_more_when_it_comes() {
    let failing = LogState::Failing {
        message: "no bucket".into(),
    };
    let entry = entry_of(plan(&ended_with(failing.clone()), at(ENDED + 10)));
    assert_eq!(
        entry.record.log.unwrap().reason,
        LogsArchived::StoreFailed.as_str()
    );
    let status = settled(&told(ended_with(failing), ENDED, Ok(())), ENDED + 10);
    let mut later = then(status.status.unwrap());
    later.outcomes.log = Some(Kept {
        last: true,
        state: archived(),
        heard: Heard::default(),
    });
    assert!(
        entry_of(plan(&later, at(ENDED + 60)))
            .record
            .log
            .unwrap()
            .archived
    );
}

#[test]
fn a_task_that_was_refused_is_recorded_too() {
    let refused = Snapshot {
        keeps_logs: true,
        ..snapshot(task(json!({"task": {"type": "index"}})))
    };
    let status = settled(&refused, 50).status.unwrap();
    assert!(is_true(&status.conditions, FAILED));
    let next = Snapshot {
        keeps_logs: true,
        ..snapshot(with_status(task(json!({"task": {"type": "index"}})), status))
    };
    let entry = entry_of(plan(&next, at(51)));
    assert_eq!(entry.completed, at(50));
    assert_eq!(entry.record.reason.as_deref(), Some("NeedsOverlord"));
    assert_eq!(entry.record.log, None);
    let said_so = settled(&told(next, 50, Ok(())), 51).status.unwrap();
    assert_eq!(said(&said_so), ("True", Recording::Recorded.as_str()));
}

#[test]
fn a_task_whose_log_nobody_keeps_is_recorded_with_its_verdict() {
    let mut none = ended_with(archived());
    none.outcomes.log = None;
    none.template = Template::Found(Arc::new(template(json!({"logs": {"collect": "None"}}))));
    let entry = entry_of(plan(&none, at(ENDED + 1)));
    assert_eq!(entry.record.log, None);
}

#[test]
fn where_no_logs_are_kept_there_is_no_history() {
    let mut without = ended_with(archived());
    without.keeps_logs = false;
    let status = settled(&without, ENDED + 1).status.unwrap();
    assert!(find(&status.conditions, RECORDED).is_none());
    let mut next = then(status);
    next.keeps_logs = false;
    assert_eq!(settled(&next, ENDED + 2).status, None);
    assert!(matches!(
        plan(&next, at(ENDED + 7200)),
        Step::Act(Action::DeleteTask { .. })
    ));
}

#[test]
fn no_task_is_deleted_before_the_history_has_it_but_for_a_store_that_never_takes_it() {
    // A task that was finished before there was a history.
    let mut without = ended_with(archived());
    without.keeps_logs = false;
    let old = then(settled(&without, ENDED + 1).status.unwrap());
    let long_after = ENDED + 10 * 3600;
    entry_of(plan(&old, at(long_after)));
    assert!(is_awaited(&old.task, at(long_after)));
    let failing = settled(&told(old.clone(), ENDED, Err("why")), long_after);
    assert_eq!(
        said(failing.status.as_ref().unwrap()),
        ("False", Recording::StoreFailed.as_str())
    );
    assert_eq!(failing.requeue, Some(LOOK_AGAIN));

    let after_a_day = ENDED + 25 * 3600;
    assert!(!is_awaited(&old.task, at(after_a_day)));
    let mut failed = then(failing.status.unwrap());
    failed.outcomes.recorded = old.outcomes.recorded;
    let given_up = settled(&told(failed, ENDED, Err("why")), after_a_day);
    let status = given_up.status.unwrap();
    assert_eq!(said(&status), ("False", Recording::GaveUp.as_str()));
    assert!(matches!(
        plan(&then(status), at(after_a_day)),
        Step::Act(Action::DeleteTask { .. })
    ));
}

/// The key is made of it: another time would be another entry.
#[test]
fn a_peon_that_never_ran_was_complete_when_the_history_says() {
    let mut pod = success();
    if let crate::task::run::pod::evidence::Container::Terminated(t) = &mut pod.peon {
        t.finished = None;
    }
    let mut before = ended_with(archived());
    before.cached = Some(pod);
    let entry = entry_of(plan(&before, at(ENDED + 1)));
    assert_eq!(entry.completed, at(ENDED + 1));
    let status = settled(&told(before, ENDED + 1, Ok(())), ENDED + 4)
        .status
        .unwrap();
    assert_eq!(status.completion_time.unwrap().0, at(ENDED + 1));
}

/// What is known of a task when its object is gone, while its log was being read.
#[test]
fn the_last_word_on_a_task_says_what_the_history_lacks() {
    let running = Arc::unwrap_or_clone(snapshot(recorded()).task);
    assert!(matches!(last_word(&running), LastWord::NoVerdict));
    // The verdict was written, and the log is on its way still.
    let late = ended_with(LogState::Collecting);
    let status = settled(&late, ENDED + 60).status.unwrap();
    let mut verdict = running.clone();
    verdict.status = Some(status);
    match last_word(&verdict) {
        LastWord::Final(entry) => {
            assert_eq!(entry.completed, at(ENDED));
            assert_eq!(entry.record.phase.as_deref(), Some("Succeeded"));
        }
        other => panic!("{other:?}"),
    }
    // The history has it, log and all.
    let told = told(ended_with(archived()), ENDED, Ok(()));
    verdict.status = settled(&told, ENDED + 1).status;
    assert!(matches!(last_word(&verdict), LastWord::Recorded));
}
