//! The loop over IndexerPools.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::{Action, Controller, Error as Unreconciled};
use kube::runtime::events::Recorder;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};

use super::cordoned::Cordoned;
use super::decide::budget;
use super::decide::connection::{Content, Wanted};
use super::decide::heap::watchdog::{Heaps, News};
use super::decide::indexer::{Indexer, Seen};
use super::decide::plan::{Delete, Observed, Plan, plan};
use super::decide::queries::Queries;
use super::decide::revision::{Revision, Unusable};
use super::decide::status::{self, Decision};
use super::demand::Demanded;
use super::effects::{Created, EffectError, Effects};
use super::memories::{Memories, Memory};
use super::observe::{self, GuardedManager};
use super::pods::{IndexerPods, Wake};
use super::secrets::Secrets;
use super::watchdog::{self, Watchdogs};
use super::work::{InvalidConnection, Work};
use crate::api::reason::PoolReadiness;
use crate::api::{IndexerPool, VirtualMiddleManager};
use crate::apiserver::classify::decode::{Guarded, Unreadable};
use crate::apiserver::error;
use crate::apiserver::watch::FirstList;
use crate::clock::Clock;
use crate::druid::properties::RuntimeProperties;
use crate::logs::follower::pod_streams::PodStreams;
use crate::metrics::Metrics;
use crate::process::leadership::Leadership;
use crate::task::run::worker::patience;
use crate::task::watch::Caches;

/// Delay before an effect that failed is retried.
const RETRY: Duration = Duration::from_secs(5);
/// A pass follows after this time even if nothing changes.
const AGAIN: Duration = Duration::from_secs(300);
/// Pods that one pass creates or deletes at the same time.
const CONCURRENCY: usize = 4;

/// An IndexerPool from the watch.
pub type GuardedPool = Guarded<IndexerPool>;

/// A pass failed and is repeated.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Effect(#[from] EffectError),
    #[error("a bug in the operator ended the pass: {0}; please report it")]
    Panicked(String),
}

/// What the controller is given.
pub struct Surroundings {
    /// Templates and pods of the operator.
    pub caches: Caches,
    /// The index of Indexers, which listens to the watch of pods.
    pub pods: Arc<IndexerPods>,
    /// The polls of Indexers, and what pools offer.
    pub work: Work,
    /// The operator's properties.
    pub operator: Arc<RuntimeProperties>,
    /// The proof of leadership for every write.
    pub leadership: Leadership,
    /// Publishes Events.
    pub recorder: Recorder,
    /// The streams of the logs of shared Indexers.
    pub streams: PodStreams,
}

struct Context {
    effects: Effects,
    secrets: Secrets,
    caches: Caches,
    pods: Arc<IndexerPods>,
    nodes: Cordoned,
    work: Work,
    watchdogs: Watchdogs,
    /// Whether the cluster can resize pods in place.
    resizes: bool,
    operator: Arc<RuntimeProperties>,
    pools: Store<GuardedPool>,
    managers: Store<GuardedManager>,
    first_list: FirstList,
    clock: Clock,
    memories: Memories,
}

/// Runs until it is asked to stop.
///
/// # Access control
/// indexerpools: list, watch; indexerpools/status: patch; pods: create, delete; poddisruptionbudgets: create, patch,
/// delete; virtualmiddlemanagers: list, watch; nodes: list, watch; secrets: get; events (events.k8s.io): create, patch.
pub async fn run(
    client: Client,
    namespace: Option<&str>,
    surroundings: Surroundings,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let Surroundings {
        caches,
        pods,
        work,
        operator,
        leadership,
        recorder,
        streams,
    } = surroundings;
    caches.complete().await;
    let (pools, changes) = observe::pools(&client, namespace, metrics.clone());
    let (managers, manager_changes) = observe::managers(&client, namespace, metrics.clone());
    let woken = {
        let (pools, work, pods) = (pools.clone(), work.clone(), pods.clone());
        let wakes = stream::unfold(pods.wakes(), |mut wakes| async {
            wakes.recv().await.map(|wake| (wake, wakes))
        });
        wakes.flat_map(move |wake| {
            if let Wake::Pool(pool) = &wake
                && pools.get(pool).is_none()
            {
                // No pass follows.
                work.withdraw(pool.namespace.as_deref().unwrap_or_default(), &pool.name);
                work.prune(&observe::uids(&pools), &pods, Instant::now());
            }
            stream::iter(observe::woken(&pools, wake))
        })
    };
    let named = {
        let pools = pools.clone();
        move |manager: GuardedManager| observe::naming(&pools, &manager)
    };
    let resizes = observe::can_resize(&client).await;
    let nodes = Cordoned::default();
    let watched = {
        let (nodes, client, pods) = (nodes.clone(), client.clone(), pods.clone());
        async move { nodes.watch(&client, &pods).await }
    };
    let context = Context {
        watchdogs: Watchdogs::new(client.clone(), streams, pods.clone()),
        secrets: Secrets::new(client.clone(), Clock::default()),
        effects: Effects {
            client,
            leadership,
            recorder,
        },
        caches,
        pods,
        nodes,
        work,
        resizes,
        operator,
        pools: pools.clone(),
        managers,
        first_list: FirstList::default(),
        clock: Clock::default(),
        memories: Memories::new(metrics),
    };
    let passes = Controller::for_stream(changes, pools)
        .watches_stream(manager_changes, named)
        .reconcile_on(woken)
        .graceful_shutdown_on(stop)
        .run(reconcile, on_error, Arc::new(context))
        .for_each(|ended| async move {
            match ended {
                // A failure is logged where it occurs: `on_error`.
                Ok(_) | Err(Unreconciled::ObjectNotFound(_) | Unreconciled::ReconcilerFailed(..)) => {}
                Err(broken) => tracing::warn!(
                    error = error::chain(&broken),
                    "the watch of IndexerPools or of VirtualMiddleManagers failed and is repeated"
                ),
            }
        });
    let watched = watched.then(|()| std::future::pending::<()>());
    tokio::select! {
        () = passes => {}
        () = watched => {}
    }
}

