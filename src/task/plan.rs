//! What to do next for a task (pure): the state machine drawn in `docs/architecture.md`.
//!
//! A pass asks for one step at a time. An action's outcome goes into the snapshot and the plan is made anew, so
//! that a decision never rests on an effect that has not happened. The pass ends with a settlement.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::Value;

use super::admit::{self, Admitted, Refused, admit};
use super::evidence::{Container, Evidence};
use super::snapshot::{Creation, Live, Refusal, Snapshot};
use super::status::Draft;
use super::verdict::judge;
use super::waiting::{Wait, analyse, is_silent};
use crate::api::conditions::{self, STARTED, cause, waiting};
use crate::api::{PeonTaskStatus, Phase, names};

/// The one attempt that a task has.
const ATTEMPT: u32 = 1;
/// How long a pod that was just created may be missing from the cache before the API server is asked.
const CACHE_LAG: Duration = Duration::from_secs(5);
/// How long the kubelet may be silent about a container before the pod's Events are read, and between readings.
const SILENCE: Duration = Duration::from_secs(20);
/// How often a task that waits for a name to become free looks again.
const NAME_CONFLICT: Duration = Duration::from_secs(5);

/// The next step of a pass.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Perform this, record its outcome, plan again.
    Act(Action),
    /// Write this and end the pass.
    Settle(Box<Settlement>),
}

/// An effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Read and check the payload that `taskFrom` names.
    ReadPayload,
    /// Create the ConfigMap, which claims the attempt.
    CreateConfigMap(Box<ConfigMap>),
    /// Create the pod.
    CreatePod(Box<Value>),
    /// Get ConfigMap and pod of this name from the API server.
    LookLive {
        /// Their name.
        name: String,
    },
    /// List the Warning Events of the pod.
    ReadWarnings {
        /// Its name.
        pod: String,
        /// Its uid.
        uid: String,
    },
    /// Delete the pod with this uid.
    DeletePod {
        /// Its name.
        pod: String,
        /// Its uid.
        uid: String,
    },
}

/// The end of a pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The status to be in force; `None` leaves it alone.
    pub status: Option<PeonTaskStatus>,
    /// Look again after this time even if nothing changes.
    pub requeue: Option<Duration>,
    /// The API server refused an object for now: the next attempt is to be held back, longer each time.
    pub refused_for_now: bool,
}

fn settle(status: PeonTaskStatus) -> Step {
    Step::Settle(Box::new(Settlement {
        status: Some(status),
        requeue: None,
        refused_for_now: false,
    }))
}

fn look_again(requeue: Option<Duration>) -> Step {
    Step::Settle(Box::new(Settlement {
        status: None,
        requeue,
        refused_for_now: false,
    }))
}

/// The next step for what is known at `now`.
#[must_use]
pub fn plan(snapshot: &Snapshot, now: Timestamp) -> Step {
    if snapshot.task.metadata.deletion_timestamp.is_some() {
        // The garbage collector deletes the pod with its owner.
        return look_again(None);
    }
    if snapshot.task.is_final() {
        return after_verdict(snapshot);
    }
    if snapshot
        .live
        .as_ref()
        .is_some_and(|l| l.task_version != snapshot.task.resource_version())
    {
        // The cache lags behind: the task may have a verdict by now, or a pod that was recorded and is gone.
        return look_again(Some(CACHE_LAG));
    }
    match known_pod(snapshot, now) {
        KnownPod::Ours { evidence, gone } => follow(snapshot, &evidence, gone, now),
        KnownPod::NotSeen => look_live(snapshot),
        KnownPod::Soon => look_again(Some(CACHE_LAG)),
        KnownPod::Foreign => name_conflict(
            snapshot,
            now,
            "a pod of the same name belongs to something else: waiting for it to go",
        ),
        KnownPod::None => start(snapshot, now),
    }
}

fn look_live(snapshot: &Snapshot) -> Step {
    Step::Act(Action::LookLive {
        name: names::attempt(&snapshot.task.name_any(), ATTEMPT),
    })
}

enum KnownPod {
    Ours {
        evidence: Box<Evidence>,
        gone: bool,
    },
    Foreign,
    /// The status names a pod that the cache does not have.
    NotSeen,
    /// As `NotSeen`, but it was created a moment ago.
    Soon,
    None,
}

