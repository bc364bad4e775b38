//! placeholder
use crate::api::{MemoryLadder, Rerun, RetryPolicy};
use std::time::Duration;
/// p
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy(RetryPolicy);
impl Policy {
    /// x
    #[must_use]
    pub fn of(task: Option<&RetryPolicy>, template: Option<&RetryPolicy>) -> Self {
        Self(task.or(template).cloned().unwrap_or_default())
    }
    /// x
    #[must_use]
    pub fn budget(&self, cause: &str) -> u32 {
        self.0.limits.get(cause).copied().unwrap_or(match cause {
            "TaskFailed" => 0,
            "NoVerdict" => 1,
            _ => 3,
        })
    }
    /// x
    #[must_use]
    pub fn rerun(&self) -> Rerun {
        self.0.rerun.unwrap_or_default()
    }
    /// x
    #[must_use]
    pub fn after_node_loss(&self) -> bool {
        self.0.after_node_loss.unwrap_or(false)
    }
    /// x
    #[must_use]
    pub fn backoff(&self, retry: u32) -> Duration {
        Duration::from_secs(u64::from(self.0.backoff_seconds.unwrap_or(10)) << retry.min(6))
    }
    /// x
    #[must_use]
    pub fn memory(&self) -> MemoryLadder {
        self.0.memory.clone().unwrap_or_default()
    }
}
