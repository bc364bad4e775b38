//! The status of a PeonTask (pure): from the one in force to the next.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::settings::Settings;
use super::verdict::{Outcome, Verdict};
use crate::api::conditions::{
    ACCEPTED, COMPLETE, Conditions, FAILED, READY, RECONCILING, STALLED, STARTED, SUCCEEDED, accepted,
    waiting,
};
use crate::api::{PeonTask, PeonTaskStatus, Phase};
use crate::druid::payload::Payload;

/// A status under construction.
#[derive(Debug)]
pub struct Draft {
    status: PeonTaskStatus,
    conditions: Conditions,
    now: Timestamp,
}

impl Draft {
    /// Starts from the status in force.
    #[must_use]
    pub fn of(task: &PeonTask, now: Timestamp) -> Self {
        let status = task.status.clone().unwrap_or_default();
        let conditions = Conditions::from(&status.conditions, task.metadata.generation, now);
        Self {
            status: PeonTaskStatus {
                observed_generation: task.metadata.generation,
                ..status
            },
            conditions,
            now,
        }
    }

    /// Copies what the payload says of itself.
    pub fn describe(&mut self, payload: &Payload) {
        self.status.task_id = Some(payload.id.clone());
        self.status.task_type = Some(payload.type_.clone());
        self.status.data_source.clone_from(&payload.data_source);
        self.status.task_hash = Some(payload.hash.clone());
    }

    /// The task was accepted with these settings.
    pub fn accept(&mut self, settings: &Settings) {
        self.status.memory = Some(settings.memory.0.clone());
        self.status.cpu = Some(settings.cpu.0.clone());
        self.conditions.set(
            ACCEPTED,
            true,
            accepted::VALID,
            "the task is valid and its settings fit",
        );
    }

    /// The task has this pod.
    pub fn pod(&mut self, name: &str, uid: &str) {
        self.status.pod_name = Some(name.to_owned());
        self.status.pod_uid = Some(uid.to_owned());
    }

    /// The task is not accepted for now.
    #[must_use]
    pub fn refuse(mut self, reason: &'static str, message: &str) -> PeonTaskStatus {
        self.conditions.set(ACCEPTED, false, reason, message);
        self.stalled(Phase::Pending, reason, message)
    }

    /// The task is not accepted and never will be.
    #[must_use]
    pub fn refuse_for_good(mut self, reason: &'static str, message: &str) -> PeonTaskStatus {
        self.conditions.set(ACCEPTED, false, reason, message);
        self.fail(reason, message)
    }

    /// The peon has not started.
    #[must_use]
    pub fn wait(mut self, phase: Phase, reason: &'static str, message: &str) -> PeonTaskStatus {
        self.conditions.set(STARTED, false, reason, message);
        if reason != waiting::STARTING {
            return self.stalled(phase, reason, message);
        }
        self.conditions.set(READY, false, reason, message);
        self.conditions.set(RECONCILING, true, reason, message);
        self.conditions.remove(STALLED);
        self.finish(phase, reason)
    }

    /// The peon runs.
    #[must_use]
    pub fn run(mut self, since: Option<Timestamp>) -> PeonTaskStatus {
        self.started(since);
        self.conditions.set(READY, true, "Running", "the peon runs");
        self.conditions.remove(RECONCILING);
        self.conditions.remove(STALLED);
        self.finish(Phase::Running, "Running")
    }

    /// The verdict.
    #[must_use]
    pub fn judge(mut self, verdict: &Verdict) -> PeonTaskStatus {
        if let Some(ended) = &verdict.terminated {
            self.status.exit_code = Some(ended.exit_code);
            if ended.started.is_some() {
                self.started(ended.started);
            }
            self.status.completion_time = ended.finished.map(Time);
        }
        match &verdict.outcome {
            Outcome::Succeeded => self.succeed(),
            Outcome::Failed { cause, message } => self.fail(cause, message),
        }
    }

    fn succeed(mut self) -> PeonTaskStatus {
        let message = "Druid reported SUCCESS";
        self.complete();
        self.conditions.set(COMPLETE, true, SUCCEEDED, message);
        self.conditions.set(READY, true, SUCCEEDED, message);
        self.conditions.remove(RECONCILING);
        self.conditions.remove(STALLED);
        self.finish(Phase::Succeeded, SUCCEEDED)
    }

    /// The task failed for good.
    #[must_use]
    pub fn fail(mut self, cause: &'static str, message: &str) -> PeonTaskStatus {
        self.complete();
        self.conditions.set(FAILED, true, cause, message);
        self.stalled(Phase::Failed, cause, message)
    }

    fn started(&mut self, since: Option<Timestamp>) {
        self.status.start_time = since.map(Time).or(self.status.start_time.take());
        self.conditions
            .set(STARTED, true, STARTED, "the peon's container started");
    }

    fn complete(&mut self) {
        self.status.completion_time.get_or_insert(Time(self.now));
    }

    fn stalled(mut self, phase: Phase, reason: &'static str, message: &str) -> PeonTaskStatus {
        self.conditions.set(READY, false, reason, message);
        self.conditions.set(STALLED, true, reason, message);
        self.conditions.remove(RECONCILING);
        self.finish(phase, reason)
    }

    fn finish(mut self, phase: Phase, reason: &str) -> PeonTaskStatus {
        self.status.phase = Some(phase);
        self.status.reason = Some(reason.to_owned());
        self.status.conditions = self.conditions.into_list();
        self.status
    }
}
