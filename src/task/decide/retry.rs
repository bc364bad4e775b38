//! Whether a failed attempt is followed by another one (pure).
//!
//! | | |
//! |---|---|
//! | the peon never began | again, whatever the task is |
//! | it may have begun | again where `retry.rerun` allows it for this task; a subtask of another never |
//! | each cause | has its own budget |
//! | `OOMKilled`, `JavaOutOfMemory` | again one step up the memory ladder, while there is one |

use std::collections::BTreeMap;

use crate::api::Rerun;
use crate::api::reason::Cause;
use crate::task::accept::retry_policy::Policy;
use crate::task::run::death::Proof;

/// The number of an attempt that may be started: it cannot be created without proof that the last peon is dead.
#[derive(Debug, PartialEq, Eq)]
pub struct NextAttempt(u32);

impl NextAttempt {
    /// The attempt after `number`, whose peon is dead.
    #[must_use]
    pub fn after(number: u32, _proof: Proof) -> Self {
        Self(number.saturating_add(1))
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.0
    }
}

/// Input of the decision.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// How the attempt failed.
    pub cause: Cause,
    /// Whether its peon may have begun.
    pub began: bool,
    /// Properties of the task.
    pub nature: Nature,
    /// Attempts that ended before, by cause.
    pub failures: &'a BTreeMap<String, u32>,
    /// Whether the memory can grow.
    pub can_climb: bool,
}

/// Properties of a task that decide whether it may run twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Nature {
    /// Whether a second run writes nothing twice.
    pub safe: bool,
    /// Whether it is a subtask of another task.
    pub subtask: bool,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Another attempt follows.
    Again {
        /// Whether it gets more memory.
        climb: bool,
    },
    /// No attempt follows.
    Final(Why),
}

/// Why no attempt follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No attempt ever follows this cause.
    Cause,
    /// The budget of this cause is used up: its size.
    Spent(u32),
    /// The task may have written data.
    NotSafe,
    /// The memory cannot grow further.
    LargestMemory,
}

impl Why {
    /// Text appended to the failure's message, if any.
    #[must_use]
    pub fn text(self, cause: Cause) -> Option<String> {
        match self {
            Self::Cause | Self::Spent(0) => None,
            Self::Spent(many) => Some(format!("all {many} retries for {cause} are used")),
            Self::NotSafe => {
                Some("the task is not run again, since it may have written data (retry.rerun)".into())
            }
            Self::LargestMemory => Some(
                "the task is not run again, since it already had the most memory that is allowed \
                 (retry.memory.max)"
                    .into(),
            ),
        }
    }
}

/// Whether a task whose peon may have begun may be run again.
#[must_use]
pub fn may_rerun(began: bool, nature: Nature, policy: &Policy) -> bool {
    if !began {
        return true;
    }
    match policy.rerun() {
        Rerun::Never => false,
        Rerun::Safe => nature.safe && !nature.subtask,
        Rerun::Always => !nature.subtask,
    }
}

/// Decides whether another attempt follows.
#[must_use]
pub fn decide(case: &Case<'_>, policy: &Policy) -> Decision {
    if case.cause.default_budget().is_none() {
        return Decision::Final(Why::Cause);
    }
    let budget = policy.budget(case.cause);
    if case
        .failures
        .get(case.cause.as_str())
        .is_some_and(|n| *n >= budget)
        || budget == 0
    {
        return Decision::Final(Why::Spent(budget));
    }
    if !may_rerun(case.began, case.nature, policy) {
        return Decision::Final(Why::NotSafe);
    }
    let climb = case.cause.needs_memory();
    if climb && !case.can_climb {
        return Decision::Final(Why::LargestMemory);
    }
    Decision::Again { climb }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
