use serde_json::json;

use super::history_items::Log;
use super::*;
use crate::druid::worker::TaskState;
use crate::middle_manager::object_fixtures::{
    FIRST, at, ended, failed, indexing, ready, running, seen, succeeded, with_log,
};

/// What is announced, as state, message and host.
fn said(moves: &[HistoryItem]) -> Vec<(TaskState, Option<String>, Option<String>)> {
    let announced = |m: &HistoryItem| match m {
        HistoryItem::Announce(identity, a) => {
            assert_eq!(*identity, FIRST);
            Some((
                a.status,
                a.task_status.error_msg.clone(),
                a.task_location.host.clone(),
            ))
        }
        HistoryItem::Remove(..) | HistoryItem::Clash { .. } => None,
    };
    moves.iter().filter_map(announced).collect()
}

fn runs() -> Vec<(TaskState, Option<String>, Option<String>)> {
    vec![(TaskState::Running, None, None)]
}

fn fails(why: &str) -> Vec<(TaskState, Option<String>, Option<String>)> {
    vec![(TaskState::Failed, Some(why.to_owned()), None)]
}

fn hosts(moves: &[HistoryItem]) -> Vec<Option<String>> {
    said(moves).into_iter().map(|(_, _, host)| host).collect()
}

#[test]
fn a_task_is_announced_once_until_something_changes() {
    let mut known = Registry::default();
    assert_eq!(
        said(&known.acknowledge(seen("a", "u", 5, json!({})), at(0))),
        runs()
    );
    assert_eq!(known.see(seen("a", "u", 5, json!({})), at(0)), []);
    assert_eq!(known.see(seen("a", "u", 6, running()), at(0)), []);
    let end = known.see(seen("a", "u", 7, succeeded()), at(0));
    assert_eq!(said(&end), [(TaskState::Success, None, None)]);
    assert_eq!(
        known.see(seen("a", "u", 6, running()), at(0)),
        [],
        "the past does not come back"
    );
    assert_eq!(known.see(seen("a", "u", 8, failed()), at(0)), []);
}

#[test]
fn a_location_stays_until_the_next_attempt() {
    let mut known = Registry::default();
    known.see(seen("a", "u", 5, running()), at(0));
    let first = Some("10.0.0.1".to_owned());
    assert_eq!(
        hosts(&known.see_pod(ready("u", 1), at(0))),
        std::slice::from_ref(&first)
    );
    let mut silent = ready("u", 1);
    silent.location = None;
    assert_eq!(known.see_pod(silent, at(0)), []);
    known.pods().gone(&Owner::Task("u".into()), "pod-u-1");
    assert_eq!(known.see(seen("a", "u", 6, running()), at(0)), []);
    // Its pod may be ready before this process hears of the attempt.
    assert_eq!(known.see_pod(ready("u", 2), at(0)), []);
    let mut second = running();
    second["attempt"] = json!(2);
    assert_eq!(
        hosts(&known.see(seen("a", "u", 7, second), at(0))),
        [Some("10.0.0.2".to_owned())]
    );
    let mut third = running();
    third["attempt"] = json!(3);
    assert_eq!(
        hosts(&known.see(seen("a", "u", 8, third.clone()), at(0))),
        [None],
        "the former attempt's pod is dead"
    );
    // The end says where the task was.
    let mut end = succeeded();
    end["attempt"] = json!(3);
    known.see_pod(ready("u", 3), at(0));
    let end = known.see(seen("a", "u", 9, end), at(0));
    assert_eq!(hosts(&end), [Some("10.0.0.3".to_owned())]);
}

#[test]
fn pods_may_come_before_their_task() {
    let mut known = Registry::default();
    assert_eq!(known.see_pod(ready("u", 1), at(0)), []);
    let moves = known.see(seen("a", "u", 5, running()), at(0));
    assert_eq!(hosts(&moves), [Some("10.0.0.1".to_owned())]);
    known.gone("u", None, at(0));
    assert!(known.pods().is_empty());
    known.see_pod(ready("u", 1), at(0));
    assert!(known.pods().is_empty(), "nobody needs the pods of what is gone");
}

