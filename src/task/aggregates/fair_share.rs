//! What all tasks use together, in shares: so much at a time, and of that so much for the tasks of one namespace.
//!
//! Nobody blocks. A task that finds nothing free stands in line and is woken once its share has been set aside for it.
//! Next is the namespace that has least, and in it the task that has waited longest; so a namespace with ten thousand
//! tasks in line delays the first one of another namespace by no more than the end of one share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::slots::Who;

/// Has the task of this namespace and name passed over.
pub type Wake = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For all namespaces together.
    pub total: u32,
    /// For the tasks of one namespace; at most the total.
    pub namespace: u32,
}

/// Something of which there is so much. Cheap to clone.
#[derive(Clone)]
pub struct Shares(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    wake: Wake,
}

/// A share that a task has, until this is dropped.
#[must_use]
pub struct Share {
    of: Shares,
    namespace: String,
    amount: u32,
}

struct State {
    limits: Limits,
    /// Held or set aside.
    used: u32,
    namespaces: HashMap<String, Namespace>,
    /// Of tasks that stand in line, or whose share is set aside.
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
    /// So much of it; whoever stands in line is woken so.
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

    /// A share of `amount`, 1 to the limit of a namespace (more is taken for that). `None`: the task stands in line and is
    /// woken when it may ask again. Whoever does not want it any more has to [`leave`](Self::leave).
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

    /// The task leaves the line, or what was set aside for it: it is gone, or wants something else by now.
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
    /// How much the task has now, and who else may ask.
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
        // Whoever stood behind it may want less.
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

    /// Sets shares aside for those who are next, as many as there are. Nobody is overtaken who is next and wants more than
    /// is free.
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

    /// The first in line of the namespace that has least, among those that may have more.
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
