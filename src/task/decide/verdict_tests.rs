use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::api::reason::Cause;
use crate::task::fixtures::{ENDED, ID, at, disrupted, ended, evidence, in_state, running, task_status};
use crate::task::run::pod::payload_volume::{REFUSED, REFUSED_CODE};

#[path = "verdict_cause_tests.rs"]
mod causes;

fn success() -> String {
    task_status(ID, "SUCCESS", None)
}

fn failure() -> String {
    task_status(ID, "FAILED", Some("no segments"))
}

fn outcome(evidence: &Evidence) -> Outcome {
    judge(evidence, ID, None).outcome
}

/// The cause and the message of a failure.
fn cause_of(evidence: &Evidence) -> (Cause, String) {
    match outcome(evidence) {
        Outcome::Failed { cause, message } => (cause, message),
        Outcome::Succeeded => panic!("succeeded"),
    }
}

fn with_reason(mut status: Value, reason: &str, message: &str) -> Value {
    status["reason"] = json!(reason);
    status["message"] = json!(message);
    status
}

fn deleted(status: Value, since: i64) -> Evidence {
    Evidence {
        deletion_requested: Some(at(since)),
        ..evidence(status)
    }
}

#[test]
fn success_is_complete() {
    assert_eq!(
        outcome(&evidence(ended(0, "Completed", &success()))),
        Outcome::Succeeded
    );
}

#[test]
fn success_is_complete_whatever_else_happened() {
    let killed = ended(137, "OOMKilled", &success());
    for evidence in [
        evidence(killed.clone()),
        evidence(ended(143, "Error", &success())),
        evidence(ended(3, "Error", &success())),
        evidence(with_reason(ended(137, "Error", &success()), "Evicted", "disk")),
        evidence(disrupted(
            ended(143, "Error", &success()),
            "EvictionByEvictionAPI",
            150,
        )),
        deleted(killed.clone(), 150),
    ] {
        assert_eq!(outcome(&evidence), Outcome::Succeeded, "{evidence:?}");
    }
    let gone = judge(&evidence(killed), ID, None);
    assert_eq!(gone.outcome, Outcome::Succeeded);
}

#[test]
fn success_of_a_peon_beside_running_sidecars_is_complete() {
    let mut status = ended(0, "Completed", &success());
    status["phase"] = json!("Running");
    assert_eq!(outcome(&evidence(status)), Outcome::Succeeded);
}

#[test]
fn failed_is_task_failed_with_druids_message() {
    let failed = evidence(ended(0, "Completed", &failure()));
    assert_eq!(cause_of(&failed), (Cause::TaskFailed, "no segments".to_owned()));
    let silent = evidence(ended(0, "Completed", &task_status(ID, "FAILED", None)));
    let (cause, message) = cause_of(&silent);
    assert_eq!(cause, Cause::TaskFailed);
    assert!(!message.is_empty());
}

#[test]
fn failed_after_a_drain_is_drained() {
    let status = disrupted(ended(143, "Error", &failure()), "EvictionByEvictionAPI", 150);
    let (cause, message) = cause_of(&evidence(status));
    assert_eq!(cause, Cause::Drained);
    assert!(
        message.contains("as was asked") && message.contains("no segments"),
        "{message}"
    );
}

#[test]
fn failed_after_a_preemption_is_preempted() {
    let status = disrupted(ended(143, "Error", &failure()), "PreemptionByScheduler", 150);
    assert_eq!(cause_of(&evidence(status)).0, Cause::Preempted);
    let by_kubelet = disrupted(ended(143, "Error", &failure()), "TerminationByKubelet", 150);
    let status = with_reason(by_kubelet, "Preempting", "");
    assert_eq!(cause_of(&evidence(status)).0, Cause::Preempted);
}

#[test]
fn failed_after_the_node_was_lost_is_node_lost() {
    for reason in ["DeletionByTaintManager", "DeletionByPodGC"] {
        let status = disrupted(ended(143, "Error", &failure()), reason, 150);
        assert_eq!(cause_of(&evidence(status)).0, Cause::NodeLost, "{reason}");
    }
    let status = with_reason(ended(143, "Error", &failure()), "NodeLost", "");
    assert_eq!(cause_of(&evidence(status)).0, Cause::NodeLost);
}

#[test]
fn failed_after_the_kubelet_evicted_is_evicted() {
    let by_kubelet = disrupted(ended(143, "Error", &failure()), "TerminationByKubelet", 150);
    let status = with_reason(by_kubelet.clone(), "Evicted", "the node was low on memory");
    let (cause, message) = cause_of(&evidence(status));
    assert_eq!(cause, Cause::Evicted);
    assert!(message.contains("low on memory"), "{message}");
    // The condition comes before the reason.
    assert_eq!(cause_of(&evidence(by_kubelet)).0, Cause::Evicted);
    let only_reason = with_reason(ended(143, "Error", &failure()), "Evicted", "");
    assert_eq!(cause_of(&evidence(only_reason)).0, Cause::Evicted);
}

