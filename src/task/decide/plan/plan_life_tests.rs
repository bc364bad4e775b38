//! What the plan makes of suspend, cancel, deadlines, and pods that end.

use super::*;
use crate::api::reason::{Cause, Readiness, Suspension, Waiting};
use crate::api::{PeonTaskStatus, Stop};
use crate::task::aggregates::slots::Slot;
use crate::task::run::pod::evidence::Evidence;
use crate::task::run::pod::run::StopPod;
use crate::task::snapshot::Outcomes;

/// A task with this spec beside its payload, whose status names its pod since second 100.
#[allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.
fn running_with(spec: serde_json::Value) -> PeonTask {
    let mut whole = json!({"task": {"type": "noop", "id": ID}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    with_status(task(whole), recorded().status.unwrap())
}

pub(super) fn with_pod(task: PeonTask, pod: Evidence) -> Snapshot {
    Snapshot {
        cached: Some(pod),
        ..snapshot(task)
    }
}

fn stop_of(status: &PeonTaskStatus) -> &Stop {
    status.stop.as_ref().unwrap()
}

/// The next version of a task, as the API server keeps it.
#[allow(clippy::needless_pass_by_value)] // As above.
pub(super) fn next(task: PeonTask, status: PeonTaskStatus) -> PeonTask {
    with_status(task, serde_json::from_value(json!(status)).unwrap())
}

pub(super) fn deleting(pod: Evidence, since: i64) -> Evidence {
    Evidence {
        deletion_requested: Some(at(since)),
        deletion_due: Some(at(since + 30)),
        ..pod
    }
}

#[test]
fn cancel_is_written_down_before_the_pod_is_deleted_and_then_is_the_verdict() {
    let task = running_with(json!({"cancel": true}));
    let asked = status(&with_pod(task.clone(), evidence(running())), 150);
    assert_eq!(stop_of(&asked).cause, Cause::Cancelled.as_str());
    assert_eq!(reason_of(&asked, READY), Readiness::Stopping.as_str());
    let task = next(task, asked);
    let expected = Action::DeletePod(StopPod {
        pod: POD.into(),
        uid: POD_UID.into(),
        version: None,
        grace_seconds: None,
    });
    assert_eq!(
        action(&with_pod(task.clone(), evidence(running())), 151),
        expected
    );
    let stopping = settled(&with_pod(task.clone(), deleting(evidence(running()), 151)), 152);
    assert_eq!(
        stopping.requeue,
        Some(Duration::from_secs(44)),
        "after its grace period and a margin"
    );
    let killed = deleting(
        evidence(ended(143, "Error", &task_status(ID, "FAILED", Some("killed")))),
        151,
    );
    let verdict = status(&with_pod(task.clone(), killed), 201);
    assert_eq!(reason_of(&verdict, FAILED), Cause::Cancelled.as_str());
    let published = deleting(
        evidence(ended(143, "Error", &task_status(ID, "SUCCESS", None))),
        151,
    );
    let verdict = status(&with_pod(task, published), 201);
    assert!(conditions::is_true(&verdict.conditions, COMPLETE));
}

#[test]
fn a_cancelled_task_is_not_run_again() {
    let task = running_with(json!({"cancel": true}));
    let lost = evidence(json!({"phase": "Failed", "reason": "Evicted"}));
    let verdict = status(&with_pod(task, lost), 150);
    assert_eq!(reason_of(&verdict, FAILED), Cause::Evicted.as_str());
}

/// Somebody may have created a pod that no cache has.
#[test]
fn a_task_without_a_pod_is_cancelled_after_a_look() {
    let task = task(json!({"task": {"type": "noop", "id": ID}, "cancel": true}));
    let fresh = snapshot(task);
    assert_eq!(action(&fresh, 100), Action::LookLive { name: POD.into() });
    let none = Snapshot {
        outcomes: Outcomes {
            live: Some(live(None, None)),
            ..fresh.outcomes.clone()
        },
        ..fresh.clone()
    };
    assert_eq!(reason_of(&status(&none, 100), FAILED), Cause::Cancelled.as_str());
    let unseen = Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), Some(evidence(running())))),
            ..fresh.outcomes
        },
        ..fresh
    };
    assert_eq!(stop_of(&status(&unseen, 100)).cause, Cause::Cancelled.as_str());
}

