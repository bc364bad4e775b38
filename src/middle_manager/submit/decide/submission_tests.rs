use http::StatusCode;
use serde_json::json;

use super::*;
use crate::druid::worker::TaskLocation;

fn applied(state: Option<State>) -> Applied {
    Applied {
        name: "nightly".into(),
        uid: "uid".into(),
        version: "7".into(),
        created: None,
        suspend: false,
        ends: false,
        task_id: Some("t".into()),
        task_type: Some("noop".into()),
        submission: state.map(submission),
    }
}

fn submission(state: State) -> Submission {
    let sent = !matches!(state, State::Disabled | State::TypeNotListed);
    Submission {
        state,
        task_id: sent.then(|| "t".to_owned()),
        task_hash: sent.then(|| "sha256:x".to_owned()),
        ..Submission::default()
    }
}

fn policy(types: &[&str]) -> Policy {
    Policy {
        enabled: true,
        types: types.iter().map(|t| (*t).to_owned()).collect(),
    }
}

const ALL: [State; 13] = [
    State::Disabled,
    State::TypeNotListed,
    State::Submitting,
    State::NotAuthorized,
    State::Unreachable,
    State::Submitted,
    State::RunsElsewhere,
    State::Assigned,
    State::Succeeded,
    State::Failed,
    State::Refused,
    State::IdConflict,
    State::ShutDown,
];

#[test]
fn every_state_has_its_next_step() {
    for state in ALL {
        let on = step(&applied(Some(state)), &policy(&["noop"]), false);
        let off = step(&applied(Some(state)), &Policy::default(), false);
        let ending = Applied {
            ends: true,
            ..applied(Some(state))
        };
        let ends = step(&ending, &policy(&["noop"]), false);
        let disabled = Step::Say(submission(State::Disabled));
        let expected = match state {
            State::Disabled => (Step::Prepare, Step::Rest, Step::Rest),
            State::TypeNotListed => (Step::Prepare, disabled, Step::Rest),
            State::Submitting | State::NotAuthorized | State::Unreachable => {
                (Step::Submit, Step::Look, Step::End)
            }
            State::Submitted | State::RunsElsewhere => (Step::Rest, Step::Rest, Step::End),
            State::Assigned => (Step::Finish, Step::Finish, Step::Finish),
            _ => (Step::Rest, Step::Rest, Step::Rest),
        };
        assert_eq!((on, off, ends), expected, "{state:?}");
    }
}

#[test]
fn nothing_is_sent_of_a_task_that_is_not_to_be() {
    let new = applied(None);
    assert_eq!(step(&new, &policy(&["noop"]), false), Step::Prepare);
    assert_eq!(
        step(&new, &Policy::default(), false),
        Step::Say(submission(State::Disabled))
    );
    let said = |step| match step {
        Step::Say(submission) => submission,
        other => panic!("{other:?}"),
    };
    let not_listed = said(step(&new, &policy(&["index", "kill"]), false));
    assert_eq!(not_listed.state, State::TypeNotListed);
    let message = not_listed.message.clone().unwrap();
    assert!(
        message.contains("noop") && message.ends_with("lists index, kill"),
        "{message}"
    );
    let again = Applied {
        submission: Some(not_listed),
        ..new.clone()
    };
    assert_eq!(
        step(&again, &policy(&["index", "kill"]), false),
        Step::Rest,
        "it is said once"
    );
    assert_eq!(
        said(step(&new, &policy(&["noop"]), true)).state,
        State::IdConflict
    );
    assert_eq!(
        said(step(&new, &Policy::default(), true)).state,
        State::IdConflict
    );
    // What the operator has not read yet is read here.
    let unread = Applied {
        task_type: None,
        ..new.clone()
    };
    assert_eq!(step(&unread, &policy(&["index"]), false), Step::Prepare);
    for held in [
        Applied {
            suspend: true,
            ..new.clone()
        },
        Applied {
            ends: true,
            ..new.clone()
        },
    ] {
        assert_eq!(step(&held, &policy(&["noop"]), false), Step::Rest);
    }
    // What could not be read was not sent either.
    let unreadable = Applied {
        submission: Some(forbidden("rights")),
        ..new.clone()
    };
    assert_eq!(step(&unreadable, &policy(&["noop"]), false), Step::Prepare);
    assert_eq!(
        said(step(&unreadable, &Policy::default(), false)).state,
        State::Disabled
    );
    // Once it may have been sent, a task of its id that is assigned here may be its own.
    for state in [State::Submitting, State::Submitted] {
        assert!(!matches!(
            step(&applied(Some(state)), &policy(&["noop"]), true),
            Step::Say(_)
        ));
    }
}

