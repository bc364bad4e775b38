//! Submits PeonTasks that users created, and copies the state of those that other workers run.
//!
//! Each step ends with writing its result to `status.submission`, on condition that the object is unchanged; so two
//! processes, or one that died, do nothing twice. [`submission`] decides, [`Backlog`] schedules.

pub mod decide;
pub mod task_queue;

mod poll;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, TryStreamExt};
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Event, watcher};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::assign::Assigner;
use super::assign::decide::not_now::Unread;
use super::assign::decide::provenance::{Document, Provenance};
use super::assign::task_reader::TaskReader;
use super::http::backend::Announce;
use super::overlord::SubmitError;
use super::overlord::decide::refusal::OverlordError;
use super::registry::view::TaskView;
use super::sync::tasks::GuardedTask;
use crate::api::{LABEL_IDENTITY, PeonTask, Submission, SubmissionState};
use crate::apiserver::error::chain;
use crate::apiserver::request::{PROMPT, request_within};
use crate::apiserver::watch::{report, watching};
use crate::metrics::Metrics;
use decide::applied::Applied;
use decide::backlog::{Backlog, Due};
use decide::submission::{self, Held, Policy, Step};
use task_queue::TaskQueue;

/// How often due work is looked for.
const TICK: Duration = Duration::from_millis(500);
/// PeonTasks processed at the same time.
const WORKERS: usize = 16;
/// Time limit of a step: requests to the overlord and reads from the API server have their own limits, and a step has
/// few of them.
const STEP: Duration = Duration::from_secs(180);
/// Most consecutive steps for one PeonTask.
const STEPS: usize = 4;

/// Processes the PeonTasks of one VirtualMiddleManager until they are assigned.
pub struct Submitter<L, Q> {
    assigner: Arc<Assigner<L>>,
    queue: Q,
    task_reader: TaskReader,
    policy: watch::Receiver<Policy>,
    backlog: Mutex<Backlog>,
    /// Uids of the PeonTasks being processed.
    busy: Mutex<HashSet<String>>,
}

/// A step failed, and is retried later.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Unread(#[from] Unread),
    #[error("{0}")]
    Overlord(#[from] OverlordError),
    #[error("{0}")]
    Write(String),
    #[error("the step took longer than {STEP:?}")]
    Late,
}

/// Outcome of a step.
enum Outcome {
    /// Another step may follow.
    GoOn,
    /// Nothing more for now.
    Rest,
    /// Try again later.
    Later,
}

impl<L: Announce, Q: TaskQueue> Submitter<L, Q> {
    /// A submitter for the VirtualMiddleManager of `assigner`.
    #[must_use]
    pub fn new(assigner: Arc<Assigner<L>>, queue: Q, policy: watch::Receiver<Policy>) -> Self {
        let namespace = &assigner.maker().namespace;
        Self {
            task_reader: TaskReader::new(assigner.client().clone(), namespace),
            backlog: Mutex::default(),
            busy: Mutex::default(),
            assigner,
            queue,
            policy,
        }
    }

    /// Never returns.
    ///
    /// # Access control
    /// peontasks: get, list, watch, patch. peontasks/status: patch. secrets, configmaps: get.
    pub async fn run(self, metrics: Metrics) {
        let client = self.assigner.client().clone();
        futures::join!(self.watch(&client, &metrics), self.work(), self.poll());
    }