#[test]
fn pods_that_went_unnoticed_are_not_remembered() {
    let mut known = Registry::default();
    known.see_pod(ready("u", 1), at(0));
    known.see_pod(ready("v", 1), at(0));
    known.pods().list_begins();
    known.see_pod(ready("v", 1), at(0));
    known.pods().list_ends();
    assert!(known.pods().of("u", "task-u-1").is_none());
    assert!(known.pods().of("v", "task-v-1").is_some());
}

#[test]
fn the_end_is_held_back_for_the_log() {
    let mut known = Registry::default();
    known.see(seen("a", "u", 5, running()), at(0));
    let waits = with_log(succeeded(), false, "Collecting");
    assert_eq!(known.see(seen("a", "u", 6, waits.clone()), at(143)), []);
    assert_eq!(known.due(at(441)), []);
    assert_eq!(
        said(&known.due(at(442))),
        [(TaskState::Success, None, None)],
        "five minutes are over"
    );
    assert_eq!(known.due(at(443)), []);

    let mut known = Registry::default();
    known.see(seen("a", "u", 6, waits), at(143));
    let archived = with_log(succeeded(), true, "Archived");
    let end = known.see(seen("a", "u", 7, archived), at(144));
    assert_eq!(said(&end), [(TaskState::Success, None, None)]);
    assert_eq!(known.due(at(1000)), []);
}

#[test]
fn what_is_deleted_has_failed_unless_its_verdict_is_known() {
    for (status, last, end) in [
        (running(), None, fails(DELETED)),
        (failed(), None, fails("OOMKilled: as it was")),
        (
            with_log(succeeded(), false, "Collecting"),
            None,
            vec![(TaskState::Success, None, None)],
        ),
        // The deletion itself says what it was last.
        (
            running(),
            Some(succeeded()),
            vec![(TaskState::Success, None, None)],
        ),
    ] {
        let mut known = Registry::default();
        known.see(seen("a", "u", 5, running()), at(143));
        let mut moves = known.see(seen("a", "u", 6, status), at(143));
        let last = last.map(|status| seen("a", "u", 7, status));
        moves.extend(known.gone("u", last, at(200)));
        assert_eq!(said(&moves), end);
        assert_eq!(known.target("a"), None);
        assert_eq!(known.ended(FIRST), ["a"], "it is remembered");
        assert_eq!(
            known.see(seen("a", "u", 6, running()), at(200)),
            [],
            "and does not come back"
        );
    }
}

#[test]
fn how_long_a_deleted_task_ran_is_said() {
    let mut known = Registry::default();
    known.see(seen("a", "u", 5, running()), at(143));
    let moves = known.gone("u", None, at(160));
    let [HistoryItem::Announce(_, end)] = &moves[..] else {
        panic!("{moves:?}")
    };
    assert_eq!(end.task_status.duration, 60_000);
}

