//! Whatever happens to pools and tasks: an Indexer is given to one task, once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    /// Task, pools, whether it waits.
    Take(i64, usize, bool),
    Release(i64),
    /// The status records what the task was given.
    Record(i64),
    /// The status records an Indexer that another process gave.
    Foreign(i64, usize),
    /// The status records none.
    Nowhere(i64),
    Final(i64),
    Gone(i64),
    Retire(usize),
    /// A pod is gone.
    Deleted(usize),
    /// Which of the pods of which pool are idle.
    Offer(usize, u8),
    Withdraw(usize),
}

const TASKS: i64 = 6;
const LISTS: [&[&str]; 4] = [&["a"], &["b"], &["a", "b"], &["b", "a"]];
const PODS: [&str; 8] = ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"];

fn act() -> impl Strategy<Value = Act> {
    let pod = || 0..PODS.len();
    prop_oneof![
        8 => (0..TASKS, 0..LISTS.len(), any::<bool>()).prop_map(|(n, list, waits)| Act::Take(n, list, waits)),
        2 => (0..TASKS).prop_map(Act::Release),
        3 => (0..TASKS).prop_map(Act::Record),
        1 => (0..TASKS, pod()).prop_map(|(n, pod)| Act::Foreign(n, pod)),
        2 => (0..TASKS).prop_map(Act::Nowhere),
        1 => (0..TASKS).prop_map(Act::Final),
        1 => (0..TASKS).prop_map(Act::Gone),
        1 => pod().prop_map(Act::Retire),
        1 => pod().prop_map(Act::Deleted),
        4 => (0..2_usize, any::<u8>()).prop_map(|(pool, mask)| Act::Offer(pool, mask)),
        1 => (0..2_usize).prop_map(Act::Withdraw),
    ]
}

fn pool_of(pod: &str) -> &str {
    &pod[..1]
}

/// What is known of one Indexer.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // Each says something else of it.
struct Known {
    offered: bool,
    /// Whether its pool has its pod.
    there: bool,
    deleted: bool,
    reserved: Option<i64>,
    claimed: Option<i64>,
    over: bool,
    /// No task may be given it any more.
    spent: bool,
}

#[derive(Debug, Default)]
struct Model {
    pods: BTreeMap<&'static str, Known>,
    waiting: BTreeMap<i64, &'static [&'static str]>,
    /// The pools that offer nothing.
    withdrawn: BTreeSet<&'static str>,
}

impl Model {
    fn has(&self, n: i64) -> Option<&'static str> {
        let has = |known: &Known| known.reserved == Some(n) || known.claimed == Some(n);
        self.pods
            .iter()
            .find(|(_, known)| has(known))
            .map(|(pod, _)| *pod)
    }

    fn known(&mut self, pod: &'static str) -> &mut Known {
        self.pods.entry(pod).or_default()
    }

    fn free(&self, pool: &str) -> BTreeSet<&'static str> {
        let free = |known: &Known| {
            known.offered && !known.spent && known.reserved.is_none() && known.claimed.is_none()
        };
        let of_pool = self.pods.iter().filter(|(pod, _)| pool_of(pod) == pool);
        of_pool
            .filter(|(_, known)| free(known))
            .map(|(pod, _)| *pod)
            .collect()
    }

    fn waiting_for(&self, pool: &'static str) -> impl Iterator<Item = i64> {
        let waiting = self.waiting.iter().filter(move |(_, list)| list.contains(&pool));
        waiting.map(|(n, _)| *n)
    }

    /// The task has its Indexer no longer, and nobody else gets it.
    fn end(&mut self, n: i64) {
        if let Some(pod) = self.has(n) {
            let known = self.known(pod);
            (known.reserved, known.claimed, known.over, known.spent) = (None, None, false, true);
        }
    }

    fn claim(&mut self, n: i64, pod: &'static str) {
        if self.has(n) != Some(pod) {
            self.end(n);
        }
        let known = self.known(pod);
        (known.reserved, known.claimed, known.spent) = (None, Some(n), true);
        known.over = false;
    }
}

