use serde_json::json;

use super::plan::Step;
use crate::api::conditions::{self, ACCEPTED, COMPLETE, FAILED, STARTED};
use crate::api::reason::{Acceptance, Cause, Completion, Readiness};
use crate::api::{LABEL_IDENTITY, PeonTask, PeonTaskStatus, Phase, Submission, SubmissionState};
use crate::task::accept::accept;
use crate::task::decide::plan::{Action, plan};
use crate::task::fixtures::{ID, at, snapshot, task};
use crate::task::snapshot::{Live, Outcomes, Snapshot};

fn submitted(state: SubmissionState, message: Option<&str>) -> PeonTask {
    let mut task = task(json!({
        "task": {"type": "index_parallel", "id": ID}, "middleManagerRef": {"name": "ingestion"},
    }));
    task.status.get_or_insert_default().submission = Some(Submission {
        state,
        message: message.map(str::to_owned),
        task_id: Some(ID.to_owned()),
        ..Submission::default()
    });
    task
}

fn settled(task: PeonTask) -> PeonTaskStatus {
    match plan(&snapshot(task), at(10)) {
        Step::Settle(settlement) => settlement.status.unwrap(),
        Step::Act(action) => panic!("{action:?}"),
    }
}

#[test]
fn every_state_has_its_phase_and_reason() {
    use SubmissionState as S;
    let table = [
        (
            S::Disabled,
            Phase::Pending,
            Acceptance::SubmissionsDisabled.as_str(),
        ),
        (
            S::TypeNotListed,
            Phase::Pending,
            Acceptance::TypeNotListed.as_str(),
        ),
        (S::Submitting, Phase::Pending, Acceptance::NotAssigned.as_str()),
        (
            S::NotAuthorized,
            Phase::Pending,
            Acceptance::NotAuthorized.as_str(),
        ),
        (
            S::Unreachable,
            Phase::Pending,
            Acceptance::OverlordUnreachable.as_str(),
        ),
        (S::Submitted, Phase::Pending, Acceptance::NotAssigned.as_str()),
        (S::Assigned, Phase::Pending, Acceptance::NotAssigned.as_str()),
        (
            S::RunsElsewhere,
            Phase::Running,
            Readiness::RunsElsewhere.as_str(),
        ),
        (S::Succeeded, Phase::Succeeded, Completion::Succeeded.as_str()),
        (S::Failed, Phase::Failed, Cause::TaskFailed.as_str()),
        (S::Refused, Phase::Failed, Acceptance::SubmissionRefused.as_str()),
        (S::IdConflict, Phase::Failed, Acceptance::IdConflict.as_str()),
        (S::ShutDown, Phase::Failed, Cause::Cancelled.as_str()),
    ];
    for (state, phase, reason) in table {
        let status = settled(submitted(state, None));
        assert_eq!(
            (status.phase, status.reason.as_deref()),
            (Some(phase), Some(reason)),
            "{state:?}"
        );
        let is = |type_| conditions::is_true(&status.conditions, type_);
        assert_eq!(is(COMPLETE), phase == Phase::Succeeded, "{state:?}");
        assert_eq!(is(FAILED), phase == Phase::Failed, "{state:?}");
        assert_eq!(
            is(STARTED),
            matches!(phase, Phase::Running | Phase::Succeeded),
            "{state:?}"
        );
        assert!(phase != Phase::Pending || !is(ACCEPTED), "{state:?}");
        assert_eq!(
            status.submission.unwrap().state,
            state,
            "it is not ours to change"
        );
    }
}

#[test]
fn the_words_of_the_overlord_are_passed_on() {
    let said = "Could not resolve type id 'nope'";
    for state in [
        SubmissionState::Refused,
        SubmissionState::NotAuthorized,
        SubmissionState::Failed,
    ] {
        let status = settled(submitted(state, Some(said)));
        let ready = conditions::find(&status.conditions, conditions::READY).unwrap();
        assert_eq!(ready.message, said);
    }
}