#[test]
fn a_list_takes_away_what_is_older_than_it_and_no_more() {
    let mut known = Registry::default();
    known.see(seen("old", "o", 5, running()), at(0));
    known.acknowledge(seen("kept", "k", 9, json!({})), at(0));
    known.acknowledge(seen("young", "y", 11, json!({})), at(0));
    let list = |ids: &[(&str, &str, u64)]| {
        let one = |(id, uid, v): &(&str, &str, u64)| ((*uid).to_owned(), Some(seen(id, uid, *v, json!({}))));
        ids.iter().map(one).collect::<Vec<_>>()
    };
    let moves = known.listed(list(&[("new", "n", 8), ("kept", "k", 9)]), Some(10), at(0));
    let mut all: Vec<_> = known
        .said(FIRST)
        .map(|a| (a.id.clone(), a.status == TaskState::Running))
        .collect();
    all.sort();
    assert_eq!(
        all,
        [
            ("kept".to_owned(), true),
            ("new".to_owned(), true),
            ("old".to_owned(), true),
            ("young".to_owned(), true),
        ]
    );
    assert_eq!(moves.len(), 1);
    // It may only have lost its label.
    let doubts = known.doubts();
    assert_eq!(doubts.len(), 1);
    assert_eq!(doubts[0].target.name, "task-o");
    assert_eq!(said(&known.gone("o", None, at(0))).len(), 1);
    // A watch that lags tells what the list had not.
    assert_eq!(known.see(seen("late", "l", 7, running()), at(0)), []);
    assert_eq!(
        said(&known.see(seen("later", "l2", 12, running()), at(0))),
        runs()
    );
    // An older list comes after a newer one.
    assert_eq!(known.listed(list(&[("late", "l", 7)]), Some(7), at(0)), []);
    // One that has no version takes nothing away.
    assert_eq!(known.listed(Vec::new(), None, at(0)), []);
}

#[test]
fn what_cannot_be_read_is_not_gone() {
    let mut known = Registry::default();
    known.see(seen("a", "u", 5, running()), at(0));
    assert_eq!(known.listed(vec![("u".into(), None)], Some(10), at(0)), []);
    known.see_pod(ready("u", 1), at(0));
    let mut unreadable = seen("a", "u", 11, running());
    unreadable.state = None;
    assert_eq!(
        known.see(unreadable, at(0)),
        [],
        "it runs where it ran, in the same attempt"
    );
}

#[test]
fn what_was_deleted_before_it_was_acknowledged_has_failed() {
    let mut known = Registry::default();
    known.listed(Vec::new(), Some(10), at(0));
    let moves = known.acknowledge(seen("a", "u", 9, json!({})), at(0));
    assert_eq!(said(&moves), runs());
    // Somebody may only have taken its label: it was looked for.
    assert_eq!(known.doubts().len(), 1);
    assert_eq!(said(&known.gone("u", None, at(0))), fails(DELETED));
    assert!(!known.is_in_doubt());
    // The watch told all of it before.
    let mut known = Registry::default();
    known.see(seen("a", "u", 9, json!({})), at(0));
    known.gone("u", None, at(0));
    assert_eq!(known.acknowledge(seen("a", "u", 9, json!({})), at(0)), []);
}

#[test]
fn the_watchs_own_list_raises_doubt_about_what_it_lacks() {
    let mut known = Registry::default();
    known.see(seen("a", "u", 5, running()), at(0));
    known.list_begins();
    known.see(seen("a", "u", 5, running()), at(0));
    assert!(!known.list_ends());
    known.list_begins();
    assert!(known.list_ends());
    assert!(!known.list_ends(), "there is none");
}

#[test]
fn a_task_is_taken_once() {
    let mut known = Registry::default();
    assert_eq!(known.before(FIRST, "a", at(0)), Before::New);
    // Seen is not kept: its payload may be missing, or it may be somebody else's.
    known.see(seen("a", "u", 5, json!({})), at(0));
    assert_eq!(known.before(FIRST, "a", at(0)), Before::New);
    known.acknowledge(seen("a", "u", 5, json!({})), at(0));
    assert_eq!(known.before(FIRST, "a", at(0)), Before::Taken);
    known.gone("u", None, at(0));
    assert_eq!(
        known.before(FIRST, "a", at(0)),
        Before::Taken,
        "it is not begun again"
    );
    known.forget("a", at(0));
    assert_eq!(known.before(FIRST, "a", at(0)), Before::New);
    // Nor what only was seen, once its end was said; nor what is about to end.
    known.see(seen("b", "v", 6, json!({})), at(0));
    known.gone("v", None, at(0));
    assert_eq!(known.before(FIRST, "b", at(0)), Before::Taken);
    let mut cancelled = seen("c", "w", 7, json!({}));
    cancelled.cancel = true;
    known.see(cancelled, at(0));
    assert_eq!(known.before(FIRST, "c", at(0)), Before::Taken);
}

