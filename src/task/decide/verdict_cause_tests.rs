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
