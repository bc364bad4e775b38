use super::*;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Task number `n`, created in second `n`, asks for a slot of the template `t`.
fn take(slots: &Slots, max: u32, n: i64) -> Slot {
    slots.take("ns", "t", max, &format!("uid-{n}"), at(n), &format!("task-{n}"))
}

fn who(numbers: &[i64]) -> Vec<Who> {
    numbers
        .iter()
        .map(|n| ("ns".into(), format!("task-{n}")))
        .collect()
}

#[test]
fn those_beyond_the_limit_wait_in_the_order_of_their_creation() {
    let slots = Slots::default();
    assert_eq!(take(&slots, 2, 1), Slot::Taken);
    assert_eq!(take(&slots, 2, 2), Slot::Taken);
    assert_eq!(take(&slots, 2, 4), Slot::Wait { running: 2, ahead: 0 });
    assert_eq!(take(&slots, 2, 3), Slot::Wait { running: 2, ahead: 0 });
    assert_eq!(take(&slots, 2, 4), Slot::Wait { running: 2, ahead: 1 });
    assert_eq!(take(&slots, 2, 1), Slot::Taken, "whoever has one keeps it");
    assert_eq!(slots.release("uid-1"), who(&[3]));
    assert_eq!(
        take(&slots, 2, 4),
        Slot::Wait { running: 1, ahead: 1 },
        "3 goes first"
    );
    assert_eq!(take(&slots, 2, 5), Slot::Wait { running: 1, ahead: 2 });
    assert_eq!(take(&slots, 2, 3), Slot::Taken);
}

#[test]
fn whoever_was_woken_and_left_makes_room_for_the_next() {
    let slots = Slots::default();
    for n in 1..=3 {
        let _ = take(&slots, 1, n);
    }
    assert_eq!(slots.forget("uid-1"), who(&[2]));
    assert_eq!(slots.forget("uid-2"), who(&[3]));
    assert_eq!(take(&slots, 1, 3), Slot::Taken);
}

#[test]
fn a_released_task_asks_again_behind_none_that_is_younger() {
    let slots = Slots::default();
    let _ = (take(&slots, 1, 1), take(&slots, 1, 2));
    assert_eq!(slots.release("uid-1"), who(&[2]));
    assert_eq!(slots.release("uid-2"), who(&[]), "it waits and stays in line");
    assert_eq!(take(&slots, 1, 1), Slot::Taken, "it is the older one");
    assert_eq!(take(&slots, 1, 2), Slot::Wait { running: 1, ahead: 0 });
}

#[test]
fn a_pod_is_a_slot_whatever_the_limit_says() {
    let slots = Slots::default();
    for n in 1..=3 {
        slots.hold("ns", "t", &format!("uid-{n}"));
    }
    assert_eq!(take(&slots, 2, 4), Slot::Wait { running: 3, ahead: 0 });
    assert_eq!(take(&slots, 2, 3), Slot::Taken);
    assert_eq!(slots.forget("uid-1"), who(&[]));
    assert_eq!(slots.forget("uid-2"), who(&[4]));
    let waits = take(&slots, 1, 5);
    slots.hold("ns", "t", "uid-5");
    assert_eq!(waits, Slot::Wait { running: 1, ahead: 1 });
    assert_eq!(
        slots.waiting("ns", "t"),
        who(&[4]),
        "what has a pod does not wait"
    );
}

#[test]
fn a_raised_limit_lets_those_go_who_wait() {
    let slots = Slots::default();
    for n in 1..=4 {
        let _ = take(&slots, 1, n);
    }
    assert_eq!(slots.waiting("ns", "t"), who(&[2, 3, 4]));
    assert_eq!(take(&slots, 3, 4), Slot::Wait { running: 1, ahead: 2 });
    assert_eq!(take(&slots, 3, 3), Slot::Taken);
    assert_eq!(take(&slots, 3, 2), Slot::Taken);
    assert_eq!(slots.waiting("ns", "t"), who(&[4]));
}

#[test]
fn templates_and_namespaces_are_apart_and_a_task_stands_with_one() {
    let slots = Slots::default();
    let _ = (take(&slots, 1, 1), take(&slots, 1, 2));
    assert_eq!(
        slots.take("ns", "other", 1, "uid-9", at(9), "task-9"),
        Slot::Taken
    );
    assert_eq!(
        slots.take("elsewhere", "t", 1, "uid-8", at(8), "task-8"),
        Slot::Taken
    );
    assert_eq!(slots.leave_other("ns", "t", "uid-1"), who(&[]));
    assert_eq!(slots.leave_other("ns", "new", "uid-1"), who(&[2]));
    assert_eq!(slots.take("ns", "new", 1, "uid-1", at(1), "task-1"), Slot::Taken);
    assert_eq!(take(&slots, 1, 2), Slot::Taken);
}

