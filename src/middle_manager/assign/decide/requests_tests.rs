use serde_json::json;

use super::*;
use crate::middle_manager::object_fixtures::{running, task};

fn assigned(json: &serde_json::Value) -> Assigned {
    Assigned {
        id: "a".into(),
        json: json.to_string(),
    }
}

#[test]
fn an_assignment_is_stored_unless_it_is_known_or_can_never_run() {
    let valid = assigned(&json!({"type": "noop", "id": "a"}));
    let invalid = assigned(&json!({"type": "noop", "id": "b"}));
    for (before, task, expected) in [
        (Before::New, &valid, "store"),
        (Before::New, &invalid, "the task's id is \"b\""),
        (Before::Taken, &valid, "known"),
        (Before::Taken, &invalid, "known"),
        (Before::ShutDown, &valid, SHUT_DOWN),
        // That it was shut down is said first.
        (Before::ShutDown, &invalid, SHUT_DOWN),
    ] {
        let what = match assignment(before, task) {
            Assignment::Known => "known".to_owned(),
            Assignment::Store(facts) => {
                assert_eq!(facts.id, "a");
                "store".to_owned()
            }
            Assignment::Fail(facts, why) => {
                assert_eq!(facts.id, "a");
                why
            }
        };
        assert!(what.starts_with(expected), "{before:?}: {what}");
    }
}

#[test]
fn an_unknown_task_is_looked_for_once() {
    let target = Target {
        name: "task-u".into(),
        uid: "u".into(),
        forgotten: false,
    };
    let cancel = Shutdown::Cancel(target.clone());
    for (order, is_listed, expected) in [
        (Order::Nothing, false, Shutdown::Done),
        (Order::Cancel(target.clone()), false, cancel.clone()),
        (Order::Unknown, false, Shutdown::List),
        (Order::Nothing, true, Shutdown::Done),
        (Order::Cancel(target), true, cancel),
        (Order::Unknown, true, Shutdown::Done),
    ] {
        assert_eq!(
            shutdown(order.clone(), is_listed),
            expected,
            "{order:?} {is_listed}"
        );
    }
}

#[test]
fn a_list_is_of_the_moment_of_its_first_page() {
    let page = |version: &str, token: &str, ids: &[&str]| {
        let items = ids.iter().map(|id| task(id, &format!("uid-{id}"), 3, running()));
        let page = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTaskList",
            "metadata": {"resourceVersion": version, "continue": token}, "items": items.collect::<Vec<_>>(),
        });
        serde_json::from_value(page).unwrap()
    };
    let mut listing = Listing::default();
    assert_eq!(
        listing.add(page("7", "more", &["a", "b"])).as_deref(),
        Some("more")
    );
    assert_eq!(listing.add(page("9", "", &["c"])), None);
    assert_eq!(listing.version, Some(7));
    let uids: Vec<_> = listing.tasks.iter().map(|(uid, _)| uid.as_str()).collect();
    assert_eq!(uids, ["uid-a", "uid-b", "uid-c"]);
    assert!(listing.tasks.iter().all(|(_, seen)| seen.is_some()));
    // A version that is no number says nothing of what is missing.
    let mut odd = Listing::default();
    assert_eq!((odd.add(page("x", "", &[])), odd.version), (None, None));
}
