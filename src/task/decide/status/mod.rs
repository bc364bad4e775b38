//! The next status of a PeonTask, built from the current one (pure).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

mod location;

use super::deadlines;
use super::log_collection::Word;
use super::retry::{Nature, NextAttempt};
use super::verdict::{Outcome, Verdict};
use crate::api::attempts::MOST_RECORDS;
use crate::api::conditions::{
    ACCEPTED, COMPLETE, Conditions, FAILED, LOGS_ARCHIVED, READY, RECONCILING, RECORDED, STALLED, STARTED,
    SUSPENDED, cut,
};
use crate::api::reason::{
    Acceptance, Cause, Completion, Readiness, Reason, Recording, RunStart, Suspension, Waiting,
};
use crate::api::{AttemptRecord, PeonTask, PeonTaskStatus, Phase, RunKind, RunStatus, Stop};
use crate::druid::payload::Payload;
use crate::logs::format::record::Recorded;
use crate::task::accept::settings::Settings;

/// Largest status in bytes of JSON: etcd stores it, every watch sends it, and there may be very many.
const LARGEST: usize = 4000;
/// What `Ready` says of a peon of which nothing else is to be said.
pub const RUNS: &str = "the peon runs";

/// A status under construction.
#[derive(Debug, Clone)]
pub struct Draft {
    status: PeonTaskStatus,
    /// The time of completion in the history, used if there is no other.
    recorded: Option<Timestamp>,
    conditions: Conditions,
    now: Timestamp,
}

/// How an attempt ended that is followed by another one.
#[derive(Debug)]
pub struct Ended<'a> {
    /// Number of the attempt.
    pub number: u32,
    /// A cause, or `Suspended`.
    pub cause: Cause,
    /// The verdict on it.
    pub verdict: &'a Verdict,
    /// The memory step of the next one, if it is another one.
    pub climb: Option<u32>,
    /// When the next one may begin.
    pub not_before: Timestamp,
}

impl Draft {
    /// Starts from the current status.
    #[must_use]
    pub fn of(task: &PeonTask, now: Timestamp) -> Self {
        let status = task.status.clone().unwrap_or_default();
        let conditions = Conditions::from(&status.conditions, task.metadata.generation, now);
        Self {
            status: PeonTaskStatus {
                observed_generation: task.metadata.generation,
                ..status
            },
            recorded: None,
            conditions,
            now,
        }
    }

    /// Copies the fields that follow from the payload.
    pub fn describe(&mut self, payload: &Payload) {
        self.status.task_id = Some(payload.id.clone());
        self.status.task_type = Some(payload.type_.clone());
        self.status.data_source.clone_from(&payload.data_source);
        self.status.task_hash = Some(payload.hash.clone());
        self.status.safe_to_rerun = Some(payload.safe_to_rerun);
        self.status.subtask = payload.subtask_key();
        let supervisor = payload
            .subtask
            .as_ref()
            .map(|subtask| cut(&subtask.supervisor, 255));
        self.status.supervisor_task_id = supervisor;
    }

    /// The task was accepted with these settings.
    pub fn accept(&mut self, settings: &Settings) {
        self.status.memory = Some(settings.memory.0.clone());
        self.status.cpu = Some(settings.cpu.0.clone());
        self.conditions.set(
            ACCEPTED,
            true,
            &Acceptance::Valid,
            "the task is valid and its settings fit",
        );
    }

    /// Properties of the task that decide whether it may run twice.
    #[must_use]
    pub fn nature(&self) -> Nature {
        Nature {
            safe: self.status.safe_to_rerun.unwrap_or(false),
            subtask: self.status.subtask.is_some(),
        }
    }

    /// The peon is given a changed task.
    pub fn effective(&mut self, hash: Option<&str>) {
        self.status.effective_hash = hash.map(str::to_owned);
    }

    /// Sets how many steps of the memory ladder the attempt is above the first one.
    pub fn step(&mut self, step: u32) {
        if step > 0 {
            self.status.memory_step = Some(step);
        }
    }

