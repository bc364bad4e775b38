//! The time: the system's, or one set by a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Where passes read the time.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Set>);

#[derive(Debug, Clone)]
struct Set {
    start: Instant,
    seconds: Arc<AtomicU32>,
}

impl Clock {
    /// A clock that shows these seconds and never goes by itself.
    #[must_use]
    pub fn set_by(seconds: Arc<AtomicU32>) -> Self {
        let start = Instant::now();
        Self(Some(Set { start, seconds }))
    }

    /// The time that never jumps.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.0.as_ref().map_or_else(Instant::now, |set| {
            set.start + Duration::from_secs(set.seconds.load(Ordering::Relaxed).into())
        })
    }

    /// The time of day.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, |set| {
            Timestamp::UNIX_EPOCH + SignedDuration::from_secs(set.seconds.load(Ordering::Relaxed).into())
        })
    }
}
