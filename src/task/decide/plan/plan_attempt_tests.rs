//! What the plan makes of failed attempts.

use super::life::{deleting, next, with_pod};
use super::*;
use crate::api::reason::{Acceptance, Cause, Readiness, Waiting};
use crate::task::run::death::NodeState;
use crate::task::run::pod::evidence::Evidence;

#[test]
fn an_attempt_that_failed_is_followed_by_another_one_after_a_while() {
    let rejected = evidence(json!({"phase": "Failed", "reason": "OutOfcpu"}));
    let claimed = status(&with_pod(recorded(), rejected), 200);
    assert_eq!(claimed.attempt, Some(2));
    assert_eq!(claimed.reason.as_deref(), Some(Waiting::Retrying.as_str()));
    assert_eq!(claimed.failures, [(Cause::PodRejected.to_string(), 1)].into());
    assert_eq!(claimed.pending_since.as_ref().unwrap().0, at(210));
    let (reason, _) = warning(recorded().status.as_ref(), &claimed).unwrap();
    assert_eq!(reason, Waiting::Retrying.as_str());
    let task = next(noop(), claimed);
    let early = settled(&snapshot(task.clone()), 205);
    assert_eq!(
        (early.status, early.requeue),
        (None, Some(Duration::from_secs(5)))
    );
    let Action::CreateConfigMap(map) = action(&snapshot(task.clone()), 210) else {
        panic!("no claim");
    };
    assert_eq!(map.metadata.name.as_deref(), Some("nightly-2"));
    let made = Snapshot {
        outcomes: Outcomes {
            claim: Some(Creation::Created("map".into())),
            creation: Some(Creation::Created("second".into())),
            live_subtasks: Some(0),
            ..Outcomes::default()
        },
        ..snapshot(task)
    };
    let recorded = status(&made, 211);
    assert_eq!(
        (recorded.attempt, recorded.pod_name()),
        (Some(2), Some("nightly-2"))
    );
}

#[test]
fn memory_grows_and_stays_grown() {
    let oom = status(&with_pod(recorded(), evidence(ended(137, "OOMKilled", ""))), 201);
    assert_eq!(
        (oom.memory_step, oom.attempts[0].cause.as_str()),
        (Some(1), Cause::OomKilled.as_str())
    );
    assert_eq!(oom.attempts[0].memory.as_deref(), Some("2G"));
    let task = next(noop(), oom);
    let made = Snapshot {
        outcomes: Outcomes {
            claim: Some(Creation::Created("map".into())),
            creation: Some(Creation::Created(POD_UID.into())),
            live_subtasks: Some(0),
            ..Outcomes::default()
        },
        ..snapshot(task.clone())
    };
    let second = next(task, status(&made, 300));
    let drained = Evidence {
        pod_name: "nightly-2".into(),
        ..deleting(evidence(ended(143, "Error", "")), 150)
    };
    let third = status(&with_pod(second, drained), 401);
    assert_eq!((third.attempt, third.memory_step), (Some(3), Some(1)));
}

/// The next attempt of a task that was killed for its memory, whose pod the API server refuses.
fn refused_after_oom(refusal: Refusal) -> Snapshot {
    let oom = status(&with_pod(recorded(), evidence(ended(137, "OOMKilled", ""))), 201);
    Snapshot {
        outcomes: Outcomes {
            claim: Some(Creation::Created("map".into())),
            creation: Some(Creation::Refused(refusal)),
            live_subtasks: Some(0),
            ..Outcomes::default()
        },
        ..snapshot(next(noop(), oom))
    }
}

/// Waiting does not help where the cluster never allows the memory of the next step.
#[test]
fn a_ladder_that_climbs_into_a_limit_ends_with_what_it_climbed_for() {
    let limit = "maximum memory usage per Container is 2G, but limit is 2862Mi";
    let quota = "exceeded quota: q, requested: limits.memory=2862Mi, limited: limits.memory=2G";
    for refusal in [
        Refusal::Limit(limit.into()),
        Refusal::Quota(quota.into()),
        Refusal::ForGood("the policy forbids this much memory".into()),
        Refusal::ForNow("admission webhook \"w\" denied the request: memory above 2G".into()),
    ] {
        let said = refusal.message().to_owned();
        let failed = status(&refused_after_oom(refusal), 300);
        check_reason(&failed, FAILED, &Cause::OomKilled);
        let message = &conditions::find(&failed.conditions, FAILED).unwrap().message;
        assert_eq!(
            *message,
            format!(
                "attempt 1 with a memory limit of 2G ran out of memory, and attempt 2, which would have more, is not \
                 allowed: {said}"
            )
        );
    }
    for (refusal, reason) in [
        (
            Refusal::Quota("exceeded quota: q, requested: pods=1, limited: pods=0".into()),
            Waiting::QuotaExceeded,
        ),
        (
            Refusal::Limit("minimum cpu usage per Container is 2, but request is 1".into()),
            Waiting::NotCreated,
        ),
        (
            Refusal::ForNow("failed calling webhook".into()),
            Waiting::NotCreated,
        ),
    ] {
        let waits = status(&refused_after_oom(refusal), 300);
        assert_eq!(waits.reason.as_deref(), Some(reason.as_str()));
    }
}