#[test]
fn failed_after_the_node_shut_down_is_node_shutdown() {
    let by_kubelet = disrupted(ended(143, "Error", &failure()), "TerminationByKubelet", 150);
    for reason in ["Terminated", "NodeShutdown", "Shutdown"] {
        let status = with_reason(by_kubelet.clone(), reason, "imminent node shutdown");
        assert_eq!(cause_of(&evidence(status)).0, Cause::NodeShutdown, "{reason}");
    }
}

#[test]
fn failed_after_a_deletion_is_pod_deleted() {
    let (cause, message) = cause_of(&deleted(ended(143, "Error", &failure()), 150));
    assert_eq!(cause, Cause::PodDeleted);
    assert!(message.contains("no segments"), "{message}");
    // Seconds are all that the API server keeps.
    assert_eq!(
        cause_of(&deleted(ended(143, "Error", &failure()), ENDED)).0,
        Cause::PodDeleted
    );
}

#[test]
fn failed_before_a_disruption_stays_task_failed() {
    let status = ended(0, "Completed", &failure());
    assert_eq!(cause_of(&deleted(status.clone(), ENDED + 1)).0, Cause::TaskFailed);
    for reason in [
        "EvictionByEvictionAPI",
        "PreemptionByScheduler",
        "DeletionByTaintManager",
        "TerminationByKubelet",
    ] {
        let late = evidence(disrupted(status.clone(), reason, ENDED + 1));
        assert_eq!(cause_of(&late).0, Cause::TaskFailed, "{reason}");
    }
}

/// Sidecars may outlive the peon, and be evicted.
#[test]
fn failed_before_the_kubelet_evicted_the_sidecars_stays_task_failed() {
    for reason in ["Evicted", "Preempting", "Terminated"] {
        let late = disrupted(
            ended(0, "Completed", &failure()),
            "TerminationByKubelet",
            ENDED + 1,
        );
        let late = evidence(with_reason(late, reason, ""));
        assert_eq!(cause_of(&late).0, Cause::TaskFailed, "{reason}");
    }
}

#[test]
fn a_deletion_counts_from_its_request_not_from_the_end_of_its_grace() {
    let pod = |deletion: i64, grace: i64| {
        let mut pod = crate::task::fixtures::pod(ended(0, "Completed", &failure()));
        pod.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(deletion)));
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        Evidence::of(&pod)
    };
    assert_eq!(cause_of(&pod(ENDED + 20, 30)).0, Cause::PodDeleted);
    assert_eq!(cause_of(&pod(ENDED + 40, 30)).0, Cause::TaskFailed);
}

#[test]
fn failed_after_the_deadline_is_deadline() {
    for said in [failure(), String::new()] {
        let status = with_reason(
            ended(143, "Error", &said),
            "DeadlineExceeded",
            "was active too long",
        );
        let (cause, message) = cause_of(&evidence(status));
        assert_eq!(cause, Cause::Deadline, "{said}");
        assert!(message.contains("activeDeadlineSeconds"), "{message}");
    }
}

#[test]
fn a_pod_past_its_deadline_without_statuses_is_deadline() {
    let status = json!({"phase": "Failed", "reason": "DeadlineExceeded"});
    assert_eq!(cause_of(&evidence(status)).0, Cause::Deadline);
}

#[test]
fn no_status_and_an_oom_kill_is_oom_killed() {
    let (cause, message) = cause_of(&evidence(ended(137, "OOMKilled", "")));
    assert_eq!(cause, Cause::OomKilled);
    assert!(message.contains(MAYBE_PUBLISHED), "{message}");
}

#[test]
fn no_status_and_exit_code_3_is_java_out_of_memory() {
    let said = "Terminating due to java.lang.OutOfMemoryError: Java heap space";
    let (cause, message) = cause_of(&evidence(ended(3, "Error", said)));
    assert_eq!(cause, Cause::JavaOutOfMemory);
    assert!(message.contains(MAYBE_PUBLISHED), "{message}");
}

#[test]
fn no_status_after_a_disruption_is_the_disruption() {
    let drained = disrupted(ended(143, "Error", ""), "EvictionByEvictionAPI", 150);
    let (cause, message) = cause_of(&evidence(drained));
    assert_eq!(cause, Cause::Drained);
    assert!(message.contains(MAYBE_PUBLISHED), "{message}");
    assert_eq!(
        cause_of(&deleted(ended(143, "Error", ""), 150)).0,
        Cause::PodDeleted
    );
}

