//! A run in an Indexer of a pool (pure): what is claimed, what the Indexer says of the
//! task, and what its pod shows.
//!
//! | question | answer |
//! |---|---|
//! | how did it end | the end that the Indexer announced; only without it the pod's evidence, and never that of our own delete, which is recorded in `status.stop` first |
//! | is it dead | if the pod is, by the proofs of a run in its own pod: an Indexer's pod is never restarted. The end of a task in a JVM that lives is no proof: publishing goes on in other threads |
//! | what stops it | a shutdown by the worker protocol, repeated until the end is announced; after [`WorkerRun::patience`], or when there is nothing to wait for, the deletion of the pod: by the task's pass, if it runs there alone, else by its pool, when the others have ended |
//! | where is its log | in the log of the Indexer's pod, all of which is the task's if it runs there alone |

pub mod claim;

use std::sync::Arc;
use std::time::Duration;

use self::claim::WorkerClaim;
use super::death::Proof;
use super::pod::evidence::Evidence;
use super::pod::run::{LogSource, PodRun};
use crate::indexer::decide::meaning::{self, Meaning};
use crate::indexer::decide::view::View;

/// Grace period of an Indexer that has no task, or none any more, in seconds. With 0 the API server would forget the pod
/// while its JVM may still run.
pub const GRACE_SECONDS: u32 = 1;
/// Default of [`IndexerSeen::kill_grace`].
pub const KILL_GRACE: Duration = Duration::from_secs(30);
/// How long an Indexer may take to announce the end of a task beyond the grace that the task has.
const REPORT: Duration = Duration::from_secs(30);

/// What the caches have of an Indexer.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexerSeen {
    /// What its answers say; `None` if it is not polled.
    pub view: Option<Arc<View>>,
    /// Its pod.
    pub pod: Option<Evidence>,
    /// The last state of its pod whose deletion the watch saw.
    pub departed: Option<Evidence>,
    /// Ids of the tasks that have slots of it, of a shared one; `None` if they are not all known.
    pub neighbours: Option<Vec<String>>,
    /// Whether the Indexer certainly never received the task: this process made the claim, and every POST that it sent was
    /// refused.
    pub never_received: bool,
    /// How long a task that is shut down may go on: `druid.indexer.task.gracefulShutdownTimeout` of the Indexer.
    pub kill_grace: Duration,
    /// The cpu request that its pod is given with the task, where it is not the one that it begins with.
    pub busy_cpu: Option<String>,
}

impl Default for IndexerSeen {
    fn default() -> Self {
        Self {
            view: None,
            pod: None,
            departed: None,
            neighbours: None,
            never_received: false,
            kill_grace: KILL_GRACE,
            busy_cpu: None,
        }
    }
}

/// The run of an attempt in an Indexer.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerRun {
    /// What the status claims.
    pub claim: WorkerClaim,
    /// What the Indexer's list means for the task.
    pub meaning: Meaning,
    /// Tasks that run there and are not claimed.
    pub strangers: Vec<String>,
    /// See [`IndexerSeen::never_received`].
    pub never_received: bool,
    /// The Indexer's pod.
    pub pod: PodRun,
    /// See [`IndexerSeen::kill_grace`].
    pub kill_grace: Duration,
    /// See [`IndexerSeen::busy_cpu`].
    pub busy_cpu: Option<String>,
}

/// See [`WorkerRun::patience`].
#[must_use]
pub fn patience(kill_grace: Duration) -> Duration {
    kill_grace + REPORT
}

impl WorkerRun {
    /// The run of the task with this id and claim, whose Indexer's pod is in this state.
    #[must_use]
    pub fn new(claim: WorkerClaim, task_id: &str, seen: &IndexerSeen, pod: PodRun) -> Self {
        let known: &[String] = seen.neighbours.as_deref().unwrap_or_default();
        let is_claimed = |id: &str| id == task_id || known.iter().any(|known| known == id);
        // What is not known to be a stranger may be a neighbour.
        let tells = claim.slot.is_none() || seen.neighbours.is_some();
        let (meaning, strangers) = match &seen.view {
            None => (Meaning::Unread, Vec::new()),
            Some(view) => (
                meaning::meaning(view, Some(&claim.of(task_id))),
                if tells {
                    meaning::strangers(view, is_claimed)
                } else {
                    Vec::new()
                },
            ),
        };
        Self {
            claim,
            meaning,
            strangers,
            never_received: seen.never_received,
            pod,
            kill_grace: seen.kill_grace,
            busy_cpu: seen.busy_cpu.clone(),
        }
    }

    /// Whether other tasks may run in the same JVM.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.claim.slot.is_some()
    }

    /// Proof that there is no run: the Indexer has none, says so, and gets none any more, since nothing is posted after a
    /// stop. Without it a task waits for the end of a JVM that goes on with others.
    #[must_use]
    pub fn no_run(&self) -> Option<Proof> {
        let none = self.is_shared() && self.never_received && self.meaning == Meaning::NotPosted;
        none.then(Proof::new)
    }

    /// How long after a stop was recorded the end may be announced, before the pod is deleted.
    #[must_use]
    pub fn patience(&self) -> Duration {
        patience(self.kill_grace)
    }

    /// Whether the task may have begun. That no request to run it was ever sent is not recorded, so it may have wherever
    /// the Indexer itself ran.
    #[must_use]
    pub fn may_have_begun(&self) -> bool {
        self.claim.announced || self.pod.evidence.may_have_begun()
    }

    /// Whether requests may be sent to the Indexer: its pod is the claimed one, and runs, and is not being deleted.
    #[must_use]
    pub fn answers(&self) -> bool {
        let evidence = &self.pod.evidence;
        !self.pod.gone
            && evidence.pod_uid == self.claim.pod_uid
            && evidence.may_live()
            && evidence.deletion_requested.is_none()
    }

    /// Where its log is read.
    #[must_use]
    pub fn log(&self) -> LogSource {
        let log = self.pod.log();
        LogSource {
            pod: Some(self.claim.pod.clone()),
            pod_uid: log.pod_uid.or_else(|| Some(self.claim.pod_uid.clone())),
            // The Indexer wrote before the task came.
            started: None,
            ..log
        }
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
