//! Proof that the peon of an attempt is dead (pure).
//!
//! Two peons of one task must never live at the same time, so the next attempt needs a [`Proof`] of the death of the
//! last one, and a `Proof` is made nowhere but here:
//!
//! | seen | proof |
//! |---|---|
//! | the kubelet reports the peon's container as terminated, or the pod as ended | yes |
//! | the pod is gone and never had a node | yes |
//! | the pod is gone, and its node is Ready and was so for the pod's grace period and more | yes: a kubelet that is Ready ends what the API server does not know |
//! | the node does not answer | no: its containers run on |
//! | the node was deleted, or tainted out-of-service | only where `retry.afterNodeLoss` says so |
//!
//! The pod garbage collector marks pods of nodes that are gone or out of service as `Failed`. It never saw the node, so
//! this is not a report of the kubelet.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::task::run::pod::evidence::{Container, Evidence};

/// Time that a kubelet may need beyond the grace period to notice that a pod is gone and to end it. A node that is cut
/// off for less than the controller manager's patience (50 s) is Ready all the time, and a kubelet that was cut off was
/// seen to take half a minute to notice what had gone meanwhile: its watches reconnect with a delay of their own.
const MARGIN: SignedDuration = SignedDuration::from_secs(120);
/// Time that a responsive kubelet needs beyond the grace period to report an end.
const REPORT: SignedDuration = SignedDuration::from_secs(15);
/// The grace period of a pod that was never seen.
const UNKNOWN_GRACE: i64 = 330;
/// How often a node that does not answer is checked.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Proof that the peon of an attempt is dead. Only this module can create one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof(());

/// State of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// The node is Ready, since this time.
    Ready(Timestamp),
    /// The node is not Ready: its containers may run.
    NotReady,
    /// The node has the taint `node.kubernetes.io/out-of-service`.
    OutOfService,
    /// There is no longer a node with this name.
    Deleted,
    /// The pod never had a node.
    NeverBound,
    /// It is unknown which node it was.
    Unknown,
    /// The node's name has to be looked up in Events, which cannot be listed again yet.
    Later,
    /// The operator may not read nodes.
    Forbidden,
}

/// What is known of an attempt that may be dead.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The pod's last state.
    pub evidence: &'a Evidence,
    /// Whether the object is gone.
    pub gone: bool,
    /// Its node, if it was read in this pass.
    pub node: Option<&'a NodeState>,
    /// Since when the task waits for proof.
    pub noticed: Option<Timestamp>,
    /// Whether a node that was written off counts as proof.
    pub after_node_loss: bool,
}

/// Result of the check whether the peon is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Death {
    /// Alive: its pod exists and has not ended.
    No,
    /// Dead.
    Proven(Proof),
    /// Unknown: read the node.
    AskNode,
    /// Unknown: what proof is missing, and when to check again.
    Awaiting {
        /// Details in words.
        message: String,
        /// When to check again.
        look_again: Duration,
    },
    /// Unknown: read the node, whose name will be looked up after this time.
    AskLater(Duration),
    /// The node was written off, which is not accepted as proof here.
    WrittenOff(Doubt),
}

/// Why it cannot be known, now or later, whether a peon is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Details in words.
    pub message: String,
    /// Whether its node was lost; else nothing is known of the node.
    pub node_lost: bool,
}

/// Checks whether the peon is dead.
#[must_use]
pub fn death(scene: &Scene<'_>, now: Timestamp) -> Death {
    let evidence = scene.evidence;
    if matches!(evidence.peon, Container::Terminated(_)) {
        return Death::Proven(Proof(()));
    }
    if ended_by_kubelet(evidence) {
        return Death::Proven(Proof(()));
    }
    if !scene.gone && !evidence.pod_ended() {
        return Death::No;
    }
    if evidence.node.is_none() && !evidence.pod_uid.is_empty() {
        return Death::Proven(Proof(()));
    }
    let node = evidence.node.as_deref().unwrap_or("of the pod");
    match scene.node {
        None => Death::AskNode,
        Some(NodeState::NeverBound) => Death::Proven(Proof(())),
        Some(NodeState::Ready(since)) => {
            let grace = SignedDuration::from_secs(evidence.grace.unwrap_or(UNKNOWN_GRACE));
            let known = scene.noticed.unwrap_or(now).max(*since);
            let over = known.checked_add(grace + MARGIN).unwrap_or(Timestamp::MAX);
            if over <= now {
                return Death::Proven(Proof(()));
            }
            Death::Awaiting {
                message: format!(
                    "the pod is gone: the operator waits until its grace period on the node {node} is over"
                ),
                look_again: Duration::try_from(over.duration_since(now)).unwrap_or(LOOK_AGAIN),
            }
        }
        Some(NodeState::NotReady) => Death::Awaiting {
            message: format!(
                "the pod is gone and the node {node} is not ready, so the peon may still run there: bring \
                 the node back, or once it is off, delete it or taint it out-of-service"
            ),
            look_again: LOOK_AGAIN,
        },
        Some(NodeState::Later) => Death::AskLater(LOOK_AGAIN),
        Some(NodeState::OutOfService | NodeState::Deleted) if scene.after_node_loss => {
            Death::Proven(Proof(()))
        }
        Some(NodeState::OutOfService) => {
            written_off(format!("the node {node} is tainted out-of-service"), true)
        }
        Some(NodeState::Deleted) => written_off(format!("the node {node} was deleted"), true),
        Some(NodeState::Unknown) => written_off(
            "the pod is gone and the node that it ran on is unknown".into(),
            false,
        ),
        Some(NodeState::Forbidden) => written_off(
            format!("the pod is gone and the operator is not allowed to read the node {node}"),
            false,
        ),
    }
}

/// Whether the kubelet reported the end of the pod. The pod garbage collector sets only the phase and does not change
/// the containers; the kubelet ends the containers first, and if there are none it sets a reason.
fn ended_by_kubelet(evidence: &Evidence) -> bool {
    let reason = evidence.reason.as_deref().unwrap_or_default();
    let collected = evidence
        .disruption
        .as_ref()
        .is_some_and(|d| d.reason == "DeletionByPodGC");
    let init_failed = matches!(evidence.init, Some((_, Container::Terminated(_))));
    let says_why = (!reason.is_empty() && reason != "NodeLost") || init_failed;
    match evidence.phase.as_str() {
        "Succeeded" => true,
        "Failed" => !matches!(evidence.peon, Container::Running { .. }) && says_why && !collected,
        _ => false,
    }
}

fn written_off(message: String, node_lost: bool) -> Death {
    Death::WrittenOff(Doubt { message, node_lost })
}

/// When a pod whose deletion was requested should have ended, if its kubelet is responsive.
#[must_use]
pub fn overdue(evidence: &Evidence) -> Option<Timestamp> {
    evidence.deletion_due.and_then(|t| t.checked_add(REPORT).ok())
}

#[cfg(test)]
#[path = "death_tests.rs"]
mod tests;