#[test]
fn a_suspended_task_gets_no_pod_until_it_is_resumed() {
    let held = task(json!({"task": {"type": "noop", "id": ID}, "suspend": true, "startDeadlineSeconds": 10}));
    let looked = Snapshot {
        outcomes: Outcomes {
            live: Some(live(None, None)),
            ..Outcomes::default()
        },
        ..snapshot(held.clone())
    };
    assert_eq!(
        action(&snapshot(held), 100),
        Action::LookLive { name: POD.into() }
    );
    let suspended = status(&looked, 100);
    assert_eq!(suspended.phase, Some(Phase::Suspended));
    check_reason(&suspended, conditions::SUSPENDED, &Suspension::Suspended);
    let resumed = next(
        task(json!({"task": {"type": "noop", "id": ID}, "startDeadlineSeconds": 10})),
        suspended,
    );
    let on = status(&snapshot(resumed.clone()), 500);
    assert_eq!(on.phase, Some(Phase::Pending));
    assert_eq!(
        on.pending_since.as_ref().unwrap().0,
        at(500),
        "the deadline counts from here"
    );
    assert!(matches!(
        action(&snapshot(next(resumed, on)), 501),
        Action::CreateConfigMap(_)
    ));
}

#[test]
fn suspending_a_running_task_stops_it_and_resuming_starts_another_attempt() {
    let task = running_with(json!({"suspend": true}));
    let asked = status(&with_pod(task.clone(), evidence(running())), 150);
    assert_eq!(stop_of(&asked).cause, Cause::Suspended.as_str());
    let task = next(task, asked);
    let ended = deleting(evidence(ended(143, "Error", "")), 151);
    let claimed = status(&with_pod(task.clone(), ended), 201);
    assert_eq!((claimed.attempt, claimed.pod_uid()), (Some(2), None));
    assert_eq!(claimed.attempts[0].cause, Cause::Suspended.as_str());
    assert_eq!(claimed.stop, None);
    let held = Snapshot {
        outcomes: Outcomes {
            live: Some(live(None, None)),
            ..Outcomes::default()
        },
        ..snapshot(next(task, claimed))
    };
    assert_eq!(status(&held, 202).phase, Some(Phase::Suspended));
}

#[test]
fn a_task_that_may_have_written_is_not_suspended_while_it_runs() {
    let mut task = running_with(json!({"suspend": true}));
    task.status.as_mut().unwrap().safe_to_rerun = Some(false);
    let runs = status(&with_pod(task.clone(), evidence(running())), 150);
    assert_eq!(runs.phase, Some(Phase::Running));
    check_reason(&runs, conditions::SUSPENDED, &Suspension::NotRestartable);
    let mut resumed = next(task, runs);
    resumed.spec.suspend = false;
    let runs = status(&with_pod(resumed, evidence(running())), 160);
    assert_eq!(conditions::find(&runs.conditions, conditions::SUSPENDED), None);
}

/// The kubelet starts the peon while the request to stop it is on its way.
#[test]
fn a_task_that_began_while_it_was_suspended_is_not_run_twice() {
    let mut task = running_with(json!({"suspend": true}));
    task.status.as_mut().unwrap().safe_to_rerun = Some(false);
    task.status.as_mut().unwrap().stop = Some(Stop {
        cause: Cause::Suspended.as_str().into(),
        message: "spec.suspend was set".into(),
        time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(105)),
    });
    let goes_on = status(&with_pod(task.clone(), evidence(running())), 150);
    assert_eq!(goes_on.stop, None);
    assert_eq!(goes_on.phase, Some(Phase::Running));
    let killed = deleting(evidence(ended(143, "Error", "")), 112);
    let verdict = status(&with_pod(task, killed), 201);
    assert_eq!(reason_of(&verdict, FAILED), Cause::NoVerdict.as_str());
}

