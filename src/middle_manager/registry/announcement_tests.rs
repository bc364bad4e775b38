use serde_json::json;

use super::*;
use crate::druid::worker::TaskState;
use crate::middle_manager::object_fixtures::{self, at, failed, indexing, succeeded, view, with_log};

fn progress(status: serde_json::Value) -> Progress {
    Progress::of(
        view(crate::middle_manager::object_fixtures::task("a", "u", 1, status))
            .status
            .as_ref(),
    )
}

fn end(progress: Progress) -> (Ended, Option<Timestamp>) {
    match progress {
        Progress::Ended { ended, not_before } => (ended, not_before),
        Progress::Running => panic!("it runs"),
    }
}

/// As a real MiddleManager of Druid 33 says it.
#[test]
fn a_task_that_runs_is_announced_as_by_a_real_worker() {
    let id = "noop_2026-11-21T01:50:17.060Z_feaaea03";
    let facts = facts(id, "noop", Some("none"));
    assert_eq!(
        json!(running(&facts, None)),
        json!({
            "id": id, "type": "noop", "status": "RUNNING",
            "taskStatus": {
                "id": id, "status": "RUNNING", "duration": -1, "errorMsg": null,
                "location": {"host": null, "port": -1, "tlsPort": -1},
            },
            "taskResource": {"availabilityGroup": id, "requiredCapacity": 1},
            "taskLocation": {"host": null, "port": -1, "tlsPort": -1},
            "taskDataSource": "none",
        })
    );
    let location = TaskLocation::http("10.0.0.9", 8100);
    let (end, _) = end(progress(succeeded()));
    assert_eq!(
        json!(ended(&facts, Some(&location), &end)),
        json!({
            "id": id, "type": "noop", "status": "SUCCESS",
            "taskStatus": {
                "id": id, "status": "SUCCESS", "duration": 42_000, "errorMsg": null,
                "location": {"host": null, "port": -1, "tlsPort": -1},
            },
            "taskResource": {"availabilityGroup": id, "requiredCapacity": 1},
            "taskLocation": {"host": "10.0.0.9", "port": 8100, "tlsPort": -1},
            "taskDataSource": "none",
        })
    );
}

#[test]
fn what_a_task_says_of_itself_comes_back_from_its_annotations() {
    let odd = TaskFacts {
        id: "id \"x\" ünï/:%".into(),
        task_type: "index_kafka".into(),
        data_source: "ds with space".into(),
        resource: TaskResource {
            availability_group: "ü group".into(),
            required_capacity: 3,
        },
    };
    let metadata = ObjectMeta {
        annotations: Some(annotations(&odd)),
        ..ObjectMeta::default()
    };
    assert_eq!(facts_of(&metadata), Some(odd));
    assert_eq!(facts_of(&ObjectMeta::default()), None);
    // What somebody else wrote by hand.
    let metadata = ObjectMeta {
        annotations: Some(BTreeMap::from([
            (ANNOTATION_TASK_ID.to_owned(), "a".to_owned()),
            (ANNOTATION_REQUIRED_CAPACITY.to_owned(), "0".to_owned()),
        ])),
        ..ObjectMeta::default()
    };
    let found = facts_of(&metadata).unwrap();
    assert_eq!(
        (found.data_source.as_str(), found.resource.required_capacity),
        ("none", 1)
    );
    assert_eq!(found.resource.availability_group, "a");
}

#[test]
fn a_task_without_a_verdict_runs_whatever_it_waits_for() {
    assert_eq!(Progress::of(None), Progress::Running);
    assert_eq!(progress(json!({"phase": "Pending"})), Progress::Running);
    assert_eq!(progress(object_fixtures::running()), Progress::Running);
    let mut undone = failed();
    undone["conditions"][0]["status"] = json!("False");
    assert_eq!(progress(undone), Progress::Running);
}

#[test]
fn a_failure_says_why_with_its_reason() {
    let (end, not_before) = end(progress(failed()));
    assert_eq!(
        end,
        Ended {
            end: End::Failed("OOMKilled: as it was".into()),
            duration: 42_000,
        }
    );
    assert_eq!(not_before, None);
    let (mut never_ran, wanted) = (failed(), -1);
    never_ran["startTime"] = json!(null);
    assert_eq!(self::end(progress(never_ran)).0.duration, wanted);
    let mut clocks_differ = failed();
    clocks_differ["completionTime"] = json!(at(99));
    assert_eq!(self::end(progress(clocks_differ)).0.duration, 0);
}

#[test]
fn the_end_waits_for_the_log_but_not_for_ever() {
    for status in [succeeded(), object_fixtures::ended("Failed", "TaskFailed")] {
        assert_eq!(
            end(progress(status.clone())).1,
            None,
            "nobody keeps logs: the condition is not there"
        );
        for (archived, reason) in [
            (true, "Archived"),
            (true, "Gap"),
            (true, "NoLog"),
            (false, "GaveUp"),
            (false, "FollowerCap"),
        ] {
            let status = with_log(status.clone(), archived, reason);
            assert_eq!(end(progress(status)).1, None, "{reason}");
        }
        for reason in ["Collecting", "StoreFailed"] {
            let status = with_log(status.clone(), false, reason);
            assert_eq!(
                end(progress(status)).1,
                Some(at(142 + 300)),
                "five minutes after its completion: {reason}"
            );
        }
    }
}

#[test]
fn a_failure_that_happened_here_counts_from_the_start_of_the_peon() {
    assert_eq!(Ended::failed("gone", Some(at(1)), at(3)).duration, 2000);
    assert_eq!(Ended::failed("gone", None, at(3)).duration, -1);
    let failed = ended(&indexing("a"), None, &Ended::failed("gone", None, at(3)));
    assert_eq!(failed.status, TaskState::Failed);
    assert_eq!(failed.task_status.error_msg.as_deref(), Some("gone"));
}
