//! What the plan writes about where an attempt runs.

use super::life::with_pod;
use super::*;
use crate::api::{PeonEndpoint, RunKind, RunStatus};
use crate::task::decide::status::Draft;
use crate::task::fixtures::{ended, task};
use crate::task::run::pod::evidence::Evidence;

fn run(status: &PeonTaskStatus) -> RunStatus {
    status.run.clone().unwrap()
}

fn at_address(pod: Evidence) -> Evidence {
    Evidence {
        host: Some("10.1.2.3".into()),
        ..pod
    }
}

/// The kubelet reports the address together with the container, so it costs no write of its own.
#[test]
fn the_address_is_written_while_the_peon_runs_and_is_unknown_afterwards() {
    let created = run(&recorded().status.unwrap());
    assert_eq!((created.pod.as_deref(), created.host), (Some(POD), None));
    let running = with_pod(recorded(), at_address(evidence(running())));
    let running = status(&running, 120);
    let expected = RunStatus {
        host: Some("10.1.2.3".into()),
        port: Some(8100),
        ..RunStatus::in_pod(POD, POD_UID)
    };
    assert_eq!(run(&running), expected);
    let mut with_tls = at_address(evidence(super::running()));
    with_tls.endpoint = PeonEndpoint::new(
        "{dashedAddress}.{namespace}.pod.cluster.local",
        "ns",
        None,
        Some(8101),
    );
    let with_tls = run(&status(&with_pod(recorded(), with_tls), 120));
    assert_eq!(
        (with_tls.host.as_deref(), with_tls.port, with_tls.tls_port),
        (Some("10-1-2-3.ns.pod.cluster.local"), None, Some(8101))
    );
    // Nothing is written while nothing changes.
    let same = with_pod(
        with_status(noop(), running.clone()),
        at_address(evidence(super::running())),
    );
    assert_eq!(status(&same, 130), running);
    let over = with_pod(
        with_status(noop(), running),
        at_address(evidence(ended(
            0,
            "Completed",
            r#"{"id":"the id","status":"SUCCESS"}"#,
        ))),
    );
    let over = status(&over, 200);
    assert!(
        matches!(over.phase, Some(Phase::Succeeded | Phase::Failed)),
        "{over:?}"
    );
    assert_eq!(run(&over), RunStatus::in_pod(POD, POD_UID));
}

#[test]
fn a_task_that_runs_elsewhere_says_so_until_it_does_not() {
    let elsewhere = Draft::of(&task(json!({"task": {"type": "noop"}})), at(100)).run_elsewhere("m");
    assert_eq!(run(&elsewhere), RunStatus::elsewhere());
    assert_eq!(run(&elsewhere).kind, RunKind::Elsewhere);
    let back = Draft::of(&with_status(noop(), elsewhere), at(110));
    let back = back.refuse(crate::api::reason::Acceptance::NotAssigned, "m");
    assert_eq!(back.run, None);
}
