use super::*;
use crate::druid::worker::{TaskAnnouncement, TaskState};
use crate::indexer::fixtures::{running, update};

const FIRST: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/druid-wire/indexer/00-first-poll.response.body.decoded.json"
));
const DONE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/druid-wire/indexer/02-poll-done.response.body.decoded.json"
));

fn at(counter: i64, hash: i64) -> Counter {
    Counter { counter, hash }
}

fn changed(task: impl FnOnce(&mut TaskAnnouncement)) -> Vec<Change> {
    let mut announcement = running("a");
    task(&mut announcement);
    vec![update(announcement)]
}

#[test]
fn recorded_answers_can_be_used() {
    let first: Answer = serde_json::from_str(FIRST).unwrap();
    let Ok(Usable::Full(counter, [Change::Metadata { disabled: false }])) = check(None, &first) else {
        panic!("{first:?}");
    };
    assert_eq!(counter, at(0, 1_795_226_545_286));
    let done: Answer = serde_json::from_str(DONE).unwrap();
    // As the recorded request asked.
    let asked = Some(at(6, 1_795_226_548_235));
    let Ok(Usable::Changes(counter, [Change::TaskUpdate { task_announcement }])) = check(asked, &done) else {
        panic!("{done:?}");
    };
    assert_eq!(counter, at(7, 1_795_226_561_168));
    assert_eq!(task_announcement.status, TaskState::Success);
}

#[test]
fn changes_are_as_many_as_the_counters_say() {
    let one = || vec![update(running("a"))];
    let table = [
        // Nothing new, in words of its own.
        (at(5, 50), at(5, 50), vec![], None),
        (at(5, 50), at(6, 60), one(), None),
        // Hashes are times, and clocks are set back.
        (at(5, 50), at(6, 40), one(), None),
        (
            at(5, 50),
            at(4, 40),
            vec![],
            Some(Nonsense::WentBack {
                asked: 5,
                answered: 4,
            }),
        ),
        (at(5, 50), at(5, 51), vec![], Some(Nonsense::OtherHash(5))),
        // A change that was delivered before.
        (
            at(5, 50),
            at(5, 50),
            one(),
            Some(Nonsense::Miscounted {
                changes: 1,
                counted: 0,
            }),
        ),
        (
            at(5, 50),
            at(7, 70),
            one(),
            Some(Nonsense::Miscounted {
                changes: 1,
                counted: 2,
            }),
        ),
        (at(5, 50), at(-1, 0), vec![], Some(Nonsense::Negative(-1))),
    ];
    for (asked, answered, changes, nonsense) in table {
        let answer = Answer::changes(answered, changes.clone());
        let expected = nonsense.map_or(Ok(Usable::Changes(answered, &changes)), Err);
        assert_eq!(check(Some(asked), &answer), expected, "{asked:?} {answered:?}");
    }
}

#[test]
fn a_reset_is_no_answer_to_a_request_for_everything() {
    let reset = Answer::reset("why".into());
    assert_eq!(check(None, &reset), Err(Nonsense::ResetOfEverything));
    assert_eq!(check(Some(at(1, 1)), &reset), Ok(Usable::Reset("why")));
    let long = Answer::reset("x".repeat(LONGEST_ERROR + 1));
    assert_eq!(check(Some(at(1, 1)), &long), Err(Nonsense::TooLong));
}

#[test]
fn what_is_beyond_all_bounds_is_not_kept() {
    let full = |changes: Vec<Change>| {
        let counter = Some(at(1, 1));
        let answer = Answer {
            counter,
            ..Answer::changes(at(1, 1), changes)
        };
        check(None, &answer).map(drop)
    };
    assert_eq!(full(changed(|_| {})), Ok(()));
    let long = || "x".repeat(LONGEST_NAME + 1);
    let odd = [
        changed(|task| {
            task.id = long();
            task.task_status.id = long();
        }),
        changed(|task| task.task_type = long()),
        changed(|task| task.task_data_source = long()),
        changed(|task| task.task_resource.availability_group = long()),
        changed(|task| task.task_location.host = Some(long())),
        changed(|task| task.task_status.location.k8s_pod_name = Some(long())),
        changed(|task| task.task_status.error_msg = Some("x".repeat(LONGEST_ERROR + 1))),
        vec![Change::TaskRemoval { task_id: long() }],
    ];
    for changes in odd {
        assert_eq!(full(changes), Err(Nonsense::TooLong));
    }
    let many = vec![Change::Metadata { disabled: true }; MOST_ITEMS + 1];
    assert_eq!(full(many), Err(Nonsense::TooMany(MOST_ITEMS + 1)));
    for changes in [
        changed(|task| task.id = "b".into()),
        changed(|task| task.status = TaskState::Success),
    ] {
        assert_eq!(full(changes), Err(Nonsense::Contradiction));
    }
    let empty = Answer {
        counter: None,
        ..Answer::changes(at(1, 1), Vec::new())
    };
    assert_eq!(check(None, &empty), Err(Nonsense::Incomplete));
    let empty = Answer {
        requests: None,
        ..Answer::changes(at(1, 1), Vec::new())
    };
    assert_eq!(check(None, &empty), Err(Nonsense::Incomplete));
}
