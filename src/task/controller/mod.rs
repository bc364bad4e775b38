//! The loop over PeonTasks: observe, plan, act, write the status.

#[cfg(test)]
pub(crate) mod passes_tests;

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::{self, Action as Requeue, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;

use super::accept;
use super::accept::template_choice::{self, Candidate};
use super::aggregates::fair_share::{Limits, Shares, Wake};
use super::aggregates::idle_indexers::PoolOffer;
use super::aggregates::slots::Who;
use super::cached_task::CachedTask;
use super::decide::finished;
use super::decide::plan::{self, Settlement, Step, plan};
use super::effects::act::{ActError, Actor};
use super::run::pod::evidence::Evidence;
use super::snapshot::{Outcomes, Snapshot, Template};
use super::watch::{Caches, GuardedTemplate};
use crate::api::{PeonTask, PeonTaskStatus, Phase, conditions, names};
use crate::apiserver::backoff::Backoff;
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::classify::own_writes::Written;
use crate::apiserver::error::panicked;
use crate::apiserver::request::RequestError;
use crate::clock::Clock;
use crate::druid::properties::RuntimeProperties;
use crate::metrics::Metrics;

mod retain;
mod unreadable;

/// Most concurrent passes, over different tasks. One namespace has at most two thirds of them, so that a tenant with
/// slow passes leaves some to others.
const PASSES: Limits = Limits {
    total: 48,
    namespace: 32,
};
/// More than the number of concurrent passes: a task that has to wait for a pass should wait in the queue of the
/// shares, and not in the controller's schedule, which has no order.
const CONCURRENCY: u16 = 96;
/// More actions than any pass needs, apart from the pods of former attempts that it ends.
const MOST_ACTIONS: usize = 10;
/// Delay before checking again for an own write that the watch has not delivered.
const OWN_WRITE: Duration = Duration::from_secs(5);

/// Passes over finished tasks that are due later than this are not kept in the controller's schedule, and so begin up to
/// [`SWEEP`] later.
const SOON: Duration = Duration::from_secs(60);
/// How often finished tasks are looked through for those of which a pass is due.
const SWEEP: Duration = Duration::from_secs(10);

/// Reason of the Event about a template that was chosen among several with the same priority.
const TEMPLATE_TIE: &str = "TemplateTie";

/// The decision function: the plan, or a test's replacement.
pub(crate) type Plan = fn(&Snapshot, Timestamp) -> Step;

/// The context of all passes.
pub struct Context {
    caches: Caches,
    actor: Actor,
    operator: Arc<RuntimeProperties>,
    metrics: Metrics,
    passes: Shares,
    backoff: Backoff,
    written: Written,
    /// Namespaces in which a pass is deleting finished tasks.
    retaining: Mutex<HashSet<String>>,
    clock: Clock,
    plan: Plan,
}

impl Context {
    /// The context of a controller.
    #[must_use]
    pub fn new(caches: Caches, actor: Actor, operator: Arc<RuntimeProperties>, metrics: Metrics) -> Self {
        let waker = caches.clone();
        let wake: Wake = Arc::new(move |namespace, name| waker.wake_named(namespace, name));
        Self {
            actor: actor.waking(wake.clone()),
            passes: Shares::new(PASSES, wake),
            caches,
            operator,
            metrics,
            backoff: Backoff::default(),
            written: Written::default(),
            retaining: Mutex::default(),
            clock: Clock::default(),
            plan,
        }
    }
}

#[cfg(test)]
impl Context {
    /// Sets the clock and the plan.
    pub(crate) fn under(mut self, clock: Clock, plan: Plan) -> Self {
        (self.clock, self.plan) = (clock, plan);
        self
    }
}

/// Runs passes over tasks until `shutdown`, then finishes the passes that have begun.
pub async fn run(context: Arc<Context>, shutdown: impl Future<Output = ()> + Send + Sync + 'static) {
    let caches = context.caches.clone();
    caches.complete().await;
    let absent = context.clone();
    let due = {
        let context = context.clone();
        async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                context.caches.wake_due(context.clock.wall());
            }
        }
    };
    let passes = Controller::for_stream(futures::stream::pending(), caches.tasks.clone())
        .reconcile_on(caches.wakes())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(shutdown)
        .run(reconcile, retry, context)
        .for_each(|result| {
            if let Err(error) = result {
                if let controller::Error::ObjectNotFound(task) = &error {
                    absent.leave(&(task.namespace.clone().unwrap_or_default(), task.name.clone()));
                }
                // Failed passes are logged where they fail; other errors concern the queue.
                tracing::debug!(
                    error = crate::apiserver::error::chain(&error),
                    "the PeonTask is not reconciled"
                );
            }
            futures::future::ready(())
        });
    tokio::select! {
        () = passes => {}
        () = due => {}
    }
}