#[allow(clippy::needless_pass_by_value)] // As the controller calls it.
fn on_error(pool: Arc<GuardedPool>, error: &ReconcileError, _: Arc<Context>) -> Action {
    tracing::warn!(
        namespace = pool.namespace(),
        name = pool.name_any(),
        %error,
        "the pass over the IndexerPool failed and is repeated"
    );
    Action::requeue(RETRY)
}

async fn reconcile(pool: Arc<GuardedPool>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    match &pool.0 {
        // A fault triggered by one object must not end the process for all.
        Ok(pool) => match AssertUnwindSafe(context.pass(pool)).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => Err(ReconcileError::Panicked(error::panicked(&*panic))),
        },
        Err(unreadable) => context.report_unreadable(unreadable).await,
    }
}

impl Context {
    async fn pass(&self, pool: &IndexerPool) -> Result<Action, ReconcileError> {
        let uid = pool.uid().unwrap_or_default();
        if pool.metadata.deletion_timestamp.is_some() {
            // The garbage collector deletes the pods.
            self.memories.forget(&uid);
            self.pods.forget(&uid);
            self.work.forget(pool);
            self.watchdogs.forget(&uid);
            return Ok(Action::await_change());
        }
        // The first pass may come before the first list of VirtualMiddleManagers.
        let ready = self.first_list.wait(self.managers.wait_until_ready());
        if tokio::time::timeout(RETRY, ready).await.is_err() {
            return Ok(Action::requeue(RETRY));
        }
        let revision = self.revision(pool);
        let (connected, read_again) = self.connect(pool, revision.as_ref().ok()).await;
        let revision = connected.and(revision);
        let now = self.clock.wall();
        let mut memory = self.memories.of(&uid);
        let (mut indexers, unseen) = self.pods.of(&uid, self.clock.instant());
        let news = self.observe(pool, &mut indexers, &mut memory.heaps, now);
        let hash = revision.as_ref().ok().map(|revision| revision.hash.clone());
        if let Some(hash) = &hash {
            memory.failures.observe(hash, &indexers, now);
        }
        let found = pool.status.as_ref().and_then(|status| status.discovery.as_ref());
        let seen = Seen::from(found);
        let settled = self.work.settles_in(self.clock.instant()).is_none();
        let demanded = Demanded::of(pool, &self.work, &mut memory, &indexers, settled, now);
        let spec = demanded.spec(pool);
        let planned = |memory: &Memory| {
            plan(&Observed {
                pool: &spec,
                revision: revision.as_ref(),
                indexers: &indexers,
                unseen,
                seen: &seen,
                failures: &memory.failures,
                refused: memory.refused.as_ref(),
                draining: &memory.draining,
                now,
            })
        };
        let state = |indexer: &Indexer| indexer.state(hash.as_deref(), &seen).0;
        memory.states = indexers.iter().map(state).collect();
        let mut plan = planned(&memory);
        let before = memory.refused.clone();
        let failed = self.act(pool, &plan, revision.as_ref().ok(), &mut memory).await;
        if memory.refused != before {
            // No event follows a refusal: this pass says it, and when it is tried again.
            plan = planned(&memory);
        }
        self.protect(pool, &mut memory, now).await;
        demanded.describe(&memory, &mut plan);
        plan.queries = self
            .manager(pool, |manager| Queries::of(pool, manager))
            .unwrap_or_default();
        demanded.publish(pool, &self.effects).await;
        watchdog::publish(&news, pool, &self.effects).await;
        let current = revision.as_ref().ok();
        let busy_cpu = current.and_then(|revision| revision.busy_cpu.clone());
        let quarantined = &memory.quarantine.kinds;
        self.work
            .offer(pool, &indexers, &seen, &plan, busy_cpu, quarantined);
        memory.draining.clone_from(&plan.drain);
        let mut pools = observe::uids(&self.pools);
        pools.insert(uid.clone());
        self.work.prune(&pools, &self.pods, self.clock.instant());
        let last = memory.status_written;
        let decision = status::decide(pool, &plan, hash.as_deref(), &indexers, &seen, last, now);
        let mut again = plan.look_again.unwrap_or(AGAIN).min(read_again);
        again = demanded.look_again(&memory, again, now);
        again = watchdog::look_again(&memory.heaps, again);
        if let Some(left) = self.work.settles_in(self.clock.instant())
            && !plan.delete.is_empty()
        {
            // They were not deleted yet.
            again = again.min(left);
        }
        let mut status = None;
        match decision {
            Decision::Nothing => {}
            Decision::Later(delay) => again = again.min(delay),
            Decision::Write(new) => {
                memory.status_written = Some(now);
                status = Some(new);
            }
        }
        self.memories.keep(&uid, memory, || observe::uids(&self.pools));
        if let Some(status) = status {
            self.effects.write_status(&pool.metadata, &status).await?;
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(Action::requeue(again)),
        }
    }

