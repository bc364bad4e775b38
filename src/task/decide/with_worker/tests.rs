use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::api::conditions::{READY, SUSPENDED};
use crate::api::reason::Readiness;
use crate::api::{PeonTask, PeonTaskStatus, RunKind, RunStatus};
use crate::indexer::decide::view::{Trouble, View};
use crate::indexer::fixtures::{Jvm, failed, location, running as announced, succeeded, target};
use crate::task::decide::plan::plan;
use crate::task::fixtures::{
    ID, at, disrupted, ended, evidence, noop, running, snapshot, template, with_status,
};
use crate::task::run::death::NodeState;
use crate::task::run::pod::evidence::Evidence;
use crate::task::run::worker::IndexerSeen;
use crate::task::snapshot::{Live, Outcomes, Template};

#[path = "property_tests.rs"]
mod property;
#[path = "shared_tests.rs"]
mod shared;
#[path = "stop_tests.rs"]
mod stop;

const UID: &str = "indexer-uid";
const POD: &str = "warm-x";

/// The pod of the Indexer with this status.
fn pod(status: serde_json::Value) -> Evidence {
    Evidence {
        pod_name: POD.into(),
        pod_uid: UID.into(),
        owner_uid: Some("pool-uid".into()),
        ..evidence(status)
    }
}

/// The pod while it is being deleted since second 300, with a minute of grace.
fn going() -> Evidence {
    Evidence {
        deletion_requested: Some(at(300)),
        deletion_due: Some(at(360)),
        ..pod(running())
    }
}

/// A task that is claimed since second 100. `safe` is whether it may run again.
fn claimed(safe: bool) -> PeonTask {
    let mut status = Draft::of(&noop(), at(100)).wait(Phase::Starting, Waiting::Starting, CLAIMED);
    status.run = Some(RunStatus::in_indexer("warm", POD, UID, ("10.0.0.9", 8091)));
    status.attempt = Some(1);
    status.task_id = Some(ID.into());
    status.safe_to_rerun = Some(safe);
    with_status(noop(), status)
}

/// What the Indexer answered, after each of these.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Heard {
    /// A full list without the task.
    Idle,
    Runs,
    Succeeds,
    Fails,
    Forgets,
    Restarts,
    Silence,
    Stranger,
}

fn view(heard: &[Heard]) -> View {
    let (mut view, mut jvm) = (View::new(target(UID)), Jvm::started(1_000));
    for heard in heard {
        match heard {
            Heard::Idle => {}
            Heard::Runs => jvm.announce(announced(ID)),
            Heard::Succeeds => jvm.announce(succeeded(ID)),
            Heard::Fails => jvm.announce(failed(ID)),
            Heard::Forgets => jvm.forget(ID),
            Heard::Restarts => jvm = Jvm::started(90_000),
            Heard::Stranger => jvm.announce(announced("another")),
            Heard::Silence => {
                view.unanswered(Trouble::Unreachable("no connection".into()), at(200));
                continue;
            }
        }
        while let Some(answer) = jvm.answer(view.asks()) {
            view.answered(view.asks(), &answer).unwrap();
        }
    }
    view
}

/// A task whose Indexer has this pod and answered this.
fn with(task: PeonTask, pod: Option<Evidence>, heard: &[Heard]) -> Snapshot {
    let view = (!heard.is_empty()).then(|| Arc::new(view(heard)));
    let seen = IndexerSeen {
        view,
        pod,
        ..IndexerSeen::default()
    };
    Snapshot {
        indexer: Some(Box::new(seen)),
        ..snapshot(task)
    }
}

fn lives(task: PeonTask, heard: &[Heard]) -> Snapshot {
    with(task, Some(pod(running())), heard)
}

fn settled(snapshot: &Snapshot, now: i64) -> PeonTaskStatus {
    match plan(snapshot, at(now)) {
        Step::Settle(settlement) => settlement.status.expect("it writes nothing"),
        Step::Act(action) => panic!("acts: {action:?}"),
    }
}

fn acts(snapshot: &Snapshot, now: i64) -> Action {
    match plan(snapshot, at(now)) {
        Step::Act(action) => action,
        Step::Settle(settlement) => panic!("settles: {settlement:?}"),
    }
}