#[test]
fn a_task_that_is_shut_down_before_it_is_assigned_does_not_run() {
    let mut known = Registry::default();
    assert_eq!(known.order(FIRST, "a", at(0)), Order::Unknown);
    assert_eq!(known.before(FIRST, "a", at(3599)), Before::ShutDown);
    assert_eq!(known.before(Ordinal(1), "a", at(0)), Before::New);
    assert_eq!(
        said(&known.fail(FIRST, &indexing("a"), SHUT_DOWN, at(0))),
        fails(SHUT_DOWN)
    );
    assert_eq!(known.before(FIRST, "a", at(0)), Before::Taken);
    assert_eq!(known.fail(FIRST, &indexing("a"), "again", at(0)), []);
    assert_eq!(known.order(FIRST, "a", at(0)), Order::Nothing);
    // While it is assigned.
    assert_eq!(known.order(FIRST, "b", at(0)), Order::Unknown);
    known.acknowledge(seen("b", "u", 5, json!({})), at(0));
    assert_eq!(known.to_cancel().len(), 1);
    // An hour later nobody means it any more.
    assert_eq!(known.order(FIRST, "c", at(0)), Order::Unknown);
    assert_eq!(known.before(FIRST, "c", at(3600)), Before::New);
}

#[test]
fn a_shutdown_cancels_once_what_runs() {
    let mut known = Registry::default();
    known.see(seen("a", "u", 5, running()), at(0));
    let target = Target {
        name: "task-u".into(),
        uid: "u".into(),
        forgotten: false,
    };
    assert_eq!(known.order(FIRST, "a", at(0)), Order::Cancel(target.clone()));
    assert_eq!(known.to_cancel(), [target], "until it is done");
    assert_eq!(
        known.order(Ordinal(1), "a", at(0)),
        Order::Nothing,
        "it is not there"
    );
    let mut cancelled = seen("a", "u", 6, running());
    cancelled.cancel = true;
    assert_eq!(known.see(cancelled, at(0)), []);
    assert_eq!(known.to_cancel(), []);
    assert_eq!(known.order(FIRST, "a", at(0)), Order::Nothing);
    let end = known.see(seen("a", "u", 7, ended("Failed", "Cancelled")), at(0));
    assert_eq!(said(&end), fails("Cancelled: as it was"));

    known.see(
        seen("b", "v", 8, with_log(succeeded(), false, "Collecting")),
        at(0),
    );
    assert_eq!(
        known.order(FIRST, "b", at(0)),
        Order::Nothing,
        "its data is published"
    );
}

#[test]
fn only_ended_tasks_are_forgotten_and_then_for_good() {
    let mut known = Registry::default();
    known.see(seen("a", "u", 5, running()), at(0));
    assert_eq!(known.forget("a", at(0)), []);
    known.see(seen("a", "u", 6, succeeded()), at(0));
    assert_eq!(known.forget("a", at(0)), [HistoryItem::Remove(FIRST, "a".into())]);
    assert_eq!(known.forget("a", at(0)), []);
    // Somebody else wrote to it in between.
    assert_eq!(known.see(seen("a", "u", 7, succeeded()), at(0)), []);
    assert_eq!(known.gone("u", None, at(0)), []);
    assert_eq!(known.said(FIRST).count(), 0);
}

#[test]
fn what_another_process_found_forgotten_is_not_announced() {
    let mut known = Registry::default();
    let mut over = seen("a", "u", 5, succeeded());
    over.forgotten = true;
    assert_eq!(known.see(over, at(0)), []);
    // Nobody can forget what runs.
    let mut odd = seen("b", "v", 6, running());
    odd.forgotten = true;
    assert_eq!(said(&known.see(odd, at(0))), runs());
    // This process has announced it, and asks for itself.
    known.see(seen("c", "w", 7, running()), at(0));
    let mut over = seen("c", "w", 8, succeeded());
    over.forgotten = true;
    assert_eq!(said(&known.see(over, at(0))).len(), 1);
    assert!(known.target("c").unwrap().forgotten);
    assert_eq!(known.forget("c", at(0)).len(), 1);
}