#[tracing::instrument(skip_all, fields(namespace = task.namespace(), task = task.name_any()))]
async fn reconcile(task: Arc<CachedTask>, context: Arc<Context>) -> Result<Requeue, ActError> {
    let who = (task.namespace().unwrap_or_default(), task.name_any());
    let Some(_share) = context.passes.take(&who, 1) else {
        // It is woken when it is its turn.
        return Ok(Requeue::await_change());
    };
    let began = Instant::now();
    // In one place: the controller moves this future several times.
    let pass = Box::pin(async {
        match task.read() {
            Ok(task) => context.pass(&task).await,
            Err(invalid) => {
                // The previous task with this name may have been queued.
                context.actor.leave_room(&who);
                context.undecodable(&invalid).await
            }
        }
    });
    // A fault triggered by one object must not end the process for all.
    let result = AssertUnwindSafe(pass)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| {
            // It may have been queued, and will not come back soon.
            context.actor.leave_room(&who);
            Err(ActError::Panicked(panicked(&*panic)))
        });
    context.outlived(&task);
    let outcome = match &result {
        Ok((true, _)) => "changed",
        Ok((false, _)) => "unchanged",
        Err(error) => error.label(),
    };
    context.metrics.pass(outcome, began.elapsed());
    result.map(|(_, requeue)| {
        let later = requeue.filter(|after| *after > SOON);
        let due = later.and_then(|after| context.clock.wall().checked_add(after).ok());
        if due.is_some_and(|due| task.look_at(due)) {
            return Requeue::await_change();
        }
        requeue.map_or_else(Requeue::await_change, Requeue::requeue)
    })
}

fn is_accepted(status: &PeonTaskStatus) -> bool {
    conditions::is_true(&status.conditions, conditions::ACCEPTED)
}

/// A failed effect is retried; for objects that fail again and again the delay grows.
#[allow(clippy::needless_pass_by_value)] // The controller's signature.
fn retry(task: Arc<CachedTask>, error: &ActError, context: Arc<Context>) -> Requeue {
    let delay = context.failed(&task.uid().unwrap_or_default());
    let (namespace, name) = (task.namespace(), task.name_any());
    if matches!(
        error,
        ActError::Request(RequestError::Conflict(..)) | ActError::NotLeader
    ) {
        tracing::debug!(namespace, task = name, %error, ?delay, "the pass over the PeonTask is repeated");
    } else {
        tracing::warn!(
            namespace,
            task = name,
            error = crate::apiserver::error::chain(error),
            ?delay,
            "the pass over the PeonTask failed and is repeated"
        );
    }
    Requeue::requeue(delay)
}

impl Context {
    /// Records a failed pass and returns the delay before the next one.
    pub(crate) fn failed(&self, uid: &str) -> Duration {
        self.written.clear(uid);
        self.backoff.failed(uid, self.clock.instant())
    }

    /// There is no longer a task with this name: its reservations are released.
    fn leave(&self, who: &Who) {
        self.passes.leave(who);
        self.actor.leave_room(who);
    }

    /// A pass has ended. If its task went meanwhile, the pass may have reserved something after the deletion event
    /// released the task's reservations. The cache is updated before that event is handled, so that one of the two
    /// releases them in any case.
    fn outlived(&self, task: &CachedTask) {
        let uid = task.uid().unwrap_or_default();
        let now = self.caches.tasks.get(&ObjectRef::from_obj(task));
        if now.is_none_or(|now| now.uid().as_ref() != Some(&uid)) {
            self.caches.wake_these(self.caches.outlived(&uid));
        }
    }

