//! Which shared Indexers get no task because their heap is full, or are replaced because it stays so (pure).
//!
//! What a full collection leaves is used by tasks, or was left behind by earlier ones. The former passes with the tasks: the
//! Indexer is *cordoned*, gets no task for now, and another one is not started for it. The latter does not: if what is left
//! exceeds `recycle.liveHeapPercent` and what the tasks of that time may use (twice `taskBytes` each), the Indexer is replaced.

use std::collections::BTreeMap;

use super::gc_log::Reading;
use crate::api::indexer_pool::IndexerPoolSpec;
use crate::api::pool_watchdog::{GC_PERCENT, LIVE_HEAP_PERCENT, LIVE_PERCENT};

/// What ends a cordon is this much below what begins it: live heap, in percent of the heap.
const LIVE_MARGIN: u8 = 5;
/// From this percentage on, a limit is none.
const NEVER: u8 = 100;

/// The heap of an Indexer, as its pod says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heap {
    /// Bytes of the heap.
    pub bytes: u64,
    /// Bytes of rows that a task holds at most.
    pub task_bytes: u64,
}

impl Heap {
    /// As an annotation has it.
    #[must_use]
    pub fn text(self) -> String {
        format!("{},{}", self.bytes, self.task_bytes)
    }

    /// Reads the annotation of a pod.
    #[must_use]
    pub fn read(text: Option<&str>) -> Option<Self> {
        let (bytes, task_bytes) = text?.split_once(',')?;
        Some(Self {
            bytes: bytes.parse().ok().filter(|bytes| *bytes > 0)?,
            task_bytes: task_bytes.parse().ok()?,
        })
    }

    fn percent(self, bytes: u64) -> u8 {
        let percent = u128::from(bytes) * 100 / u128::from(self.bytes.max(1));
        u8::try_from(percent).unwrap_or(u8::MAX)
    }
}

/// Why an Indexer gets no task for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cordon {
    /// The last full collection left this percentage of the heap, or nearly so.
    Live(u8),
    /// Collections take this percentage of the time.
    Gc(u8),
}

impl Cordon {
    /// For people.
    #[must_use]
    pub fn details(self) -> String {
        match self {
            Self::Live(percent) => format!(
                "it gets no task for now: {percent} % of its heap is in use after a full garbage collection"
            ),
            Self::Gc(percent) => {
                format!("it gets no task for now: garbage collections take {percent} % of the time")
            }
        }
    }

    fn is_same_kind(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// What is decided of an Indexer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judged {
    /// What the last full collection left, in percent of the heap.
    pub live_percent: Option<u8>,
    /// Why it gets no task for now, if it gets none.
    pub cordon: Option<Cordon>,
    /// Whether it is to be replaced: so much is left that the tasks do not use.
    pub is_leaking: bool,
}

/// What is remembered of the heaps of a pool from pass to pass, by the uids of the pods.
#[derive(Debug, Clone, Default)]
pub struct Heaps(BTreeMap<String, Known>);

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Uptime at the last full collection.
    collected: Option<u64>,
    /// The tasks then.
    tasks_then: usize,
    /// The tasks at the last pass.
    tasks: usize,
    cordon: Option<Cordon>,
}

/// An Event of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Its reason.
    pub reason: &'static str,
    /// Its text.
    pub note: String,
}

impl Heaps {
    /// Decides about an Indexer that has this number of tasks.
    pub fn judge(
        &mut self,
        pool: &IndexerPoolSpec,
        uid: &str,
        heap: Heap,
        reading: Reading,
        tasks: usize,
    ) -> Judged {
        let known = self.0.entry(uid.to_owned()).or_default();
        let collected = reading.live.map(|live| live.uptime);
        if known.collected != collected {
            known.collected = collected;
            // Some may have ended since the collection.
            known.tasks_then = tasks.max(known.tasks);
        }
        known.tasks = tasks;
        let live_percent = reading.live.map(|live| heap.percent(live.bytes));
        known.cordon = cordon(pool, known, live_percent, reading.gc_percent);
        let recycle = pool
            .recycle
            .as_ref()
            .and_then(|recycle| recycle.live_heap_percent);
        let most = recycle.unwrap_or(LIVE_HEAP_PERCENT);
        let is_leaking = reading.live.is_some_and(|live| {
            let then = u64::try_from(known.tasks_then).unwrap_or(u64::MAX);
            let of_tasks = heap.task_bytes.saturating_mul(2).saturating_mul(then);
            most < NEVER && heap.percent(live.bytes.saturating_sub(of_tasks)) > most
        });
        Judged {
            live_percent,
            cordon: known.cordon,
            is_leaking,
        }
    }

    /// Forgets the Indexers that are not among these.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|uid, _| is_there(uid));
    }

    /// Whether an Indexer is cordoned.
    #[must_use]
    pub fn any_cordoned(&self) -> bool {
        self.0.values().any(|known| known.cordon.is_some())
    }

    /// Why the Indexer with this pod is cordoned.
    #[must_use]
    pub fn cordon_of(&self, uid: &str) -> Option<Cordon> {
        self.0.get(uid).and_then(|known| known.cordon)
    }
}

fn cordon(pool: &IndexerPoolSpec, known: &Known, live: Option<u8>, gc: u8) -> Option<Cordon> {
    let watchdog = pool.watchdog.as_ref();
    let live_limit = watchdog
        .and_then(|w| w.cordon_live_percent)
        .unwrap_or(LIVE_PERCENT);
    let gc_limit = watchdog.and_then(|w| w.cordon_gc_percent).unwrap_or(GC_PERCENT);
    let (was_live, was_gc) = match known.cordon {
        Some(Cordon::Live(_)) => (true, false),
        Some(Cordon::Gc(_)) => (false, true),
        None => (false, false),
    };
    // Without tasks no collection may follow that says that the heap is empty again.
    let live_limit_now = live_limit.saturating_sub(if was_live { LIVE_MARGIN } else { 0 });
    let live = live.filter(|live| known.tasks > 0 && live_limit < NEVER && *live >= live_limit_now);
    let gc_limit_now = if was_gc { gc_limit / 2 } else { gc_limit };
    let gc = Some(gc).filter(|gc| gc_limit < NEVER && *gc >= gc_limit_now.max(1));
    live.map(Cordon::Live).or(gc.map(Cordon::Gc))
}

/// What an Event says when the cordon of an Indexer changed.
#[must_use]
pub fn news(pod: &str, before: Option<Cordon>, now: Option<Cordon>) -> Option<News> {
    match (before, now) {
        (Some(before), Some(now)) if before.is_same_kind(now) => None,
        (_, Some(now)) => Some(News {
            reason: "Cordoned",
            note: format!("{pod}: {}", now.details()),
        }),
        (Some(_), None) => Some(News {
            reason: "Uncordoned",
            note: format!("{pod} gets tasks again: what was cordoned for is over"),
        }),
        (None, None) => None,
    }
}

#[cfg(test)]
#[path = "watchdog_tests.rs"]
mod tests;
