//! Shutdowns of unknown tasks (pure).
//!
//! An overlord may order a task's end before the task is assigned, or before it was seen here. The order remains in
//! force for a while, so that the task does not run.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::identity::Ordinal;

/// How long an order remains in force: an assignment under way arrives within minutes.
pub const STANDS: SignedDuration = SignedDuration::from_hours(1);
/// Most orders remembered; beyond that the oldest is dropped.
pub const MOST: usize = 4096;

type Key = (Ordinal, String);

/// The orders in force.
#[derive(Debug, Default)]
pub struct EarlyShutdowns {
    given: HashMap<Key, u64>,
    by_age: BTreeMap<u64, (Timestamp, Key)>,
    next: u64,
}

impl EarlyShutdowns {
    /// Records an order, or renews it.
    pub fn give(&mut self, identity: Ordinal, id: &str, now: Timestamp) {
        self.expire(now);
        self.take_back(identity, id);
        if self.given.len() >= MOST
            && let Some((_, (_, oldest))) = self.by_age.pop_first()
        {
            self.given.remove(&oldest);
        }
        let key = (identity, id.to_owned());
        self.given.insert(key.clone(), self.next);
        self.by_age.insert(self.next, (now, key));
        self.next += 1;
    }

    /// Whether an order for this task is in force.
    pub fn stands(&mut self, identity: Ordinal, id: &str, now: Timestamp) -> bool {
        self.expire(now);
        self.given.contains_key(&(identity, id.to_owned()))
    }

    /// Removes an order that was carried out.
    pub fn take_back(&mut self, identity: Ordinal, id: &str) {
        if let Some(number) = self.given.remove(&(identity, id.to_owned())) {
            self.by_age.remove(&number);
        }
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some(oldest) = self.by_age.first_entry() {
            let (given, _) = oldest.get();
            // If the clock is set back, an order remains longer.
            if now.duration_since(*given) < STANDS {
                return;
            }
            let (_, key) = oldest.remove();
            self.given.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Ordinal = Ordinal(0);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_order_stands_for_an_hour_and_for_its_identity() {
        let mut orders = EarlyShutdowns::default();
        orders.give(FIRST, "a", at(0));
        assert!(orders.stands(FIRST, "a", at(3599)));
        assert!(!orders.stands(Ordinal(1), "a", at(1)));
        assert!(!orders.stands(FIRST, "b", at(1)));
        assert!(!orders.stands(FIRST, "a", at(3600)));
    }

    #[test]
    fn an_order_that_is_given_again_stands_longer() {
        let mut orders = EarlyShutdowns::default();
        orders.give(FIRST, "a", at(0));
        orders.give(FIRST, "a", at(1000));
        assert!(orders.stands(FIRST, "a", at(4599)));
        orders.take_back(FIRST, "a");
        assert!(!orders.stands(FIRST, "a", at(4599)));
        assert!(orders.given.is_empty() && orders.by_age.is_empty());
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut orders = EarlyShutdowns::default();
        for n in 0..=MOST {
            orders.give(FIRST, &n.to_string(), at(0));
        }
        assert!(!orders.stands(FIRST, "0", at(1)));
        assert!(orders.stands(FIRST, "1", at(1)));
        assert!(orders.stands(FIRST, &MOST.to_string(), at(1)));
        assert_eq!((orders.given.len(), orders.by_age.len()), (MOST, MOST));
    }
}
