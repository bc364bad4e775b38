use super::*;
use crate::api::RetryPolicy;
use crate::api::reason::Cause;

fn policy(rerun: Rerun) -> Policy {
    let given = RetryPolicy {
        rerun: Some(rerun),
        limits: [("TaskFailed".to_owned(), 2), ("OOMKilled".to_owned(), 1)].into(),
        ..RetryPolicy::default()
    };
    Policy::effective(Some(&given), None)
}

const SAFE: Nature = Nature {
    safe: true,
    subtask: false,
};
const UNSAFE: Nature = Nature {
    safe: false,
    subtask: false,
};
const SUBTASK: Nature = Nature {
    safe: true,
    subtask: true,
};

fn case(cause: Cause, failures: &BTreeMap<String, u32>) -> Case<'_> {
    Case {
        cause,
        began: true,
        nature: SAFE,
        failures,
        can_climb: true,
    }
}

#[test]
fn each_cause_has_its_own_budget() {
    let failures = [("Drained".to_owned(), 7), ("TaskFailed".to_owned(), 1)].into();
    let decide = |cause| decide(&case(cause, &failures), &policy(Rerun::Safe));
    assert_eq!(decide(Cause::TaskFailed), Decision::Again { climb: false });
    let spent = [("TaskFailed".to_owned(), 2)].into();
    assert_eq!(
        super::decide(&case(Cause::TaskFailed, &spent), &policy(Rerun::Safe)),
        Decision::Final(Why::Spent(2))
    );
    assert_eq!(decide(Cause::Evicted), Decision::Again { climb: false });
}

#[test]
fn what_the_user_did_or_wrote_is_never_retried() {
    let none = BTreeMap::new();
    for cause in [
        Cause::Cancelled,
        Cause::Deadline,
        Cause::StartDeadline,
        Cause::PodRefused,
        Cause::ImagePull,
        Cause::Suspended,
    ] {
        let decision = decide(&case(cause, &none), &policy(Rerun::Always));
        assert_eq!(decision, Decision::Final(Why::Cause), "{cause}");
    }
}

#[test]
fn a_task_that_may_have_written_is_run_again_only_where_that_is_allowed() {
    for (rerun, nature, began, may) in [
        (Rerun::Safe, SAFE, true, true),
        (Rerun::Safe, UNSAFE, true, false),
        (Rerun::Safe, UNSAFE, false, true),
        (Rerun::Safe, SUBTASK, true, false),
        (Rerun::Always, UNSAFE, true, true),
        (Rerun::Always, SUBTASK, true, false),
        (Rerun::Always, SUBTASK, false, true),
        (Rerun::Never, SAFE, true, false),
        (Rerun::Never, SAFE, false, true),
    ] {
        assert_eq!(
            may_rerun(began, nature, &policy(rerun)),
            may,
            "{rerun:?} {nature:?} {began}"
        );
        let none = BTreeMap::new();
        let case = Case {
            began,
            nature,
            ..case(Cause::Drained, &none)
        };
        let expected = if may {
            Decision::Again { climb: false }
        } else {
            Decision::Final(Why::NotSafe)
        };
        assert_eq!(
            decide(&case, &policy(rerun)),
            expected,
            "{rerun:?} {nature:?} {began}"
        );
    }
}

#[test]
fn memory_climbs_until_it_is_at_its_largest() {
    let none = BTreeMap::new();
    for cause in [Cause::OomKilled, Cause::JavaOutOfMemory] {
        let may = case(cause, &none);
        assert_eq!(
            decide(&may, &policy(Rerun::Safe)),
            Decision::Again { climb: true }
        );
        let largest = Case {
            can_climb: false,
            ..may
        };
        assert_eq!(
            decide(&largest, &policy(Rerun::Safe)),
            Decision::Final(Why::LargestMemory)
        );
    }
    let other = Case {
        can_climb: false,
        ..case(Cause::Evicted, &none)
    };
    assert_eq!(
        decide(&other, &policy(Rerun::Safe)),
        Decision::Again { climb: false }
    );
}

#[test]
fn the_reason_is_said_where_it_helps() {
    assert_eq!(Why::Cause.text(Cause::Cancelled), None);
    assert_eq!(Why::Spent(0).text(Cause::TaskFailed), None);
    assert_eq!(
        Why::Spent(3).text(Cause::Evicted).unwrap(),
        "all 3 retries for Evicted are used"
    );
    assert!(Why::NotSafe.text(Cause::Drained).unwrap().contains("retry.rerun"));
    assert!(
        Why::LargestMemory
            .text(Cause::OomKilled)
            .unwrap()
            .contains("retry.memory.max")
    );
}