    /// One pass. Returns whether it wrote anything, and when the next one is due.
    pub(crate) async fn pass(&self, task: &PeonTask) -> Result<(bool, Option<Duration>), ActError> {
        let uid = task.uid().unwrap_or_default();
        if self
            .written
            .is_ahead_of(&uid, task.metadata.resource_version.as_deref())
        {
            return Ok((false, Some(OWN_WRITE)));
        }
        if task.is_final() {
            self.retain(task).await?;
        }
        let mut snapshot = self.observe(task);
        let outcome = self.steps(task, &uid, &mut snapshot).await;
        if !snapshot.outcomes.waits_for_room {
            // It may have waited before, and want something else by now.
            let who = (task.namespace().unwrap_or_default(), task.name_any());
            self.actor.leave_room(&who);
        }
        if matches!(outcome, Ok((false, _))) {
            let namespace = task.namespace().unwrap_or_default();
            for pod in finished::pods_no_longer_read(&snapshot) {
                self.caches.forget_pod(&namespace, pod);
            }
        }
        // Only a status that was written shows that the pass knew the newest version of the task.
        if matches!(outcome, Ok((true, _))) && snapshot.outcomes.given.is_none() {
            self.caches.aggregates.indexers.release(&uid);
        }
        outcome
    }

    /// Performs actions until the plan settles.
    async fn steps(
        &self,
        task: &PeonTask,
        uid: &str,
        snapshot: &mut Snapshot,
    ) -> Result<(bool, Option<Duration>), ActError> {
        let mut tied = Vec::new();
        let most = MOST_ACTIONS + snapshot.others.len();
        for _ in 0..most {
            // A template is chosen by the payload, which may have to be read first.
            if matches!(snapshot.template, Template::Undecided) {
                (snapshot.template, tied) = self.template(snapshot);
            }
            match (self.plan)(snapshot, self.clock.wall()) {
                Step::Act(action) => {
                    tracing::debug!(action = action.name(), "acting");
                    self.actor.perform(action, snapshot).await?;
                }
                Step::Settle(settlement) => {
                    let accepted = settlement.status.as_ref().is_some_and(is_accepted);
                    let outcome = self.settle(task, uid, *settlement).await?;
                    if accepted && !task.status.as_ref().is_some_and(is_accepted) {
                        self.warn_of_tie(task, snapshot, &tied).await;
                    }
                    return Ok(outcome);
                }
            }
        }
        Err(ActError::Unsettled(most))
    }

    fn observe(&self, task: &PeonTask) -> Snapshot {
        let namespace = task.namespace().unwrap_or_default();
        let pod = |attempt| {
            let name = names::attempt(&task.name_any(), attempt);
            let pod = self.caches.pods.get(&ObjectRef::new(&name).within(&namespace));
            pod.as_deref().map(Evidence::of)
        };
        let current = task.attempt();
        let name = names::attempt(&task.name_any(), current);
        Snapshot {
            task: Arc::new(task.clone()),
            template: Template::Undecided,
            operator: self.operator.clone(),
            cached: pod(current),
            // As many as there were attempts, whose number the budgets limit.
            others: (1..current).filter_map(pod).collect(),
            departed: self.caches.departed.get(&namespace, &name),
            indexer: self.actor.indexer_seen(task).map(Box::new),
            pools: self.pools(task, &namespace),
            may_have_pod: self
                .caches
                .aggregates
                .indexers
                .may_have_pod(&task.uid().unwrap_or_default(), current),
            pools_open_in: self.caches.aggregates.indexers.opens_in(self.clock.instant()),
            held: self
                .backoff
                .held(&task.uid().unwrap_or_default(), self.clock.instant()),
            keeps_logs: self.actor.keeps_logs(),
            inline: std::sync::OnceLock::new(),
            outcomes: Outcomes::default(),
        }
    }

    /// What pools offer to a task that has no place yet.
    fn pools(&self, task: &PeonTask, namespace: &str) -> Vec<Arc<PoolOffer>> {
        let has_place = task.is_final() || task.status.as_ref().is_some_and(|s| s.pod_uid().is_some());
        let manager = task.middle_manager().filter(|_| !has_place && task.is_assigned());
        manager.map_or_else(Vec::new, |manager| {
            self.caches.aggregates.indexers.pools(namespace, manager)
        })
    }

