use super::*;
use crate::indexer::fixtures::{Jvm, failed, running, succeeded, target, update};

fn now() -> Timestamp {
    Timestamp::from_second(100).unwrap()
}

/// Polls until there is nothing new.
fn read(view: &mut View, jvm: &Jvm) {
    while let Some(answer) = jvm.answer(view.asks()) {
        view.answered(view.asks(), &answer).unwrap();
    }
}

fn listed(view: &View) -> Vec<&str> {
    let listed = view.tasks().filter(|(_, task)| task.listed);
    listed.map(|(id, _)| id).collect()
}

#[test]
fn a_full_list_is_followed_by_changes() {
    let (mut view, mut jvm) = (View::new(target("p")), Jvm::started(1));
    jvm.announce(running("a"));
    assert!(!view.complete() && view.counter().is_none());
    read(&mut view, &jvm);
    assert!(view.complete());
    assert_eq!((listed(&view), view.disabled()), (vec!["a"], false));
    jvm.announce(running("b"));
    jvm.announce(succeeded("a"));
    read(&mut view, &jvm);
    assert_eq!(listed(&view), ["a", "b"]);
    assert!(view.task("a").unwrap().ended() && !view.task("b").unwrap().ended());
    jvm.forget("a");
    read(&mut view, &jvm);
    assert_eq!(listed(&view), ["b"]);
    let gone = view.task("a").unwrap();
    assert!(gone.ended() && !gone.lost, "its end stays known");
    assert_eq!(
        (view.ran_again(), view.has_gap(), view.replaced()),
        (None, false, None)
    );
}

#[test]
fn whatever_is_no_news_is_none() {
    let (mut view, mut jvm) = (View::new(target("p")), Jvm::started(1));
    read(&mut view, &jvm);
    let asked = view.asks();
    let nothing = Answer::changes(asked.unwrap(), Vec::new());
    assert_eq!(view.answered(asked, &nothing), Ok(false));
    assert!(!view.nothing_new());
    jvm.announce(running("a"));
    let changes = jvm.answer(asked).unwrap();
    assert_eq!(view.answered(asked, &changes), Ok(true));
    let before = view.clone();
    // The same answer, late.
    assert_eq!(view.answered(asked, &changes), Ok(false));
    assert_eq!(view, before);
    let wrong = Answer::changes(Counter { counter: 0, hash: 1 }, Vec::new());
    assert!(view.answered(view.asks(), &wrong).is_err());
    assert_eq!(view, before, "nothing of it was applied");
}

#[test]
fn silence_lasts_from_the_first_failure_to_the_first_answer() {
    let mut view = View::new(target("p"));
    let trouble = || Trouble::Unreachable("no connection".into());
    assert!(view.unanswered(trouble(), now()));
    let later = Timestamp::from_second(200).unwrap();
    assert!(!view.unanswered(trouble(), later));
    assert!(view.unanswered(Trouble::Nonsense("x".into()), later));
    assert_eq!(view.silence().unwrap().since, now());
    read(&mut view, &Jvm::started(1));
    assert_eq!(view.silence(), None);
    view.unanswered(trouble(), later);
    assert!(view.nothing_new());
    assert_eq!(view.silence(), None);
}

#[test]
fn the_first_end_counts() {
    let (mut view, mut jvm) = (View::new(target("p")), Jvm::started(1));
    jvm.announce(running("a"));
    jvm.announce(failed("a"));
    read(&mut view, &jvm);
    jvm.announce(succeeded("a"));
    read(&mut view, &jvm);
    assert_eq!(view.task("a").unwrap().announcement.status, TaskState::Failed);
    assert_eq!(view.ran_again(), None);
    jvm.forget("a");
    // A request of a leader that was paused arrives after the task was forgotten.
    jvm.announce(running("a"));
    read(&mut view, &jvm);
    assert_eq!(view.task("a").unwrap().announcement.status, TaskState::Failed);
    assert_eq!(view.ran_again(), Some("a"));
}

