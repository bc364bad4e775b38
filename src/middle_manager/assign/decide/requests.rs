//! What requests of an overlord, and lists from the API server, mean for PeonTasks (pure).

use kube::ResourceExt;
use kube::core::ObjectList;

use super::assignment;
use crate::apiserver::classify::decode::Guarded;
use crate::druid::worker::TaskFacts;
use crate::middle_manager::registry::SHUT_DOWN;
use crate::middle_manager::registry::history_items::{Before, Order, Target};
use crate::middle_manager::registry::identity::Assigned;
use crate::middle_manager::registry::view::{Seen, TaskView};

/// What to do about an assignment.
#[derive(Debug, Clone, PartialEq)]
pub enum Assignment {
    /// Nothing: the task was stored before, or has ended.
    Known,
    /// The task fails, for this reason.
    Fail(Box<TaskFacts>, String),
    /// The task gets a PeonTask.
    Store(Box<TaskFacts>),
}

/// Decides about an assignment, given what is known of the task.
#[must_use]
pub fn assignment(before: Before, task: &Assigned) -> Assignment {
    if before == Before::Taken {
        return Assignment::Known;
    }
    let (facts, invalid) = assignment::read(task);
    let facts = Box::new(facts);
    match (before, invalid) {
        (Before::ShutDown, _) => Assignment::Fail(facts, SHUT_DOWN.to_owned()),
        (_, Some(why)) => Assignment::Fail(facts, why),
        (_, None) => Assignment::Store(facts),
    }
}

/// What to do about a shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing more: the order remains in force, in case the task is still to be assigned.
    Done,
    /// Cancel this PeonTask.
    Cancel(Target),
    /// List the PeonTasks, and decide again: the PeonTask may exist and not have been seen yet.
    List,
}

/// Decides about a shutdown, given the registry's answer and whether the PeonTasks were listed for it.
#[must_use]
pub fn shutdown(order: Order, is_listed: bool) -> Shutdown {
    match order {
        Order::Cancel(target) => Shutdown::Cancel(target),
        Order::Unknown if !is_listed => Shutdown::List,
        Order::Unknown | Order::Nothing => Shutdown::Done,
    }
}

/// A list of PeonTasks, page by page.
#[derive(Debug, Default)]
pub struct Listing {
    /// The PeonTasks by uid, with their content; `None` for one that is not labelled as an assigned task.
    pub tasks: Vec<(String, Option<Seen>)>,
    /// The resource version of the whole list.
    pub version: Option<u64>,
}

impl Listing {
    /// Adds a page; returns the continue token of the next one, if there is one.
    pub fn add(&mut self, page: ObjectList<Guarded<TaskView>>) -> Option<String> {
        // Later pages show the same state as the first one.
        let version = page.metadata.resource_version.as_ref();
        self.version = self.version.or_else(|| version?.parse().ok());
        let seen = page.items.iter();
        self.tasks
            .extend(seen.map(|task| (task.uid().unwrap_or_default(), Seen::guarded(task))));
        page.metadata.continue_.filter(|token| !token.is_empty())
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