    /// Finds out what the Indexers are used for, and which are to be replaced. Returns what is new of their heaps.
    fn observe(
        &self,
        pool: &IndexerPool,
        indexers: &mut [Indexer],
        heaps: &mut Heaps,
        now: Timestamp,
    ) -> Vec<News> {
        let namespace = pool.namespace().unwrap_or_default();
        let patience = patience(Duration::from_secs(pool.spec.kill_grace_seconds.into()));
        let stops_by = now - patience;
        self.work
            .observe(&namespace, &pool.name_any(), indexers, stops_by);
        for indexer in indexers.iter_mut() {
            let node = indexer.evidence.node.as_deref();
            let is_cordoned = node.is_some_and(|node| self.nodes.has(node));
            indexer.age(&pool.spec, is_cordoned, now);
        }
        self.watchdogs.observe(pool, indexers, heaps, now)
    }

    /// Reads something of the pool's VirtualMiddleManager.
    fn manager<T>(
        &self,
        pool: &IndexerPool,
        read: impl FnOnce(&VirtualMiddleManager) -> T,
    ) -> Result<T, Unusable> {
        let name = &pool.spec.middle_manager_ref.name;
        let reference = ObjectRef::new(name).within(&pool.namespace().unwrap_or_default());
        let message = match self.managers.get(&reference).as_deref() {
            Some(Guarded(Ok(manager))) => return Ok(read(manager)),
            Some(Guarded(Err(unreadable))) => {
                format!(
                    "the VirtualMiddleManager {name} cannot be decoded: {}",
                    unreadable.error
                )
            }
            None => format!("there is no VirtualMiddleManager {name} in this namespace"),
        };
        let reason = PoolReadiness::NoMiddleManager;
        Err(Unusable { reason, message })
    }

    /// Calls the pool's Indexers with what pool, VirtualMiddleManager and Secrets say now; without all of that, with what
    /// they said last. Returns how long the Secrets count, too.
    async fn connect(
        &self,
        pool: &IndexerPool,
        revision: Option<&Revision>,
    ) -> (Result<(), Unusable>, Duration) {
        let namespace = pool.namespace().unwrap_or_default();
        let uid = pool.uid().unwrap_or_default();
        let (indexers, _) = self.pods.of(&uid, self.clock.instant());
        let ports = indexers.iter().map(|indexer| indexer.ports);
        let mut ports = ports.chain(revision.map(|revision| revision.ports));
        let tls = ports.any(|ports| ports.tls().is_some());
        let wanted = match self.manager(pool, |manager| Wanted::of(pool, manager, tls)) {
            Ok(wanted) => wanted,
            Err(unusable) => return (Err(unusable), AGAIN),
        };
        let (mut read, mut again) = (BTreeMap::new(), AGAIN);
        let mut unread = None;
        for name in wanted.secrets() {
            let (content, counts) = self.secrets.read(&namespace, name).await;
            if let Content::Unread(why) = &content {
                unread = Some(why.clone());
            }
            again = again.min(counts);
            read.insert(name.to_owned(), content);
        }
        if let Some(why) = unread.filter(|_| self.work.is_connected(&uid)) {
            tracing::warn!(
                namespace,
                pool = pool.name_any(),
                why,
                "a Secret could not be read: what was read last is used"
            );
            return (Ok(()), again);
        }
        let connected = wanted.connection(&read).and_then(|connection| {
            self.work
                .call_with(&uid, connection)
                .map_err(|invalid| match invalid {
                    InvalidConnection::Credentials(why) => wanted.invalid_credentials(&why.to_string()),
                    InvalidConnection::Ca(why) => wanted.invalid_ca(&why.to_string()),
                })
        });
        (connected, again)
    }

