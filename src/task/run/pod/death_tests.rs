use serde_json::json;

use super::*;
use crate::task::fixtures::{at, disrupted, ended, evidence, in_state, running};

fn nothing() -> Known<'static> {
    Known {
        node: None,
        noticed: None,
        after_node_loss: AfterNodeLoss::Wait,
    }
}

fn run(evidence: &Evidence, gone: bool) -> PodRun {
    PodRun {
        evidence: evidence.clone(),
        gone,
    }
}

fn proven() -> Death {
    Death::Proven(Proof::new())
}

#[allow(clippy::needless_pass_by_value)] // Written where it is used.
fn of(evidence: &Evidence, gone: bool, node: Option<NodeState>) -> Death {
    let known = Known {
        node: node.as_ref(),
        ..nothing()
    };
    run(evidence, gone).death(&known, at(1000))
}

#[test]
fn a_node_that_is_not_looked_up_yet_proves_nothing() {
    let known = Known {
        node: Some(&NodeState::Later),
        noticed: None,
        after_node_loss: AfterNodeLoss::Rerun,
    };
    let gone = run(&Evidence::default(), true);
    assert_eq!(gone.death(&known, at(100)), Death::AskLater(LOOK_AGAIN));
}

#[test]
fn what_the_kubelet_reports_is_proof() {
    let rejected = json!({"phase": "Failed", "reason": "OutOfcpu"});
    let evicted = json!({"phase": "Failed", "reason": "Evicted"});
    for status in [
        ended(0, "Completed", ""),
        ended(137, "OOMKilled", ""),
        rejected,
        evicted,
    ] {
        for gone in [false, true] {
            assert_eq!(of(&evidence(status.clone()), gone, None), proven(), "{status}");
        }
    }
    // Its peon had ended before the collector came.
    let collected = disrupted(ended(1, "Error", ""), "DeletionByPodGC", 500);
    assert_eq!(of(&evidence(collected), false, None), proven());
}

#[test]
fn a_pod_that_exists_and_has_not_ended_may_live() {
    for status in [
        running(),
        json!({"phase": "Pending"}),
        json!({"phase": "Unknown"}),
        json!({}),
    ] {
        let deleted = Evidence {
            deletion_requested: Some(at(10)),
            ..evidence(status.clone())
        };
        assert_eq!(of(&evidence(status), false, None), Death::No);
        assert_eq!(of(&deleted, false, Some(NodeState::Deleted)), Death::No);
    }
}

/// A `Failed` that gives no reason is nobody's report, and neither is one of the collector's, whatever it says.
#[test]
fn only_what_the_kubelet_says_why_is_its_report() {
    let bare = json!({"phase": "Failed"});
    let collected = disrupted(
        json!({"phase": "Failed", "reason": "Evicted"}),
        "DeletionByPodGC",
        500,
    );
    let lost = json!({"phase": "Failed", "reason": "NodeLost"});
    for status in [bare, collected, lost] {
        let pod = Evidence {
            node: Some("n".into()),
            ..evidence(status.clone())
        };
        assert_eq!(of(&pod, false, None), Death::AskNode, "{status}");
    }
    let evicted = disrupted(
        json!({"phase": "Failed", "reason": "Evicted"}),
        "TerminationByKubelet",
        500,
    );
    assert_eq!(of(&evidence(evicted), false, None), proven());
}

/// The collector of pods writes `Failed` without having asked anybody.
#[test]
fn a_pod_that_was_collected_is_no_proof() {
    let mut status = disrupted(running(), "DeletionByPodGC", 500);
    status["phase"] = json!("Failed");
    let collected = evidence(status);
    assert_eq!(of(&collected, false, None), Death::AskNode);
    assert_eq!(of(&collected, true, None), Death::AskNode);
    assert!(matches!(
        of(&collected, false, Some(NodeState::NotReady)),
        Death::Awaiting { .. }
    ));
    assert!(matches!(
        of(&collected, false, Some(NodeState::Deleted)),
        Death::WrittenOff(_)
    ));
    // The taint manager only asks for the deletion; the end is the kubelet's to report.
    let mut status = disrupted(ended(143, "Error", ""), "DeletionByTaintManager", 500);
    status["phase"] = json!("Failed");
    assert_eq!(of(&evidence(status), false, None), proven());
}

