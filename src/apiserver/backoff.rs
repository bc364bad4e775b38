//! Delays for objects after consecutive failures.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// From this number on, every new failure first removes outdated ones.
const MANY: usize = 4096;

/// Consecutive failures by object uid. Objects are removed with their first success, or when they are gone.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, Failures>>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    until: Instant,
}

impl Backoff {
    /// Records a failure and returns the object's delay: it doubles each time, up to a minute, and is spread by the uid
    /// so that objects that failed together do not retry together.
    pub fn failed(&self, uid: &str, now: Instant) -> Duration {
        let mut failures = self.failures.lock();
        if failures.len() >= MANY {
            // Objects that were deleted while they failed are not reported here.
            failures.retain(|_, f| f.until + LONGEST > now);
        }
        let entry = failures
            .entry(uid.to_owned())
            .or_insert(Failures { count: 0, until: now });
        let exponential = FIRST.saturating_mul(1 << entry.count.min(6)).min(LONGEST);
        let spread = f64::from(uid.bytes().fold(0_u8, u8::wrapping_add)) / 255.0;
        let delay = exponential.mul_f64(0.75 + spread / 4.0);
        entry.count += 1;
        entry.until = now + delay;
        delay
    }

    /// The remaining delay of the object.
    pub fn held(&self, uid: &str, now: Instant) -> Option<Duration> {
        let failures = self.failures.lock();
        let left = failures.get(uid)?.until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Removes the object's failures.
    pub fn clear(&self, uid: &str) {
        self.failures.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_minute_and_forgets() {
        let backoff = Backoff::default();
        let now = Instant::now();
        let delays: Vec<_> = (0..10).map(|_| backoff.failed("a", now)).collect();
        assert!(delays[0] <= FIRST && delays[9] <= LONGEST && delays[9] >= LONGEST.mul_f64(0.75));
        assert!(delays.windows(2).all(|w| w[0] <= w[1]));
        assert_eq!(backoff.held("a", now), Some(delays[9]));
        assert_eq!(backoff.held("a", now + LONGEST), None);
        assert_eq!(backoff.held("b", now), None);
        backoff.clear("a");
        assert_eq!(backoff.held("a", now), None);
    }
}
