use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::prelude::*;

use super::*;

fn take_all(shares: &Shares, namespace: &str) -> Vec<Share> {
    std::iter::from_fn(|| shares.try_acquire(namespace, 1)).collect()
}

#[test]
fn a_namespace_holds_no_more_than_is_left() {
    let shares = Shares::fair(200);
    let mut held = Vec::new();
    for (namespace, gets) in [("a", 100), ("b", 50), ("c", 25), ("d", 13)] {
        let got = take_all(&shares, namespace);
        assert_eq!(got.len(), gets, "{namespace}");
        held.push(got);
    }
    // What it gives back may be had again, by others as well.
    drop(held);
    assert_eq!(shares.free(), 200);
    assert!(
        shares.0.lock().namespaces.is_empty(),
        "nothing is kept of those that are gone"
    );
    assert_eq!(take_all(&shares, "e").len(), 100);
    for total in 1..5 {
        assert!(shares_of(total) >= 1, "of {total} at least one");
    }
    assert_eq!(take_all(&Shares::of_one(200), "a").len(), 200);
}

fn shares_of(total: u64) -> usize {
    take_all(&Shares::fair(total), "a").len()
}

/// Polls it once.
fn begin(shares: &Shares, namespace: &'static str) -> BoxFuture<'static, Share> {
    let shares = shares.clone();
    let mut waiting = async move { shares.acquire(namespace, 1).await }.boxed();
    assert!((&mut waiting).now_or_never().is_none(), "{namespace} has to wait");
    waiting
}

#[test]
fn the_next_place_is_that_of_the_namespace_with_the_fewest() {
    let shares = Shares::fair(4);
    let mut a = take_all(&shares, "a");
    let b = take_all(&shares, "b");
    let c = take_all(&shares, "c");
    assert_eq!((a.len(), b.len(), c.len()), (2, 1, 1));
    // The one with many came first, and the one with none last.
    let mut more_a = begin(&shares, "a");
    let mut more_b = begin(&shares, "b");
    let mut gone = begin(&shares, "d");
    let mut first_d = begin(&shares, "d");
    assert!((&mut gone).now_or_never().is_none());
    drop(gone);
    a.pop();
    let got = (&mut first_d).now_or_never().unwrap();
    assert_eq!(&*got.namespace, "d");
    assert!((&mut more_a).now_or_never().is_none() && (&mut more_b).now_or_never().is_none());
    drop((a, b, c, got));
    assert!(more_a.now_or_never().is_some() && more_b.now_or_never().is_some());
    assert_eq!(shares.free(), 4);
}

#[test]
fn what_was_granted_and_never_taken_comes_back() {
    let shares = Shares::fair(1);
    let one = shares.try_acquire("a", 1).unwrap();
    let waiting = begin(&shares, "b");
    drop(one);
    // It was granted, and nobody looks.
    drop(waiting);
    assert_eq!(shares.free(), 1);
    let mut all = shares.acquire("c", 7).now_or_never().unwrap();
    assert_eq!(all.amount(), 1, "at most all there is");
    all.shrink_to(0);
    assert_eq!(shares.free(), 1);
}

proptest! {
    /// Whatever is asked for and given back: nothing is lost, nobody has more than the rule allows when it gets it, and
    /// at the end everybody gets something.
    #[test]
    fn all_is_accounted_for(total in 1_u64..20, steps in prop::collection::vec((0_usize..4, 1_u64..4, any::<bool>()), 0..80)) {
        let names = ["a", "b", "c", "d"];
        let shares = Shares::fair(total);
        let mut waiting: Vec<BoxFuture<'static, Share>> = Vec::new();
        let mut held: Vec<Share> = Vec::new();
        for (which, amount, takes) in steps {
            if takes {
                let (shares, name) = (shares.clone(), names[which]);
                waiting.push(async move { shares.acquire(name, amount).await }.boxed());
            } else if !held.is_empty() {
                held.swap_remove(which % held.len());
            }
            waiting.retain_mut(|w| match w.now_or_never() {
                Some(share) => { held.push(share); false }
                None => true,
            });
            let sum: u64 = held.iter().map(Share::amount).sum();
            prop_assert_eq!(sum + shares.free(), total);
        }
        while !waiting.is_empty() {
            held.clear();
            let before = waiting.len();
            waiting.retain_mut(|w| match w.now_or_never() {
                Some(share) => { held.push(share); false }
                None => true,
            });
            prop_assert!(waiting.len() < before, "somebody waits for ever");
        }
        held.clear();
        prop_assert_eq!(shares.free(), total);
    }
}
