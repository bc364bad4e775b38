//! Proof that the current attempt of a task is dead (data only).
//!
//! Two runs of one task must never live at the same time, so the next attempt needs a [`Proof`] of the death of the
//! last one. A `Proof` is made nowhere but in this folder, by the rules of each kind of run.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::api::AfterNodeLoss;

/// Proof that the peon of an attempt is dead. Only the kinds of runs can create one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof(());

impl Proof {
    /// A proof, by the rules of a kind of run.
    pub(super) fn new() -> Self {
        Self(())
    }
}

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

/// What is known besides the run itself.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its node, if it was read in this pass.
    pub node: Option<&'a NodeState>,
    /// Since when the task waits for proof.
    pub noticed: Option<Timestamp>,
    /// Whether a node that was deleted or tainted out-of-service counts as proof.
    pub after_node_loss: AfterNodeLoss,
}

/// Result of the check whether an attempt is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Death {
    /// Alive: it exists and has not ended.
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

/// Why it cannot be known, now or later, whether an attempt is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Details in words.
    pub message: String,
    /// Whether its node was lost; else nothing is known of the node.
    pub node_lost: bool,
}