#[test]
fn a_task_that_runs_elsewhere_ends_when_the_overlord_says_so() {
    let mut elsewhere = submitted(SubmissionState::RunsElsewhere, None);
    elsewhere.spec.cancel = true;
    elsewhere.spec.start_deadline_seconds = Some(1);
    assert_eq!(settled(elsewhere).phase, Some(Phase::Running));
    let mut failed = submitted(SubmissionState::Failed, Some("Shutdown request from user"));
    failed.spec.cancel = true;
    assert_eq!(settled(failed).reason.as_deref(), Some(Cause::Cancelled.as_str()));
    let mut succeeded = submitted(SubmissionState::Succeeded, None);
    succeeded.spec.cancel = true;
    assert_eq!(
        settled(succeeded).phase,
        Some(Phase::Succeeded),
        "the data is published"
    );
}

#[test]
fn a_task_that_waits_at_the_overlord_is_cancelled_at_once() {
    let mut waiting = submitted(SubmissionState::Submitted, None);
    waiting.spec.cancel = true;
    let looked = Snapshot {
        outcomes: Outcomes {
            live: Some(Live {
                config_map_owner: None,
                pod: None,
                task_version: waiting.metadata.resource_version.clone(),
            }),
            ..Outcomes::default()
        },
        ..snapshot(waiting)
    };
    let Step::Settle(settlement) = plan(&looked, at(10)) else {
        panic!("it has no pod");
    };
    assert_eq!(
        settlement.status.unwrap().reason.as_deref(),
        Some(Cause::Cancelled.as_str())
    );
}

#[test]
fn the_peon_gets_what_was_assigned_and_not_what_was_submitted() {
    let chunks = json!({"sha256": "0".repeat(64), "secrets": [{"name": "assigned", "key": "chunk"}]});
    let mut task = submitted(SubmissionState::Assigned, None);
    let status = task.status.get_or_insert_default();
    status.submission.get_or_insert_default().assigned = serde_json::from_value(chunks).unwrap();
    status.task_hash = Some("sha256:of the submitted".to_owned());
    assert_eq!(
        accept(&snapshot(task.clone())).unwrap_err().reason,
        Acceptance::InvalidTask,
        "not read"
    );
    assert!(matches!(
        plan(&snapshot(task.clone()), at(10)),
        Step::Act(Action::ReadPayload { just_created: false })
    ));
    // Without the label it is not assigned yet, and with it its pod reads the Secret.
    let json = json!({"type": "index_parallel", "id": ID, "groupId": ID}).to_string();
    let hash = crate::payload::chunks::Chunks::split(json.as_bytes())
        .unwrap()
        .task_from("x", crate::payload::chunks::Kind::Secret);
    let status = task.status.get_or_insert_default();
    status
        .submission
        .get_or_insert_default()
        .assigned
        .as_mut()
        .unwrap()
        .sha256 = hash.sha256;
    let from = task.task_from().unwrap().clone();
    let read =
        |task: &PeonTask| crate::task::accept::chunked(task, &from, Ok(vec![json.clone().into_bytes()]));
    let with = |task: PeonTask| Snapshot {
        outcomes: Outcomes {
            payload: Some(read(&task)),
            ..Outcomes::default()
        },
        ..snapshot(task)
    };
    assert_eq!(
        accept(&with(task.clone())).unwrap_err().reason,
        Acceptance::NotAssigned
    );
    task.metadata.labels = Some([(LABEL_IDENTITY.to_owned(), "0".to_owned())].into());
    let snapshot = with(task);
    let accepted = accept(&snapshot).unwrap();
    let names = accepted.names();
    let pod = accepted.attempt(1, &names).pod().to_string();
    assert!(
        pod.contains("\"secretName\":\"assigned\"") || pod.contains("\"name\":\"assigned\""),
        "{pod}"
    );
}

#[test]
fn a_task_without_id_gets_another_one_whenever_it_is_created() {
    let mut task = task(json!({"task": {"type": "noop"}, "middleManagerRef": {"name": "ingestion"}}));
    task.metadata.name = Some("n".repeat(253));
    let id = task.default_task_id();
    assert!(id.ends_with("_task-uid") && id.len() <= 255, "{id}");
    task.spec.middle_manager_ref = None;
    assert_eq!(task.default_task_id(), "n".repeat(253));
}