proptest! {
    #[test]
    fn an_indexer_is_given_to_one_task_once_and_nothing_leaks(acts in proptest::collection::vec(act(), 0..120)) {
        let index = listed();
        let mut model = Model::default();
        for pool in ["a", "b"] {
            let _ = index.offer("ns", offer(pool), Vec::new(), names(&[]));
        }
        for pod in PODS {
            model.known(pod);
        }
        for act in acts {
            match act {
                Act::Take(n, list, waits) => {
                    let list = LISTS[list];
                    let has = model.has(n);
                    let given = take(&index, n, list, waits);
                    let kept = has.is_some_and(|pod| {
                        let known = &model.pods[pod];
                        known.claimed.is_some() || (known.there && list.contains(&pool_of(pod)))
                    });
                    if kept {
                        let reserved = has.filter(|pod| model.pods[pod].reserved.is_some());
                        prop_assert_eq!(given.as_deref(), reserved);
                    } else {
                        model.end(n);
                        let left = |pool: &&'static str| {
                            let older = model.waiting_for(pool).filter(|waits| *waits < n).count();
                            Some(model.free(pool)).filter(|free| free.len() > older)
                        };
                        let free = list.iter().find_map(left);
                        prop_assert_eq!(given.is_some(), free.is_some());
                        if let Some(pod) = given.as_deref() {
                            let pod = PODS.into_iter().find(|known| *known == pod).unwrap();
                            prop_assert!(free.unwrap().contains(pod));
                            model.known(pod).reserved = Some(n);
                        }
                    }
                    model.waiting.remove(&n);
                    if given.is_none() && waits {
                        model.waiting.insert(n, list);
                    }
                }
                Act::Release(n) => {
                    index.release(&uid(n));
                    model.waiting.remove(&n);
                    if let Some(pod) = model.has(n) {
                        model.known(pod).reserved = None;
                    }
                }
                Act::Record(n) => {
                    if let Some(pod) = model.has(n) {
                        index.observe(&claims(n, pool_of(pod), pod));
                        model.claim(n, pod);
                    }
                }
                Act::Foreign(n, pod) => {
                    let pod = PODS[pod];
                    if model.pods[pod].claimed.is_none_or(|by| by == n) && !model.pods[pod].spent {
                        index.observe(&claims(n, pool_of(pod), pod));
                        model.claim(n, pod);
                    }
                }
                Act::Nowhere(n) => {
                    index.observe(&says(n, json!({"phase": "Pending"})));
                    if model.has(n).is_some_and(|pod| model.pods[pod].claimed.is_some()) {
                        model.end(n);
                    }
                }
                Act::Final(n) => {
                    if let Some(pod) = model.has(n).filter(|pod| model.pods[pod].claimed.is_some()) {
                        let mut last = ended(n, pod, json!([]));
                        let run = last.status.as_mut().and_then(|status| status.run.as_mut()).unwrap();
                        run.pool = Some(pool_of(pod).to_owned());
                        index.observe(&last);
                        model.known(pod).over = true;
                    }
                }
                Act::Gone(n) => {
                    index.gone(&uid(n));
                    model.end(n);
                    model.waiting.remove(&n);
                }
                Act::Retire(pod) => {
                    let known = model.known(PODS[pod]);
                    let busy = known.reserved.is_some() || (known.claimed.is_some() && !known.over);
                    known.spent |= !busy;
                    prop_assert_eq!(index.retire("ns", pool_of(PODS[pod]), PODS[pod]), !busy);
                }
                Act::Deleted(pod) => model.known(PODS[pod]).deleted = true,
                Act::Offer(pool, mask) => {
                    let pool = ["a", "b"][pool];
                    let mut there = Vec::new();
                    for (at, pod) in PODS.into_iter().enumerate().filter(|(_, pod)| pool_of(pod) == pool) {
                        let known = model.known(pod);
                        known.there = !known.deleted;
                        known.offered = known.there && mask & (1 << at) > 0;
                        there.extend(known.there.then_some(pod));
                    }
                    let of_pool = there.iter().filter(|pod| model.pods[**pod].offered);
                    let woken = index.offer("ns", offer(pool), of_pool.map(|pod| idle(pod)).collect(), names(&there));
                    let first: Vec<i64> = if model.withdrawn.remove(pool) {
                        model.waiting.keys().copied().collect()
                    } else {
                        model.waiting_for(pool).take(model.free(pool).len()).collect()
                    };
                    prop_assert_eq!(woken, who(&first));
                }
                Act::Withdraw(pool) => {
                    let pool = ["a", "b"][pool];
                    let woken = index.withdraw("ns", pool);
                    let all: Vec<i64> = if model.withdrawn.insert(pool) {
                        model.waiting_for(pool).collect()
                    } else {
                        Vec::new()
                    };
                    prop_assert_eq!(woken, who(&all));
                    for (_, known) in model.pods.iter_mut().filter(|(pod, _)| pool_of(pod) == pool) {
                        known.offered = false;
                    }
                }
            }
            for (pod, known) in model.pods.iter().filter(|(_, known)| known.there) {
                let expected = match (known.reserved.or(known.claimed), known.spent) {
                    (Some(_), _) if known.over => Use::Over,
                    (Some(_), _) => Use::Claimed,
                    (None, true) => Use::Over,
                    (None, false) => Use::None,
                };
                prop_assert_eq!(index.use_of("ns", pool_of(pod), pod), expected, "{}", pod);
                let tasks: Vec<i64> = known.reserved.or(known.claimed).into_iter().collect();
                prop_assert_eq!(index.tasks_on(pod), who(&tasks));
            }
        }
        for n in 0..TASKS {
            index.gone(&uid(n));
        }
        prop_assert_eq!(index.uids(), Vec::<String>::new());
        let inner = index.inner.lock();
        prop_assert!(inner.claims.is_empty() && inner.waiting.is_empty());
    }
}