#[derive(Debug, Clone)]
enum Act {
    Take(i64),
    Hold(i64),
    Release(i64),
    Forget(i64),
    Max(u32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_i64..12).prop_map(Act::Take),
        1 => (0_i64..12).prop_map(Act::Hold),
        2 => (0_i64..12).prop_map(Act::Release),
        2 => (0_i64..12).prop_map(Act::Forget),
        1 => (1_u32..5).prop_map(Act::Max),
    ]
}

proptest! {
    #[test]
    fn never_too_many_never_out_of_order_and_nothing_leaks(acts in proptest::collection::vec(act(), 0..200)) {
        let slots = Slots::default();
        let (mut max, mut held, mut forced) = (2, std::collections::BTreeSet::new(), 0_usize);
        let mut waiting = std::collections::BTreeSet::new();
        for act in acts {
            let before = held.len();
            let woken = match act {
                Act::Max(new) => {
                    max = new;
                    continue;
                }
                Act::Take(n) => {
                    match take(&slots, max, n) {
                        Slot::Taken => {
                            if held.insert(n) {
                                // None of those before it is left without the slot that is its turn.
                                let ahead = waiting.range(..n).count();
                                prop_assert!(before + ahead < usize::try_from(max).unwrap());
                            }
                            waiting.remove(&n);
                        }
                        Slot::Wait { running, ahead } => {
                            waiting.insert(n);
                            prop_assert_eq!(usize::try_from(running).unwrap(), held.len());
                            prop_assert_eq!(usize::try_from(ahead).unwrap(), waiting.range(..n).count());
                        }
                    }
                    Vec::new()
                }
                Act::Hold(n) => {
                    slots.hold("ns", "t", &format!("uid-{n}"));
                    held.insert(n);
                    waiting.remove(&n);
                    forced = forced.max(held.len());
                    Vec::new()
                }
                Act::Release(n) => {
                    held.remove(&n);
                    slots.release(&format!("uid-{n}"))
                }
                Act::Forget(n) => {
                    held.remove(&n);
                    waiting.remove(&n);
                    slots.forget(&format!("uid-{n}"))
                }
            };
            let expected: Vec<i64> = waiting.iter().copied().take(woken.len()).collect();
            prop_assert_eq!(woken, who(&expected), "those who wait longest are woken");
            prop_assert!(held.len() <= forced.max(4));
        }
        // Everybody who waits gets a slot once the others are gone.
        let mut order = Vec::new();
        for n in held {
            let _ = slots.forget(&format!("uid-{n}"));
        }
        while let Some((_, name)) = slots.waiting("ns", "t").first().cloned() {
            let n: i64 = name["task-".len()..].parse().unwrap();
            prop_assert_eq!(take(&slots, 1, n), Slot::Taken);
            order.push(n);
            let _ = slots.forget(&format!("uid-{n}"));
        }
        prop_assert!(order.iter().eq(waiting.iter()));
        let inner = slots.inner.lock();
        prop_assert!(inner.templates.is_empty() && inner.places.is_empty());
    }
}

#[test]
fn counts_are_those_of_the_slots_and_every_change_is_reported() {
    let slots = Slots::default();
    let reported = std::sync::Arc::new(Mutex::new(0));
    let count = reported.clone();
    slots.on_change(Box::new(move |namespace, name| {
        assert_eq!((namespace, name), ("ns", "t"));
        *count.lock() += 1;
    }));
    let counts = |running, waiting| Counts { running, waiting };
    for n in 1..=3 {
        let _ = take(&slots, 1, n);
    }
    assert_eq!((slots.counts("ns", "t"), *reported.lock()), (counts(1, 2), 3));
    let _ = (take(&slots, 1, 1), take(&slots, 1, 2));
    slots.hold("ns", "t", "uid-1");
    assert_eq!(*reported.lock(), 3, "nothing changed");
    slots.hold("ns", "t", "uid-2");
    assert_eq!(slots.counts("ns", "t"), counts(2, 1));
    for n in 1..=3 {
        slots.forget(&format!("uid-{n}"));
    }
    assert_eq!(slots.counts("ns", "t"), counts(0, 0));
    assert!(*reported.lock() >= 7);
}
