//! What is different for a task that an overlord assigned.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::accept::{accept, chunked};
use super::aggregates::TaskAggregates;
use super::decide::deadlines;
use super::decide::plan::{Action, Step, plan};
use super::fixtures::{
    ENDED, ID, at, ended, evidence, recorded, running, snapshot, task, task_status, with_status,
};
use super::snapshot::{Live, Outcomes, Snapshot};
use crate::api::conditions;
use crate::api::reason::{Acceptance, Cause};
use crate::api::{ANNOTATION_OVERLORD, FORGOTTEN, LABEL_IDENTITY, LABEL_MIDDLE_MANAGER, PeonTask, Phase};
use crate::payload::chunks::{Absent, Chunks, Kind};

/// A task of this type that names a VirtualMiddleManager.
fn referring(task_type: &str) -> PeonTask {
    task(json!({"task": {"type": task_type, "id": ID}, "middleManagerRef": {"name": "ingestion"}}))
}

fn assigned(task_type: &str) -> PeonTask {
    let mut task = referring(task_type);
    task.metadata.labels = Some([(LABEL_IDENTITY.to_owned(), "0".to_owned())].into());
    task
}

fn pod_of(task: PeonTask) -> Value {
    let snapshot = snapshot(task);
    let accepted = accept(&snapshot).unwrap();
    let names = accepted.names();
    accepted.attempt(1, &names).pod()
}

fn finished(task: PeonTask) -> PeonTask {
    let success = evidence(ended(0, "Completed", &task_status(ID, "SUCCESS", None)));
    let before = Snapshot {
        cached: Some(success),
        ..snapshot(with_status(task, recorded().status.unwrap()))
    };
    let Step::Settle(settlement) = plan(&before, at(ENDED + 1)) else {
        panic!("no verdict");
    };
    with_status((*before.task).clone(), settlement.status.unwrap())
}

#[test]
fn it_waits_until_it_is_assigned_and_needs_nothing_else() {
    let waiting = snapshot(referring("index_parallel"));
    let refused = accept(&waiting).unwrap_err();
    assert_eq!(refused.reason, Acceptance::NotAssigned);
    assert!(refused.message.contains("ingestion"), "{}", refused.message);
    assert!(!refused.is_final());
    assert!(accept(&snapshot(assigned("index_parallel"))).is_ok());
    // A label alone is nothing.
    let mut labelled = assigned("index_parallel");
    labelled.spec.middle_manager_ref = None;
    assert_eq!(
        accept(&snapshot(labelled)).unwrap_err().reason,
        Acceptance::NeedsOverlord
    );
}

#[test]
fn its_pod_is_found_by_the_middle_manager_and_says_when_it_can_be_called() {
    let pod = pod_of(assigned("index_kafka"));
    assert_eq!(pod["metadata"]["labels"][LABEL_MIDDLE_MANAGER], "ingestion");
    assert_eq!(
        pod["spec"]["containers"][0]["readinessProbe"]["httpGet"],
        json!({"path": "/status/health", "port": 8100})
    );
    let other = pod_of(task(json!({"task": {"type": "noop", "id": ID}})));
    assert_eq!(other["metadata"]["labels"].get(LABEL_MIDDLE_MANAGER), None);
    assert_eq!(other["spec"]["containers"][0].get("readinessProbe"), None);
}

#[test]
fn a_peon_whose_server_does_not_answer_says_so() {
    let with_ready = |ready: &str, changed: i64| {
        let mut status = running();
        status["conditions"] =
            json!([{"type": "Ready", "status": ready, "lastTransitionTime": at(changed).to_string()}]);
        evidence(status)
    };
    // It started at 110.
    for (task, ready, changed, now, expected) in [
        (assigned("index_kafka"), "False", 105, 229, "the peon runs"),
        (assigned("index_kafka"), "False", 105, 230, "did not answer"),
        (assigned("index_kafka"), "True", 112, 900, "the peon runs"),
        (assigned("index_kafka"), "False", 500, 900, "the peon runs"),
        (
            task(json!({"task": {"type": "noop", "id": ID}})),
            "False",
            105,
            900,
            "the peon runs",
        ),
    ] {
        let task = with_status(task, recorded().status.unwrap());
        let seen = Snapshot {
            cached: Some(with_ready(ready, changed)),
            ..snapshot(task)
        };
        let Step::Settle(settlement) = plan(&seen, at(now)) else {
            panic!("no status");
        };
        let conditions = settlement.status.unwrap().conditions;
        let message = &conditions::find(&conditions, conditions::READY).unwrap().message;
        assert!(message.contains(expected), "{ready} {changed} {now}: {message}");
        assert_eq!(
            message == "the peon runs",
            expected == "the peon runs",
            "{message}"
        );
        let waits = settlement
            .requeue
            .is_some_and(|pause| pause == Duration::from_secs(1));
        assert_eq!(waits, now == 229);
    }
}