#[test]
fn the_start_deadline_ends_whatever_is_waited_for_and_says_what_it_was() {
    let mut waiting = task(json!({"task": {"type": "noop", "id": ID}, "startDeadlineSeconds": 60}));
    waiting.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(100)));
    let quota = Snapshot {
        outcomes: Outcomes {
            claim: Some(Creation::Refused(Refusal::Quota("exceeded quota".into()))),
            ..Outcomes::default()
        },
        ..snapshot(waiting.clone())
    };
    let settlement = settled(&quota, 150);
    assert_eq!(settlement.requeue, Some(Duration::from_secs(10)));
    let late = next(waiting.clone(), settlement.status.unwrap());
    let looked = Snapshot {
        outcomes: Outcomes {
            live: Some(live(None, None)),
            ..Outcomes::default()
        },
        ..snapshot(late)
    };
    let verdict = status(&looked, 160);
    assert_eq!(reason_of(&verdict, FAILED), Cause::StartDeadline.as_str());
    let message = &conditions::find(&verdict.conditions, FAILED).unwrap().message;
    assert!(message.contains("QuotaExceeded: exceeded quota"), "{message}");

    let mut created = next(waiting, recorded().status.unwrap());
    created.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(100)));
    let on_time = settled(&with_pod(created.clone(), creating()), 101);
    assert_eq!(
        on_time.requeue,
        Some(Duration::from_secs(59)),
        "the deadline comes, and the kubelet is silent"
    );
    let stopped = status(&with_pod(created.clone(), creating()), 160);
    assert_eq!(stop_of(&stopped).cause, Cause::StartDeadline.as_str());
    let runs = status(&with_pod(created, evidence(running())), 160);
    assert_eq!(runs.phase, Some(Phase::Running), "it has started");
}

#[test]
fn the_active_deadline_counts_from_when_the_kubelet_took_the_pod() {
    let task = running_with(json!({"activeDeadlineSeconds": 60}));
    let pod = Evidence {
        taken: Some(at(100)),
        ..evidence(running())
    };
    let before = settled(&with_pod(task.clone(), pod.clone()), 159);
    assert_eq!(before.requeue, Some(Duration::from_secs(1)));
    let after = status(&with_pod(task, pod), 160);
    assert_eq!(stop_of(&after).cause, Cause::Deadline.as_str());
    // A task without deadlines, such as a streaming one, is never stopped.
    let without = with_pod(running_with(json!({})), evidence(running()));
    assert_eq!(settled(&without, 1_000_000_000).requeue, None);
}

#[test]
fn a_pod_that_should_have_ended_says_that_its_node_is_silent() {
    let due = with_pod(recorded(), deleting(evidence(running()), 120));
    assert_eq!(reason_of(&status(&due, 164), READY), Readiness::Stopping.as_str());
    check_reason(&status(&due, 165), READY, &Readiness::AwaitingNodeProof);
}

#[test]
fn a_task_waits_for_a_place_among_those_of_its_template() {
    let limited = Snapshot {
        template: Template::Found(Arc::new(template(json!({"maxRunning": 2})))),
        ..snapshot(noop())
    };
    let expected = Action::TakeSlot {
        template: "default".into(),
        max: 2,
    };
    assert_eq!(action(&limited, 100), expected);
    let full = Snapshot {
        outcomes: Outcomes {
            slot: Some(Slot::Wait { running: 2, ahead: 0 }),
            ..limited.outcomes.clone()
        },
        ..limited.clone()
    };
    check_reason(&status(&full, 100), READY, &Waiting::MaxRunning);
    let free = Snapshot {
        outcomes: Outcomes {
            slot: Some(Slot::Taken),
            ..limited.outcomes
        },
        ..limited
    };
    assert!(matches!(action(&free, 100), Action::CreateConfigMap(_)));
}

