//! The reason of a PeonTask's phase.

use super::{Acceptance, Cause, Completion, Readiness, Suspension, Waiting};

/// The reason of a PeonTask's phase (`status.reason`), which equals the reason of `Ready`. It may be a reason of any
/// condition that explains the task's phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskReason {
    /// The task is not accepted.
    Accepted(Acceptance),
    /// The task has no peon yet.
    Waits(Waiting),
    /// The operator works on the task, or the peon runs or is being stopped.
    Ready(Readiness),
    /// The task is suspended.
    Suspended(Suspension),
    /// The task has succeeded.
    Complete(Completion),
    /// The task, or an attempt of it, has failed.
    Failed(Cause),
}

impl TaskReason {
    /// The reason with this name; `None` for a name of a newer version. Some names are both a cause and a reason of
    /// waiting: for a task that has `failed` the result is the cause.
    #[must_use]
    pub fn parse(name: &str, failed: bool) -> Option<Self> {
        let cause = || Cause::parse(name).map(Self::Failed);
        let first = if failed { cause() } else { None };
        first
            .or_else(|| Acceptance::parse(name).map(Self::Accepted))
            .or_else(|| Waiting::parse(name).map(Self::Waits))
            .or_else(|| Readiness::parse(name).map(Self::Ready))
            .or_else(|| Suspension::parse(name).map(Self::Suspended))
            .or_else(|| Completion::parse(name).map(Self::Complete))
            .or_else(cause)
    }

    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted(reason) => reason.as_str(),
            Self::Waits(reason) => reason.as_str(),
            Self::Ready(reason) => reason.as_str(),
            Self::Suspended(reason) => reason.as_str(),
            Self::Complete(reason) => reason.as_str(),
            Self::Failed(reason) => reason.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_two_conditions_is_a_cause_once_the_task_has_failed() {
        let waits = Some(TaskReason::Waits(Waiting::ImagePull));
        assert_eq!(TaskReason::parse("ImagePull", false), waits);
        let failed = Some(TaskReason::Failed(Cause::ImagePull));
        assert_eq!(TaskReason::parse("ImagePull", true), failed);
        let evicted = Some(TaskReason::Failed(Cause::Evicted));
        assert_eq!(TaskReason::parse("Evicted", false), evicted);
        assert_eq!(TaskReason::parse("OfANewerVersion", true), None);
    }
}