/// A `LimitRange` can be changed, and the task then goes on.
#[test]
fn a_first_attempt_waits_for_a_limit_to_change() {
    let limit = Refusal::Limit("maximum memory usage per Container is 1Gi, but limit is 2G".into());
    let waits = Snapshot {
        outcomes: Outcomes {
            claim: Some(Creation::Created("map".into())),
            creation: Some(Creation::Refused(limit.clone())),
            ..Outcomes::default()
        },
        ..snapshot(noop())
    };
    assert_eq!(
        status(&waits, 100).reason.as_deref(),
        Some(Waiting::NotCreated.as_str())
    );
    // The first attempt of a subtask begins with what earlier ones needed, and its supervisor tries again.
    let mut subtask = waits;
    subtask.outcomes.rung = Some(1);
    check_reason(&status(&subtask, 100), FAILED, &Cause::PodRefused);
}

/// Suspending is no failure.
#[test]
fn attempts_that_were_suspended_do_not_hold_back_the_next_one() {
    let mut task = recorded();
    task.status.as_mut().unwrap().failures = [(Cause::Suspended.to_string(), 5)].into();
    let rejected = evidence(json!({"phase": "Failed", "reason": "OutOfcpu"}));
    let claimed = status(&with_pod(task, rejected), 200);
    assert_eq!(claimed.pending_since.as_ref().unwrap().0, at(210));
}

/// What is missing for the next attempt keeps it waiting: the task is not given up for it.
#[test]
fn memory_grows_though_the_template_is_missing_at_the_moment() {
    let missing = || Template::Missing {
        name: "default".into(),
    };
    let oom = with_pod(recorded(), evidence(ended(137, "OOMKilled", "")));
    let claimed = status(
        &Snapshot {
            template: missing(),
            ..oom
        },
        201,
    );
    assert_eq!((claimed.attempt, claimed.memory_step), (Some(2), Some(1)));
    let snapshot = Snapshot {
        template: missing(),
        ..snapshot(next(noop(), claimed))
    };
    assert_eq!(
        status(&snapshot, 300).reason.as_deref(),
        Some(Acceptance::NoTemplate.as_str())
    );
}

#[test]
fn an_attempt_on_a_lost_node_is_not_followed_by_another_one_without_proof() {
    let lost = |node, after_node_loss: &str| Snapshot {
        departed: Some(evidence(running())),
        template: Template::Found(Arc::new(template(
            json!({"retry": {"afterNodeLoss": after_node_loss}}),
        ))),
        outcomes: Outcomes {
            node: Some(node),
            ..Outcomes::default()
        },
        ..snapshot(recorded())
    };
    for node in [NodeState::NotReady, NodeState::Deleted, NodeState::OutOfService] {
        let waits = status(&lost(node.clone(), "Wait"), 1000);
        assert_eq!(
            reason_of(&waits, READY),
            Readiness::AwaitingNodeProof.as_str(),
            "{node:?}"
        );
        assert_eq!(waits.attempt, Some(1));
    }
    assert_eq!(status(&lost(NodeState::Deleted, "Rerun"), 1000).attempt, Some(2));
    // Nothing follows it anyway: the verdict need not wait for a node that is gone for good.
    let mut unsafe_task = lost(NodeState::Deleted, "Wait");
    let mut task = recorded();
    task.status.as_mut().unwrap().safe_to_rerun = Some(false);
    unsafe_task.task = Arc::new(task);
    check_reason(&status(&unsafe_task, 1000), FAILED, &Cause::NodeLost);
}

/// The node may come back, or the template may be changed to trust that it is off: neither wakes the task.
#[test]
fn a_task_that_waits_for_a_node_that_was_written_off_looks_again() {
    let lost = Snapshot {
        departed: Some(evidence(running())),
        outcomes: Outcomes {
            node: Some(NodeState::Deleted),
            ..Outcomes::default()
        },
        ..snapshot(recorded())
    };
    assert_eq!(settled(&lost, 1000).requeue, Some(Duration::from_secs(30)));
}

/// If the node is unknown, it is unknown too whether it was lost.
#[test]
fn an_unknown_node_is_not_called_lost() {
    for node in [NodeState::Unknown, NodeState::Forbidden] {
        let mut task = recorded();
        task.status.as_mut().unwrap().safe_to_rerun = Some(false);
        let gone = Snapshot {
            departed: Some(evidence(running())),
            outcomes: Outcomes {
                node: Some(node),
                ..Outcomes::default()
            },
            ..snapshot(task)
        };
        check_reason(&status(&gone, 1000), FAILED, &Cause::PodDeleted);
    }
}
