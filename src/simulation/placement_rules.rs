//! How well the rule spreads tasks over shared Indexers, beside other rules, and what it is good for that heavy and light
//! tasks have slots of their own. What decides is the index of the product.

use std::collections::{BTreeMap, HashSet};

use super::rng::Dice;
use crate::api::{PoolSlots, TaskSlot};
use crate::druid::rows_in_memory::RowsInMemory;
use crate::task::aggregates::idle_indexers::{Asker, Idle, IdleIndexers, PoolOffer};
use crate::task::fixtures::{asker, at, idle_indexer, pool_offer};

const POOL: &str = "small";

/// A pool of so many Indexers with these slots.
fn pool(indexers: usize, slots: PoolSlots) -> IdleIndexers {
    let index = IdleIndexers::default();
    index.listed();
    let all: Vec<Idle> = (0..indexers)
        .map(|n| Idle {
            slots: Some(slots),
            ..idle_indexer(&n.to_string(), &n.to_string())
        })
        .collect();
    let pods: HashSet<String> = all.iter().map(|idle| idle.pod_uid.clone()).collect();
    let offer = PoolOffer {
        is_shared: true,
        // More than any task reads.
        task_bytes: u64::MAX / 2,
        ..pool_offer(POOL)
    };
    let _ = index.offer("ns", offer, all, pods);
    index
}

/// The Indexer that a task is given.
fn take(index: &IdleIndexers, id: usize, second: u32, slot: TaskSlot, bytes: u64) -> Option<usize> {
    let (task, uid) = (("ns".to_owned(), format!("{id:06}")), id.to_string());
    let asker = Asker {
        slot,
        rows: RowsInMemory::Input(bytes),
        ..asker(&task, &uid, at(second.into()), true)
    };
    let given = index.take(&[POOL.to_owned()], &asker)?;
    given.indexer.pod.parse().ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Random,
    FewestTasks,
    TwoChoices,
    LeastBytes,
}

const INDEXERS: usize = 10;
const SLOTS: PoolSlots = PoolSlots { heavy: 8, light: 0 };
/// Steps before the first that counts, and all steps.
const STEPS: (u32, u32) = (300, 3_000);

/// The bytes of the fullest Indexer, as a multiple of the mean; the mean over all steps.
#[allow(clippy::cast_precision_loss)] // Figures to look at.
fn skew(rule: Rule) -> f64 {
    let mut dice = Dice::new(7);
    let index = pool(INDEXERS, SLOTS);
    // End, Indexer and bytes by number of the task.
    let mut running: BTreeMap<usize, (u32, usize, u64)> = BTreeMap::new();
    let (mut sum, mut samples) = (0.0, 0);
    for step in 0..STEPS.1 {
        let ended: Vec<usize> = running
            .iter()
            .filter(|(_, (end, ..))| *end <= step)
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            running.remove(&id);
            index.release(&id.to_string());
        }
        let mut load = [(0_u64, 0_u32); INDEXERS];
        for (_, at, bytes) in running.values() {
            load[*at].0 += bytes;
            load[*at].1 += 1;
        }
        let bytes = (1 << dice.below(8)) * u64::from(100 + dice.below(100));
        let end = step + 1 + dice.below(80);
        let free: Vec<usize> = (0..INDEXERS).filter(|n| load[*n].1 < SLOTS.heavy).collect();
        let choices = [dice.pick(&free), dice.pick(&free)];
        let id = usize::try_from(step).unwrap();
        let chosen = match rule {
            Rule::Random => choices[0],
            Rule::FewestTasks => *free.iter().min_by_key(|n| load[**n].1).unwrap(),
            Rule::TwoChoices => *choices.iter().min_by_key(|n| load[**n].0).unwrap(),
            Rule::LeastBytes => take(&index, id, step, TaskSlot::Heavy, bytes).unwrap(),
        };
        running.insert(id, (end, chosen, bytes));
        load[chosen].0 += bytes;
        if step >= STEPS.0 {
            let most = load.iter().map(|(bytes, _)| *bytes).max().unwrap_or_default();
            let all: u64 = load.iter().map(|(bytes, _)| bytes).sum();
            sum += most as f64 * INDEXERS as f64 / all as f64;
            samples += 1;
        }
    }
    sum / f64::from(samples)
}

