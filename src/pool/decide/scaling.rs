//! How many Indexers a pool has that finds that out itself (pure).
//!
//! | known | follows |
//! |---|---|
//! | tasks need more than there are | as many at once, up to `max` |
//! | fewer would do, for `scaleDownAfterSeconds` without a break | the most that were needed in that time, not below `min` |
//! | the tasks are not all known yet | not fewer |
//!
//! A task that waits is counted until it has a slot, so Indexers that are still starting are not asked for again. The number
//! is kept in the status, and never in the spec: whoever applies the spec from elsewhere changes nothing of it.

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::indexer_pool::IndexerPoolSpec;
use crate::api::{IndexerPool, PoolAutoscaling, PoolScaling, conditions};
use crate::task::aggregates::idle_indexers::Demand;

/// While fewer Indexers may suffice soon, their number is considered again after this time.
const AGAIN: Duration = Duration::from_secs(30);

/// The tasks of a pool by the kind of slot that they need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BySlot {
    /// Heavy ones.
    pub heavy: Demand,
    /// Light ones.
    pub light: Demand,
}

/// What one pass leaves for the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scaling {
    status: Option<PoolScaling>,
    /// Since when fewer suffice, and the most that were needed since then.
    lower: Option<(Timestamp, u32)>,
}

/// What follows for this pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaled {
    /// The number of Indexers, and why.
    pub status: PoolScaling,
    /// Whether there are to be more than before, or fewer.
    pub change: Option<Change>,
    /// When to look again.
    pub look_again: Option<Duration>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There are to be more Indexers.
    Up,
    /// There are to be fewer.
    Down,
}

impl Scaled {
    /// Reason and note of the Event about a change.
    #[must_use]
    pub fn event(&self) -> Option<(&'static str, &str)> {
        let reason = match self.change? {
            Change::Up => "ScaledUp",
            Change::Down => "ScaledDown",
        };
        Some((reason, self.status.message.as_deref().unwrap_or_default()))
    }
}

/// Decides about the number of Indexers; `None` without `autoscaling`. `settled`: all tasks are known.
pub fn scale(
    pool: &IndexerPool,
    memory: &mut Scaling,
    demand: &BySlot,
    settled: bool,
    now: Timestamp,
) -> Option<Scaled> {
    let Some(bounds) = &pool.spec.autoscaling else {
        *memory = Scaling::default();
        return None;
    };
    let recorded = || pool.status.as_ref().and_then(|status| status.scaling.clone());
    let before = memory.status.take().or_else(recorded);
    let first = before.is_none();
    let mut status = before.unwrap_or(PoolScaling {
        desired_replicas: pool.spec.replicas,
        message: None,
    });
    let from = status.desired_replicas;
    let needed = needed(&pool.spec, bounds, demand);
    let bounded = within(bounds, needed);
    // Another minimum or maximum counts at once.
    let current = within(bounds, from.into());
    let after = SignedDuration::from_secs(bounds.scale_down_after_seconds.into());
    let mut look_again = None;
    let to = if bounded >= current || !settled {
        memory.lower = None;
        bounded.max(current)
    } else {
        let (since, most) = memory.lower.unwrap_or((now, bounded));
        let most = most.max(bounded);
        let due = since.checked_add(after).unwrap_or(Timestamp::MAX);
        if due <= now {
            memory.lower = None;
            most
        } else {
            memory.lower = Some((since, most));
            look_again = Duration::try_from(due.duration_since(now)).ok();
            current
        }
    };
    let change = match to.cmp(&from) {
        std::cmp::Ordering::Greater => Some(Change::Up),
        std::cmp::Ordering::Less => Some(Change::Down),
        std::cmp::Ordering::Equal => None,
    };
    if to != from || first {
        let why = why(bounds, demand, needed, (from, to));
        status.message = Some(conditions::cut(&why, 256));
    }
    status.desired_replicas = to;
    if to > bounds.min {
        look_again = Some(look_again.map_or(AGAIN, |look_again| look_again.min(AGAIN)));
    }
    memory.status = Some(status.clone());
    Some(Scaled {
        status,
        change: change.filter(|_| !first),
        look_again,
    })
}

/// The spec with the number of Indexers that was decided.
#[must_use]
pub fn applied<'a>(spec: &'a IndexerPoolSpec, scaled: Option<&Scaled>) -> Cow<'a, IndexerPoolSpec> {
    match scaled {
        None => Cow::Borrowed(spec),
        Some(scaled) => Cow::Owned(IndexerPoolSpec {
            replicas: scaled.status.desired_replicas,
            ..spec.clone()
        }),
    }
}

/// Indexers of which the tasks use no more than the target.
fn needed(spec: &IndexerPoolSpec, bounds: &PoolAutoscaling, demand: &BySlot) -> u64 {
    let slots = spec.shared_slots().unwrap_or_default();
    let of = |slots: u32, demand: Demand| {
        let tasks = u64::try_from(demand.used + demand.waiting).unwrap_or(u64::MAX);
        let usable = u64::from(slots) * u64::from(bounds.target_percent);
        // No number of Indexers has slots of a kind of which each has none.
        if usable == 0 {
            0
        } else {
            tasks.saturating_mul(100).div_ceil(usable)
        }
    };
    of(slots.heavy, demand.heavy).max(of(slots.light, demand.light))
}

fn within(bounds: &PoolAutoscaling, needed: u64) -> u32 {
    let needed = u32::try_from(needed).unwrap_or(u32::MAX);
    needed.min(bounds.max).max(bounds.min.min(bounds.max))
}

fn why(bounds: &PoolAutoscaling, demand: &BySlot, needed: u64, (from, to): (u32, u32)) -> String {
    let used = demand.heavy.used + demand.light.used;
    let waiting = demand.heavy.waiting + demand.light.waiting;
    let change = if from == to {
        format!("{to} Indexers")
    } else {
        format!("from {from} to {to} Indexers")
    };
    let limit = if needed > u64::from(bounds.max) {
        format!(
            "; {needed} would have room for all, and autoscaling.max is {}",
            bounds.max
        )
    } else if to < from && bounds.scale_down_after_seconds > 0 {
        format!("; no more were needed for {} s", bounds.scale_down_after_seconds)
    } else {
        String::new()
    };
    format!("{change}: {used} tasks have slots, and {waiting} wait for one{limit}")
}

#[cfg(test)]
#[path = "scaling_tests.rs"]
mod tests;