/// Nothing is done, and the task is looked at again.
fn waits(snapshot: &Snapshot, now: i64) {
    match plan(snapshot, at(now)) {
        Step::Settle(settlement) => {
            assert_eq!(settlement.status, None);
            assert!(settlement.requeue.is_some());
        }
        Step::Act(action) => panic!("acts: {action:?}"),
    }
}

fn reason(status: &PeonTaskStatus) -> &str {
    status.reason.as_deref().unwrap_or_default()
}

fn message(status: &PeonTaskStatus) -> &str {
    &conditions::find(&status.conditions, READY).unwrap().message
}

fn stopped(task: PeonTask, cause: Cause, second: i64) -> PeonTask {
    let draft = Draft::of(&task, at(second));
    let status = draft.stop(Stop {
        cause: cause.to_string(),
        message: "m".into(),
        time: Time(at(second)),
    });
    with_status(task, status)
}

fn deletes(snapshot: &Snapshot, now: i64) {
    match acts(snapshot, now) {
        Action::DeletePod(stop) => {
            assert_eq!((stop.pod.as_str(), stop.uid.as_str()), (POD, UID));
            assert_eq!(stop.grace_seconds, Some(1));
        }
        other => panic!("{other:?}"),
    }
}

fn shuts_down(snapshot: &Snapshot, now: i64) -> String {
    match acts(snapshot, now) {
        Action::ShutDown { pod_uid, task_id } => {
            assert_eq!(pod_uid, UID);
            task_id
        }
        other => panic!("{other:?}"),
    }
}

fn posts(snapshot: &Snapshot, now: i64) {
    assert_eq!(acts(snapshot, now), Action::PostTask { pod_uid: UID.into() });
}

fn posted(posted: Posted) -> Snapshot {
    Snapshot {
        outcomes: Outcomes {
            posted: Some(posted),
            ..Outcomes::default()
        },
        ..lives(claimed(false), &[Heard::Idle])
    }
}

#[test]
fn a_claimed_task_is_posted_until_it_is_announced() {
    posts(&lives(claimed(false), &[Heard::Idle]), 101);
    for outcome in [Posted::Accepted, Posted::Unknown("no answer".into())] {
        let status = settled(&posted(outcome), 101);
        assert_eq!(
            Some(&status),
            claimed(false).status.as_ref(),
            "a POST costs no write"
        );
        posts(&lives(with_status(noop(), status), &[Heard::Idle]), 110);
    }
    let status = settled(&posted(Posted::NotReceived("no connection".into())), 101);
    assert_eq!(status.phase, Some(Phase::Starting));
    assert!(
        message(&status).ends_with("no connection"),
        "{}",
        message(&status)
    );
    posts(&lives(with_status(noop(), status), &[Heard::Idle]), 110);
}

#[test]
fn a_task_that_is_refused_is_not_posted_again() {
    let refused = posted(Posted::Refused {
        status: 400,
        why: "no such type".into(),
    });
    let status = settled(&refused, 101);
    let stop = status.stop.as_ref().unwrap();
    assert_eq!(stop.cause, Cause::NoVerdict.as_str());
    assert!(stop.message.contains("no such type"));
    deletes(&lives(with_status(noop(), status), &[Heard::Idle]), 110);
}

#[test]
fn a_task_waits_while_the_indexer_refuses_the_operator() {
    for status in [401, 403] {
        let refused = posted(Posted::Refused {
            status,
            why: "Unauthorized".into(),
        });
        let status = settled(&refused, 101);
        assert_eq!(
            (status.phase, status.stop.is_some()),
            (Some(Phase::Starting), false)
        );
        assert!(message(&status).contains("STATE WRITE"), "{}", message(&status));
        posts(&lives(with_status(noop(), status), &[Heard::Idle]), 110);
    }
}

