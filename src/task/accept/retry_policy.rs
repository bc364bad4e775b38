//! The retry policy used for a task: its own fields, else its template's, else the defaults (pure).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::reason::Cause;
use crate::api::{AfterNodeLoss, MemoryLadder, Rerun, RetryPolicy};

/// Seconds before the second attempt.
const BACKOFF_SECONDS: u32 = 10;
/// Longest delay before a later attempt in seconds, unless that before the second one is longer.
const LONGEST_BACKOFF_SECONDS: u32 = 600;

/// The policy used for a task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    rerun: Rerun,
    limits: BTreeMap<String, u32>,
    ladder: MemoryLadder,
    backoff_seconds: Option<u32>,
    after_node_loss: AfterNodeLoss,
}

impl Policy {
    /// The policy of a task: its own fields, else its template's. Limits are merged by cause.
    #[must_use]
    pub fn effective(task: Option<&RetryPolicy>, template: Option<&RetryPolicy>) -> Self {
        let nothing = RetryPolicy::default();
        let (task, template) = (task.unwrap_or(&nothing), template.unwrap_or(&nothing));
        let mut limits = template.limits.clone();
        limits.extend(task.limits.clone());
        let (own, given) = (task.memory.as_ref(), template.memory.as_ref());
        let ladder = MemoryLadder {
            factor_percent: own
                .and_then(|m| m.factor_percent)
                .or_else(|| given.and_then(|m| m.factor_percent)),
            max: own
                .and_then(|m| m.max.clone())
                .or_else(|| given.and_then(|m| m.max.clone())),
        };
        Self {
            rerun: task.rerun.or(template.rerun).unwrap_or_default(),
            limits,
            ladder,
            backoff_seconds: task.backoff_seconds.or(template.backoff_seconds),
            after_node_loss: task
                .after_node_loss
                .or(template.after_node_loss)
                .unwrap_or_default(),
        }
    }

    /// How many attempts may follow those that this cause ended.
    #[must_use]
    pub fn budget(&self, cause: Cause) -> u32 {
        let given = self.limits.get(cause.as_str()).copied();
        given.or_else(|| cause.default_budget()).unwrap_or(0)
    }

    /// Which tasks are run again after their peon began.
    #[must_use]
    pub fn rerun(&self) -> Rerun {
        self.rerun
    }

    /// What happens when the node of a peon is lost.
    #[must_use]
    pub fn after_node_loss(&self) -> AfterNodeLoss {
        self.after_node_loss
    }

    /// Delay before an attempt: `retry_index` is 0 for the second attempt, 1 for the third.
    #[must_use]
    pub fn backoff(&self, retry_index: u32) -> Duration {
        let base = self.backoff_seconds.unwrap_or(BACKOFF_SECONDS);
        let doubled = 1_u32
            .checked_shl(retry_index)
            .and_then(|factor| base.checked_mul(factor))
            .unwrap_or(u32::MAX);
        let longest = LONGEST_BACKOFF_SECONDS.max(base);
        let seconds = if base == 0 { 0 } else { doubled.min(longest) };
        Duration::from_secs(seconds.into())
    }

    /// How the memory grows.
    #[must_use]
    pub fn memory(&self) -> &MemoryLadder {
        &self.ladder
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(value: Value) -> RetryPolicy {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_cause_that_is_retried_has_a_default() {
        let defaults = Policy::effective(None, None);
        let budgets: Vec<(Cause, u32)> = Cause::retried().map(|c| (c, defaults.budget(c))).collect();
        let expected = [
            (Cause::TaskFailed, 0),
            (Cause::OomKilled, 4),
            (Cause::JavaOutOfMemory, 4),
            (Cause::Evicted, 3),
            (Cause::Drained, 10),
            (Cause::Preempted, 10),
            (Cause::NodeShutdown, 10),
            (Cause::NodeLost, 3),
            (Cause::PodRejected, 10),
            (Cause::PodDeleted, 3),
            (Cause::ContainerStart, 3),
            (Cause::NoVerdict, 1),
        ];
        assert_eq!(budgets, expected);
        assert_eq!(defaults.budget(Cause::Cancelled), 0);
        assert_eq!(
            (defaults.rerun(), defaults.after_node_loss()),
            (Rerun::Safe, AfterNodeLoss::Wait)
        );
        assert_eq!(*defaults.memory(), MemoryLadder::default());
        assert_eq!(defaults, Policy::default());
    }

    #[test]
    fn the_tasks_fields_outrank_the_templates() {
        let task = policy(json!({
            "limits": {"TaskFailed": 1, "OOMKilled": 0}, "memory": {"factorPercent": 300}, "afterNodeLoss": "Wait",
        }));
        let template = policy(json!({
            "rerun": "Always", "limits": {"TaskFailed": 5, "Evicted": 7}, "backoffSeconds": 30,
            "memory": {"factorPercent": 200, "max": "16Gi"}, "afterNodeLoss": "Rerun",
        }));
        let both = Policy::effective(Some(&task), Some(&template));
        let budgets = [
            Cause::TaskFailed,
            Cause::OomKilled,
            Cause::Evicted,
            Cause::Drained,
        ]
        .map(|cause| both.budget(cause));
        assert_eq!(budgets, [1, 0, 7, 10]);
        assert_eq!(
            (both.rerun(), both.after_node_loss()),
            (Rerun::Always, AfterNodeLoss::Wait)
        );
        assert_eq!(both.memory().factor_percent, Some(300));
        assert_eq!(both.memory().max.as_ref().map(|m| m.0.as_str()), Some("16Gi"));
        assert_eq!(both.backoff(0), Duration::from_secs(30));
        let alone = Policy::effective(None, Some(&template));
        assert_eq!(alone.after_node_loss(), AfterNodeLoss::Rerun);
    }

    #[test]
    fn waits_double_up_to_ten_minutes_or_the_first_wait() {
        let waits = |base: Option<u32>| {
            let given = RetryPolicy {
                backoff_seconds: base,
                ..RetryPolicy::default()
            };
            let policy = Policy::effective(Some(&given), None);
            [0, 1, 2, 5, 6, 7, 31, 32, u32::MAX].map(|index| policy.backoff(index).as_secs())
        };
        assert_eq!(waits(None), [10, 20, 40, 320, 600, 600, 600, 600, 600]);
        assert_eq!(waits(Some(3600)), [3600; 9]);
        assert_eq!(waits(Some(0)), [0; 9]);
    }
}
