//! Where the current attempt of a task runs, as far as is known (pure).

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::plan::{CACHE_LAG, signed};
use crate::api::conditions::{self, STARTED};
use crate::task::run::Run;
use crate::task::run::pod::evidence::Evidence;
use crate::task::run::pod::run::PodRun;
use crate::task::snapshot::Snapshot;

/// The run of the current attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CurrentRun {
    /// It is known.
    Found(Run),
    /// A pod of its name belongs to something else.
    Foreign,
    /// The status names a pod that the cache does not have.
    NotSeen,
    /// As `NotSeen`, but the pod was created a moment ago.
    Soon,
    /// There is none, and never was, as far as is known.
    None,
}

/// Finds the run of the current attempt in the caches and in what was read from the API server.
pub(crate) fn current_run(snapshot: &Snapshot, now: Timestamp) -> CurrentRun {
    let uid = snapshot.task.uid();
    let recorded = snapshot.task.status.as_ref().and_then(|s| s.pod_uid());
    let ours = |e: &&Evidence| e.owner_uid == uid && recorded.is_none_or(|r| r == e.pod_uid);
    let seen = [
        snapshot.cached.as_ref(),
        snapshot.outcomes.live.as_ref().and_then(|l| l.pod.as_ref()),
    ];
    if let Some(evidence) = seen.into_iter().flatten().find(ours) {
        return found(evidence.clone(), false);
    }
    if let Some(evidence) = snapshot.departed.as_ref().filter(ours) {
        if recorded.is_none() && snapshot.outcomes.live.is_none() {
            // Another one may have been created in its place without being recorded either.
            return CurrentRun::NotSeen;
        }
        return found(evidence.clone(), true);
    }
    match (recorded, &snapshot.outcomes.live) {
        (Some(_), Some(_)) => found(Evidence::default(), true),
        (Some(_), None) if just_created(snapshot, now) => CurrentRun::Soon,
        (Some(_), None) => CurrentRun::NotSeen,
        (None, _) if seen.iter().flatten().any(|e| e.owner_uid != uid) => CurrentRun::Foreign,
        (None, _) if snapshot.task.runs_elsewhere() => CurrentRun::Found(Run::Elsewhere),
        (None, _) => CurrentRun::None,
    }
}

fn found(evidence: Evidence, gone: bool) -> CurrentRun {
    CurrentRun::Found(Run::Pod(Box::new(PodRun { evidence, gone })))
}

fn just_created(snapshot: &Snapshot, now: Timestamp) -> bool {
    let started = snapshot
        .task
        .status
        .as_ref()
        .and_then(|s| conditions::find(&s.conditions, STARTED));
    // A time in the future comes from another process's clock, and says nothing.
    let lag = SignedDuration::ZERO..signed(CACHE_LAG);
    started.is_some_and(|c| lag.contains(&now.duration_since(c.last_transition_time.0)))
}
