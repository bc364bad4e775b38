use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    total: 8,
    namespace: 5,
};

type Woken = Arc<Mutex<Vec<Who>>>;

fn shares() -> (Shares, Woken) {
    let woken = Woken::default();
    let told = woken.clone();
    let wake = move |namespace: &str, name: &str| told.lock().push((namespace.to_owned(), name.to_owned()));
    (Shares::new(LIMITS, Arc::new(wake)), woken)
}

fn who(namespace: &str, n: usize) -> Who {
    (namespace.to_owned(), n.to_string())
}

fn names(woken: &Woken) -> Vec<String> {
    std::mem::take(&mut *woken.lock())
        .into_iter()
        .map(|(namespace, name)| namespace + &name)
        .collect()
}

#[test]
fn a_namespace_has_its_bound_and_leaves_the_rest_to_others() {
    let (shares, woken) = shares();
    let held: Vec<_> = (0..5).map(|n| shares.take(&who("a", n), 1).unwrap()).collect();
    assert!(shares.take(&who("a", 5), 1).is_none());
    let others: Vec<_> = (0..3).map(|n| shares.take(&who("b", n), 1).unwrap()).collect();
    assert!(shares.take(&who("b", 3), 1).is_none());
    assert_eq!(names(&woken), [""; 0]);
    drop(held);
    // The one that has less is first.
    assert_eq!(names(&woken), ["b3", "a5"]);
    drop(others);
    assert!(shares.take(&who("b", 3), 1).is_some() && shares.take(&who("a", 5), 1).is_some());
}

#[test]
fn who_waits_longest_is_first_and_is_not_overtaken() {
    let (shares, woken) = shares();
    let all = shares.take(&who("a", 0), 5).unwrap();
    for n in 1..4 {
        assert!(shares.take(&who("a", n), 2).is_none());
        // Asking again changes nothing.
        assert!(shares.take(&who("a", n), 2).is_none());
    }
    drop(all);
    assert_eq!(names(&woken), ["a1", "a2"]);
    // Nothing is left for one that comes now, before those whose share has been set aside have asked.
    assert!(shares.take(&who("a", 9), 2).is_none());
    let first = shares.take(&who("a", 1), 2);
    assert!(first.is_some());
    drop(first);
    assert_eq!(names(&woken), ["a3"]);
}

#[test]
fn who_leaves_takes_nothing_along() {
    let (shares, woken) = shares();
    let all = shares.take(&who("a", 0), 5).unwrap();
    for n in 1..4 {
        assert!(shares.take(&who("a", n), 5).is_none());
    }
    shares.leave(&who("a", 1));
    drop(all);
    assert_eq!(names(&woken), ["a2"]);
    shares.leave(&who("a", 2));
    assert_eq!(names(&woken), ["a3"]);
    shares.leave(&who("a", 3));
    shares.leave(&who("a", 3));
    assert!(shares.take(&who("a", 4), 5).is_some());
    let state = shares.0.state.lock();
    assert!(state.used == 0 && state.namespaces.is_empty() && state.tickets.is_empty());
}

#[test]
fn one_that_wants_much_is_not_overtaken_for_ever_by_those_who_want_little() {
    let (shares, woken) = shares();
    let mut small: Vec<_> = (0..5).map(|n| shares.take(&who("b", n), 1).unwrap()).collect();
    assert!(shares.take(&who("a", 0), 5).is_none());
    assert!(shares.take(&who("c", 0), 1).is_none());
    small.pop();
    assert_eq!(names(&woken), [""; 0]);
    small.pop();
    assert_eq!(names(&woken), ["a0"]);
}

/// What a task does in the property test.
#[derive(Debug, Clone)]
enum Act {
    Take(usize, usize, u32),
    Drop(usize),
    Leave(usize, usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_usize..4, 0_usize..6, 0_u32..7).prop_map(|(a, b, c)| Act::Take(a, b, c)),
        3 => (0_usize..64).prop_map(Act::Drop),
        1 => (0_usize..4, 0_usize..6).prop_map(|(a, b)| Act::Leave(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_bounds_hold_and_nobody_is_forgotten(acts in proptest::collection::vec(act(), 0..200)) {
        let (shares, woken) = shares();
        let mut held: Vec<(Who, Share)> = Vec::new();
        let mut waits: BTreeSet<Who> = BTreeSet::new();
        let name = |a: usize, b| who(["a", "b", "c", "d"][a], b);
        for act in acts {
            match act {
                Act::Take(a, b, amount) => {
                    let who = name(a, b);
                    match shares.take(&who, amount) {
                        Some(share) => {
                            waits.remove(&who);
                            held.push((who, share));
                        }
                        None => {
                            waits.insert(who);
                        }
                    }
                }
                Act::Drop(at) if !held.is_empty() => drop(held.swap_remove(at % held.len())),
                Act::Drop(_) => {}
                Act::Leave(a, b) => {
                    shares.leave(&name(a, b));
                    waits.remove(&name(a, b));
                }
            }
            prop_assert!(held.iter().map(|(_, s)| s.amount).sum::<u32>() <= LIMITS.total);
            for a in 0..4 {
                let of = held.iter().filter(|(w, _)| w.0 == name(a, 0).0);
                prop_assert!(of.map(|(_, s)| s.amount).sum::<u32>() <= LIMITS.namespace);
            }
        }
        // Everybody who waits comes to it once the others have what they want, by being woken alone.
        while !waits.is_empty() {
            held.clear();
            // Whoever is woken twice asks once.
            let next: BTreeSet<Who> = std::mem::take(&mut *woken.lock()).into_iter().collect();
            let amounts: Vec<(Who, u32)> = {
                let state = shares.0.state.lock();
                let kept = |w: Who| match state.tickets.get(&w) {
                    Some(Ticket::SetAside(amount)) => Some((w, *amount)),
                    _ => None,
                };
                next.into_iter().filter_map(kept).collect()
            };
            prop_assert!(!amounts.is_empty(), "{waits:?} wait and nobody is woken");
            for (who, amount) in amounts {
                if let Some(share) = shares.take(&who, amount) {
                    waits.remove(&who);
                    held.push((who, share));
                }
            }
        }
        held.clear();
        let state = shares.0.state.lock();
        prop_assert!(state.used == 0 && state.namespaces.is_empty() && state.tickets.is_empty());
    }
}