fn known_pod(snapshot: &Snapshot, now: Timestamp) -> KnownPod {
    let uid = snapshot.task.uid();
    let recorded = snapshot.task.status.as_ref().and_then(|s| s.pod_uid.as_deref());
    let ours = |e: &&Evidence| e.owner_uid == uid && recorded.is_none_or(|r| r == e.pod_uid);
    let seen = [
        snapshot.cached.as_ref(),
        snapshot.live.as_ref().and_then(|l| l.pod.as_ref()),
    ];
    if let Some(evidence) = seen.into_iter().flatten().find(ours) {
        return KnownPod::Ours {
            evidence: Box::new(evidence.clone()),
            gone: false,
        };
    }
    if let Some(evidence) = snapshot.departed.as_ref().filter(ours) {
        return KnownPod::Ours {
            evidence: Box::new(evidence.clone()),
            gone: true,
        };
    }
    match (recorded, &snapshot.live) {
        (Some(_), Some(_)) => KnownPod::Ours {
            evidence: Box::default(),
            gone: true,
        },
        (Some(_), None) if just_created(snapshot, now) => KnownPod::Soon,
        (Some(_), None) => KnownPod::NotSeen,
        (None, _) if seen.iter().flatten().any(|e| e.owner_uid != uid) => KnownPod::Foreign,
        (None, _) => KnownPod::None,
    }
}

fn just_created(snapshot: &Snapshot, now: Timestamp) -> bool {
    let started = snapshot
        .task
        .status
        .as_ref()
        .and_then(|s| conditions::find(&s.conditions, STARTED));
    // A time to come is another process' clock, and says nothing.
    let lag = SignedDuration::ZERO..signed(CACHE_LAG);
    started.is_some_and(|c| lag.contains(&now.duration_since(c.last_transition_time.0)))
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// A pod that lives on after the verdict was started by somebody who did not know it: it must not run. The cache may
/// lag behind the end of the task's own pod, whose log is not to be lost: the API server is asked first.
fn after_verdict(snapshot: &Snapshot) -> Step {
    let uid = snapshot.task.uid();
    let stray = |e: &&Evidence| e.owner_uid == uid && e.may_live() && e.deletion_requested.is_none();
    if snapshot.deleted || !snapshot.cached.as_ref().is_some_and(|e| stray(&e)) {
        return look_again(None);
    }
    let Some(live) = &snapshot.live else {
        return look_live(snapshot);
    };
    match live.pod.as_ref().filter(stray) {
        Some(stray) => Step::Act(Action::DeletePod {
            pod: stray.pod_name.clone(),
            uid: stray.pod_uid.clone(),
        }),
        None => look_again(None),
    }
}

/// The task has a pod: its state is the task's.
fn follow(snapshot: &Snapshot, evidence: &Evidence, gone: bool, now: Timestamp) -> Step {
    // After a restart the pod may exist while the status does not say so. Once it does, the settings that the pod
    // was made with are there, and the template may have others by now.
    let recorded = snapshot.task.status.as_ref().is_some_and(|s| s.pod_uid.is_some());
    let mut draft = if recorded {
        Draft::of(&snapshot.task, now)
    } else {
        described(snapshot, admit(snapshot).as_ref(), now)
    };
    if !evidence.pod_uid.is_empty() {
        draft.pod(&evidence.pod_name, &evidence.pod_uid);
    }
    if let Some(verdict) = judge(evidence, gone, &task_id(snapshot)) {
        return settle(draft.judge(&verdict));
    }
    if let Container::Running { started } = evidence.peon {
        return settle(draft.run(started));
    }
    let silent = is_silent(evidence);
    let overdue = evidence
        .scheduled
        .is_some_and(|c| now.duration_since(c) >= signed(SILENCE));
    if silent && overdue && snapshot.warnings.is_none() {
        return Step::Act(Action::ReadWarnings {
            pod: evidence.pod_name.clone(),
            uid: evidence.pod_uid.clone(),
        });
    }
    match analyse(evidence, snapshot.warnings.as_deref().unwrap_or_default()) {
        Wait::Never { cause, message } => settle(draft.fail(cause, &message)),
        Wait::For { reason, message } => Step::Settle(Box::new(Settlement {
            status: Some(draft.wait(Phase::Starting, reason, &message)),
            requeue: silent.then_some(SILENCE),
            refused_for_now: false,
        })),
    }
}

fn task_id(snapshot: &Snapshot) -> String {
    let recorded = snapshot.task.status.as_ref().and_then(|s| s.task_id.clone());
    recorded
        .or_else(|| admit::payload(snapshot).ok().map(|p| p.id.clone()))
        .unwrap_or_else(|| snapshot.task.name_any())
}

/// The status in force, with what the task says of itself and the settings that it would run with now.
fn described(snapshot: &Snapshot, admitted: Result<&Admitted<'_>, &Refused>, now: Timestamp) -> Draft {
    let mut draft = Draft::of(&snapshot.task, now);
    match admitted {
        Ok(admitted) => {
            draft.describe(&admitted.payload);
            draft.accept(&admitted.settings);
        }
        Err(_) => {
            if let Ok(payload) = admit::payload(snapshot) {
                draft.describe(&payload);
            }
        }
    }
    draft
}

/// The task has no pod and never had one, as far as is known.
fn start(snapshot: &Snapshot, now: Timestamp) -> Step {
    if snapshot.task.spec.task_from.is_some() && snapshot.payload.is_none() {
        return Step::Act(Action::ReadPayload);
    }
    let admitted = admit(snapshot);
    let draft = described(snapshot, admitted.as_ref(), now);
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(refused) if refused.is_final() => {
            return settle(draft.refuse_for_good(refused.reason, &refused.message));
        }
        Err(refused) => return settle(draft.refuse(refused.reason, &refused.message)),
    };
    match &snapshot.claim {
        None => match snapshot.held {
            Some(held) => look_again(Some(held)),
            None => create_config_map(&admitted),
        },
        Some(Creation::Refused(refusal)) => refused(draft, refusal),
        Some(Creation::Created { .. }) => create_pod(snapshot, &admitted, draft),
        // Somebody claimed the attempt before: an earlier life of this operator, or something else altogether.
        Some(Creation::Exists) => match &snapshot.live {
            None => look_live(snapshot),
            Some(Live { config_map_owner, .. }) if *config_map_owner != snapshot.task.uid() => name_conflict(
                snapshot,
                now,
                "a ConfigMap of the same name belongs to something else: waiting for it to go",
            ),
            Some(_) => create_pod(snapshot, &admitted, draft),
        },
    }
}

