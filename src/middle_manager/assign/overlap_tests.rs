//! Assignments whose payload is in their PeonTask, and assignments beside each other.

use futures::FutureExt;

use super::*;
use crate::api::virtual_middle_manager::PayloadPlace;
use crate::druid::worker::TaskState;
use crate::middle_manager::model_api::{Bench, FIRST, Fault, assigned};
use crate::simulation::model_api::Kind;

const SECOND: Ordinal = Ordinal(1);

fn inline() -> Bench {
    Bench::of(Arc::default(), PayloadPlace::Inline)
}

fn is_running(bench: &Bench, identity: Ordinal, id: &str) -> bool {
    bench.lines[usize::from(identity.0)].of(id) == [(TaskState::Running, None)]
}

/// The only PeonTask holds this assignment, and there is nothing else.
fn stands_alone(bench: &Bench, id: &str) -> bool {
    let server = bench.server.lock();
    let objects = [Kind::Secret, Kind::ConfigMap].map(|kind| server.api.all(kind).count());
    objects == [0, 0] && server.task()["spec"]["taskJson"] == assigned(id).json.as_str()
}

#[tokio::test]
async fn a_payload_in_its_peon_task_needs_one_write() {
    let bench = inline();
    bench.assigner.assign(FIRST, assigned("a")).await.unwrap();
    assert!(stands_alone(&bench, "a") && is_running(&bench, FIRST, "a"));
    assert_eq!(bench.server.lock().requests.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_payload_in_its_peon_task_is_kept_once_whatever_is_lost_on_the_way() {
    for (fault, posts) in [
        (Fault::Lost, 2),
        (Fault::AnswerLost, 2),
        (Fault::Refused(503), 2),
        (Fault::Refused(500), 2),
        (Fault::Refused(429), 2),
        (Fault::Refused(403), 2),
    ] {
        let bench = inline();
        bench.server.lock().faults.push_back(("POST", "peontasks", fault));
        bench.assigner.assign(FIRST, assigned("a")).await.unwrap();
        assert!(stands_alone(&bench, "a"), "{fault:?}");
        assert!(is_running(&bench, FIRST, "a"), "{fault:?}");
        assert_eq!(bench.server.lock().count("POST"), posts, "{fault:?}");
    }
}

/// The process died after the write, and the VirtualMiddleManager may have been changed.
#[tokio::test]
async fn another_process_finds_a_payload_in_its_peon_task() {
    for place in [PayloadPlace::Inline, PayloadPlace::Secret] {
        let bench = inline();
        bench.assigner.assign(FIRST, assigned("a")).await.unwrap();
        let next = Bench::of(bench.server.clone(), place);
        next.assigner.assign(SECOND, assigned("a")).await.unwrap();
        assert!(stands_alone(&next, "a"), "{place:?}");
        assert!(is_running(&next, FIRST, "a"), "{place:?}: where it was first");
    }
}

#[tokio::test(start_paused = true)]
async fn an_assignment_waits_for_no_other() {
    for silent in ["peontasks", "secrets"] {
        let bench = Bench::new();
        bench.server.lock().silent = Some(("POST", silent.to_owned()));
        let mut slow = std::pin::pin!(bench.assigner.assign(FIRST, assigned("slow")));
        assert!(slow.as_mut().now_or_never().is_none());
        // It reaches the request that is not answered.
        while bench.server.lock().count("POST") < usize::from(silent == "secrets") {
            assert!(slow.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        for _ in 0..10 {
            assert!(slow.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        bench.server.lock().silent = None;
        for identity in [FIRST, SECOND] {
            let id = format!("quick {}", identity.0);
            // The slow one does not go on meanwhile: who waited for it would wait for ever.
            let quick = bench.assigner.assign(identity, assigned(&id));
            let quick = tokio::time::timeout(ASSIGNMENT, quick).await;
            quick.expect(silent).unwrap();
            assert!(is_running(&bench, identity, &id), "{silent}");
        }
        assert!(bench.lines[0].of("slow").is_empty(), "{silent}: not acknowledged");
        slow.await.unwrap();
        assert!(is_running(&bench, FIRST, "slow"), "{silent}");
    }
}

#[tokio::test]
async fn the_same_assignment_several_times_at_once_is_stored_once() {
    for place in [PayloadPlace::Secret, PayloadPlace::Inline] {
        let bench = Bench::of(Arc::default(), place);
        let all = (0..8).map(|n| {
            let identity = if n % 2 == 0 { FIRST } else { SECOND };
            bench.assigner.assign(identity, assigned("a"))
        });
        for answer in futures::future::join_all(all).await {
            answer.unwrap();
        }
        let writes = if place == PayloadPlace::Inline { 1 } else { 2 };
        assert_eq!(bench.server.lock().requests.len(), writes, "{place:?}");
        assert!(is_running(&bench, FIRST, "a"), "{place:?}");
        assert!(bench.lines[1].said.lock().is_empty(), "{place:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_assignment_is_stored_by_the_second_if_the_first_could_not() {
    let bench = Bench::new();
    bench.server.lock().outage = Some(Fault::Refused(503));
    let first = bench.assigner.assign(FIRST, assigned("a"));
    let second = async {
        tokio::time::sleep(ASSIGNMENT / 2).await;
        let refused = bench.assigner.assign(FIRST, assigned("a"));
        let end = async {
            tokio::time::sleep(ASSIGNMENT * 3 / 4).await;
            bench.server.lock().outage = None;
        };
        tokio::join!(refused, end).0
    };
    let (first, second) = tokio::join!(first, second);
    assert!(matches!(first, Err(Refused::Unavailable(_))), "its time was over");
    second.unwrap();
    assert!(is_running(&bench, FIRST, "a"));
}