#[test]
fn partitions_of_subtasks_go_to_deep_storage_unless_somebody_says_otherwise() {
    let property = "-Ddruid.processing.intermediaryData.storage.type=deepstore";
    let options = |task: PeonTask| -> Vec<String> {
        let snapshot = snapshot(task);
        let accepted = accept(&snapshot).unwrap();
        accepted
            .settings
            .java_opts
            .iter()
            .map(|(o, _)| o.clone())
            .collect()
    };
    for task_type in ["index_parallel", "partial_index_generate", "compact"] {
        assert!(
            options(assigned(task_type)).iter().any(|o| o == property),
            "{task_type}"
        );
    }
    assert!(!options(assigned("index_kafka")).iter().any(|o| o == property));
    let mut told = assigned("index_parallel");
    told.spec.java_opts = vec![property.replace("deepstore", "local")];
    assert!(!options(told).iter().any(|o| o == property));
}

#[test]
fn it_is_kept_until_the_overlord_is_done_with_it() {
    let mut task = finished(assigned("index_parallel"));
    let kept = deadlines::deletion(&snapshot(task.clone())).unwrap();
    assert_eq!(kept, at(ENDED + 86_400), "a day at most");
    let aggregates = TaskAggregates::default();
    aggregates.retention.limit(Some(0));
    aggregates.observe(&task);
    assert_eq!(aggregates.retention.excess("ns"), []);

    let forgotten = [(ANNOTATION_OVERLORD.to_owned(), FORGOTTEN.to_owned())];
    task.metadata.annotations = Some(forgotten.into());
    assert_eq!(
        deadlines::deletion(&snapshot(task.clone())),
        Some(at(ENDED + 3600))
    );
    aggregates.observe(&task);
    assert_eq!(aggregates.retention.excess("ns").len(), 1);
}

/// What a pass does for a task whose chunk is missing, so many seconds after it was created.
fn without_chunk(task: PeonTask, age: i64) -> super::decide::plan::Settlement {
    lacking(
        Absent::Missing("the Secret task-0 of the payload".to_owned()),
        task,
        age,
    )
}

/// The same, for a chunk that cannot be had for this reason.
fn lacking(absent: Absent, task: PeonTask, age: i64) -> super::decide::plan::Settlement {
    let from = Chunks::split(b"{}").unwrap().task_from("task", Kind::Secret);
    let mut snapshot = Snapshot {
        outcomes: Outcomes {
            payload: Some(chunked(&task, &from, Err(absent))),
            ..Outcomes::default()
        },
        ..snapshot(task)
    };
    loop {
        match plan(&snapshot, at(age)) {
            Step::Settle(settlement) => return *settlement,
            // Nobody gives a task up before it is certain that it has no pod.
            Step::Act(Action::LookLive { .. }) if snapshot.outcomes.live.is_none() => {
                snapshot.outcomes.live = Some(Live {
                    config_map_owner: None,
                    pod: None,
                    task_version: None,
                });
            }
            Step::Act(action) => panic!("{action:?}"),
        }
    }
}

fn chunks_of(mut task: PeonTask) -> PeonTask {
    let from = Chunks::split(b"{}").unwrap().task_from("task", Kind::Secret);
    (task.spec.task, task.spec.task_from) = (None, Some(from));
    task.metadata.creation_timestamp = Some(Time(at(0)));
    task
}

#[test]
fn chunks_that_are_still_being_created_are_waited_for_without_a_word() {
    let direct = chunks_of(task(json!({"task": {"type": "noop", "id": ID}})));
    for task in [direct, chunks_of(assigned("noop"))] {
        let soon = without_chunk(task.clone(), 1);
        assert_eq!(soon.status, None);
        assert!(
            soon.requeue.is_some_and(|r| r < Duration::from_secs(1)),
            "{soon:?}"
        );
        let later = without_chunk(task.clone(), 3);
        assert_eq!(
            later.status.unwrap().reason.as_deref(),
            Some(Acceptance::PayloadIncomplete.as_str())
        );
        assert_eq!(later.requeue, Some(Duration::from_secs(1)));
        // A clock that is behind does not make it young for ever.
        assert!(without_chunk(task, -60).status.is_some());
    }
}