#[test]
fn a_task_that_was_missing_stays_lost_until_its_end_is_announced() {
    let (mut view, mut jvm) = (View::new(target("p")), Jvm::started(1));
    jvm.announce(running("a"));
    read(&mut view, &jvm);
    jvm.forget("a");
    read(&mut view, &jvm);
    assert!(view.task("a").unwrap().lost);
    jvm.announce(running("a"));
    read(&mut view, &jvm);
    assert!(view.task("a").unwrap().lost && view.ran_again() == Some("a"));
    jvm.announce(succeeded("a"));
    read(&mut view, &jvm);
    assert!(view.task("a").unwrap().ended(), "its data is published");
}

/// Each row: changes of the former JVM, and of the one that answers then; whether it is another, whether there is a gap.
#[test]
fn after_a_reset_the_place_in_the_history_tells_whose_it_is() {
    let run = |jvm: &mut Jvm, changes: i64| {
        for _ in 0..changes {
            jvm.announce(running("x"));
        }
    };
    let table = [
        (0, 0, true),
        (3, 0, true),
        (3, 3, true),
        (3, 500, true),
        (0, 500, true),
        // It cannot be told apart from a poller that was too far behind: either way nothing is posted.
        (3, 2000, false),
    ];
    for (before, after, replaced) in table {
        let (mut view, mut jvm) = (View::new(target("p")), Jvm::started(1_000_000));
        jvm.announce(running("a"));
        run(&mut jvm, before);
        read(&mut view, &jvm);
        let mut other = Jvm::started(9_000_000);
        run(&mut other, after);
        read(&mut view, &other);
        assert_eq!(view.replaced().is_some(), replaced, "{before} {after}");
        assert_eq!(view.has_gap(), !replaced, "{before} {after}");
        let of_the_first = if replaced {
            view.former_task("a")
        } else {
            view.task("a")
        };
        assert!(of_the_first.unwrap().lost, "{before} {after}");
    }
}

#[test]
fn a_poller_that_was_too_far_behind_keeps_what_it_knows() {
    let (mut view, mut jvm) = (View::new(target("p")), Jvm::started(1));
    jvm.announce(running("a"));
    read(&mut view, &jvm);
    for _ in 0..HISTORY {
        jvm.announce(running("x"));
    }
    assert!(jvm.answer(view.asks()).unwrap().reset_counter);
    read(&mut view, &jvm);
    assert_eq!((view.replaced(), view.has_gap()), (None, true));
    assert!(view.task("a").unwrap().listed);
}

/// A proxy that loses a request may cause a reset, too.
#[test]
fn a_reset_that_changed_nothing_changes_nothing() {
    let (mut view, mut jvm) = (View::new(target("p")), Jvm::started(1));
    jvm.announce(running("a"));
    read(&mut view, &jvm);
    let before = view.clone();
    assert_eq!(view.answered(view.asks(), &Answer::reset("why".into())), Ok(true));
    assert!(!view.complete());
    read(&mut view, &jvm);
    assert_eq!(view, before);
}

#[test]
fn not_more_is_remembered_than_there_is_room_for() {
    let (mut view, mut jvm) = (View::new(target("p")), Jvm::started(1));
    read(&mut view, &jvm);
    for number in 0..=MOST_REMEMBERED {
        let id = number.to_string();
        jvm.announce(succeeded(&id));
        jvm.forget(&id);
        read(&mut view, &jvm);
    }
    assert!(view.tasks().count() <= MOST_REMEMBERED && view.has_gap());
    let mut all = Vec::new();
    for number in 0..=MOST_ITEMS {
        all.push(update(running(&format!("listed {number}"))));
    }
    let mut counter = view.counter().unwrap();
    let mut refused = false;
    for some in all.chunks(MOST_ITEMS / 4) {
        counter.counter += i64::try_from(some.len()).unwrap();
        let answer = Answer::changes(counter, some.to_vec());
        refused |= view.answered(view.asks(), &answer).is_err();
    }
    assert!(refused && listed(&view).len() <= MOST_ITEMS);
}
