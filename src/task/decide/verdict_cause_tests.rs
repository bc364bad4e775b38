//! Causes that a message or a condition of somebody else names.

use super::*;

/// A JVM that runs out of direct memory does not exit: the task fails.
#[test]
fn failed_of_memory_is_a_cause_of_memory() {
    let said = "java.lang.OutOfMemoryError: Cannot reserve 65536 bytes of direct buffer memory (allocated: 1, limit: 1)";
    let status = ended(0, "Completed", &task_status(ID, "FAILED", Some(said)));
    assert_eq!(
        cause_of(&evidence(status.clone())),
        (Cause::JavaOutOfMemory, said.to_owned())
    );
    let drained = evidence(disrupted(status, "EvictionByEvictionAPI", 150));
    assert_eq!(cause_of(&drained).0, Cause::Drained);
}

/// Kueue says why in a condition of its own, and deletes the pod.
#[test]
fn a_pod_that_kueue_preempted_is_preempted() {
    for (message, cause) in [
        (
            "Preempted to accommodate a higher priority Workload",
            Cause::Preempted,
        ),
        ("No matching Workload", Cause::PodDeleted),
    ] {
        let mut status = ended(143, "Error", "");
        let stop = json!({"type": "TerminationTarget", "status": "True", "reason": "StoppedByKueue",
            "message": message, "lastTransitionTime": at(150)});
        status["conditions"] = json!([stop]);
        let (found, said) = cause_of(&evidence(status));
        assert_eq!(found, cause);
        assert!(said.contains("Kueue") && said.contains(message), "{said}");
    }
}

/// Druid needs longer to begin anything.
#[test]
fn a_peon_that_ended_within_a_second_published_nothing() {
    let of = |code: i32, finished: i64| {
        let mut status = ended(code, "Error", "");
        let terminated = &mut status["containerStatuses"][0]["state"]["terminated"];
        assert!(terminated.is_object());
        terminated["finishedAt"] = json!(at(finished).to_string());
        cause_of(&evidence(status))
    };
    let (cause, message) = of(1, 111);
    assert_eq!(cause, Cause::NoVerdict);
    assert!(
        message.contains("Java did not start") && !message.contains(MAYBE_PUBLISHED),
        "{message}"
    );
    for (code, finished) in [(1, 113), (137, 111)] {
        assert!(of(code, finished).1.contains(MAYBE_PUBLISHED), "{code}");
    }
}
