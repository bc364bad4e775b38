//! Plans that decide wrongly about a task on an Indexer, for the tests that random histories find errors.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::api::conditions;
use crate::indexer::decide::view::{Task, View};
use crate::indexer::fixtures::Jvm;
use crate::task::decide::plan::{Step, plan, task_id};
use crate::task::run::death::NodeState;
use crate::task::snapshot::{Live, Snapshot};

/// The snapshot as if the Indexer's pod were gone from a node that it never had.
pub(super) fn as_if_dead(snapshot: &Snapshot) -> Snapshot {
    let mut dead = snapshot.clone();
    dead.indexer = Some(Box::default());
    dead.outcomes.indexer = Some(Box::new(Live {
        config_map_owner: None,
        pod: None,
        task_version: snapshot.task.metadata.resource_version.clone(),
    }));
    dead.outcomes.node = Some(NodeState::NeverBound);
    dead
}

pub(super) fn view(snapshot: &Snapshot) -> Option<&View> {
    snapshot.indexer.as_ref()?.view.as_deref()
}

/// A plan that takes the end of a task for the death of the JVM.
pub(crate) fn trusts_an_end(snapshot: &Snapshot, now: Timestamp) -> Step {
    let stopped = snapshot.task.status.as_ref().is_some_and(|s| s.stop.is_some());
    let task = view(snapshot).and_then(|view| view.task(&task_id(snapshot)));
    if stopped && task.is_some_and(Task::ended) {
        return plan(&as_if_dead(snapshot), now);
    }
    plan(snapshot, now)
}

/// A plan that does not see what else runs in a shared Indexer.
pub(crate) fn sees_no_strangers(snapshot: &Snapshot, now: Timestamp) -> Step {
    let mut blind = snapshot.clone();
    if let Some(seen) = &mut blind.indexer {
        seen.neighbours = None;
    }
    plan(&blind, now)
}

/// A plan that posts a task to an Indexer that lists it no more.
pub(crate) fn posts_what_was_forgotten(snapshot: &Snapshot, now: Timestamp) -> Step {
    let mut forgetful = snapshot.clone();
    if let Some(view) = view(snapshot).filter(|v| v.task(&task_id(snapshot)).is_some_and(|t| !t.listed)) {
        // What a full list alone would say.
        let mut fresh = View::new(view.target().clone());
        let answer = Jvm::started(1).answer(None).unwrap_or_else(|| unreachable!());
        let _ = fresh.answered(None, &answer);
        if let Some(seen) = &mut forgetful.indexer {
            seen.view = Some(Arc::new(fresh));
        }
        let task = Arc::make_mut(&mut forgetful.task);
        if let Some(status) = &mut task.status {
            status.conditions.retain(|c| c.type_ != conditions::STARTED);
        }
    }
    plan(&forgetful, now)
}
