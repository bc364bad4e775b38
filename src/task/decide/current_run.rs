//! Where the current attempt of a task runs, as far as is known (pure).

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::plan::{CACHE_LAG, signed, task_id};
use crate::api::conditions::{self, STARTED};
use crate::task::run::Run;
use crate::task::run::pod::evidence::Evidence;
use crate::task::run::pod::run::{LogSource, PodRun};
use crate::task::run::worker::claim::WorkerClaim;
use crate::task::run::worker::{IndexerSeen, WorkerRun};
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
    /// The status claims an Indexer whose pod the cache does not have: its name.
    IndexerNotSeen(String),
    /// As `NotSeen`, but the pod was created a moment ago.
    Soon,
    /// There is none, and never was, as far as is known.
    None,
}

/// Finds the run of the current attempt in the caches and in what was read from the API server.
pub(crate) fn current_run(snapshot: &Snapshot, now: Timestamp) -> CurrentRun {
    if let Some(claim) = WorkerClaim::recorded(&snapshot.task) {
        let pod = claim.pod.clone();
        return worker_run(snapshot, claim).map_or(CurrentRun::IndexerNotSeen(pod), |run| {
            CurrentRun::Found(Run::Worker(Box::new(run)))
        });
    }
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

/// The run that the status claims on an Indexer; `None` if its pod has to be read from the API server.
fn worker_run(snapshot: &Snapshot, claim: WorkerClaim) -> Option<WorkerRun> {
    let none = IndexerSeen::default();
    let seen = snapshot.indexer.as_deref().unwrap_or(&none);
    let live = snapshot.outcomes.indexer.as_deref();
    let claimed = |evidence: &&Evidence| evidence.pod_uid == claim.pod_uid;
    let there = [seen.pod.as_ref(), live.and_then(|live| live.pod.as_ref())];
    let pod = if let Some(evidence) = there.into_iter().flatten().find(claimed) {
        PodRun::seen(evidence.clone())
    } else {
        let departed = seen.departed.as_ref().filter(claimed).cloned();
        PodRun {
            // A pod of that name with another uid is another one, and the claimed one is gone.
            evidence: departed.or_else(|| live.map(|_| Evidence::default()))?,
            gone: true,
        }
    };
    Some(WorkerRun::new(claim, &task_id(snapshot), seen, pod))
}

/// Where the log of a task with a verdict is read.
pub(crate) fn log_after_verdict(snapshot: &Snapshot) -> LogSource {
    if let Some(claim) = WorkerClaim::recorded(&snapshot.task) {
        let pod = claim.pod.clone();
        return match worker_run(snapshot, claim) {
            Some(run) => run.log(),
            None => LogSource {
                pod: Some(pod),
                ..LogSource::of_no_pod()
            },
        };
    }
    let run = snapshot.cached.clone().map(PodRun::seen);
    run.map_or_else(LogSource::of_no_pod, |run| run.log())
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
