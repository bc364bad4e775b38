//! Indexers that end by themselves, and how long no other is created because of that (pure).

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::indexer::{Duty, Indexer};

/// Delay after the first end; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(10);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(300);

/// Ends of Indexers of one revision, since one of it was ready.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Failures {
    revision: String,
    count: u32,
    last: Option<Timestamp>,
    /// Pods that were counted, as long as they exist.
    counted: BTreeSet<String>,
    /// How the last one ended.
    pub message: String,
}

impl Failures {
    /// Counts what ended since the last call. A new revision, and an Indexer that is ready, begin at zero.
    pub fn observe(&mut self, revision: &str, indexers: &[Indexer], now: Timestamp) {
        let of_revision = || indexers.iter().filter(|indexer| indexer.revision == revision);
        if self.revision != revision {
            *self = Self {
                revision: revision.to_owned(),
                ..Self::default()
            };
        }
        if of_revision().any(|indexer| indexer.ready && indexer.evidence.may_live()) {
            (self.count, self.last) = (0, None);
        }
        let there: BTreeSet<&str> = indexers.iter().map(|i| i.evidence.pod_uid.as_str()).collect();
        self.counted.retain(|uid| there.contains(uid.as_str()));
        for indexer in of_revision().filter(|indexer| failed(indexer)) {
            if self.counted.insert(indexer.evidence.pod_uid.clone()) {
                self.count += 1;
                self.last = Some(now);
                self.message = format!("{}: {}", indexer.name(), indexer.how_it_ended());
            }
        }
    }

    /// Whether an Indexer failed since one was ready.
    #[must_use]
    pub fn any(&self) -> bool {
        self.count > 0
    }

    /// How long no Indexer is created; none if one may be.
    #[must_use]
    pub fn delay(&self, now: Timestamp) -> Option<Duration> {
        let doublings = self.count.checked_sub(1)?.min(5);
        let delay = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        let since = now.duration_since(self.last?).max(SignedDuration::ZERO);
        let left = delay.saturating_sub(Duration::try_from(since).unwrap_or_default());
        (!left.is_zero()).then_some(left)
    }
}

/// Whether it ended by itself: nobody deleted or evicted it.
fn failed(indexer: &Indexer) -> bool {
    if !matches!(indexer.duty, Duty::Idle | Duty::Unread(_)) || indexer.load.had > 0 {
        // How its task ended is said there.
        return false;
    }
    let evidence = &indexer.evidence;
    let evicted = matches!(
        evidence.reason.as_deref(),
        Some("Evicted" | "Preempting" | "NodeShutdown")
    );
    !evidence.may_live() && evidence.deletion_requested.is_none() && evidence.disruption.is_none() && !evicted
}