#[test]
fn a_second_task_of_the_same_id_is_not_listened_to() {
    let clash = |name: &str| HistoryItem::Clash {
        id: "a".into(),
        name: name.into(),
    };
    let born = |uid: &str, version, created| {
        let mut seen = seen("a", uid, version, running());
        seen.created = Some(at(created));
        seen
    };
    let mut known = Registry::default();
    known.acknowledge(born("ours", 5, 10), at(20));
    assert_eq!(known.see(born("theirs", 6, 1), at(20)), [clash("task-theirs")]);
    assert_eq!(
        known.see(born("theirs", 7, 1), at(20)),
        [],
        "it is complained of once"
    );
    known.gone("ours", None, at(20));
    // When nobody asks for the task any more, theirs is a task like any other, which the overlord will end.
    assert_eq!(known.forget("a", at(20)).len(), 2);
    assert_eq!(known.target("a").map(|t| t.uid), Some("theirs".to_owned()));
    known.gone("theirs", None, at(20));
    assert!(known.others.is_empty() && known.objects.is_empty());
    // After a restart nobody knows whose is whose: later ones are imitations.
    let mut known = Registry::default();
    let list = vec![
        ("late".to_owned(), Some(born("late", 8, 11))),
        ("ours".to_owned(), Some(born("ours", 5, 10))),
    ];
    let moves = known.listed(list, Some(8), at(20));
    assert_eq!(moves.len(), 2);
    assert_eq!(known.target("a").map(|t| t.uid), Some("ours".to_owned()));
    let mut known = Registry::default();
    known.see(born("late", 8, 11), at(20));
    assert_eq!(known.see(born("ours", 9, 10), at(20)), [clash("task-late")]);
    assert_eq!(known.target("a").map(|t| t.uid), Some("ours".to_owned()));
    // What was kept here outdoes what was only seen.
    known.acknowledge(born("kept", 10, 12), at(20));
    assert_eq!(known.target("a").map(|t| t.uid), Some("kept".to_owned()));
}

#[test]
fn the_log_of_a_task_that_runs_is_in_its_attempts_pod() {
    let mut known = Registry::default();
    assert_eq!(known.log(FIRST, "a"), Log::Elsewhere);
    known.see(seen("a", "u", 5, running()), at(0));
    assert_eq!(known.log(FIRST, "a"), Log::NotBegun);
    known.see_pod(ready("u", 1), at(0));
    let here = Log::Pod {
        pod: "task-u-1".into(),
        container: "main".into(),
        lines: None,
    };
    assert_eq!(known.log(FIRST, "a"), here);
    assert_eq!(known.log(Ordinal(1), "a"), Log::Elsewhere);
    known.see(
        seen("a", "u", 6, with_log(succeeded(), false, "Collecting")),
        at(143),
    );
    assert_eq!(known.log(FIRST, "a"), here, "the archive does not have it yet");
    known.see(seen("a", "u", 7, succeeded()), at(143));
    assert_eq!(known.log(FIRST, "a"), Log::Elsewhere);
}

/// A watch that lags tells of an object that lost its label for a while; its verdict was seen since.
#[test]
fn an_old_word_of_its_end_takes_no_verdict_back() {
    let mut known = Registry::default();
    let old = || seen("a", "u", 1, running());
    let ended = with_log(failed(), false, "Collecting");
    known.see(old(), at(0));
    known.see(seen("a", "u", 3, ended), at(1));
    assert!(known.vanished("u", Some(old()), at(2)).is_empty());
    assert!(known.is_in_doubt(), "it is looked for");
    let said = said(&known.gone("u", Some(old()), at(3)));
    assert_eq!(said.len(), 1);
    assert_ne!(said[0].1.as_deref(), Some(DELETED));
}