    /// What the pool's Indexers are made of.
    fn revision(&self, pool: &IndexerPool) -> Result<Revision, Unusable> {
        let secured = self.manager(pool, |manager| manager.spec.auth_ref.is_some())?;
        let namespace = pool.namespace().unwrap_or_default();
        let name = &pool.spec.template_ref.name;
        let reference = ObjectRef::new(name).within(&namespace);
        match self.caches.templates.get(&reference) {
            None => Err(Unusable {
                reason: PoolReadiness::NoTemplate,
                message: format!("there is no PeonTemplate {name} in this namespace"),
            }),
            Some(template) => match &template.0 {
                Ok(template) => Revision::of(pool, template, &self.operator, self.resizes, secured),
                Err(unreadable) => Err(Unusable {
                    reason: PoolReadiness::InvalidTemplate,
                    message: format!("the PeonTemplate {name} cannot be decoded: {}", unreadable.error),
                }),
            },
        }
    }

    /// Creates and deletes pods. Returns the first failure; the others are tried all the same.
    async fn act(
        &self,
        pool: &IndexerPool,
        plan: &Plan,
        revision: Option<&Revision>,
        memory: &mut Memory,
    ) -> Option<EffectError> {
        let namespace = pool.namespace().unwrap_or_default();
        let uid = pool.uid().unwrap_or_default();
        let namespace = &*namespace;
        let name = pool.name_any();
        let now = self.clock.instant();
        let retired = plan
            .delete
            .iter()
            .filter(|pod| self.work.retire(namespace, &name, pod, now));
        let retired: Vec<Delete> = retired.cloned().collect();
        let deleted = stream::iter(retired)
            .map(|pod| async move { self.effects.delete(namespace, &pod).await })
            .buffer_unordered(CONCURRENCY)
            .collect::<Vec<_>>()
            .await;
        let mut failed = deleted.into_iter().find_map(Result::err);
        let Some(revision) = revision.filter(|_| plan.create > 0) else {
            return failed;
        };
        let created = stream::iter(0..plan.create)
            .map(|_| self.effects.create(namespace, revision.pod()))
            .buffer_unordered(CONCURRENCY)
            .collect::<Vec<_>>()
            .await;
        for outcome in created {
            match outcome {
                Ok(Created::As(pod)) => {
                    memory.refused = None;
                    self.pods.created(&uid, &pod, self.clock.instant());
                }
                Ok(Created::Refused(why)) => memory.refused = Some((why, self.clock.wall())),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed
    }

    /// Sees to the `PodDisruptionBudget`. A pool without one works, so a failure is only logged.
    async fn protect(&self, pool: &IndexerPool, memory: &mut Memory, now: Timestamp) {
        let Some(wanted) = budget::due(pool, self.nodes.is_known(), memory.budget, now) else {
            return;
        };
        memory.budget = Some(budget::Done { wanted, at: now });
        if let Err(error) = self.effects.budget(pool, wanted).await {
            tracing::warn!(
                namespace = pool.namespace(),
                pool = pool.name_any(),
                %error,
                "the PodDisruptionBudget of the IndexerPool is not as it should be"
            );
        }
    }

    /// Reports an object that cannot be read in its status. Its Indexers are not changed.
    async fn report_unreadable(&self, unreadable: &Unreadable) -> Result<Action, ReconcileError> {
        let meta = &unreadable.metadata;
        if meta.name.is_some() && meta.deletion_timestamp.is_none() {
            let conditions = status::unreadable(unreadable, meta.creation_timestamp.as_ref());
            let status = serde_json::json!({"conditions": conditions, "observedGeneration": meta.generation});
            self.effects.write_status(meta, &status).await?;
        }
        Ok(Action::await_change())
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