/// For a node that is out of service it leaves the condition of whoever asked for the deletion.
#[test]
fn a_phase_that_was_written_over_running_containers_is_no_proof() {
    let failed = |mut status: serde_json::Value| {
        status["phase"] = json!("Failed");
        status
    };
    for status in [
        failed(running()),
        failed(disrupted(running(), "DeletionByTaintManager", 500)),
        failed(in_state(
            "Running",
            json!({"waiting": {"reason": "ContainerCreating"}}),
        )),
        json!({"phase": "Failed"}),
        json!({"phase": "Failed", "reason": "NodeLost"}),
    ] {
        assert_eq!(
            of(&evidence(status.clone()), false, None),
            Death::AskNode,
            "{status}"
        );
        let off = of(&evidence(status.clone()), true, Some(NodeState::OutOfService));
        assert!(matches!(off, Death::WrittenOff(_)), "{status}");
    }
    let init = json!({"name": "i", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 1}}});
    let blocked = json!({"phase": "Failed", "initContainerStatuses": [init]});
    assert_eq!(of(&evidence(blocked), false, None), proven());
    assert_eq!(
        of(&evidence(json!({"phase": "Succeeded"})), false, None),
        proven()
    );
}

#[test]
fn a_pod_that_never_had_a_node_is_dead_when_it_is_gone() {
    let unscheduled = Evidence {
        node: None,
        ..evidence(json!({"phase": "Pending"}))
    };
    assert_eq!(of(&unscheduled, true, None), proven());
    assert_eq!(of(&unscheduled, false, None), Death::No);
    // Nothing at all is known of a pod that nobody saw.
    assert_eq!(of(&Evidence::default(), true, None), Death::AskNode);
    assert_eq!(
        of(&Evidence::default(), true, Some(NodeState::NeverBound)),
        proven()
    );
    assert!(matches!(
        of(&Evidence::default(), true, Some(NodeState::Unknown)),
        Death::WrittenOff(_)
    ));
}

#[test]
fn a_ready_node_ends_what_is_gone_within_the_grace_period() {
    let evidence = Evidence {
        grace: Some(30),
        ..evidence(running())
    };
    let ready = NodeState::Ready(at(100));
    let gone = run(&evidence, true);
    let noticed_at = |second| Known {
        node: Some(&ready),
        noticed: Some(at(second)),
        ..nothing()
    };
    let wait = |death| match death {
        Death::Awaiting { look_again, .. } => look_again.as_secs(),
        other => panic!("{other:?}"),
    };
    assert_eq!(wait(gone.death(&noticed_at(1000), at(1000))), 150);
    assert_eq!(wait(gone.death(&noticed_at(1000), at(1149))), 1);
    assert_eq!(gone.death(&noticed_at(1000), at(1150)), proven());
    // Nobody noted when it was noticed: from now on.
    let unnoticed = Known {
        noticed: None,
        ..noticed_at(0)
    };
    assert_eq!(wait(gone.death(&unnoticed, at(5000))), 150);
}

/// A kubelet that comes back needs its time again.
#[test]
fn a_node_that_has_just_become_ready_is_given_the_grace_period_again() {
    let evidence = Evidence {
        grace: None,
        ..evidence(running())
    };
    let back = NodeState::Ready(at(2000));
    let gone = run(&evidence, true);
    let known = Known {
        node: Some(&back),
        noticed: Some(at(1000)),
        ..nothing()
    };
    assert!(matches!(gone.death(&known, at(2449)), Death::Awaiting { .. }));
    assert_eq!(gone.death(&known, at(2450)), proven());
}

#[test]
fn a_node_that_does_not_answer_proves_nothing_however_long_it_is_silent() {
    let evidence = evidence(running());
    for after_node_loss in [AfterNodeLoss::Wait, AfterNodeLoss::Rerun] {
        let gone = run(&evidence, true);
        let known = Known {
            node: Some(&NodeState::NotReady),
            noticed: Some(at(0)),
            after_node_loss,
        };
        let Death::Awaiting { message, look_again } = gone.death(&known, at(1_000_000)) else {
            panic!("proven");
        };
        assert!(message.contains("the node node is not ready"), "{message}");
        assert_eq!(look_again, LOOK_AGAIN);
    }
}

#[test]
fn a_node_that_was_written_off_is_proof_only_where_the_template_says_so() {
    let evidence = evidence(in_state("Running", json!({"waiting": {}})));
    for (node, trusted) in [
        (NodeState::Deleted, true),
        (NodeState::OutOfService, true),
        (NodeState::Unknown, false),
        (NodeState::Forbidden, false),
    ] {
        let gone = run(&evidence, true);
        let known = |after_node_loss| Known {
            node: Some(&node),
            after_node_loss,
            ..nothing()
        };
        assert!(
            matches!(
                gone.death(&known(AfterNodeLoss::Wait), at(1000)),
                Death::WrittenOff(_)
            ),
            "{node:?}"
        );
        assert_eq!(
            gone.death(&known(AfterNodeLoss::Rerun), at(1000)) == proven(),
            trusted,
            "{node:?}"
        );
    }
}

#[test]
fn a_deletion_is_overdue_some_time_after_its_grace_period() {
    let deleted = Evidence {
        deletion_due: Some(at(500)),
        ..evidence(running())
    };
    assert_eq!(overdue(&deleted), Some(at(515)));
    assert_eq!(overdue(&evidence(running())), None);
}
