use crate::api::{Submission, SubmissionState as State};

use super::*;

fn applied(uid: &str, version: u64, state: Option<State>) -> Applied {
    Applied {
        name: uid.into(),
        uid: uid.into(),
        version: version.to_string(),
        created: None,
        suspend: false,
        ends: false,
        task_id: Some(uid.into()),
        task_type: Some("noop".into()),
        submission: state.map(|state| Submission {
            state,
            task_id: Some(uid.into()),
            ..Submission::default()
        }),
    }
}

fn policy() -> Policy {
    Policy {
        enabled: true,
        types: vec!["noop".into()],
    }
}

fn due(backlog: &mut Backlog, now: Instant) -> Vec<(String, Due)> {
    let due = backlog.due(now, &policy(), |_| false, |_| false);
    due.into_iter().map(|(applied, due)| (applied.uid, due)).collect()
}

fn step(uid: &str, step: Step) -> Vec<(String, Due)> {
    vec![(uid.to_owned(), Due::Step(step))]
}

#[test]
fn what_failed_waits_and_longer_each_time() {
    let (mut backlog, mut now) = (Backlog::default(), Instant::now());
    backlog.see(applied("a", 1, Some(State::Submitting)));
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert_eq!(due(&mut backlog, now), step("a", Step::Submit));
        backlog.failed("a", now);
        let mut seconds = 0;
        while due(&mut backlog, now).is_empty() {
            now += Duration::from_secs(1);
            seconds += 1;
        }
        pauses.push(seconds);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    backlog.failed("a", now);
    // Our own word on it is no reason to try at once; what somebody changed is.
    backlog.see(applied("a", 2, Some(State::Unreachable)));
    assert_eq!(due(&mut backlog, now), []);
    backlog.see(applied("a", 3, Some(State::Unreachable)));
    assert_eq!(due(&mut backlog, now), step("a", Step::Submit));
}

#[test]
fn older_news_changes_nothing() {
    let (mut backlog, now) = (Backlog::default(), Instant::now());
    backlog.see(applied("a", 9, Some(State::Submitted)));
    backlog.see(applied("a", 8, Some(State::Submitting)));
    assert_eq!(due(&mut backlog, now), []);
    assert_eq!(backlog.asked().len(), 1);
}

#[test]
fn what_the_watch_has_no_more_is_verified() {
    let (mut backlog, now) = (Backlog::default(), Instant::now());
    for uid in ["a", "b", "c"] {
        backlog.see(applied(uid, 1, Some(State::Submitted)));
    }
    backlog.list_begins();
    backlog.see(applied("a", 1, Some(State::Submitted)));
    backlog.list_ends();
    let verify = |uid: &str| (uid.to_owned(), Due::Verify);
    assert_eq!(due(&mut backlog, now), [verify("b"), verify("c")]);
    assert_eq!(backlog.asked().len(), 1);
    // One was assigned, the other deleted: its task is to end, and nothing else is done until it has.
    backlog.forget("b");
    backlog.deleted("c");
    assert_eq!(due(&mut backlog, now), step("c", Step::End));
    backlog.see(applied("c", 2, Some(State::Submitting)));
    assert_eq!(due(&mut backlog, now), step("c", Step::End), "it is gone");
    backlog.forget("c");
    assert_eq!(due(&mut backlog, now), []);
    assert_eq!(backlog.entries.len(), 1);
}

#[test]
fn of_a_deleted_task_that_was_never_sent_nothing_is_left() {
    let (mut backlog, now) = (Backlog::default(), Instant::now());
    backlog.see(applied("a", 1, None));
    backlog.unsee("a");
    backlog.deleted("a");
    assert_eq!(due(&mut backlog, now), []);
    assert!(backlog.entries.is_empty());
}

#[test]
fn the_end_of_a_deleted_task_is_not_tried_for_ever() {
    let (mut backlog, mut now) = (Backlog::default(), Instant::now());
    backlog.see(applied("a", 1, Some(State::Submitted)));
    backlog.deleted("a");
    for _ in 0..=MOST_TRIES {
        assert_eq!(due(&mut backlog, now), step("a", Step::End));
        backlog.failed("a", now);
        now += Duration::from_secs(60);
    }
    assert_eq!(due(&mut backlog, now), []);
    assert!(backlog.entries.is_empty());
}

#[test]
fn what_is_busy_stays_and_is_not_due() {
    let (mut backlog, now) = (Backlog::default(), Instant::now());
    backlog.see(applied("a", 1, None));
    backlog.deleted("a");
    assert_eq!(backlog.due(now, &policy(), |_| false, |_| true), []);
    // What is written of it meanwhile does not bring it back.
    backlog.written(applied("a", 2, Some(State::Submitting)));
    backlog.see(applied("a", 2, Some(State::Submitting)));
    assert_eq!(due(&mut backlog, now), []);
    assert!(backlog.entries.is_empty());
    backlog.written(applied("a", 3, Some(State::Submitting)));
    assert!(backlog.entries.is_empty());
}

#[test]
fn what_cannot_be_ended_takes_no_place_that_another_one_needs() {
    let (mut backlog, mut now) = (Backlog::default(), Instant::now());
    for uid in ["b", "c", "d"] {
        backlog.see(applied(uid, 1, Some(State::Submitted)));
        backlog.deleted(uid);
    }
    for times in [1, 3, 20] {
        let uid = ["b", "c"][usize::from(times > 1)];
        (0..times).for_each(|_| backlog.failed(uid, now));
    }
    backlog.see(applied("a", 1, Some(State::Submitting)));
    now += Duration::from_secs(60);
    let order: Vec<String> = due(&mut backlog, now).into_iter().map(|(uid, _)| uid).collect();
    assert_eq!(order, ["d", "a", "b", "c"]);
}