#[test]
fn what_the_overlord_has_decides_whether_the_first_time_counted() {
    let current = submission(State::Submitting);
    let state = |held, refused| looked(&current, held, refused).state;
    let table = [
        (Held::Ours, None, State::Submitted),
        (Held::Ours, Some("exists"), State::Submitted),
        (Held::Other, None, State::IdConflict),
        (Held::Other, Some("exists"), State::IdConflict),
        (Held::Nothing, Some("no such type"), State::Refused),
        (Held::Nothing, None, State::Disabled),
    ];
    for (held, refused, expected) in table {
        assert_eq!(state(held, refused), expected, "{held:?} {refused:?}");
    }
    let refused = looked(&current, Held::Nothing, Some(" no such type\n"));
    assert_eq!(refused.message.as_deref(), Some("no such type"));
    assert_eq!(refused.task_hash, current.task_hash);
    assert_eq!(
        looked(&current, Held::Nothing, None).task_id,
        None,
        "it may be submitted anew"
    );
}

#[test]
fn only_what_says_all_of_it_is_ours() {
    let ours = Provenance {
        middle_manager: "m".into(),
        name: "nightly".into(),
        uid: "uid".into(),
        task_id: "t".into(),
        task_hash: "sha256:x".into(),
    };
    let payload =
        |said: &serde_json::Value| json!({"id": "t", "context": {"peon.dev/submission": said}}).to_string();
    let said = serde_json::to_value(&ours).unwrap();
    assert_eq!(Held::of(Some(&payload(&said)), &ours), Held::Ours);
    assert_eq!(Held::of(None, &ours), Held::Nothing);
    assert_eq!(Held::of(Some(r#"{"id":"t"}"#), &ours), Held::Other);
    for field in ["middleManager", "name", "uid", "taskId", "taskHash"] {
        let mut other = said.clone();
        other[field] = json!("another");
        assert_eq!(Held::of(Some(&payload(&other)), &ours), Held::Other, "{field}");
    }
}

#[test]
fn trouble_is_said_once_and_only_of_what_is_not_submitted_yet() {
    let unauthorized = OverlordError::NotAuthorized {
        url: "http://o".into(),
        status: StatusCode::FORBIDDEN,
        why: "Unauthorized".into(),
    };
    let silent = OverlordError::Unavailable {
        url: "http://o".into(),
        why: "no connection".into(),
    };
    for state in ALL {
        let [denied, away] =
            [&unauthorized, &silent].map(|e| trouble(&submission(state), e).map(|s| s.state));
        let expected = match state {
            State::Submitting => (Some(State::NotAuthorized), Some(State::Unreachable)),
            State::NotAuthorized => (None, Some(State::Unreachable)),
            State::Unreachable => (Some(State::NotAuthorized), None),
            _ => (None, None),
        };
        assert_eq!((denied, away), expected, "{state:?}");
    }
    let said = trouble(&submission(State::Submitting), &unauthorized).unwrap();
    assert!(said.message.unwrap().contains("Unauthorized"));
}

#[test]
fn the_overlords_word_is_mirrored() {
    let status = |state, host: Option<&str>| TaskStatus {
        id: "t".into(),
        status: state,
        duration: -1,
        error_msg: (state == TaskState::Failed).then(|| "it broke".to_owned()),
        location: host.map_or_else(TaskLocation::unknown, |host| TaskLocation::http(host, 8100)),
    };
    let table = [
        (Some(status(TaskState::Running, None)), None),
        (
            Some(status(TaskState::Running, Some("mm"))),
            Some((State::RunsElsewhere, Some("at mm:8100"))),
        ),
        (
            Some(status(TaskState::Success, None)),
            Some((State::Succeeded, None)),
        ),
        (
            Some(status(TaskState::Failed, Some("mm"))),
            Some((State::Failed, Some("it broke"))),
        ),
        (None, Some((State::Failed, Some("no longer knows")))),
    ];
    for state in ALL {
        for (status, expected) in &table {
            let found = polled(&submission(state), status.as_ref());
            if !matches!(state, State::Submitted | State::RunsElsewhere) {
                assert_eq!(found, None, "{state:?}");
                continue;
            }
            assert_eq!(
                found.as_ref().map(|s| s.state),
                expected.map(|(state, _)| state),
                "{state:?}"
            );
            let words = found.and_then(|s| s.message).unwrap_or_default();
            let wanted = expected.and_then(|(_, words)| words).unwrap_or_default();
            assert!(words.contains(wanted), "{words}");
        }
    }
    let elsewhere = polled(
        &submission(State::Submitted),
        Some(&status(TaskState::Running, Some("mm"))),
    )
    .unwrap();
    assert_eq!(
        polled(&elsewhere, Some(&status(TaskState::Running, Some("mm")))),
        None,
        "nothing is new"
    );
}

#[test]
fn an_assignment_belongs_to_the_task_that_was_submitted_and_to_nothing_that_says_so() {
    let said = Provenance {
        middle_manager: "m".into(),
        name: "nightly".into(),
        uid: "uid".into(),
        task_id: "t".into(),
        task_hash: "sha256:x".into(),
    };
    let owner = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut task = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "metadata": {"name": "nightly", "uid": "uid"},
            "spec": {"taskJson": "{}", "middleManagerRef": {"name": "ingestion"}},
            "status": {"submission": {"state": "Submitting", "taskId": "t", "taskHash": "sha256:x"}},
        });
        change(&mut task);
        Owner::of(&serde_json::from_value(task).unwrap(), "ingestion", &said)
    };
    for state in [
        "Submitting",
        "NotAuthorized",
        "Unreachable",
        "Submitted",
        "RunsElsewhere",
        "Assigned",
    ] {
        assert_eq!(
            owner(&|t| t["status"]["submission"]["state"] = json!(state)),
            Owner::Ours,
            "{state}"
        );
    }
    // Labels and annotations, which any user may write, change nothing.
    let forged = |t: &mut serde_json::Value| {
        t["metadata"]["labels"] = json!({"peon.dev/identity": "0"});
        t["metadata"]["annotations"] = json!({"peon.dev/task-id": "t"});
        t["status"] = json!({});
    };
    let others: [&dyn Fn(&mut serde_json::Value); 6] = [
        &forged,
        &|t| t["metadata"]["uid"] = json!("another"),
        &|t| t["spec"]["middleManagerRef"]["name"] = json!("another"),
        &|t| t["status"]["submission"]["taskId"] = json!("another"),
        &|t| t["status"]["submission"]["taskHash"] = json!("sha256:y"),
        &|t| t["status"]["submission"] = json!({"state": "Disabled"}),
    ];
    for (number, other) in others.into_iter().enumerate() {
        assert!(matches!(owner(other), Owner::Other(_)), "{number}");
    }
    let ended: [&dyn Fn(&mut serde_json::Value); 3] = [
        &|t| t["spec"]["cancel"] = json!(true),
        &|t| t["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
        &|t| t["status"]["submission"]["state"] = json!("ShutDown"),
    ];
    for (number, end) in ended.into_iter().enumerate() {
        assert!(matches!(owner(end), Owner::Ended(_)), "{number}");
    }
}
