//! Limited resources shared by namespaces: follower places, uploads, bytes of the spool.
//!
//! **The rule.** A namespace gets more only while it then holds no more than is left for all others. So one namespace
//! holds at most half of the total, two that want more hold a third each, *n* hold one part of *n* + 1 each, and
//! something is always left for a namespace that comes later. Nothing that is held is taken away. This is the dynamic
//! threshold of shared buffers in switches (Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998), with
//! a factor of one.
//!
//! **Order.** Among waiting namespaces, the one that holds the least is next; among those that hold the same, the one
//! that has waited longest. Within a namespace the order is first come, first served.
//!
//! **No deadlock.** A namespace that holds nothing gets something as soon as anything is free. A namespace that holds
//! something waits at worst for its own holdings.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// An amount that is shared. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shares(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    total: u64,
    free: u64,
    /// There is only one namespace, which may hold everything.
    alone: bool,
    namespaces: BTreeMap<Arc<str>, Namespace>,
    /// Number of waiters so far.
    waited: u64,
}

/// A namespace that holds something, or waits.
#[derive(Debug, Default)]
struct Namespace {
    held: u64,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    since: u64,
    amount: u64,
    answer: oneshot::Sender<Share>,
}

impl Shares {
    /// An amount that namespaces share.
    #[must_use]
    pub fn fair(total: u64) -> Self {
        Self::new(total, false)
    }

    /// An amount of which one namespace may hold everything: for a process that serves only one namespace.
    #[must_use]
    pub fn of_one(total: u64) -> Self {
        Self::new(total, true)
    }

    fn new(total: u64, alone: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            total,
            free: total,
            alone,
            namespaces: BTreeMap::new(),
            waited: 0,
        })))
    }

    /// Takes `amount`, at most the total; waits until this namespace may hold it.
    pub async fn acquire(&self, namespace: &str, amount: u64) -> Share {
        let (answer, share) = oneshot::channel();
        {
            let mut state = self.0.lock();
            let since = state.waited;
            state.waited += 1;
            let amount = amount.min(state.total);
            let waiter = Waiter {
                since,
                amount,
                answer,
            };
            let of = state.namespaces.entry(namespace.into()).or_default();
            of.waiting.push_back(waiter);
        }
        self.dispatch();
        match share.await {
            Ok(share) => share,
            // A waiter was answered, or dropped its receiver.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes `amount` if this namespace may hold it now.
    #[must_use]
    pub fn try_acquire(&self, namespace: &str, amount: u64) -> Option<Share> {
        let mut state = self.0.lock();
        let namespace: Arc<str> = namespace.into();
        let held = state.namespaces.get(&namespace).map_or(0, |n| n.held);
        if !state.allows(held, amount) {
            return None;
        }
        state.book(&namespace, amount);
        Some(Share {
            of: self.clone(),
            namespace,
            amount,
        })
    }

    /// The amount that no namespace holds.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.0.lock().free
    }

    fn give_back(&self, namespace: &Arc<str>, amount: u64) {
        self.0.lock().unbook(namespace, amount);
        self.dispatch();
    }

    /// Answers all waiters that may now hold what they wait for.
    fn dispatch(&self) {
        loop {
            let Some((namespace, waiter)) = self.0.lock().next() else {
                return;
            };
            let share = Share {
                of: self.clone(),
                namespace,
                amount: waiter.amount,
            };
            if let Err(mut share) = waiter.answer.send(share) {
                // The receiver was dropped meanwhile. The share is not dropped here: that would recurse into this
                // function.
                let amount = std::mem::take(&mut share.amount);
                self.0.lock().unbook(&share.namespace, amount);
            }
        }
    }
}

impl State {
    fn allows(&self, held: u64, amount: u64) -> bool {
        amount <= self.free && (self.alone || held.saturating_add(amount) <= self.free)
    }

    fn book(&mut self, namespace: &Arc<str>, amount: u64) {
        self.free -= amount;
        self.namespaces.entry(namespace.clone()).or_default().held += amount;
    }

    fn unbook(&mut self, namespace: &Arc<str>, amount: u64) {
        self.free += amount;
        if let Some(of) = self.namespaces.get_mut(namespace) {
            of.held -= amount;
            if of.held == 0 && of.waiting.is_empty() {
                self.namespaces.remove(namespace);
            }
        }
    }

    /// The next waiter, with its amount already booked.
    fn next(&mut self) -> Option<(Arc<str>, Waiter)> {
        self.namespaces.retain(|_, of| {
            while of.waiting.front().is_some_and(|w| w.answer.is_closed()) {
                of.waiting.pop_front();
            }
            of.held > 0 || !of.waiting.is_empty()
        });
        let waiting = self.namespaces.iter().filter_map(|(name, of)| {
            let first = of.waiting.front()?;
            self.allows(of.held, first.amount)
                .then_some((of.held, first.since, name))
        });
        let name = waiting.min()?.2.clone();
        let waiter = self.namespaces.get_mut(&name)?.waiting.pop_front()?;
        self.book(&name, waiter.amount);
        Some((name, waiter))
    }
}

/// A part of an amount, held until it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Shares,
    namespace: Arc<str>,
    amount: u64,
}

impl Share {
    /// The amount.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Merges another share of the same resource and namespace into this one.
    pub fn add(&mut self, mut other: Self) {
        self.amount += std::mem::take(&mut other.amount);
    }

    /// Reduces the share to at most `amount`.
    pub fn shrink_to(&mut self, amount: u64) {
        let back = self.amount.saturating_sub(amount);
        if back > 0 {
            self.amount -= back;
            self.of.give_back(&self.namespace, back);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
#[path = "fair_share_tests.rs"]
mod tests;