#[test]
fn chunks_that_nobody_will_create_any_more_fail_it() {
    let direct = || task(json!({"task": {"type": "noop", "id": ID}}));
    for (waiting, from) in [(chunks_of(assigned("noop")), 0), (chunks_of(direct()), 3)] {
        let noticed = without_chunk(waiting.clone(), 3);
        let waiting = with_status(waiting, noticed.status.unwrap());
        let soon = without_chunk(waiting.clone(), from + 598);
        assert_eq!(soon.status.unwrap().phase, Some(Phase::Pending));
        // It is looked at when its time has come, and rarely before.
        assert_eq!(soon.requeue, Some(Duration::from_secs(2)));
        let pause = without_chunk(waiting.clone(), 103).requeue;
        assert_eq!(pause, Some(Duration::from_secs(25)));
        let failed = without_chunk(waiting.clone(), from + 601).status.unwrap();
        assert_eq!(failed.phase, Some(Phase::Failed));
        assert_eq!(
            failed.reason.as_deref(),
            Some(Acceptance::PayloadIncomplete.as_str())
        );
        let said = serde_json::to_string(&failed.conditions).unwrap();
        assert!(
            said.contains("task-0") && said.contains("submit the task again"),
            "{said}"
        );
        // Who holds the task gives nobody more time.
        let mut held = waiting;
        held.spec.suspend = true;
        held.spec.start_deadline_seconds = Some(86_400);
        let failed = without_chunk(held, from + 601).status.unwrap();
        assert_eq!(failed.phase, Some(Phase::Failed));
    }
}

/// Nobody can tell whether it is there, and rights are given some time.
#[test]
fn a_chunk_that_the_operator_may_not_read_fails_nothing() {
    let forbidden = || Absent::Forbidden("the Secret task-0".to_owned());
    let direct = chunks_of(task(json!({"task": {"type": "noop", "id": ID}})));
    for waiting in [direct, chunks_of(assigned("noop"))] {
        let noticed = lacking(forbidden(), waiting.clone(), 3).status.unwrap();
        let waiting = with_status(waiting, noticed);
        for age in [660, 100_000] {
            let later = lacking(forbidden(), waiting.clone(), age);
            let status = later.status.unwrap();
            assert_eq!(status.phase, Some(Phase::Pending));
            assert!(later.requeue.is_some_and(|r| r <= Duration::from_secs(600)));
        }
        // The deadline that somebody gave is theirs.
        let mut bounded = waiting;
        bounded.spec.middle_manager_ref = None;
        bounded.spec.start_deadline_seconds = Some(900);
        let failed = lacking(forbidden(), bounded, 1000).status.unwrap();
        assert_eq!(failed.reason.as_deref(), Some(Cause::StartDeadline.as_str()));
    }
}

#[test]
fn a_chunk_that_goes_missing_later_has_its_time_from_then_on() {
    let accepted_once = chunks_of(task(json!({"task": {"type": "noop", "id": ID}})));
    let noticed = without_chunk(accepted_once, 100_000);
    assert_eq!(noticed.status.unwrap().phase, Some(Phase::Pending));
    assert_eq!(noticed.requeue, Some(Duration::from_secs(1)));
}

#[test]
fn whoever_gives_a_start_deadline_says_how_long_chunks_may_be_missing() {
    for (deadline, phase, reason) in [
        (86_400, Phase::Pending, Acceptance::PayloadIncomplete.as_str()),
        (300, Phase::Failed, Cause::StartDeadline.as_str()),
    ] {
        let mut waiting = chunks_of(task(json!({"task": {"type": "noop", "id": ID}})));
        waiting.spec.start_deadline_seconds = Some(deadline);
        let noticed = without_chunk(waiting.clone(), 3);
        let later = without_chunk(with_status(waiting, noticed.status.unwrap()), 5_000);
        let status = later.status.unwrap();
        assert_eq!(
            (status.phase, status.reason.as_deref()),
            (Some(phase), Some(reason))
        );
        assert!(
            status.conditions.iter().any(|c| c.message.contains("task-0")),
            "{status:?}"
        );
        if phase == Phase::Pending {
            // Not once a minute for a day.
            assert_eq!(later.requeue, Some(Duration::from_secs(600)));
        }
    }
}
