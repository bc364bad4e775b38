use serde_json::json;

use super::*;
use crate::api::conditions::is_true;
use crate::api::reason::{Acceptance, Cause, Waiting};
use crate::api::status_patch::replacing;
use crate::task::fixtures::{ID, at, noop, payload, task, with_status};
use crate::task::run::pod::evidence::Terminated;

fn find<'a>(
    status: &'a PeonTaskStatus,
    type_: &str,
) -> &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition {
    crate::api::conditions::find(&status.conditions, type_).unwrap()
}

fn failed(cause: Cause) -> Verdict {
    Verdict {
        outcome: Outcome::Failed {
            cause,
            message: "why".into(),
        },
        terminated: None,
    }
}

#[test]
fn the_born_status_gives_way() {
    let condition = json!({
        "type": "Ready", "status": "Unknown", "reason": "WaitingForOperator", "message": "m",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    });
    // As the schema defaults it, and with a condition.
    for conditions in [json!([]), json!([condition])] {
        let born = json!({
            "phase": "Pending", "reason": "WaitingForOperator", "observedGeneration": -1, "conditions": conditions,
        });
        let born = with_status(noop(), serde_json::from_value(born).unwrap());
        let status = Draft::of(&born, at(10)).wait(Phase::Starting, Waiting::Starting, "m");
        assert_eq!(find(&status, READY).status, "False");
        assert_eq!(find(&status, READY).last_transition_time, Time(at(10)));
        assert_eq!(status.observed_generation, Some(1));
    }
}

#[test]
fn starting_progresses_and_every_other_wait_is_stalled() {
    let starting = Draft::of(&noop(), at(10)).wait(Phase::Starting, Waiting::Starting, "m");
    assert!(is_true(&starting.conditions, RECONCILING));
    assert!(!is_true(&starting.conditions, STALLED));
    let next = with_status(noop(), starting);
    let stalled = Draft::of(&next, at(20)).wait(Phase::Starting, Waiting::ImagePull, "m");
    assert!(is_true(&stalled.conditions, STALLED));
    assert!(!is_true(&stalled.conditions, RECONCILING));
    assert_eq!(find(&stalled, STARTED).reason, Waiting::ImagePull.as_str());
    let next = with_status(noop(), stalled);
    let running = Draft::of(&next, at(30)).run(Some(at(25)));
    assert!(is_true(&running.conditions, STARTED) && is_true(&running.conditions, READY));
    assert!(!is_true(&running.conditions, STALLED) && !is_true(&running.conditions, RECONCILING));
    assert_eq!(running.start_time, Some(Time(at(25))));
}

#[test]
fn a_verdict_has_the_times_of_the_container() {
    let ended = Terminated {
        exit_code: 137,
        started: Some(at(5)),
        finished: Some(at(9)),
        ..Terminated::default()
    };
    let verdict = Verdict {
        terminated: Some(ended),
        ..failed(Cause::OomKilled)
    };
    let status = Draft::of(&noop(), at(20)).judge(&verdict);
    assert_eq!(status.exit_code, Some(137));
    assert_eq!(
        (&status.start_time, &status.completion_time),
        (&Some(Time(at(5))), &Some(Time(at(9))))
    );
    assert!(is_true(&status.conditions, STARTED));
    assert_eq!(find(&status, FAILED).reason, Cause::OomKilled.as_str());
    assert_eq!(find(&status, STALLED).message, "why");
}

#[test]
fn a_verdict_on_a_peon_that_never_ran_is_of_now() {
    let starting = Draft::of(&noop(), at(10)).wait(Phase::Starting, Waiting::Starting, "m");
    let next = with_status(noop(), starting);
    let status = Draft::of(&next, at(20)).judge(&failed(Cause::PodRejected));
    assert_eq!((status.start_time, status.exit_code), (None, None));
    assert_eq!(status.completion_time, Some(Time(at(20))));
    assert!(!is_true(&status.conditions, STARTED));
}

/// A merge patch keeps what it does not name.
#[test]
fn what_a_new_status_does_not_have_is_removed() {
    let old = json!({"run": {"kind": "Pod", "pod": "a", "host": "10.0.0.1"}, "stop": {"cause": "c", "message": "m", "time": "2026-01-01T00:00:00Z"}, "memory": "2G",
        "failures": {"Evicted": 1}});
    let old: PeonTaskStatus = serde_json::from_value(old).unwrap();
    let new = json!({"run": {"kind": "Pod", "podUID": "u"}, "memory": "3G", "failures": {"Evicted": 1, "Drained": 1}});
    let new: PeonTaskStatus = serde_json::from_value(new).unwrap();
    let run = json!({"kind": "Pod", "pod": null, "host": null, "podUID": "u"});
    let expected = json!({"run": run, "stop": null, "memory": "3G",
        "failures": {"Evicted": 1, "Drained": 1}});
    assert_eq!(replacing(Some(&old), &new).unwrap(), expected);
    assert_eq!(replacing(None, &new).unwrap()["run"]["podUID"], "u");
}

#[test]
fn the_largest_status_stays_below_4_kib() {
    let long = json!({
        "type": "t".repeat(255), "id": "\"".repeat(255), "dataSource": "d".repeat(255),
    });
    let message = "a \"quoted\" cause\n".repeat(1000);
    let mut draft = Draft::of(&task(json!({"task": long})), at(10));
    draft.describe(&payload(long));
    draft.pod(1, &"p".repeat(63), &"u".repeat(36), None);
    let waits = draft.wait(Phase::Pending, Waiting::QuotaExceeded, &message);
    let size = |status: &PeonTaskStatus| serde_json::to_string(status).unwrap().len();
    assert!(size(&waits) < 4096, "{}", size(&waits));
    let next = with_status(noop(), waits.clone());
    let again = Draft::of(&next, at(20)).wait(Phase::Pending, Waiting::QuotaExceeded, &message);
    let fails = Draft::of(&next, at(20)).refuse_for_good(Acceptance::InvalidTask, &message);
    for status in [&again, &fails] {
        assert!(size(status) < 4096, "{}", size(status));
    }
    assert_eq!(again, waits, "a pass that is repeated writes nothing");
    let said = &find(&fails, FAILED).message;
    assert!(
        said.starts_with("a \"quoted\"") && said.ends_with("cause\n"),
        "{said}"
    );
}

#[test]
fn a_message_of_common_length_is_kept_whole() {
    let message = "m".repeat(500);
    let status = Draft::of(&noop(), at(10)).fail(Cause::TaskFailed, &message);
    assert_eq!(find(&status, FAILED).message, message);
    let mut draft = Draft::of(&noop(), at(10));
    draft.describe(&payload(json!({"type": "noop", "id": ID})));
    assert_eq!(draft.run(None).task_id.as_deref(), Some(ID));
}