#[test]
fn exit_code_0_without_a_status_is_no_success() {
    let (cause, message) = cause_of(&evidence(ended(0, "Completed", "")));
    assert_eq!(cause, Cause::NoVerdict);
    assert!(
        message.contains("code 0") && message.contains(MAYBE_PUBLISHED),
        "{message}"
    );
}

#[test]
fn a_cut_status_without_its_head_is_no_success() {
    let said = success();
    let tail = &said[said.find("SUCCESS").unwrap()..];
    let peon = evidence(ended(0, "Completed", tail));
    assert_eq!(cause_of(&peon).0, Cause::NoVerdict);
}

#[test]
fn signals_and_exit_codes_are_named() {
    for (code, expected) in [
        (137, "signal 9"),
        (143, "signal 15"),
        (1, "code 1"),
        (2, "code 2"),
        (255, "code 255"),
    ] {
        let (cause, message) = cause_of(&evidence(ended(code, "Error", "")));
        assert_eq!(cause, Cause::NoVerdict, "{code}");
        assert!(message.contains(expected), "{message}");
        assert!(message.contains(MAYBE_PUBLISHED), "{message}");
    }
}

#[test]
fn a_container_that_cannot_start_is_container_start() {
    for reason in ["StartError", "ContainerCannotRun"] {
        let said = "exec: \"/bin/sh\": no such file";
        let (cause, message) = cause_of(&evidence(ended(128, reason, said)));
        assert_eq!(cause, Cause::ContainerStart, "{reason}");
        assert!(message.contains("no such file"), "{message}");
        assert!(!message.contains(MAYBE_PUBLISHED), "it never ran: {message}");
    }
}

#[test]
fn a_payload_that_the_pod_refused_is_container_start() {
    let said = format!("a word of the runtime\n{REFUSED}it is not what was submitted\n");
    let properties = format!(
        "{}the key jvm.config\n",
        crate::task::accept::properties_file::REFUSED
    );
    let refused = cause_of(&evidence(ended(REFUSED_CODE, "Error", &properties)));
    assert_eq!(refused, (Cause::ContainerStart, properties.trim().to_owned()));
    let (cause, message) = cause_of(&evidence(ended(REFUSED_CODE, "Error", &said)));
    assert_eq!(cause, Cause::ContainerStart);
    assert_eq!(message, said.trim_start_matches("a word of the runtime\n").trim());
    // A peon may say and exit with whatever it likes.
    for (code, said) in [(1, said.as_str()), (REFUSED_CODE, "something else")] {
        assert_eq!(
            cause_of(&evidence(ended(code, "Error", said))).0,
            Cause::NoVerdict,
            "{code} {said}"
        );
    }
}

#[test]
fn a_status_of_another_task_is_no_verdict() {
    for status in ["SUCCESS", "FAILED"] {
        let other = evidence(ended(0, "Completed", &task_status("other", status, None)));
        let (cause, message) = cause_of(&other);
        assert_eq!(cause, Cause::NoVerdict);
        assert!(message.contains("\"other\""), "{message}");
    }
}

#[test]
fn a_pod_that_the_kubelet_refused_is_rejected() {
    for reason in ["OutOfcpu", "NodeAffinity", "UnexpectedAdmissionError"] {
        let status =
            json!({"phase": "Failed", "reason": reason, "message": "why not", "containerStatuses": []});
        let (cause, message) = cause_of(&evidence(status));
        assert_eq!(cause, Cause::PodRejected, "{reason}");
        assert!(
            message.contains(reason) && message.contains("why not"),
            "{message}"
        );
        assert!(!message.contains(MAYBE_PUBLISHED), "it never ran: {message}");
    }
}

#[test]
fn a_pod_evicted_before_its_peon_had_a_status_is_evicted() {
    let status = json!({"phase": "Failed", "reason": "Evicted", "message": "low on resource: memory"});
    assert_eq!(cause_of(&evidence(status)).0, Cause::Evicted);
}

#[test]
fn a_failed_init_container_is_container_start() {
    let mut status = in_state("Failed", json!({"waiting": {"reason": "PodInitializing"}}));
    status["initContainerStatuses"] = json!([
        {"name": "ok", "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
            "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
        {"name": "fetch", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 7, "reason": "Error", "message": "no route\n"}}},
    ]);
    assert_eq!(
        cause_of(&evidence(status)),
        (
            Cause::ContainerStart,
            "the init container fetch exited with code 7: no route".to_owned()
        )
    );
}

#[test]
fn a_pod_that_ended_and_says_nothing_is_no_verdict() {
    for phase in ["Failed", "Succeeded"] {
        let (cause, _) = cause_of(&evidence(json!({"phase": phase})));
        assert_eq!(cause, Cause::NoVerdict, "{phase}");
    }
}