    /// Sets the template used for the task.
    pub fn template(&mut self, name: &str) {
        self.status.template = Some(name.to_owned());
    }

    /// The attempt ended with this cause, and the next one is claimed. Writing this status is the claim: a process with
    /// an older version of the task cannot write it.
    #[must_use]
    pub fn claim(mut self, next: &NextAttempt, ended: &Ended<'_>, message: &str) -> PeonTaskStatus {
        let terminated = ended.verdict.terminated.as_ref();
        let completed = terminated.and_then(|t| t.finished).unwrap_or(self.now);
        let started = match self.status.run.as_ref().map(|run| run.kind) {
            // Its JVM started before, for others.
            Some(RunKind::Worker) => self.status.start_time.take(),
            _ => terminated.and_then(|t| t.started).map(Time),
        };
        self.status.attempts.push(AttemptRecord {
            number: ended.number,
            cause: ended.cause.to_string(),
            memory: self.status.memory.clone(),
            exit_code: terminated.map(|t| t.exit_code),
            start_time: started,
            completion_time: Some(Time(completed)),
        });
        let excess = self.status.attempts.len().saturating_sub(MOST_RECORDS);
        self.status.attempts.drain(..excess);
        *self.status.failures.entry(ended.cause.to_string()).or_default() += 1;
        if let Some(step) = ended.climb {
            self.status.memory_step = Some(step);
        }
        self.status.attempt = Some(next.number());
        self.status.run = None;
        self.status.node_name = None;
        self.status.start_time = None;
        self.status.stop = None;
        self.status.pending_since = Some(Time(ended.not_before));
        self.wait(Phase::Pending, Waiting::Retrying, message)
    }

