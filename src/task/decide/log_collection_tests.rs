use crate::task::run::pod::evidence::Evidence;
use crate::task::snapshot::Outcomes;
use std::sync::Arc;

use serde_json::json;

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::conditions::{COMPLETE, FAILED, find};
use crate::api::reason::{Cause, LogsArchived};
use crate::api::{PeonTaskStatus, Phase, Stop};
use crate::logs::format::record::Recorded;
use crate::logs::format::state::{Heard, Kept};
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
            log: state.map(|state| Kept {
                last,
                state,
                heard: Heard::default(),
            }),
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
    assert_eq!(ask.started, Some(at(110)));
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
        heard: Heard::default(),
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
        heard: Heard::default(),
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

/// A noop that ended without a word, and what its log says.
fn ended_silently(heard: Heard) -> Snapshot {
    let mut task = with(
        Some(evidence(ended(137, "Error", ""))),
        false,
        Some(LogState::Collecting),
    );
    task.outcomes.log.as_mut().unwrap().heard = heard;
    task
}

#[test]
fn another_attempt_waits_until_the_log_of_the_last_one_is_read() {
    let unread = settled(&ended_silently(Heard::default()), ENDED + 1);
    assert_eq!(
        (unread.status, unread.requeue),
        (None, Some(Duration::from_secs(9)))
    );
    let read = Heard {
        whole: true,
        published: false,
        ..Heard::default()
    };
    for (heard, now) in [(read, ENDED + 1), (Heard::default(), ENDED + 10)] {
        let status = settled(&ended_silently(heard), now).status.unwrap();
        assert_eq!((status.attempt, status.phase), (Some(2), Some(Phase::Pending)));
    }
}

#[test]
fn a_task_whose_log_says_that_it_published_is_not_run_again() {
    let published = Heard {
        whole: false,
        published: true,
        ..Heard::default()
    };
    // The whole log is requested, as for any verdict.
    let mut task = ended_silently(published);
    assert!(ask_of(plan(&task, at(ENDED + 1))).last);
    task.outcomes.log.as_mut().unwrap().last = true;
    task.outcomes.log.as_mut().unwrap().state = archived();
    let status = settled(&task, ENDED + 1).status.unwrap();
    let failed = find(&status.conditions, FAILED).unwrap();
    assert_eq!(failed.reason, Cause::NoVerdict.as_str());
    assert!(
        failed
            .message
            .contains("published segments: the task is not run again under its id"),
        "{failed:?}"
    );
    // A streaming task continues after what it published.
    let mut streaming = task.clone();
    Arc::make_mut(&mut streaming.task)
        .status
        .as_mut()
        .unwrap()
        .task_type = Some("index_kafka".into());
    let status = settled(&streaming, ENDED + 1).status.unwrap();
    assert_eq!(status.attempt, Some(2));
    // SUCCESS is SUCCESS.
    task.cached = Some(success());
    let status = settled(&task, ENDED + 1).status.unwrap();
    assert_eq!(status.phase, Some(Phase::Succeeded));
}

/// A task that runs out of direct memory often fails with another error.
#[test]
fn a_log_that_says_that_memory_ran_out_gives_the_next_attempt_more() {
    let heard = Heard {
        whole: true,
        out_of_memory: true,
        ..Heard::default()
    };
    let trap = "Expected [256] bytes, only saw [250], potential corruption?";
    let failed = task_status(ID, "FAILED", Some(trap));
    for (code, message) in [(0, failed.as_str()), (1, "")] {
        let mut task = with(
            Some(evidence(ended(code, "Error", message))),
            false,
            Some(LogState::Collecting),
        );
        task.outcomes.log.as_mut().unwrap().heard = heard;
        let status = settled(&task, ENDED + 1).status.unwrap();
        assert_eq!((status.attempt, status.memory_step), (Some(2), Some(1)), "{code}");
        assert_eq!(status.attempts[0].cause, Cause::JavaOutOfMemory.as_str());
    }
    // What a sidecar found counts as well.
    let mut task = with(
        Some(evidence(ended(0, "Completed", &failed))),
        false,
        Some(LogState::Collecting),
    );
    task.cached.as_mut().unwrap().sidecar.out_of_memory = true;
    task.outcomes.log.as_mut().unwrap().heard.whole = true;
    let status = settled(&task, ENDED + 1).status.unwrap();
    assert_eq!(status.memory_step, Some(1));
    // Without it, Druid's verdict stands, once the log is read or has had its time.
    task.cached.as_mut().unwrap().sidecar.out_of_memory = false;
    task.outcomes.log.as_mut().unwrap().heard.whole = false;
    assert_eq!(settled(&task, ENDED + 1).requeue, Some(Duration::from_secs(4)));
    task.outcomes.log.as_mut().unwrap().heard.whole = true;
    let log = task.outcomes.log.as_mut().unwrap();
    (log.last, log.state) = (true, archived());
    let status = settled(&task, ENDED + 1).status.unwrap();
    assert_eq!(
        find(&status.conditions, FAILED).unwrap().reason,
        Cause::TaskFailed.as_str()
    );
}

/// A sidecar says so itself, when it ends.
#[test]
fn what_a_sidecar_found_counts() {
    let mut task = ended_silently(Heard::default());
    task.template = Template::Found(Arc::new(template(json!({"logs": {"collect": "Sidecar"}}))));
    Arc::make_mut(&mut task.operator).sidecar_image = Some("operator:1".into());
    let pod = task.cached.as_mut().unwrap();
    pod.sidecar.published = true;
    let log = task.outcomes.log.as_mut().unwrap();
    (log.last, log.state) = (true, archived());
    let status = settled(&task, ENDED + 1).status.unwrap();
    assert_eq!(status.phase, Some(Phase::Failed));
}

#[test]
fn a_suspended_task_that_published_has_failed() {
    let published = Heard {
        whole: true,
        published: true,
        ..Heard::default()
    };
    let mut task = ended_silently(published);
    let stop = Stop {
        cause: Cause::Suspended.to_string(),
        message: "spec.suspend was set".into(),
        time: Time(at(ENDED - 1)),
    };
    let mut with_stop = (*task.task).clone();
    with_stop.status.as_mut().unwrap().stop = Some(stop);
    with_stop.spec.suspend = true;
    task.task = Arc::new(with_stop);
    let log = task.outcomes.log.as_mut().unwrap();
    (log.last, log.state) = (true, archived());
    let status = settled(&task, ENDED + 1).status.unwrap();
    let failed = find(&status.conditions, FAILED).unwrap();
    assert!(failed.message.contains("published segments"), "{failed:?}");
}