fn stopped(cause: Cause, at_second: i64) -> Stop {
    Stop {
        cause: cause.to_string(),
        message: "as was wished".into(),
        time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(at_second)),
    }
}

/// What the operator did itself is the cause, whatever the pod says of it.
#[test]
fn our_own_kill_is_the_cause() {
    for own in [
        Cause::Cancelled,
        Cause::Suspended,
        Cause::StartDeadline,
        Cause::Deadline,
    ] {
        let stop = stopped(own, 150);
        let ends = [
            deleted(ended(143, "Error", &failure()), 150),
            deleted(ended(137, "Error", ""), 150),
            deleted(ended(137, "OOMKilled", ""), 150),
            deleted(ended(3, "Error", ""), 150),
            deleted(running(), 150),
            evidence(json!({"phase": "Failed"})),
            evidence(disrupted(
                ended(143, "Error", &failure()),
                "EvictionByEvictionAPI",
                150,
            )),
        ];
        for end in ends {
            let Outcome::Failed { cause, message } = judge(&end, ID, Some(&stop)).outcome else {
                panic!("succeeded: {end:?}");
            };
            assert_eq!(cause, own, "{end:?}");
            assert!(message.starts_with("as was wished"), "{message}");
        }
        let published = deleted(ended(143, "Error", &success()), 150);
        assert_eq!(judge(&published, ID, Some(&stop)).outcome, Outcome::Succeeded);
    }
}

#[test]
fn a_task_that_failed_before_it_was_stopped_failed_by_itself() {
    let stop = stopped(Cause::Cancelled, ENDED + 1);
    let end = deleted(ended(0, "Completed", &failure()), ENDED + 1);
    let Outcome::Failed { cause, .. } = judge(&end, ID, Some(&stop)).outcome else {
        panic!("succeeded");
    };
    assert_eq!(cause, Cause::TaskFailed);
    let killed = deleted(ended(137, "OOMKilled", ""), ENDED + 1);
    let Outcome::Failed { cause, .. } = judge(&killed, ID, Some(&stop)).outcome else {
        panic!("succeeded");
    };
    assert_eq!(cause, Cause::OomKilled);
}

#[test]
fn nothing_is_published_by_a_peon_that_never_began() {
    let unscheduled = Evidence {
        node: None,
        ..deleted(json!({"phase": "Pending"}), 150)
    };
    let Outcome::Failed { message, .. } = judge(&unscheduled, ID, None).outcome else {
        panic!("succeeded");
    };
    assert!(
        message.contains("had not started") && !message.contains(MAYBE_PUBLISHED),
        "{message}"
    );
}

#[test]
fn a_pod_that_vanished_is_deleted_unless_something_else_took_it() {
    let gone = |evidence: &Evidence| match judge(evidence, ID, None).outcome {
        Outcome::Failed { cause, message } => (cause, message),
        Outcome::Succeeded => panic!("succeeded"),
    };
    let (cause, message) = gone(&Evidence::default());
    assert_eq!(cause, Cause::PodDeleted);
    assert!(message.contains(MAYBE_PUBLISHED), "{message}");
    assert_eq!(gone(&evidence(running())).0, Cause::PodDeleted);
    let drained = disrupted(running(), "EvictionByEvictionAPI", 150);
    assert_eq!(gone(&evidence(drained)).0, Cause::Drained);
    let lost = disrupted(running(), "DeletionByTaintManager", 150);
    assert_eq!(gone(&evidence(lost)).0, Cause::NodeLost);
}

/// A runtime that lost track of a container reports its times as the start of the epoch.
#[test]
fn an_unknown_end_lies_before_no_disruption() {
    let lost = json!({"terminated": {
        "exitCode": 255, "reason": "Unknown",
        "startedAt": "1970-01-01T00:00:00Z", "finishedAt": "1970-01-01T00:00:00Z",
    }});
    let evidence = deleted(in_state("Failed", lost), 150);
    assert_eq!(cause_of(&evidence).0, Cause::PodDeleted);
    assert_eq!(judge(&evidence, ID, None).terminated.unwrap().finished, None);
}

#[test]
fn the_verdict_carries_how_the_container_ended() {
    let ended = judge(&evidence(ended(137, "OOMKilled", "")), ID, None);
    let terminated = ended.terminated.unwrap();
    assert_eq!(terminated.exit_code, 137);
    assert_eq!(
        terminated
            .finished
            .unwrap()
            .duration_since(terminated.started.unwrap()),
        SignedDuration::from_secs(90)
    );
    let rejected = evidence(json!({"phase": "Failed", "reason": "OutOfcpu"}));
    assert_eq!(judge(&rejected, ID, None).terminated, None);
}