#[test]
fn it_runs_once_it_is_announced_and_where_it_says() {
    let status = settled(&lives(claimed(false), &[Heard::Idle, Heard::Runs]), 101);
    assert_eq!(
        (status.phase, status.start_time.clone()),
        (Some(Phase::Running), Some(Time(at(101))))
    );
    let run = status.run.clone().unwrap();
    assert_eq!((run.kind, run.pool.as_deref()), (RunKind::Worker, Some("warm")));
    let expected = (location().host, Some(location().port), None);
    assert_eq!((run.host, run.port, run.tls_port), expected);
    assert_eq!(status.node_name.as_deref(), Some("node"));
    let again = lives(with_status(noop(), status.clone()), &[Heard::Idle, Heard::Runs]);
    assert_eq!(
        settled(&again, 150),
        status,
        "nothing is written while nothing changes"
    );
}

/// What was heard, and with which phase, reason and message the task ends, whatever its pod does.
#[test]
fn the_announced_end_is_the_verdict() {
    let drained = disrupted(running(), "EvictionByEvictionAPI", 150);
    let table = [
        (
            Heard::Succeeds,
            pod(running()),
            Phase::Succeeded,
            "Succeeded",
            "SUCCESS",
        ),
        (Heard::Succeeds, going(), Phase::Succeeded, "Succeeded", "SUCCESS"),
        (
            Heard::Succeeds,
            pod(ended(137, "OOMKilled", "")),
            Phase::Succeeded,
            "Succeeded",
            "SUCCESS",
        ),
        (Heard::Fails, pod(running()), Phase::Failed, "TaskFailed", "why"),
        (
            Heard::Fails,
            pod(ended(1, "Error", "")),
            Phase::Failed,
            "TaskFailed",
            "why",
        ),
        (
            Heard::Fails,
            pod(drained),
            Phase::Failed,
            "Drained",
            "Druid said: why",
        ),
    ];
    for (heard, pod, phase, cause, said) in table {
        for more in [
            None,
            Some(Heard::Silence),
            Some(Heard::Forgets),
            Some(Heard::Restarts),
        ] {
            let all: Vec<Heard> = [Heard::Idle, Heard::Runs, heard]
                .into_iter()
                .chain(more)
                .collect();
            let status = settled(&with(claimed(false), Some(pod.clone()), &all), 400);
            assert_eq!((status.phase, reason(&status)), (Some(phase), cause), "{all:?}");
            assert!(message(&status).contains(said), "{all:?}: {}", message(&status));
            assert_eq!(status.run.as_ref().unwrap().host, None, "its location is unknown");
            assert_eq!(status.run.as_ref().unwrap().pod_uid.as_deref(), Some(UID));
        }
    }
}

#[test]
fn without_an_announced_end_the_pod_is_the_evidence() {
    let table = [
        (ended(137, "OOMKilled", ""), "OOMKilled"),
        (ended(3, "Error", ""), "JavaOutOfMemory"),
        (ended(143, "Error", ""), "NoVerdict"),
        (
            disrupted(ended(143, "Error", ""), "EvictionByEvictionAPI", 150),
            "Drained",
        ),
    ];
    for (status, cause) in table {
        for heard in [
            &[][..],
            &[Heard::Idle],
            &[Heard::Idle, Heard::Runs],
            &[Heard::Idle, Heard::Silence],
        ] {
            let dead = with(claimed(false), Some(pod(status.clone())), heard);
            let status = settled(&dead, 400);
            assert_eq!(
                (status.phase, reason(&status)),
                (Some(Phase::Failed), cause),
                "{heard:?}"
            );
            // A task that may run again does, now that its pod is dead.
            let dead = with(claimed(true), Some(pod(ended(137, "OOMKilled", ""))), heard);
            let status = settled(&dead, 400);
            assert_eq!((status.attempt, status.run), (Some(2), None), "{heard:?}");
        }
    }
}

#[test]
fn a_pod_that_ended_before_the_stop_was_not_stopped() {
    let task = stopped(claimed(false), Cause::Cancelled, 250);
    let dead = |status| with(task.clone(), Some(pod(status)), &[Heard::Idle, Heard::Runs]);
    assert_eq!(
        reason(&settled(&dead(ended(137, "OOMKilled", "")), 400)),
        "OOMKilled"
    );
    let task = stopped(claimed(false), Cause::Cancelled, 150);
    let dead = with(
        task,
        Some(pod(ended(137, "OOMKilled", ""))),
        &[Heard::Idle, Heard::Runs],
    );
    assert_eq!(reason(&settled(&dead, 400)), "Cancelled");
}