#[test]
fn by_least_bytes_the_fullest_indexer_is_the_least_full() {
    let rules = [
        Rule::Random,
        Rule::FewestTasks,
        Rule::TwoChoices,
        Rule::LeastBytes,
    ];
    let skews = rules.map(skew);
    println!("bytes of the fullest Indexer by the mean: {rules:?} {skews:.2?}");
    assert!(skews.is_sorted_by(|a, b| a > b), "{skews:?}");
}

/// A task that reads rows, or one that waits for three of those.
#[derive(Debug, Clone)]
struct Job {
    asks: u32,
    lasts: u32,
    subtasks: Vec<usize>,
    is_parent: bool,
    begun: Option<u32>,
    ended: Option<u32>,
}

impl Job {
    fn new(asks: u32, lasts: u32, is_parent: bool) -> Self {
        Self {
            asks,
            lasts,
            subtasks: Vec::new(),
            is_parent,
            begun: None,
            ended: None,
        }
    }
}

/// What became of these jobs in four Indexers after so many seconds. With `apart`, parents take light slots.
fn work_off(mut jobs: Vec<Job>, apart: bool, seconds: u32) -> Vec<Job> {
    let light = if apart { 4 } else { 0 };
    let index = pool(4, PoolSlots { heavy: 4, light });
    let mut dice = Dice::new(3);
    for second in 0..seconds {
        for at in 0..jobs.len() {
            let job = &jobs[at];
            let Some(begun) = job.begun.filter(|_| job.ended.is_none()) else {
                continue;
            };
            let is_over = if job.is_parent {
                job.subtasks.iter().all(|subtask| jobs[*subtask].ended.is_some())
            } else {
                begun + job.lasts <= second
            };
            if is_over {
                jobs[at].ended = Some(second);
                index.release(&at.to_string());
            }
        }
        for at in 0..jobs.len() {
            if jobs[at].begun.is_some() || jobs[at].asks > second {
                continue;
            }
            let is_light = apart && jobs[at].is_parent;
            let slot = if is_light {
                TaskSlot::Light
            } else {
                TaskSlot::Heavy
            };
            if take(&index, at, jobs[at].asks, slot, 0).is_none() {
                continue;
            }
            jobs[at].begun = Some(second);
            if jobs[at].is_parent {
                for _ in 0..3 {
                    let subtask = Job::new(second, 5 + dice.below(10), false);
                    jobs.push(subtask);
                    let number = jobs.len() - 1;
                    jobs[at].subtasks.push(number);
                }
            }
        }
    }
    jobs
}

/// Mean seconds that jobs waited for a slot: parents, and the others.
fn waits(jobs: &[Job], seconds: u32) -> [f64; 2] {
    [true, false].map(|is_parent| {
        let of: Vec<&Job> = jobs.iter().filter(|job| job.is_parent == is_parent).collect();
        let waited = of.iter().map(|job| job.begun.unwrap_or(seconds) - job.asks);
        f64::from(waited.sum::<u32>()) / f64::from(u32::try_from(of.len()).unwrap())
    })
}

#[test]
fn parents_never_wait_for_the_slots_of_their_subtasks() {
    let burst = || (0..20).map(|_| Job::new(0, 0, true)).collect::<Vec<_>>();
    let together = work_off(burst(), false, 600);
    assert!(
        together.iter().all(|job| job.ended.is_none()),
        "sixteen parents have the sixteen slots, and their subtasks none"
    );
    let apart = work_off(burst(), true, 600);
    assert!(apart.iter().all(|job| job.ended.is_some()) && apart.len() == 80);
}

#[test]
fn with_slots_of_their_own_light_tasks_do_not_wait_and_heavy_ones_wait_less() {
    const SECONDS: u32 = 600;
    let mut dice = Dice::new(11);
    let mut jobs = Vec::new();
    for second in 0..SECONDS {
        if dice.one_in(5) {
            jobs.push(Job::new(second, 0, true));
        }
        if dice.one_in(2) {
            jobs.push(Job::new(second, 5 + dice.below(20), false));
        }
    }
    let [apart, together] =
        [true, false].map(|apart| waits(&work_off(jobs.clone(), apart, SECONDS), SECONDS));
    println!("seconds of waiting, parents and others: {apart:.1?} apart, {together:.1?} together");
    assert!(apart[0] < 1.0 && apart[0] < together[0], "{apart:?} {together:?}");
    assert!(apart[1] < together[1], "{apart:?} {together:?}");
}