fn create_config_map(admitted: &Admitted<'_>) -> Step {
    let names = admitted.names();
    Step::Act(Action::CreateConfigMap(Box::new(
        admitted.attempt(ATTEMPT, &names).config_map(),
    )))
}

fn create_pod(snapshot: &Snapshot, admitted: &Admitted<'_>, mut draft: Draft) -> Step {
    let names = admitted.names();
    let attempt = admitted.attempt(ATTEMPT, &names);
    match &snapshot.creation {
        None => Step::Act(Action::CreatePod(Box::new(attempt.pod()))),
        Some(Creation::Created { uid }) => {
            draft.pod(&attempt.name(), uid);
            settle(draft.wait(
                Phase::Starting,
                waiting::STARTING,
                "the pod was created; its node prepares it",
            ))
        }
        Some(Creation::Exists) if snapshot.live.is_none() => look_live(snapshot),
        // It was not there a moment ago: the next pass sees what it is.
        Some(Creation::Exists) => look_again(Some(Duration::from_secs(1))),
        Some(Creation::Refused(refusal)) => refused(draft, refusal),
    }
}

fn refused(draft: Draft, refusal: &Refusal) -> Step {
    let (reason, message) = match refusal {
        Refusal::ForGood(message) => return settle(draft.fail(cause::POD_REFUSED, message)),
        Refusal::Quota(message) => (waiting::QUOTA_EXCEEDED, message),
        Refusal::ForNow(message) => (waiting::NOT_CREATED, message),
    };
    let status = Some(draft.wait(Phase::Pending, reason, message));
    Step::Settle(Box::new(Settlement {
        status,
        requeue: None,
        refused_for_now: true,
    }))
}

fn name_conflict(snapshot: &Snapshot, now: Timestamp, message: &str) -> Step {
    let draft = described(snapshot, admit(snapshot).as_ref(), now);
    Step::Settle(Box::new(Settlement {
        status: Some(draft.wait(Phase::Pending, waiting::NAME_CONFLICT, message)),
        requeue: Some(NAME_CONFLICT),
        refused_for_now: false,
    }))
}

/// The Warning that a change of status is worth: reason and message, when something went wrong that was not
/// wrong before.
#[must_use]
pub fn warning(old: Option<&PeonTaskStatus>, new: &PeonTaskStatus) -> Option<(String, String)> {
    let reason = new.reason.as_deref()?;
    if old.and_then(|s| s.reason.as_deref()) == Some(reason)
        || !conditions::is_true(&new.conditions, conditions::STALLED)
    {
        return None;
    }
    let message = conditions::find(&new.conditions, conditions::STALLED).map(|c| c.message.clone());
    Some((reason.to_owned(), message.unwrap_or_default()))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "plan_histories_tests.rs"]
mod histories;
