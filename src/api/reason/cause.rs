//! Reasons of `Failed`: the causes.

use super::{Follows, reasons};

reasons! {
    /// Reasons of `Failed`, the causes: how an attempt ended.
    Cause {
        /// Druid ran the task and reported FAILED; the message is Druid's.
        TaskFailed = "TaskFailed": FAILED = True, Retry(0);
        /// A process of the peon exceeded the memory limit.
        OomKilled = "OOMKilled": FAILED = True, MoreMemory(4);
        /// The JVM ran out of heap or direct memory: exit code 3, or what Druid reports or logs says so.
        JavaOutOfMemory = "JavaOutOfMemory": FAILED = True, MoreMemory(4);
        /// The kubelet evicted the pod to protect its node.
        Evicted = "Evicted": FAILED = True, Retry(3);
        /// The pod was removed through the eviction API, as `kubectl drain` does.
        Drained = "Drained": FAILED = True, Retry(10);
        /// A pod of higher priority took its place.
        Preempted = "Preempted": FAILED = True, Retry(10);
        /// The node shut down.
        NodeShutdown = "NodeShutdown": FAILED = True, Retry(10);
        /// The node was lost.
        NodeLost = "NodeLost": FAILED = True, Retry(3);
        /// The kubelet refused the pod (`OutOfcpu`, `NodeAffinity`, `UnexpectedAdmissionError`).
        PodRejected = "PodRejected": FAILED = True, Retry(10);
        /// The API server refused the pod or its ConfigMap as invalid or forbidden for good.
        PodRefused = "PodRefused": FAILED = True, End;
        /// `startDeadlineSeconds` passed before the peon started; the message says what it waited for.
        StartDeadline = "StartDeadline": FAILED = True, End;
        /// `spec.cancel` was set.
        Cancelled = "Cancelled": FAILED = True, End;
        /// Of an attempt, never of a task: it was stopped by `spec.suspend`.
        Suspended = "Suspended": FAILED = True, Resume;
        /// `activeDeadlineSeconds` passed.
        Deadline = "Deadline": FAILED = True, End;
        /// The pod was deleted by somebody else.
        PodDeleted = "PodDeleted": FAILED = True, Retry(3);
        /// The image's name is not valid.
        ImagePull = "ImagePull": FAILED = True, End;
        /// The container could not be started.
        ContainerStart = "ContainerStart": FAILED = True, Retry(3);
        /// The peon ended without saying how its task went.
        NoVerdict = "NoVerdict": FAILED = True, Retry(1);
    }
}

impl Cause {
    /// Default number of attempts that may follow those ended by this cause, if `retry.limits` does not set one; `None`
    /// if no attempt ever follows. Causes outside of the task have high budgets, which only protect against a cluster
    /// that causes them for ever. Causes that another attempt seldom changes have a low budget or none.
    #[must_use]
    pub const fn default_budget(self) -> Option<u32> {
        match self.follows() {
            Follows::Retry(budget) | Follows::MoreMemory(budget) => Some(budget),
            Follows::Change | Follows::ChangeOrEnd | Follows::End | Follows::Resume => None,
        }
    }

    /// The causes that can be followed by another attempt.
    pub fn retried() -> impl Iterator<Item = Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|cause| cause.default_budget().is_some())
    }

    /// Whether the next attempt gets more memory.
    #[must_use]
    pub const fn needs_memory(self) -> bool {
        matches!(self.follows(), Follows::MoreMemory(_))
    }

    /// Whether the loss of the pod's node may be behind it.
    #[must_use]
    pub const fn may_be_node_loss(self) -> bool {
        match self {
            Self::PodDeleted | Self::NodeLost | Self::Drained | Self::Evicted => true,
            Self::TaskFailed
            | Self::OomKilled
            | Self::JavaOutOfMemory
            | Self::Preempted
            | Self::NodeShutdown
            | Self::PodRejected
            | Self::PodRefused
            | Self::StartDeadline
            | Self::Cancelled
            | Self::Suspended
            | Self::Deadline
            | Self::ImagePull
            | Self::ContainerStart
            | Self::NoVerdict => false,
        }
    }

    /// Whether it is why the operator itself stops attempts.
    #[must_use]
    pub const fn is_stop(self) -> bool {
        match self {
            Self::Cancelled | Self::Suspended | Self::StartDeadline | Self::Deadline => true,
            Self::TaskFailed
            | Self::OomKilled
            | Self::JavaOutOfMemory
            | Self::Evicted
            | Self::Drained
            | Self::Preempted
            | Self::NodeShutdown
            | Self::NodeLost
            | Self::PodRejected
            | Self::PodRefused
            | Self::PodDeleted
            | Self::ImagePull
            | Self::ContainerStart
            | Self::NoVerdict => false,
        }
    }
}
