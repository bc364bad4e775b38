//! Decisions about a task (pure): the next step, the verdict on an attempt, retries, the status.

pub(crate) mod after_success;
pub(crate) mod conclude;
pub(crate) mod current_run;
pub mod deadlines;
pub mod event_budget;
pub(crate) mod finished;
pub mod history_record;
pub mod log_collection;
pub mod plan;
pub mod retry;
pub mod status;
pub mod verdict;
pub mod waiting;
pub(crate) mod with_run;
pub(crate) mod with_worker;
pub(crate) mod without_run;

#[cfg(test)]
mod elsewhere_tests;