    /// The operator stops the attempt. Written before the attempt is stopped.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> PeonTaskStatus {
        self.status.stop = Some(stop);
        self.stopping()
    }

    /// The operator lets the attempt continue after all.
    pub fn withdraw_stop(&mut self) {
        self.status.stop = None;
    }

    /// The peon was asked to stop.
    #[must_use]
    pub fn stopping(self) -> PeonTaskStatus {
        let message = match &self.status.stop {
            Some(stop) => format!("{}: {}", stop.cause, stop.message),
            None => "the pod is being deleted".to_owned(),
        };
        self.stops(&message)
    }

    /// The attempt was stopped or has ended, and what follows needs the proof that its JVM has ended, too, which runs other
    /// tasks.
    #[must_use]
    pub fn await_neighbours(self, pod: &str) -> PeonTaskStatus {
        self.stops(&format!(
            "the Indexer {pod} runs other tasks: it gets no further one, and is deleted when they have ended"
        ))
    }

    fn stops(mut self, message: &str) -> PeonTaskStatus {
        let phase = self.status.phase.unwrap_or_default();
        self.conditions.set(READY, false, &Readiness::Stopping, message);
        self.conditions
            .set(RECONCILING, true, &Readiness::Stopping, message);
        self.conditions.remove(STALLED);
        self.finish(phase, &Readiness::Stopping)
    }

    /// It cannot be determined whether the peon is dead.
    #[must_use]
    pub fn await_node(self, message: &str) -> PeonTaskStatus {
        let phase = self.status.phase.unwrap_or_default();
        self.stalled(phase, &Readiness::AwaitingNodeProof, message)
    }

    /// Suspended by the user, without a peon.
    #[must_use]
    pub fn suspend(mut self) -> PeonTaskStatus {
        let message = "spec.suspend is set: no pod is created until it is unset";
        self.conditions
            .set(SUSPENDED, true, &Suspension::Suspended, message);
        self.conditions
            .set(STARTED, false, &Suspension::Suspended, message);
        self.conditions.set(READY, false, &Suspension::Suspended, message);
        self.conditions.remove(RECONCILING);
        self.conditions.remove(STALLED);
        self.finish(Phase::Suspended, &Suspension::Suspended)
    }

    /// Resumed by the user.
    #[must_use]
    pub fn resume(mut self) -> PeonTaskStatus {
        let message = "spec.suspend was unset";
        self.conditions
            .set(SUSPENDED, false, &Suspension::Resumed, message);
        self.status.pending_since = Some(Time(self.now));
        self.wait(Phase::Pending, Waiting::Starting, message)
    }

    /// Whether the user wants to suspend a task whose peon runs and which may not be run again.
    pub fn hold(&mut self, wanted: bool, why_not: &str) {
        if wanted {
            self.conditions
                .set(SUSPENDED, false, &Suspension::NotRestartable, why_not);
        } else if self.conditions.reason(SUSPENDED).and_then(Suspension::parse)
            == Some(Suspension::NotRestartable)
        {
            self.conditions.remove(SUSPENDED);
        }
    }

    /// The task is not accepted for now.
    #[must_use]
    pub fn refuse(mut self, reason: Acceptance, message: &str) -> PeonTaskStatus {
        self.conditions.set(ACCEPTED, false, &reason, message);
        self.status.run = self.status.run.filter(|run| run.kind != RunKind::Elsewhere);
        self.stalled(Phase::Pending, &reason, message)
    }

    /// The task is not accepted and never will be.
    #[must_use]
    pub fn refuse_for_good(mut self, reason: Acceptance, message: &str) -> PeonTaskStatus {
        self.conditions.set(ACCEPTED, false, &reason, message);
        self.failed(&reason, message)
    }

    /// The peon has not started.
    #[must_use]
    pub fn wait(mut self, phase: Phase, reason: Waiting, message: &str) -> PeonTaskStatus {
        self.conditions.set(STARTED, false, &reason, message);
        if !reason.is_reconciling() {
            return self.stalled(phase, &reason, message);
        }
        self.conditions.set(READY, false, &reason, message);
        self.conditions.set(RECONCILING, true, &reason, message);
        self.conditions.remove(STALLED);
        self.finish(phase, &reason)
    }

    /// The peon runs.
    #[must_use]
    pub fn run(self, since: Option<Timestamp>) -> PeonTaskStatus {
        self.runs(since, RUNS)
    }

    /// The peon runs, and has not answered its probe for long.
    #[must_use]
    pub fn run_unanswered(self, since: Option<Timestamp>) -> PeonTaskStatus {
        self.runs(
            since,
            "the peon runs, but its server did not answer within two minutes of its start: supervisors, subtasks and \
             live reports cannot call it yet",
        )
    }

    fn runs(mut self, since: Option<Timestamp>, message: &str) -> PeonTaskStatus {
        self.started(since);
        self.conditions.set(READY, true, &Readiness::Running, message);
        self.conditions.remove(RECONCILING);
        self.conditions.remove(STALLED);
        self.finish(Phase::Running, &Readiness::Running)
    }

    /// Another worker of the overlord runs the task.
    #[must_use]
    pub fn run_elsewhere(mut self, message: &str) -> PeonTaskStatus {
        self.taken_elsewhere(message);
        self.conditions
            .set(READY, true, &Readiness::RunsElsewhere, message);
        self.conditions.remove(RECONCILING);
        self.conditions.remove(STALLED);
        self.finish(Phase::Running, &Readiness::RunsElsewhere)
    }

    /// Another worker of the overlord ran the task successfully.
    #[must_use]
    pub fn succeed_elsewhere(mut self, message: &str) -> PeonTaskStatus {
        self.taken_elsewhere(message);
        self.succeed(message)
    }

    /// The task is complete without a run: it succeeded before.
    #[must_use]
    pub fn succeed_before(self, message: &str) -> PeonTaskStatus {
        self.succeed(message)
    }

    fn taken_elsewhere(&mut self, message: &str) {
        self.conditions.set(
            ACCEPTED,
            true,
            &Acceptance::Valid,
            "the overlord has accepted the task",
        );
        self.conditions
            .set(STARTED, true, &Readiness::RunsElsewhere, message);
        self.status.run = Some(RunStatus::elsewhere());
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
            Outcome::Succeeded => self.succeed("Druid reported SUCCESS"),
            Outcome::Failed { cause, message } => self.fail(*cause, message),
        }
    }

    fn succeed(mut self, message: &str) -> PeonTaskStatus {
        self.complete();
        self.conditions
            .set(COMPLETE, true, &Completion::Succeeded, message);
        self.conditions.set(READY, true, &Completion::Succeeded, message);
        self.conditions.remove(RECONCILING);
        self.conditions.remove(STALLED);
        self.finish(Phase::Succeeded, &Completion::Succeeded)
    }

    /// The task failed for good.
    #[must_use]
    pub fn fail(self, cause: Cause, message: &str) -> PeonTaskStatus {
        self.failed(&cause, message)
    }

    /// The task failed for this cause, or because it is not accepted.
    fn failed(mut self, reason: &impl Reason, message: &str) -> PeonTaskStatus {
        self.complete();
        self.conditions.set(FAILED, true, reason, message);
        self.stalled(Phase::Failed, reason, message)
    }

    /// Sets the state of the log.
    pub fn log(&mut self, word: &Word) {
        self.conditions.set(
            LOGS_ARCHIVED,
            word.archived,
            &word.reason,
            &cut(&word.message, 512),
        );
    }

    /// Sets the result of the history. The time of completion in a new verdict is that of the history.
    pub fn record(&mut self, recorded: &Recorded) {
        self.recorded = Some(recorded.completed);
        match &recorded.outcome {
            Ok(()) => {
                let message = "the task is in the history, and stays there when the PeonTask is deleted";
                self.conditions.set(RECORDED, true, &Recording::Recorded, message);
            }
            Err(message) if deadlines::store_had_its_time(&self.status, self.now) => {
                let message = cut(
                    &format!("recording was given up a day after the task's end: {message}"),
                    256,
                );
                self.conditions.set(RECORDED, false, &Recording::GaveUp, &message);
            }
            Err(message) => {
                let message = cut(message, 256);
                self.conditions
                    .set(RECORDED, false, &Recording::StoreFailed, &message);
            }
        }
    }

    /// The status of a task that has its verdict, with the state of log and history: nothing else is changed, not even
    /// a message that is too long.
    #[must_use]
    pub fn as_it_is(mut self) -> PeonTaskStatus {
        self.status.conditions = self.conditions.into_list();
        self.status
    }

    /// The peon started; without a time, the one that is recorded stays.
    pub fn started(&mut self, since: Option<Timestamp>) {
        self.status.start_time = since.map(Time).or(self.status.start_time.take());
        self.conditions
            .set(STARTED, true, &RunStart::Started, "the peon's container started");
    }

    fn complete(&mut self) {
        let completed = self.recorded.unwrap_or(self.now);
        self.status.completion_time.get_or_insert(Time(completed));
    }

    fn stalled(mut self, phase: Phase, reason: &impl Reason, message: &str) -> PeonTaskStatus {
        self.conditions.set(READY, false, reason, message);
        self.conditions.set(STALLED, true, reason, message);
        self.conditions.remove(RECONCILING);
        self.finish(phase, reason)
    }

    fn finish(mut self, phase: Phase, reason: &impl Reason) -> PeonTaskStatus {
        if let (Phase::Succeeded | Phase::Failed, Some(run)) = (phase, &mut self.status.run) {
            run.end();
        }
        self.status.phase = Some(phase);
        self.status.reason = Some(reason.name().to_owned());
        self.status.conditions = self.conditions.into_list();
        fit(&mut self.status);
        self.status
    }
}

/// Shortens the messages until the status fits: the same message may be in three conditions.
fn fit(status: &mut PeonTaskStatus) {
    for longest in [512, 256, 128, 64] {
        if serde_json::to_string(status).is_ok_and(|json| json.len() <= LARGEST) {
            return;
        }
        for condition in &mut status.conditions {
            condition.message = cut(&condition.message, longest);
        }
    }
    while status.attempts.len() > 1 && serde_json::to_string(status).is_ok_and(|json| json.len() > LARGEST) {
        status.attempts.remove(0);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
#[path = "schema_tests.rs"]
mod schema_tests;
