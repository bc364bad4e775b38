//! What connects pools with tasks: the polls of their Indexers, by a client for each pool, and what they offer.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;

use super::decide::connection::Connection;
use super::decide::indexer::{Duty, Indexer, Seen, Visibility, WithTasks};
use super::decide::offer;
use super::decide::plan::{Delete, Plan};
use super::decide::queries::Queries;
use super::decide::scaling::BySlot;
use super::pods::IndexerPods;
use crate::api::{IndexerPool, PoolQuarantine, TaskSlot};
use crate::clock::Clock;
use crate::druid_http::connection::InvalidCa;
use crate::druid_http::credentials::{Credentials, InvalidCredentials};
use crate::indexer::client::{Connect, Settings, Worker};
use crate::indexer::decide::view::Target;
use crate::indexer::polls::{self, Polling, Polls};
use crate::task::aggregates::idle_indexers::Idle;
use crate::task::indexers::Indexers;
use crate::task::run::pod::evidence::Evidence;
use crate::task::run::worker::claim::WorkerClaim;
use crate::task::run::worker::{IndexerSeen, KILL_GRACE};
use crate::task::watch::Caches;

/// The polls, and the index of what pools offer; cheap to clone.
#[derive(Clone)]
pub struct Work<P = Polls> {
    polls: P,
    caches: Caches,
    connect: Connect,
    clock: Clock,
    /// By uid of the pool.
    pools: Arc<Mutex<BTreeMap<String, Polled>>>,
}

/// What is polled of one pool, and how.
#[derive(Default)]
struct Polled {
    /// The client with its settings; none is polled without it.
    client: Option<(Connection, Arc<dyn Worker>)>,
    targets: Vec<Target>,
}