    /// The task's template, and the names of other templates that match with the same priority.
    fn template(&self, snapshot: &Snapshot) -> (Template, Vec<String>) {
        let task = &*snapshot.task;
        let namespace = task.namespace().unwrap_or_default();
        // A finished task no longer has the payload by which the template was chosen.
        let in_force = task
            .status
            .as_ref()
            .filter(|s| s.pod_uid().is_some() || task.is_final())
            .and_then(|s| s.template.as_deref());
        if let Some(name) = task.template_name().or(in_force) {
            return (self.template_named(name, &namespace), Vec::new());
        }
        let Ok(payload) = accept::payload(snapshot) else {
            return (Template::Undecided, Vec::new());
        };
        let templates = self
            .caches
            .templates
            .state_filter(|t| t.namespace().as_deref() == Some(&namespace));
        let candidates = templates
            .iter()
            .filter_map(|t| t.0.as_ref().ok())
            .map(|t| Candidate {
                name: t.metadata.name.as_deref().unwrap_or_default(),
                matches: t.spec.matches.as_ref(),
                priority: t.spec.priority.unwrap_or(0),
            });
        match template_choice::select(&payload, candidates) {
            Some(chosen) => (self.template_named(&chosen.name, &namespace), chosen.tied),
            None => (
                self.template_named(template_choice::DEFAULT, &namespace),
                Vec::new(),
            ),
        }
    }

    fn template_named(&self, name: &str, namespace: &str) -> Template {
        let name = name.to_owned();
        let key = ObjectRef::<GuardedTemplate>::new(&name).within(namespace);
        match self.caches.templates.get(&key).map(|t| (*t).clone()) {
            None => Template::Missing { name },
            Some(Guarded(Ok(template))) => Template::Found(Arc::new(template)),
            Some(Guarded(Err(unreadable))) => Template::Undecodable {
                name,
                error: unreadable.error,
            },
        }
    }

    /// Publishes an Event once, when the task is accepted, if its template was chosen among several with the same
    /// priority.
    async fn warn_of_tie(&self, task: &PeonTask, snapshot: &Snapshot, tied: &[String]) {
        let Template::Found(template) = &snapshot.template else {
            return;
        };
        if tied.is_empty() {
            return;
        }
        let message = format!(
            "PeonTemplate {} is used, the first by name of those that match; with the same priority {} \
             these match too: {}",
            template.name_any(),
            template.spec.priority.unwrap_or(0),
            tied.join(", ")
        );
        self.actor.warn(task, TEMPLATE_TIE.into(), &message).await;
    }

    async fn settle(
        &self,
        task: &PeonTask,
        uid: &str,
        settlement: Settlement,
    ) -> Result<(bool, Option<Duration>), ActError> {
        let changed = settlement.status.filter(|new| task.status.as_ref() != Some(new));
        if let Some(status) = &changed {
            self.write(task, uid, status).await?;
        }
        if settlement.refused_for_now {
            return Ok((
                changed.is_some(),
                Some(self.backoff.failed(uid, self.clock.instant())),
            ));
        }
        // A pass that changes no status does not clear the task's delay.
        if changed.is_some() {
            self.backoff.clear(uid);
        }
        Ok((changed.is_some(), settlement.requeue))
    }

    async fn write(&self, task: &PeonTask, uid: &str, status: &PeonTaskStatus) -> Result<(), ActError> {
        let written = self.actor.write_status(task, status).await?;
        self.written.record(uid, written.resource_version.as_deref());
        tracing::info!(
            phase = status.phase.map(Phase::as_str),
            reason = status.reason,
            task_id = status.task_id,
            "status written"
        );
        if let Some((reason, message)) = plan::warning(task.status.as_ref(), status) {
            self.actor.warn(task, reason, &message).await;
        }
        let is_final = matches!(status.phase, Some(Phase::Succeeded | Phase::Failed));
        // Later changes of its log are no verdict.
        if is_final && !task.is_final() {
            self.metrics.verdict(status.reason.as_deref().unwrap_or_default());
        }
        if plan::ends_attempt(task, status) {
            let pod = names::attempt(&task.name_any(), task.attempt());
            self.caches
                .departed
                .forget(&task.namespace().unwrap_or_default(), &pod);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
