use proptest::prelude::*;

use super::*;
use crate::druid::worker::{Answer, TaskState};
use crate::indexer::decide::view::Trouble;
use crate::indexer::fixtures::{Jvm, failed, location, running, succeeded, target};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn claim() -> Claim<'static> {
    Claim {
        task_id: "a",
        pod_uid: "p",
        announced: false,
        stopped: false,
    }
}

fn read(view: &mut View, jvm: &Jvm) {
    while let Some(answer) = jvm.answer(view.asks()) {
        view.answered(view.asks(), &answer).unwrap();
    }
}

fn silent(view: &mut View) {
    view.unanswered(Trouble::Unreachable("no connection".into()), at(100));
}

/// Something that happens in a JVM and is read.
type Step = fn(&mut View, &mut Jvm);

/// A JVM, what happens there, and what is known of it after each event.
fn after(events: &[Step]) -> View {
    let (mut view, mut jvm) = (View::new(target("p")), Jvm::started(1_000));
    read(&mut view, &jvm);
    for event in events {
        event(&mut view, &mut jvm);
    }
    view
}

fn runs(view: &mut View, jvm: &mut Jvm) {
    jvm.announce(running("a"));
    read(view, jvm);
}

fn succeeds(view: &mut View, jvm: &mut Jvm) {
    jvm.announce(succeeded("a"));
    read(view, jvm);
}

fn fails(view: &mut View, jvm: &mut Jvm) {
    jvm.announce(failed("a"));
    read(view, jvm);
}

fn forgets(view: &mut View, jvm: &mut Jvm) {
    jvm.forget("a");
    read(view, jvm);
}

fn restarts(view: &mut View, jvm: &mut Jvm) {
    *jvm = Jvm::started(jvm.answer(None).unwrap().counter.unwrap().hash + 60_000);
    read(view, jvm);
}

fn resets(view: &mut View, _: &mut Jvm) {
    view.answered(view.asks(), &Answer::reset("why".into())).unwrap();
}

fn falls_silent(view: &mut View, _: &mut Jvm) {
    silent(view);
}

fn falls_behind(view: &mut View, jvm: &mut Jvm) {
    for _ in 0..1000 {
        jvm.announce(running("b"));
    }
    read(view, jvm);
}

fn another_runs(view: &mut View, jvm: &mut Jvm) {
    jvm.announce(running("b"));
    read(view, jvm);
}

/// Every row of the table, and every order in which two of them may meet.
#[test]
fn every_row() {
    let announced = Claim {
        announced: true,
        ..claim()
    };
    let stopped = Claim {
        stopped: true,
        ..claim()
    };
    let both = Claim {
        stopped: true,
        ..announced
    };
    let elsewhere = Claim {
        pod_uid: "q",
        ..announced
    };
    let ended = |task: crate::druid::worker::TaskAnnouncement| Meaning::Ended(task.task_status);
    let here = || Meaning::Announced(location());
    let table: Vec<(&[Step], Claim<'_>, Meaning)> = vec![
        (&[], claim(), Meaning::NotYet),
        (&[another_runs], claim(), Meaning::NotYet),
        (&[], stopped, Meaning::NotPosted),
        (&[], announced, Meaning::Forgotten),
        (&[], both, Meaning::Forgotten),
        (&[], elsewhere, Meaning::NewJvm),
        (&[runs, succeeds], elsewhere, Meaning::NewJvm),
        (&[runs], claim(), here()),
        (&[runs], both, here()),
        (&[runs, succeeds], claim(), ended(succeeded("a"))),
        (&[runs, fails], both, ended(failed("a"))),
        (&[runs, fails, succeeds], claim(), ended(failed("a"))),
        (&[runs, succeeds, forgets], announced, ended(succeeded("a"))),
        (&[runs, succeeds, restarts], announced, ended(succeeded("a"))),
        (&[runs, succeeds, falls_silent], announced, ended(succeeded("a"))),
        (&[runs, succeeds, forgets, runs], announced, ended(succeeded("a"))),
        (&[runs, forgets], claim(), Meaning::Forgotten),
        (&[runs, forgets], stopped, Meaning::Forgotten),
        (&[runs, forgets, falls_silent], claim(), Meaning::Forgotten),
        (&[runs, forgets, runs], claim(), Meaning::Forgotten),
        (&[runs, forgets, runs, succeeds], claim(), ended(succeeded("a"))),
        (&[restarts], claim(), Meaning::NewJvm),
        (&[restarts], stopped, Meaning::NewJvm),
        (&[runs, restarts], announced, Meaning::NewJvm),
        (&[runs, restarts, falls_silent], announced, Meaning::NewJvm),
        // A task of the same id in the other JVM is not the claimed one.
        (&[runs, restarts, runs], announced, Meaning::NewJvm),
        (&[restarts, runs, succeeds], claim(), Meaning::NewJvm),
        (&[restarts, succeeds, restarts], claim(), Meaning::NewJvm),
        (&[falls_silent], claim(), Meaning::Unreachable(at(100))),
        (&[runs, falls_silent], claim(), Meaning::Unreachable(at(100))),
        (&[runs, falls_silent, runs], claim(), here()),
        (&[resets], claim(), Meaning::Unread),
        (&[runs, resets], claim(), Meaning::Unread),
        (&[runs, succeeds, resets], claim(), ended(succeeded("a"))),
        (&[falls_behind], claim(), Meaning::Forgotten),
        (&[falls_behind], stopped, Meaning::Forgotten),
        (&[runs, falls_behind], claim(), here()),
    ];
    for (number, (events, claim, expected)) in table.into_iter().enumerate() {
        let view = after(events);
        assert_eq!(meaning(&view, Some(&claim)), expected, "row {number}: {view:?}");
    }
    let unread = View::new(target("p"));
    assert_eq!(meaning(&unread, Some(&claim())), Meaning::Unread);
    assert_eq!(meaning(&unread, None), Meaning::Unread);
}

