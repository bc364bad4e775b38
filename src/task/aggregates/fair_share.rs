//! Resources shared by all tasks: a total, and a limit for the tasks of one namespace.
//!
//! Nothing blocks. A task for which nothing is free is queued and is woken once its share has been reserved. Next is
//! the namespace that holds least, and in it the task that has waited longest; so a namespace with ten thousand queued
//! tasks delays the first task of another namespace by no more than the end of one share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::slots::Who;

/// Requests a pass over the task with this namespace and name.
pub type Wake = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// Limits of a resource.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For all namespaces together.
    pub total: u32,
    /// For the tasks of one namespace; at most the total.
    pub namespace: u32,
}

/// A limited resource. Cheap to clone.
#[derive(Clone)]
pub struct Shares(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    wake: Wake,
}

/// A share held by a task until this is dropped.
#[must_use]
pub struct Share {
    of: Shares,
    namespace: String,
    amount: u32,
}

struct State {
    limits: Limits,
    /// Held or reserved.
    used: u32,
    namespaces: HashMap<String, Namespace>,
    /// Tickets of tasks that are queued, or for which a share is reserved.
    tickets: HashMap<Who, Ticket>,
    next: u64,
}

#[derive(Default)]
struct Namespace {
    used: u32,
    /// Name and amount, by the number of the ticket.
    line: BTreeMap<u64, (String, u32)>,
}

#[derive(Clone, Copy)]
enum Ticket {
    InLine(u64),
    SetAside(u32),
}

impl Shares {
    /// A resource with these limits; `wake` wakes queued tasks.
    #[must_use]
    pub fn new(limits: Limits, wake: Wake) -> Self {
        let state = State {
            limits,
            used: 0,
            namespaces: HashMap::new(),
            tickets: HashMap::new(),
            next: 0,
        };
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            wake,
        }))
    }

    /// Takes a share of `amount`, from 1 to the limit of a namespace (larger amounts count as that limit). `None`: the
    /// task is queued and is woken when it may ask again. A task that no longer wants the share has to
    /// [`leave`](Self::leave).
    #[must_use]
    pub fn take(&self, who: &Who, amount: u32) -> Option<Share> {
        let (taken, woken) = {
            let mut state = self.0.state.lock();
            state.take(who, amount)
        };
        self.wake(&woken);
        taken.map(|amount| Share {
            of: self.clone(),
            namespace: who.0.clone(),
            amount,
        })
    }

    /// Removes the task from the queue, or releases its reserved share: it is gone, or wants something else by now.
    pub fn leave(&self, who: &Who) {
        let woken = self.0.state.lock().leave(who);
        self.wake(&woken);
    }

    fn wake(&self, woken: &[Who]) {
        for (namespace, name) in woken {
            (self.0.wake)(namespace, name);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let woken = {
            let mut state = self.of.0.state.lock();
            state.release(&self.namespace, self.amount);
            state.grant()
        };
        self.of.wake(&woken);
    }
}

impl State {
    /// The amount that the task gets now, and which other tasks may ask.
    fn take(&mut self, who: &Who, amount: u32) -> (Option<u32>, Vec<Who>) {
        let amount = amount.clamp(1, self.limits.namespace);
        match self.tickets.get(who) {
            Some(Ticket::InLine(_)) => return (None, Vec::new()),
            Some(Ticket::SetAside(kept)) if *kept == amount => {
                self.tickets.remove(who);
                return (Some(amount), Vec::new());
            }
            // It wants another amount than before.
            Some(Ticket::SetAside(kept)) => {
                let kept = *kept;
                self.tickets.remove(who);
                self.release(&who.0, kept);
            }
            None => {}
        }
        let number = self.next;
        self.next += 1;
        let namespace = self.namespaces.entry(who.0.clone()).or_default();
        namespace.line.insert(number, (who.1.clone(), amount));
        self.tickets.insert(who.clone(), Ticket::InLine(number));
        let mut woken = self.grant();
        let own = woken.iter().position(|w| w == who);
        if let Some(own) = own {
            woken.swap_remove(own);
            self.tickets.remove(who);
        }
        (own.map(|_| amount), woken)
    }

    fn leave(&mut self, who: &Who) -> Vec<Who> {
        match self.tickets.remove(who) {
            None => return Vec::new(),
            Some(Ticket::InLine(number)) => {
                if let Some(namespace) = self.namespaces.get_mut(&who.0) {
                    namespace.line.remove(&number);
                }
                self.tidy(&who.0);
            }
            Some(Ticket::SetAside(amount)) => self.release(&who.0, amount),
        }
        // Tasks behind it in the queue may want less.
        self.grant()
    }

    fn release(&mut self, namespace: &str, amount: u32) {
        self.used = self.used.saturating_sub(amount);
        if let Some(of) = self.namespaces.get_mut(namespace) {
            of.used = of.used.saturating_sub(amount);
        }
        self.tidy(namespace);
    }

    fn tidy(&mut self, namespace: &str) {
        let is_idle = |of: &Namespace| of.used == 0 && of.line.is_empty();
        if self.namespaces.get(namespace).is_some_and(is_idle) {
            self.namespaces.remove(namespace);
        }
    }

    /// Reserves as many shares as are free, in the order of the queue. A task whose amount is not free yet is not
    /// overtaken.
    fn grant(&mut self) -> Vec<Who> {
        let mut granted = Vec::new();
        while let Some((namespace, number)) = self.next_in_line() {
            let Some(of) = self.namespaces.get_mut(&namespace) else {
                break;
            };
            let Some((name, amount)) = of.line.get(&number).cloned() else {
                break;
            };
            if self.used + amount > self.limits.total {
                break;
            }
            of.line.remove(&number);
            of.used += amount;
            self.used += amount;
            let who = (namespace, name);
            self.tickets.insert(who.clone(), Ticket::SetAside(amount));
            granted.push(who);
        }
        granted
    }

    /// The first queued task of the namespace that holds least, among those that may hold more.
    fn next_in_line(&self) -> Option<(String, u64)> {
        let first = |(name, of): (&String, &Namespace)| {
            let (number, (_, amount)) = of.line.first_key_value()?;
            let fits = of.used + amount <= self.limits.namespace;
            fits.then(|| (of.used, *number, name.clone()))
        };
        let (_, number, namespace) = self.namespaces.iter().filter_map(first).min()?;
        Some((namespace, number))
    }
}

#[cfg(test)]
#[path = "fair_share_tests.rs"]
mod tests;
