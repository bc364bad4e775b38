use super::*;
use crate::api::{PeonTaskStatus, RunStatus};
use crate::indexer::decide::view::View;
use crate::indexer::fixtures::{Jvm, running as announced, target};
use crate::task::fixtures::{ID, ended, evidence, noop, running, with_status};

fn claimed() -> PeonTaskStatus {
    PeonTaskStatus {
        run: Some(RunStatus::in_indexer("warm", "warm-x", "uid", ("10.0.0.9", 8091))),
        ..PeonTaskStatus::default()
    }
}

fn claim() -> WorkerClaim {
    WorkerClaim::recorded(&with_status(noop(), claimed())).unwrap()
}

fn pod(status: serde_json::Value) -> Evidence {
    Evidence {
        pod_name: "warm-x".into(),
        pod_uid: "uid".into(),
        ..evidence(status)
    }
}

fn run(pod: PodRun) -> WorkerRun {
    WorkerRun::new(claim(), ID, &IndexerSeen::default(), pod)
}

#[test]
fn only_a_whole_claim_of_this_kind_is_one() {
    let claim = claim();
    assert_eq!((claim.pool.as_str(), claim.pod.as_str()), ("warm", "warm-x"));
    assert_eq!(
        (claim.pod_uid.as_str(), claim.announced, claim.stopped),
        ("uid", false, false)
    );
    let changed = |change: fn(&mut RunStatus)| {
        let mut status = claimed();
        change(status.run.as_mut().unwrap());
        WorkerClaim::recorded(&with_status(noop(), status))
    };
    assert_eq!(changed(|run| run.pod = None), None);
    assert_eq!(changed(|run| run.pod_uid = None), None);
    assert_eq!(changed(|run| run.pod_uid = Some(String::new())), None);
    assert_eq!(changed(|run| *run = RunStatus::in_pod("a", "b")), None);
    assert_eq!(changed(|run| *run = RunStatus::elsewhere()), None);
    // The location goes with the verdict, the claim stays.
    assert!(changed(RunStatus::end).is_some());
    assert_eq!(WorkerClaim::recorded(&noop()), None);
}

#[test]
fn requests_are_sent_to_the_claimed_pod_while_it_runs() {
    let other = Evidence {
        pod_uid: "other".into(),
        ..pod(running())
    };
    let going = Evidence {
        deletion_requested: Some(crate::task::fixtures::at(1)),
        ..pod(running())
    };
    assert!(run(PodRun::seen(pod(running()))).answers());
    for pod in [other, going, pod(ended(0, "Completed", "")), Evidence::default()] {
        assert!(!run(PodRun::seen(pod)).answers());
    }
    let gone = PodRun {
        evidence: pod(running()),
        gone: true,
    };
    assert!(!run(gone).answers());
}

#[test]
fn what_was_not_polled_is_not_known() {
    let seen = run(PodRun::seen(pod(running())));
    assert_eq!((seen.meaning, seen.strangers.len()), (Meaning::Unread, 0));
    let (mut view, mut jvm) = (View::new(target("uid")), Jvm::started(1));
    jvm.announce(announced(ID));
    jvm.announce(announced("another"));
    view.answered(None, &jvm.answer(None).unwrap()).unwrap();
    let seen = IndexerSeen {
        view: Some(Arc::new(view)),
        ..IndexerSeen::default()
    };
    let run = WorkerRun::new(claim(), ID, &seen, PodRun::seen(pod(running())));
    assert!(matches!(run.meaning, Meaning::Announced(_)));
    assert_eq!(run.strangers, ["another"]);
}

/// The whole log of the pod is the task's, also when the pod is gone.
#[test]
fn the_log_is_named_after_the_indexers_pod() {
    for gone in [false, true] {
        let evidence = pod(running());
        let log = run(PodRun { evidence, gone }).log();
        let found = (log.pod.as_deref(), log.pod_uid.as_deref(), log.pod_ended);
        assert_eq!(found, (Some("warm-x"), Some("uid"), gone));
        // It did not begin with the task.
        assert_eq!(log.started, None);
    }
}

#[test]
fn a_stopped_task_has_its_grace_and_half_a_minute() {
    assert_eq!(run(PodRun::default()).patience(), Duration::from_secs(60));
}