#[test]
fn an_indexer_without_a_claim_is_idle_or_has_strangers() {
    let a = || Meaning::Stranger(vec!["a".into()]);
    assert_eq!(meaning(&after(&[]), None), Meaning::Idle);
    assert_eq!(meaning(&after(&[runs]), None), a());
    assert_eq!(meaning(&after(&[runs, succeeds]), None), a());
    assert_eq!(meaning(&after(&[runs, succeeds, forgets]), None), a());
    assert_eq!(meaning(&after(&[runs, falls_silent]), None), a());
    assert_eq!(meaning(&after(&[runs, restarts]), None), Meaning::NewJvm);
    assert_eq!(
        meaning(&after(&[falls_silent]), None),
        Meaning::Unreachable(at(100))
    );
}

#[test]
fn a_claimed_indexer_shuts_strangers_down_and_keeps_its_own() {
    let view = after(&[runs, another_runs]);
    assert_eq!(strangers(&view, |id| id == "a"), ["b"]);
    assert_eq!(strangers(&view, |_| false), ["a", "b"]);
    // Those of another JVM at the address are no less strange, and what has ended needs no shutdown.
    assert_eq!(
        strangers(&after(&[runs, restarts, another_runs]), |id| id == "a"),
        ["b"]
    );
    assert!(strangers(&after(&[runs, succeeds]), |_| false).is_empty());
    assert!(strangers(&after(&[runs, forgets]), |_| false).is_empty());
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Announce(u8, TaskState),
    Forget(u8),
    Restart,
    Poll,
    Old(usize),
    Silent,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let state = prop_oneof![
        Just(TaskState::Running),
        Just(TaskState::Success),
        Just(TaskState::Failed)
    ];
    let event = prop_oneof![
        6 => (0..3_u8, state).prop_map(|(id, state)| Event::Announce(id, state)),
        2 => (0..3_u8).prop_map(Event::Forget),
        1 => Just(Event::Restart),
        10 => Just(Event::Poll),
        1 => any::<usize>().prop_map(Event::Old),
        1 => Just(Event::Silent),
    ];
    proptest::collection::vec(event, 1..60)
}

fn id(number: u8) -> String {
    char::from(b'a' + number).to_string()
}

proptest! {
    /// Of any history, with answers that are lost, late or come twice: what was announced is never posted again; the
    /// first end that was read stays; once another JVM was seen there is nothing but ends; what a reader knows at the
    /// end of the polls is what the JVM lists.
    #[test]
    fn of_any_history(events in events()) {
        let (mut view, mut jvm) = (View::new(target("p")), Jvm::started(1_000));
        let mut answers: Vec<(Option<crate::druid::worker::Counter>, Answer)> = Vec::new();
        let mut seen: Vec<Option<Meaning>> = vec![None; 3];
        for event in events {
            match event {
                Event::Announce(number, state) => {
                    let id = id(number);
                    jvm.announce(match state {
                        TaskState::Running => running(&id),
                        TaskState::Success => succeeded(&id),
                        TaskState::Failed => failed(&id),
                    });
                }
                Event::Forget(number) => jvm.forget(&id(number)),
                Event::Restart => jvm = Jvm::started(jvm.answer(None).unwrap().counter.unwrap().hash + 5_000),
                Event::Poll => {
                    let asked = view.asks();
                    if let Some(answer) = jvm.answer(asked) {
                        answers.push((asked, answer.clone()));
                        prop_assert!(view.answered(asked, &answer).is_ok());
                    }
                }
                Event::Old(which) if !answers.is_empty() => {
                    let (asked, answer) = &answers[which % answers.len()];
                    let before = view.clone();
                    if *asked != before.asks() {
                        prop_assert_eq!(view.answered(*asked, answer), Ok(false));
                        prop_assert_eq!(&view, &before);
                    }
                }
                Event::Old(_) => {}
                Event::Silent => silent(&mut view),
            }
            for number in 0..3_u8 {
                let id = id(number);
                let claim = Claim { task_id: &id, ..claim() };
                let now = meaning(&view, Some(&claim));
                let before = seen[usize::from(number)].replace(now.clone());
                let known = view.task(&id).is_some() || view.former_task(&id).is_some();
                prop_assert!(!known || !matches!(now, Meaning::NotYet | Meaning::NotPosted), "{now:?}");
                match before {
                    Some(Meaning::Ended(status)) => prop_assert_eq!(now, Meaning::Ended(status)),
                    Some(Meaning::NewJvm) => prop_assert_eq!(now, Meaning::NewJvm),
                    Some(Meaning::Announced(_) | Meaning::Forgotten) => {
                        prop_assert!(now != Meaning::NotYet, "{now:?}");
                    }
                    _ => {}
                }
            }
        }
        read(&mut view, &jvm);
        for number in 0..3_u8 {
            let id = id(number);
            let listed = view.task(&id).is_some_and(|task| task.listed);
            prop_assert_eq!(listed, jvm.lists(&id));
        }
    }
}
