//! Proof that the peon of a run in its own pod is dead (pure):
//!
//! | seen | proof |
//! |---|---|
//! | the kubelet reports the peon's container as terminated, or the pod as ended | yes |
//! | the pod is gone and never had a node | yes |
//! | the pod is gone, and its node is Ready and was so for the pod's grace period and more | yes: a kubelet that is Ready ends what the API server does not know |
//! | the node does not answer | no: its containers run on |
//! | the node was deleted, or tainted out-of-service | only where `retry.afterNodeLoss` is `Rerun` |
//!
//! The pod garbage collector marks pods of nodes that are gone or out of service as `Failed`. It never saw the node, so
//! this is not a report of the kubelet.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::evidence::{Container, Evidence};
use super::run::PodRun;
use crate::api::AfterNodeLoss;
use crate::task::run::death::{Death, Doubt, Known, NodeState, Proof};

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

impl PodRun {
    /// Checks whether the peon is dead.
    #[must_use]
    pub fn death(&self, known: &Known<'_>, now: Timestamp) -> Death {
        let evidence = &self.evidence;
        if matches!(evidence.peon, Container::Terminated(_)) {
            return Death::Proven(Proof::new());
        }
        if ended_by_kubelet(evidence) {
            return Death::Proven(Proof::new());
        }
        if !self.gone && !evidence.pod_ended() {
            return Death::No;
        }
        if evidence.node.is_none() && !evidence.pod_uid.is_empty() {
            return Death::Proven(Proof::new());
        }
        let node = evidence.node.as_deref().unwrap_or("of the pod");
        match known.node {
            None => Death::AskNode,
            Some(NodeState::NeverBound) => Death::Proven(Proof::new()),
            Some(NodeState::Ready(since)) => {
                let grace = SignedDuration::from_secs(evidence.grace.unwrap_or(UNKNOWN_GRACE));
                let awaited_since = known.noticed.unwrap_or(now).max(*since);
                let over = awaited_since
                    .checked_add(grace + MARGIN)
                    .unwrap_or(Timestamp::MAX);
                if over <= now {
                    return Death::Proven(Proof::new());
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
                    "the pod is gone and the node {node} is not ready, so the peon may still run there: bring the node \
                 back, or once it is off, delete it or taint it out-of-service"
                ),
                look_again: LOOK_AGAIN,
            },
            Some(NodeState::Later) => Death::AskLater(LOOK_AGAIN),
            Some(NodeState::OutOfService | NodeState::Deleted)
                if known.after_node_loss == AfterNodeLoss::Rerun =>
            {
                Death::Proven(Proof::new())
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
