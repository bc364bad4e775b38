//! What the list of an Indexer means for a task that was given to it (pure).
//!
//! | known of the Indexer, in this order | means |
//! |---|---|
//! | the claim names another pod | [`Meaning::NewJvm`] |
//! | it announced the task's end | [`Meaning::Ended`], whatever came later |
//! | another JVM answers at its address | [`Meaning::NewJvm`] |
//! | it announced the task, and did not list it later | [`Meaning::Forgotten`] |
//! | it gives no usable answer | [`Meaning::Unreachable`] |
//! | no full list was read yet | [`Meaning::Unread`] |
//! | it lists the task | [`Meaning::Announced`] |
//! | it lacks the task, which was announced before, or may have been while changes were missed | [`Meaning::Forgotten`] |
//! | it lacks the task, which was never announced, and a stop is recorded | [`Meaning::NotPosted`] |
//! | it lacks the task, which was never announced | [`Meaning::NotYet`] |
//!
//! An Indexer forgets a task only after its end, and not before its overlord has the verdict, so a task that it
//! announced and lacks has ended.

use k8s_openapi::jiff::Timestamp;

use super::view::{Task, View};
use crate::druid::worker::{TaskLocation, TaskStatus};

/// A task that was given to an Indexer, as far as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The task's id.
    pub task_id: &'a str,
    /// Uid of the Indexer's pod.
    pub pod_uid: &'a str,
    /// Whether it is recorded that this pod has announced the task.
    pub announced: bool,
    /// Whether a stop of the task is recorded.
    pub stopped: bool,
}

/// What a view of an Indexer means.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// The task was never announced: post it, or post it again, to this Indexer.
    NotYet,
    /// The task was never announced and is to be stopped: it is not posted, and may yet be announced if it was posted
    /// before.
    NotPosted,
    /// The task runs.
    Announced(TaskLocation),
    /// The task's end was announced.
    Ended(TaskStatus),
    /// The task has ended, and how is not known.
    Forgotten,
    /// Another JVM than the one of the claim: only the kubelet can say what became of the former.
    NewJvm,
    /// Tasks run or ended that were not given to the Indexer. Only said of an Indexer without a claim; of others see
    /// [`strangers`].
    Stranger(Vec<String>),
    /// It has no task and no claim.
    Idle,
    /// No usable answer since then.
    Unreachable(Timestamp),
    /// No full list was read yet.
    Unread,
}

/// What a view means for the task that is claimed on the Indexer, or for the Indexer if none is.
#[must_use]
pub fn meaning(view: &View, claim: Option<&Claim<'_>>) -> Meaning {
    match claim {
        Some(claim) => of_claimed(view, claim),
        None => of_unclaimed(view),
    }
}

/// The tasks that run there and are not claimed on this Indexer: their status is ignored, and they are shut down.
#[must_use]
pub fn strangers(view: &View, claimed: impl Fn(&str) -> bool) -> Vec<String> {
    let runs = |task: &Task| task.listed && !task.ended();
    let tasks = view.tasks().filter(|(id, task)| runs(task) && !claimed(id));
    tasks.map(|(id, _)| id.to_owned()).collect()
}

fn of_claimed(view: &View, claim: &Claim<'_>) -> Meaning {
    if view.target().pod_uid != claim.pod_uid {
        return Meaning::NewJvm;
    }
    let former = view.former_task(claim.task_id);
    // A JVM that was replaced lists nothing any more, and the other's task of the same id is not this one.
    let task = match view.replaced() {
        Some(_) => former,
        None => view.task(claim.task_id),
    };
    if let Some(ended) = task.filter(|task| task.ended()) {
        return Meaning::Ended(ended.announcement.task_status.clone());
    }
    if view.replaced().is_some() {
        return Meaning::NewJvm;
    }
    if task.is_some_and(|task| task.lost) {
        return Meaning::Forgotten;
    }
    if let Some(silence) = view.silence() {
        return Meaning::Unreachable(silence.since);
    }
    if !view.complete() {
        return Meaning::Unread;
    }
    match task {
        Some(task) => Meaning::Announced(task.announcement.task_location.clone()),
        None if claim.announced || view.has_gap() => Meaning::Forgotten,
        None if claim.stopped => Meaning::NotPosted,
        None => Meaning::NotYet,
    }
}

fn of_unclaimed(view: &View) -> Meaning {
    if view.replaced().is_some() {
        return Meaning::NewJvm;
    }
    let ids: Vec<String> = view.tasks().map(|(id, _)| id.to_owned()).collect();
    if !ids.is_empty() {
        return Meaning::Stranger(ids);
    }
    if let Some(silence) = view.silence() {
        return Meaning::Unreachable(silence.since);
    }
    if view.complete() {
        Meaning::Idle
    } else {
        Meaning::Unread
    }
}

#[cfg(test)]
#[path = "meaning_tests.rs"]
mod tests;