    async fn watch(&self, client: &Client, metrics: &Metrics) {
        let maker = self.assigner.maker();
        let config = watching()
            .fields(&format!("spec.middleManagerRef.name={}", maker.middle_manager))
            .labels(&format!("!{LABEL_IDENTITY}"));
        let tasks: Api<GuardedTask> = Api::namespaced(client.clone(), &maker.namespace);
        let mut events = std::pin::pin!(watcher(tasks, config).default_backoff());
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    report(&event, metrics);
                    self.event(event);
                }
                Ok(None) => return,
                Err(error) => tracing::warn!(
                    error = chain(&error),
                    "the watch of PeonTasks to submit failed and is repeated"
                ),
            }
        }
    }

    pub(super) fn event(&self, event: Event<GuardedTask>) {
        let mut backlog = self.backlog.lock();
        match event {
            Event::Init => backlog.list_begins(),
            Event::Apply(task) | Event::InitApply(task) => {
                if let Some(applied) = Applied::guarded(&task) {
                    backlog.see(applied);
                }
            }
            Event::Delete(task) => backlog.unsee(&task.uid().unwrap_or_default()),
            Event::InitDone => backlog.list_ends(),
        }
    }

    /// Processes each PeonTask separately: slow work, at the overlord or elsewhere, occupies one of [`WORKERS`] places
    /// and delays no other PeonTask. Places that become free are used at once, by others: each PeonTask is processed at
    /// most once per tick, since the watch may lag.
    async fn work(&self) {
        let mut busy = FuturesUnordered::new();
        let mut rested: Vec<String> = Vec::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.rest(&mut rested),
                Some(uid) = busy.next() => {
                    rested.push(uid);
                    while let Some(Some(uid)) = busy.next().now_or_never() {
                        rested.push(uid);
                    }
                }
            }
            for (applied, due) in self.due(WORKERS.saturating_sub(busy.len())) {
                busy.push(self.look_after(applied, due));
            }
        }
    }

    /// Allows them to be processed again.
    fn rest(&self, rested: &mut Vec<String>) {
        let mut busy = self.busy.lock();
        for uid in rested.drain(..) {
            busy.remove(&uid);
        }
    }

    /// At most `most` of those that are due; they count as being processed from now on.
    fn due(&self, most: usize) -> Vec<(Applied, Due)> {
        if most == 0 {
            return Vec::new();
        }
        let policy = self.policy.borrow().clone();
        let now = self.assigner.tasks().clock().instant();
        let is_taken = |id: &str| self.assigner.tasks().ask(|known, _| known.has(id));
        let mut busy = self.busy.lock();
        let is_busy = |uid: &str| busy.contains(uid);
        let mut due = self.backlog.lock().due(now, &policy, is_taken, is_busy);
        due.truncate(most);
        busy.extend(due.iter().map(|(applied, _)| applied.uid.clone()));
        due
    }

    /// Does all due work, and waits for it.
    #[cfg(test)]
    pub(super) async fn round(&self) {
        futures::stream::iter(self.due(usize::MAX))
            .for_each_concurrent(WORKERS, |(applied, due)| async {
                let uid = self.look_after(applied, due).await;
                self.rest(&mut vec![uid]);
            })
            .await;
    }

    async fn look_after(&self, applied: Applied, due: Due) -> String {
        let uid = applied.uid.clone();
        self.take_steps(applied, due).await;
        uid
    }

    async fn take_steps(&self, mut applied: Applied, mut due: Due) {
        for _ in 0..STEPS {
            let uid = applied.uid.clone();
            let step = async {
                match &due {
                    Due::Verify => self.verify(&applied).await,
                    Due::Step(step) => self.take(&applied, step).await,
                }
            };
            let outcome = tokio::time::timeout(STEP, step).await;
            let outcome = outcome.unwrap_or(Err(Failed::Late));
            match outcome {
                Ok(Outcome::GoOn) => self.backlog.lock().done(&uid),
                Ok(Outcome::Rest) => return self.backlog.lock().done(&uid),
                Ok(Outcome::Later) => {
                    let now = self.assigner.tasks().clock().instant();
                    return self.backlog.lock().failed(&uid, now);
                }
                Err(error) => {
                    tracing::warn!(task = applied.name, %error, "the submission of the PeonTask failed; it \
                        is tried again");
                    let now = self.assigner.tasks().clock().instant();
                    return self.backlog.lock().failed(&uid, now);
                }
            }
            let policy = self.policy.borrow().clone();
            let Some(next) = self.backlog.lock().get(&uid).cloned() else {
                return;
            };
            let is_taken = next.task_id.as_ref();
            let is_taken = is_taken.is_some_and(|id| self.assigner.tasks().ask(|known, _| known.has(id)));
            match submission::step(&next, &policy, is_taken) {
                Step::Rest => return,
                step => (applied, due) = (next, Due::Step(step)),
            }
        }
    }

    /// Reads a PeonTask that the watch no longer has: it has an identity, or is gone.
    async fn verify(&self, applied: &Applied) -> Result<Outcome, Failed> {
        let found = self.task_reader.task(&applied.name, &applied.uid).await?;
        let mut backlog = self.backlog.lock();
        match found.map(|task| Applied::of(&TaskView::from(task))) {
            None => {
                backlog.deleted(&applied.uid);
                Ok(Outcome::GoOn)
            }
            // The watch lagged.
            Some(Some(there)) => {
                backlog.see(there);
                Ok(Outcome::Rest)
            }
            Some(None) => {
                backlog.forget(&applied.uid);
                Ok(Outcome::Rest)
            }
        }
    }

    async fn take(&self, applied: &Applied, step: &Step) -> Result<Outcome, Failed> {
        match step {
            Step::Rest => Ok(Outcome::Rest),
            Step::Say(next) => self.say(applied, next).await,
            Step::Prepare => self.prepare(applied).await,
            Step::Submit => self.submit(applied).await,
            Step::Look => match self.held(applied).await? {
                Some((current, held)) => self.say(applied, &submission::looked(&current, held, None)).await,
                None => Ok(Outcome::Rest),
            },
            Step::End => self.end(applied).await,
            Step::Finish => self.finish(applied).await,
        }
    }

    /// The PeonTask is gone, and the task that the overlord may have of it has to be ended.
    fn gone(&self, applied: &Applied) -> Outcome {
        self.backlog.lock().deleted(&applied.uid);
        Outcome::GoOn
    }

    async fn prepare(&self, applied: &Applied) -> Result<Outcome, Failed> {
        let Some(task) = self.task_reader.task(&applied.name, &applied.uid).await? else {
            return Ok(self.gone(applied));
        };
        let document = match self.task_reader.of(&task).await {
            Ok(document) => document,
            Err(Unread::Unfit(why)) => {
                let refused = submission::next(None, SubmissionState::Refused, Some(&why));
                return self.say(applied, &refused).await;
            }
            // The operator reports what is missing.
            Err(Unread::Deficient(_)) => return Ok(Outcome::Later),
            Err(Unread::Forbidden(why)) => return self.may_not_read(applied, &why).await,
            Err(error) => return Err(error.into()),
        };
        let policy = self.policy.borrow().clone();
        if !policy.lists(&document.task_type) {
            let not_listed = submission::not_listed(&policy, &document.task_type);
            if applied.submission.as_ref() == Some(&not_listed) {
                // The operator has not reported its type yet.
                return Ok(Outcome::Later);
            }
            return self.say(applied, &not_listed).await;
        }
        self.say(applied, &submission::intent(&document)).await
    }

    async fn may_not_read(&self, applied: &Applied, why: &str) -> Result<Outcome, Failed> {
        let forbidden = submission::forbidden(why);
        if applied.submission.as_ref() != Some(&forbidden) {
            self.say(applied, &forbidden).await?;
        }
        Ok(Outcome::Later)
    }

    async fn submit(&self, applied: &Applied) -> Result<Outcome, Failed> {
        let Some(current) = applied.submission.clone() else {
            return Ok(Outcome::Rest);
        };
        let Some(task) = self.task_reader.task(&applied.name, &applied.uid).await? else {
            return Ok(self.gone(applied));
        };
        let document = match self.task_reader.of(&task).await {
            Err(Unread::Deficient(_)) => return Ok(Outcome::Later),
            read => read?,
        };
        let ours = self.provenance(applied, &current);
        if Some(&document.hash) != current.task_hash.as_ref() {
            let why = "the task was changed before it was submitted: create another PeonTask";
            let refused = submission::next(Some(&current), SubmissionState::Refused, Some(why));
            return self.say(applied, &refused).await;
        }
        let refused = match self.queue.submit(&text(&document, &ours)?).await {
            Ok(()) => {
                tracing::info!(task = applied.name, task_id = ours.task_id, "submitted");
                let submitted = submission::next(Some(&current), SubmissionState::Submitted, None);
                return self.say(applied, &submitted).await;
            }
            Err(SubmitError::AlreadyExists(words) | SubmitError::Refused(words)) => words,
            Err(SubmitError::NotAuthorized(error) | SubmitError::Unavailable(error)) => {
                return self.in_trouble(applied, &current, error).await;
            }
        };
        match self.queue.payload(&ours.task_id).await {
            Ok(payload) => {
                let held = Held::of(payload.as_deref(), &ours);
                self.say(applied, &submission::looked(&current, held, Some(&refused)))
                    .await
            }
            Err(error) => self.in_trouble(applied, &current, error).await,
        }
    }

    /// Records, once, that the overlord cannot be asked, and tries later.
    async fn in_trouble(
        &self,
        applied: &Applied,
        current: &Submission,
        error: OverlordError,
    ) -> Result<Outcome, Failed> {
        if let Some(next) = submission::trouble(current, &error) {
            self.say(applied, &next).await?;
        }
        Err(error.into())
    }

    /// The record, and the task that the overlord has.
    async fn held(&self, applied: &Applied) -> Result<Option<(Submission, Held)>, Failed> {
        let Some(current) = applied.submission.clone() else {
            return Ok(None);
        };
        let ours = self.provenance(applied, &current);
        let payload = self.queue.payload(&ours.task_id).await?;
        Ok(Some((current, Held::of(payload.as_deref(), &ours))))
    }

    async fn end(&self, applied: &Applied) -> Result<Outcome, Failed> {
        let Some((current, held)) = self.held(applied).await? else {
            return Ok(Outcome::Rest);
        };
        if held == Held::Ours {
            let id = current.task_id.as_deref().unwrap_or_default();
            self.queue.shutdown(id).await?;
            tracing::info!(
                task = applied.name,
                task_id = id,
                "the task was shut down at the overlord"
            );
        }
        // A deleted PeonTask has no status to write.
        let is_deleted = self.backlog.lock().is_deleted(&applied.uid);
        if is_deleted
            || self
                .task_reader
                .task(&applied.name, &applied.uid)
                .await?
                .is_none()
        {
            self.backlog.lock().forget(&applied.uid);
            return Ok(Outcome::Rest);
        }
        if current.state == SubmissionState::RunsElsewhere && held == Held::Ours {
            // The overlord decides how it ended.
            return Ok(Outcome::Later);
        }
        let ended = submission::next(Some(&current), SubmissionState::ShutDown, None);
        self.say(applied, &ended).await
    }

    async fn finish(&self, applied: &Applied) -> Result<Outcome, Failed> {
        let Some(task) = self.task_reader.task(&applied.name, &applied.uid).await? else {
            self.backlog.lock().deleted(&applied.uid);
            // Nothing is left to finish.
            return Ok(Outcome::Rest);
        };
        let finished = self.assigner.finish(&task, &self.task_reader).await;
        finished.map_err(|error| Failed::Write(error.to_string()))?;
        Ok(Outcome::Rest)
    }

    /// Records the state of a PeonTask, unless it was changed meanwhile.
    async fn say(&self, applied: &Applied, next: &Submission) -> Result<Outcome, Failed> {
        let (uid, version) = (Some(applied.uid.as_str()), Some(applied.version.as_str()));
        let patch = submission::record(uid, version, applied.submission.as_ref(), next)
            .map_err(|e| Failed::Write(e.to_string()))?;
        let tasks: Api<PeonTask> =
            Api::namespaced(self.assigner.client().clone(), &self.assigner.maker().namespace);
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let write = tasks.patch_status(&applied.name, &params, &patch);
        match request_within(PROMPT, "patch peontask/status", write).await {
            Ok(task) => {
                if let Some(applied) = Applied::of(&TaskView::from(task)) {
                    self.backlog.lock().written(applied);
                }
                Ok(Outcome::GoOn)
            }
            // The watch delivers its current state.
            Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(Outcome::Rest),
            Err(error) => Err(Failed::Write(error.why())),
        }
    }

    fn provenance(&self, applied: &Applied, current: &Submission) -> Provenance {
        Provenance {
            middle_manager: self.assigner.maker().uid.clone(),
            name: applied.name.clone(),
            uid: applied.uid.clone(),
            task_id: current.task_id.clone().unwrap_or_default(),
            task_hash: current.task_hash.clone().unwrap_or_default(),
        }
    }
}

fn text(document: &Document, ours: &Provenance) -> Result<String, Failed> {
    document.text(ours).map_err(|e| Failed::Write(e.to_string()))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod histories;

#[cfg(test)]
#[path = "world.rs"]
mod world;