/// Settings that make no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidConnection {
    #[error(transparent)]
    Credentials(#[from] InvalidCredentials),
    #[error(transparent)]
    Ca(#[from] InvalidCa),
}

impl Work {
    /// Wakes tasks and pools when an Indexer answers something new, or is used otherwise than before. Runs until it is
    /// dropped.
    pub async fn wake(self, pods: Arc<IndexerPods>) {
        let changed = pods.clone();
        self.caches
            .aggregates
            .indexers
            .on_change(Box::new(move |namespace, pool| {
                changed.wake_pool(ObjectRef::new(pool).within(namespace));
            }));
        loop {
            for pod_uid in self.polls.changed().await {
                let view = self.polls.view(&pod_uid);
                if self.caches.wake_tasks_on(&pod_uid, view.as_deref()) {
                    pods.wake_pool_of(&pod_uid);
                }
            }
        }
    }
}

impl<P: Polling> Work<P> {
    /// Nothing is polled yet. `connect` makes the clients.
    #[must_use]
    pub fn new(caches: Caches, polls: P, connect: Connect) -> Self {
        Self {
            polls,
            caches,
            connect,
            clock: Clock::default(),
            pools: Arc::default(),
        }
    }

    /// Reads the time there.
    #[cfg(test)]
    pub(crate) fn under(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Finds out what the Indexers of a pool are used for.
    pub(crate) fn observe(&self, namespace: &str, pool: &str, indexers: &mut [Indexer], stops_by: Timestamp) {
        for indexer in indexers {
            let uid = &indexer.evidence.pod_uid;
            if indexer.slots.is_some() {
                let load = self.caches.aggregates.indexers.load_of(uid);
                let view = self.polls.view(uid);
                indexer.observe_shared(load.as_ref(), view.as_deref(), stops_by);
                continue;
            }
            let claimed = self.caches.aggregates.indexers.use_of(namespace, pool, uid);
            let view = self.polls.view(uid);
            indexer.observe(&claimed, view.as_deref());
        }
    }

    /// Calls the Indexers of a pool with these settings from now on. Only others than before make another client, with
    /// which the polls go on.
    pub(crate) fn call_with(&self, pool_uid: &str, connection: Connection) -> Result<(), InvalidConnection> {
        let mut pools = self.pools.lock();
        let before = pools.get(pool_uid).and_then(|pool| pool.client.as_ref());
        if before.is_some_and(|(known, _)| *known == connection) {
            return Ok(());
        }
        let credentials = connection.credentials.as_ref();
        let credentials = credentials.map(|(user, password)| Credentials::new(user, password));
        let client = (self.connect)(&Settings {
            ca: connection.ca.clone(),
            tls: connection.tls,
            any_hostname: connection.any_hostname,
            credentials: credentials.transpose()?,
        })?;
        pools.entry(pool_uid.to_owned()).or_default().client = Some((connection, client));
        self.poll_all(&pools);
        Ok(())
    }

    /// Whether the Indexers of a pool can be called.
    pub(super) fn is_connected(&self, pool_uid: &str) -> bool {
        let pools = self.pools.lock();
        pools.get(pool_uid).is_some_and(|pool| pool.client.is_some())
    }

    /// Polls those that answer, and offers the idle ones that are proven hidden and are not being deleted.
    pub(crate) fn offer(
        &self,
        pool: &IndexerPool,
        indexers: &[Indexer],
        seen: &Seen,
        plan: &Plan,
        busy_cpu: Option<String>,
        quarantined: &[PoolQuarantine],
    ) {
        let targets: Vec<Target> = indexers.iter().filter_map(target).collect();
        self.poll(&pool.uid().unwrap_or_default(), targets);
        let namespace = pool.namespace().unwrap_or_default();
        let offers = &self.caches.aggregates.indexers;
        let are_served = plan.queries.as_ref().is_some_and(Queries::are_served);
        let Some(offer) = offer::of(pool, are_served, busy_cpu, quarantined) else {
            self.caches
                .wake_these(offers.withdraw(&namespace, &pool.name_any()));
            return;
        };
        let visible = indexers
            .iter()
            .any(|i| seen.of(&i.evidence.pod_uid) == Visibility::Visible);
        let is_offered = |i: &&Indexer| i.is_warm(seen) && !plan.drain.contains(&i.evidence.pod_uid);
        let idle = indexers.iter().filter(|i| !visible && is_offered(i));
        for uid in idle
            .clone()
            .filter(|i| i.slots.is_some())
            .map(|i| &i.evidence.pod_uid)
        {
            if let Some(view) = self.polls.view(uid) {
                offers.listed_by(&namespace, &pool.name_any(), uid, &view);
            }
        }
        let pods: HashSet<String> = indexers.iter().map(|i| i.evidence.pod_uid.clone()).collect();
        let woken = offers.offer(&namespace, offer, idle.filter_map(address).collect(), pods);
        self.caches.wake_these(woken);
    }

    /// Whether this Indexer may be deleted: no task has it but those that may, and none is given it from now on. A task may
    /// have one as long as the last claims of the process that led before may not have been seen.
    pub(crate) fn retire(&self, namespace: &str, pool: &str, delete: &Delete, now: Instant) -> bool {
        let indexers = &self.caches.aggregates.indexers;
        let is_settled = || self.settles_in(now).is_none();
        match delete.with {
            WithTasks::Any => true,
            WithTasks::Stopped => is_settled() && indexers.retire_with_stopped(namespace, pool, &delete.uid),
            WithTasks::None => is_settled() && indexers.retire(namespace, pool, &delete.uid),
        }
    }

    /// For how long the last claims of the process that led before may not have been seen yet.
    pub(super) fn settles_in(&self, now: Instant) -> Option<Duration> {
        self.caches.aggregates.indexers.opens_in(now)
    }

    /// The tasks that have slots of the pool, and those that wait for one.
    pub(super) fn demand(&self, namespace: &str, pool: &str) -> BySlot {
        let indexers = &self.caches.aggregates.indexers;
        let of = |slot| indexers.demand(namespace, pool, slot);
        BySlot {
            heavy: of(TaskSlot::Heavy),
            light: of(TaskSlot::Light),
        }
    }

    /// The pool is gone.
    pub(crate) fn forget(&self, pool: &IndexerPool) {
        let namespace = pool.namespace().unwrap_or_default();
        self.withdraw(&namespace, &pool.name_any());
        let mut pools = self.pools.lock();
        if pools.remove(&pool.uid().unwrap_or_default()).is_some() {
            self.poll_all(&pools);
        }
    }

    /// Ends the polls of pods that are gone, of pools other than these (by uid): a deleted pool gets no further pass. Its
    /// pods are polled while they end, because their tasks may end before them; then their addresses may be others'.
    pub(super) fn prune(&self, pools: &HashSet<String>, pods: &IndexerPods, now: Instant) {
        let mut all = self.pools.lock();
        let before = all.len();
        let mut ended = false;
        all.retain(|uid, pool| {
            if pools.contains(uid) {
                return true;
            }
            let (indexers, _) = pods.of(uid, now);
            let polled = pool.targets.len();
            pool.targets
                .retain(|target| indexers.iter().any(|i| i.evidence.pod_uid == target.pod_uid));
            ended |= pool.targets.len() < polled;
            !pool.targets.is_empty()
        });
        if ended || all.len() < before {
            self.poll_all(&all);
        }
    }

    /// A pool of this name is gone: it offers nothing.
    pub(super) fn withdraw(&self, namespace: &str, pool: &str) {
        let offers = &self.caches.aggregates.indexers;
        self.caches.wake_these(offers.forget(namespace, pool));
    }

    fn poll(&self, pool_uid: &str, targets: Vec<Target>) {
        let mut pools = self.pools.lock();
        let pool = pools.entry(pool_uid.to_owned()).or_default();
        if pool.targets != targets {
            pool.targets = targets;
            self.poll_all(&pools);
        }
    }

    fn poll_all(&self, pools: &BTreeMap<String, Polled>) {
        let connected = pools
            .values()
            .filter_map(|pool| Some((&pool.client.as_ref()?.1, &pool.targets)));
        let every = connected.flat_map(|(worker, targets)| {
            targets.iter().map(|target| polls::Indexer {
                target: target.clone(),
                worker: worker.clone(),
            })
        });
        let left_out = self.polls.set(every.collect());
        if !left_out.is_empty() {
            tracing::warn!(
                number = left_out.len(),
                most = polls::MOST,
                "more Indexers than the operator polls: no task is given to the others"
            );
        }
    }
}

impl<P: Polling> Indexers for Work<P> {
    fn seen(&self, namespace: &str, claim: &WorkerClaim) -> IndexerSeen {
        let pod = ObjectRef::new(&claim.pod).within(namespace);
        let offer = self.caches.aggregates.indexers.pool(namespace, &claim.pool);
        IndexerSeen {
            view: self.polls.view(&claim.pod_uid),
            pod: self.caches.pods.get(&pod).as_deref().map(Evidence::of),
            departed: self.caches.departed.get(namespace, &claim.pod),
            neighbours: claim.slot.and_then(|_| self.neighbours(&claim.pod_uid)),
            never_received: false,
            kill_grace: offer.as_ref().map_or(KILL_GRACE, |offer| offer.kill_grace),
            busy_cpu: offer.and_then(|offer| offer.busy_cpu.clone()),
        }
    }

    fn indexer(&self, pod_uid: &str) -> Option<polls::Indexer> {
        self.polls.indexer(pod_uid)
    }
}

impl<P: Polling> Work<P> {
    /// Ids of the tasks with slots of a shared Indexer, once it is certain that all of them are known.
    fn neighbours(&self, pod_uid: &str) -> Option<Vec<String>> {
        let indexers = &self.caches.aggregates.indexers;
        let settled = indexers.opens_in(self.clock.instant()).is_none();
        indexers.load_of(pod_uid).filter(|_| settled).map(|load| load.ids)
    }
}

/// What is polled: an Indexer that is ready, and one that has a task until nothing needs it. An open poll delays the end
/// of its JVM.
fn target(indexer: &Indexer) -> Option<Target> {
    let evidence = &indexer.evidence;
    let wanted = match indexer.duty {
        Duty::Busy(_) => true,
        Duty::Over => false,
        _ if indexer.load.known() > 0 => true,
        Duty::Unread(_) | Duty::Idle | Duty::Stranger | Duty::Draining(_) => {
            indexer.ready && evidence.deletion_requested.is_none()
        }
    };
    let host = evidence.host.clone().filter(|_| wanted && evidence.may_live())?;
    let (port, tls) = indexer.ports.called();
    Some(Target {
        pod_uid: evidence.pod_uid.clone(),
        host,
        port,
        tls,
    })
}

fn address(indexer: &Indexer) -> Option<Idle> {
    Some(Idle {
        pod: indexer.name().to_owned(),
        pod_uid: indexer.evidence.pod_uid.clone(),
        host: indexer.evidence.host.clone()?,
        ports: indexer.ports,
        node: indexer.evidence.node.clone(),
        slots: indexer.slots,
    })
}