#[test]
fn sidecars_that_outlive_the_peon_are_ended_once() {
    let mut lingers = ended(0, "Completed", &task_status(ID, "SUCCESS", None));
    lingers["phase"] = json!("Running");
    let mut sidecar = running()["containerStatuses"][0].clone();
    sidecar["name"] = json!("sidecar");
    lingers["containerStatuses"].as_array_mut().unwrap().push(sidecar);
    let lingering = with_pod(decided(), evidence(lingers));
    let expected = Action::EndPod {
        pod: POD.into(),
        uid: POD_UID.into(),
    };
    assert_eq!(action(&lingering, 300), expected);
    let mut asked = lingering;
    asked.cached.as_mut().unwrap().active_deadline = Some(1);
    assert_eq!(settled(&asked, 300).status, None);
}

#[test]
fn a_finished_task_is_deleted_when_its_time_is_over() {
    let kept = settled(&snapshot(decided()), 300);
    assert_eq!(kept.requeue, Some(Duration::from_secs(3500)));
    let expected = Action::DeleteTask { uid: TASK_UID.into() };
    assert_eq!(action(&snapshot(decided()), 3800), expected);
    let mut at_once = decided();
    at_once.spec.ttl_seconds_after_finished = Some(0);
    assert_eq!(action(&snapshot(at_once), 300), expected);
}

#[test]
fn the_pod_of_an_older_attempt_is_deleted_on_sight() {
    let mut task = recorded();
    task.status.as_mut().unwrap().attempt = Some(2);
    let old = Evidence {
        pod_uid: "old".into(),
        ..evidence(running())
    };
    let seen = Snapshot {
        others: vec![old.clone()],
        cached: Some(evidence(running())),
        ..snapshot(task)
    };
    assert!(matches!(action(&seen, 150), Action::LookLive { .. }));
    let looked = Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), None)),
            ..seen.outcomes
        },
        ..seen
    };
    let expected = Action::DeletePod(StopPod {
        pod: old.pod_name,
        uid: "old".into(),
        version: None,
        grace_seconds: None,
    });
    assert_eq!(action(&looked, 150), expected);
}

/// A pod that ended since it was seen keeps what it said last: the API server refuses to delete another version.
#[test]
fn a_pod_is_deleted_only_as_it_was_seen() {
    let task = running_with(json!({"cancel": true}));
    let asked = status(&with_pod(task.clone(), evidence(running())), 150);
    let seen = Evidence {
        version: Some("7".into()),
        ..evidence(running())
    };
    let expected = Action::DeletePod(StopPod {
        pod: POD.into(),
        uid: POD_UID.into(),
        version: Some("7".into()),
        grace_seconds: None,
    });
    assert_eq!(action(&with_pod(next(task, asked), seen), 151), expected);
}

/// The kubelet may say of a container that it removed that it waits.
#[test]
fn a_peon_that_was_seen_to_run_has_begun_whatever_its_pod_says_at_the_end() {
    let never = template(json!({"retry": {"rerun": "Never"}}));
    let then = |status: PeonTaskStatus, pod: serde_json::Value| Snapshot {
        template: Template::Found(Arc::new(never.clone())),
        ..with_pod(with_status(running_with(json!({})), status), evidence(pod))
    };
    let before = recorded().status.unwrap();
    let runs = status(&then(before.clone(), running()), 120);
    let mut evicted = in_state("Failed", json!({"waiting": {"reason": "ContainerCreating"}}));
    evicted["reason"] = json!("Evicted");
    let verdict = status(&then(runs, evicted.clone()), 150);
    assert_eq!(verdict.phase, Some(Phase::Failed), "{verdict:?}");
    assert_eq!(reason_of(&verdict, FAILED), Cause::Evicted.as_str());
    // One that was never seen to run is created where it has not been.
    let again = status(&then(before, evicted), 150);
    assert_eq!((again.phase, again.attempt), (Some(Phase::Pending), Some(2)));
}
