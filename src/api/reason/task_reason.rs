//! The reason of a PeonTask's phase.

use super::{Acceptance, Cause, Completion, Readiness, Suspension, Waiting};

/// The reason of a PeonTask's phase (`status.reason`), which is that of `Ready`: one of any condition that says why a task
/// is where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskReason {
    /// It is not accepted.
    Accepted(Acceptance),
    /// It has no peon yet.
    Waits(Waiting),
    /// It is seen to, runs, or is being stopped.
    Ready(Readiness),
    /// It is held.
    Suspended(Suspension),
    /// It has succeeded.
    Complete(Completion),
    /// It has failed, or an attempt has.
    Failed(Cause),
}

impl TaskReason {
    /// The reason of this name; `None` for one of a newer version. Some names stand both for a cause and for something that
    /// is waited for: of a task that has `failed` they are the cause.
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