#[test]
fn an_indexer_that_does_not_answer_is_waited_for() {
    for heard in [
        &[][..],
        &[Heard::Silence],
        &[Heard::Idle, Heard::Silence],
        &[Heard::Idle, Heard::Runs, Heard::Silence],
    ] {
        waits(&lives(claimed(false), heard), 1_000);
    }
}

#[test]
fn nothing_is_posted_to_a_pod_that_is_ending_or_is_another() {
    let status = settled(&with(claimed(false), Some(going()), &[Heard::Idle]), 310);
    assert_eq!(reason(&status), "Stopping");
    let other = Evidence {
        pod_uid: "other".into(),
        ..pod(running())
    };
    // The cache may lag: the API server is asked.
    let unseen = with(claimed(false), Some(other.clone()), &[Heard::Idle]);
    assert_eq!(acts(&unseen, 110), Action::LookIndexer { pod: POD.into() });
    let gone = |pod: Option<Evidence>, node: Option<NodeState>| Snapshot {
        outcomes: Outcomes {
            indexer: Some(Box::new(Live {
                config_map_owner: None,
                pod,
                task_version: None,
            })),
            node,
            ..Outcomes::default()
        },
        ..with(claimed(true), None, &[Heard::Idle])
    };
    posts(&gone(Some(pod(running())), None), 110);
    for pod in [None, Some(other)] {
        assert!(matches!(
            acts(&gone(pod.clone(), None), 110),
            Action::LookNode { .. }
        ));
        let status = settled(&gone(pod.clone(), Some(NodeState::NotReady)), 110);
        assert_eq!((status.attempt, reason(&status)), (Some(1), "AwaitingNodeProof"));
        let status = settled(&gone(pod, Some(NodeState::NeverBound)), 110);
        assert_eq!(status.attempt, Some(2));
    }
}

#[test]
fn tasks_of_others_are_shut_down_and_its_own_goes_on() {
    let heard = &[Heard::Idle, Heard::Runs, Heard::Stranger];
    let mut snapshot = lives(claimed(false), heard);
    assert_eq!(shuts_down(&snapshot, 110), "another");
    snapshot.outcomes.shut_down.push("another".into());
    let Step::Settle(settlement) = plan(&snapshot, at(110)) else {
        panic!("once in a pass is enough");
    };
    assert_eq!(settlement.status.unwrap().phase, Some(Phase::Running));
    assert_eq!(settlement.requeue, Some(AGAIN));
}

/// Both places were taken at once, which the claim rules out unless somebody else made the pod.
#[test]
fn a_pod_of_its_own_is_deleted_while_it_is_claimed_on_an_indexer() {
    let own = evidence(running());
    let mut snapshot = Snapshot {
        cached: Some(own.clone()),
        ..lives(claimed(false), &[Heard::Idle])
    };
    assert!(matches!(acts(&snapshot, 110), Action::LookLive { .. }));
    snapshot.outcomes.live = Some(Live {
        config_map_owner: None,
        pod: Some(own.clone()),
        task_version: None,
    });
    match acts(&snapshot, 110) {
        Action::DeletePod(stop) => assert_eq!(stop.uid, own.pod_uid),
        other => panic!("{other:?}"),
    }
    snapshot.outcomes.ended.push(own.pod_name);
    posts(&snapshot, 110);
}

#[test]
fn its_log_is_that_of_the_indexers_pod() {
    let keeps = |snapshot: Snapshot| Snapshot {
        keeps_logs: true,
        template: Template::Found(Arc::new(template(json!({"logs": {}})))),
        ..snapshot
    };
    for (heard, ended) in [
        (&[Heard::Idle, Heard::Runs][..], false),
        (&[Heard::Idle, Heard::Runs, Heard::Succeeds], true),
    ] {
        let Action::KeepLog(log) = acts(&keeps(lives(claimed(false), heard)), 110) else {
            panic!("it is read");
        };
        let found = (log.pod.as_str(), log.pod_uid.as_str(), log.seen, log.ended);
        assert_eq!(found, (POD, UID, true, ended));
    }
}
