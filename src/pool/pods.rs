//! The Indexers of all pools, by the uid of their pool: an index over the operator's watch of pods.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::controller::GuardedPool;
use super::decide::indexer::Indexer;
use crate::apiserver::classify::watched_pod::WatchedPod;
use crate::task::watch::Listener;

/// For this long a pod that was created counts although no event has reported it. A watch that lags more may lead to
/// idle Indexers too many, which are deleted.
const UNSEEN: Duration = Duration::from_secs(30);

/// The index. Passes are woken by what changes in it.
#[derive(Default)]
pub struct IndexerPods {
    of_pools: Mutex<HashMap<String, OfPool>>,
    /// While pods are listed: what the list has so far.
    listed: Mutex<HashMap<String, OfPool>>,
    wake: Mutex<Option<mpsc::UnboundedSender<Wake>>>,
}

/// What needs a pass.
#[derive(Debug, Clone)]
pub enum Wake {
    /// This pool.
    Pool(ObjectRef<GuardedPool>),
    /// The pools of this template: its namespace and name.
    Template(String, String),
    /// All pools: pods were listed again, or a node was cordoned.
    All,
}

#[derive(Debug, Default)]
struct OfPool {
    pool: Option<ObjectRef<GuardedPool>>,
    indexers: BTreeMap<String, Indexer>,
    /// Uids of pods that were created here and not seen yet.
    unseen: HashMap<String, Instant>,
}

impl IndexerPods {
    /// The Indexers of a pool, by name, and the number of pods that were created and are not seen yet.
    #[must_use]
    pub fn of(&self, pool_uid: &str, now: Instant) -> (Vec<Indexer>, usize) {
        let mut of_pools = self.of_pools.lock();
        let Some(of_pool) = of_pools.get_mut(pool_uid) else {
            return (Vec::new(), 0);
        };
        let OfPool { indexers, unseen, .. } = of_pool;
        let is_seen = |uid: &String| indexers.values().any(|i| i.evidence.pod_uid == *uid);
        unseen.retain(|uid, since| now.saturating_duration_since(*since) < UNSEEN && !is_seen(uid));
        (indexers.values().cloned().collect(), unseen.len())
    }

    /// A pod was created.
    pub fn created(&self, pool_uid: &str, pod_uid: &str, now: Instant) {
        let mut of_pools = self.of_pools.lock();
        let of_pool = of_pools.entry(pool_uid.to_owned()).or_default();
        of_pool.unseen.insert(pod_uid.to_owned(), now);
    }

    /// A pool is gone: pods of it that still exist are deleted by the garbage collector.
    pub fn forget(&self, pool_uid: &str) {
        self.of_pools.lock().remove(pool_uid);
    }

    /// The stream of what needs a pass. A second call ends the first stream.
    pub fn wakes(&self) -> mpsc::UnboundedReceiver<Wake> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.wake.lock() = Some(sender);
        receiver
    }

    /// Requests a pass over this pool.
    pub fn wake_pool(&self, pool: ObjectRef<GuardedPool>) {
        self.wake(Wake::Pool(pool));
    }

    /// Requests passes over all pools.
    pub fn wake_all(&self) {
        self.wake(Wake::All);
    }

    /// Requests a pass over the pool that has the pod with this uid.
    pub fn wake_pool_of(&self, pod_uid: &str) {
        let of_pools = self.of_pools.lock();
        let has = |of_pool: &&OfPool| of_pool.indexers.values().any(|i| i.evidence.pod_uid == pod_uid);
        let pool = of_pools
            .values()
            .find(has)
            .and_then(|of_pool| of_pool.pool.clone());
        drop(of_pools);
        if let Some(pool) = pool {
            self.wake(Wake::Pool(pool));
        }
    }

    fn wake(&self, wake: Wake) {
        if let Some(sender) = &*self.wake.lock() {
            // A closed channel: the controller is shutting down.
            let _ = sender.send(wake);
        }
    }

    fn upsert(index: &Mutex<HashMap<String, OfPool>>, pod: &WatchedPod) -> Option<ObjectRef<GuardedPool>> {
        let (uid, pool) = pool_of(pod)?;
        let indexer = Indexer::of(pod);
        let mut index = index.lock();
        let of_pool = index.entry(uid).or_default();
        of_pool.unseen.remove(&indexer.evidence.pod_uid);
        of_pool.indexers.insert(pod.name_any(), indexer);
        of_pool.pool = Some(pool.clone());
        Some(pool)
    }
}

impl Listener for IndexerPods {
    fn pod_event(&self, event: &Event<WatchedPod>) {
        match event {
            Event::Apply(pod) => {
                if let Some(pool) = Self::upsert(&self.of_pools, pod) {
                    self.wake(Wake::Pool(pool));
                }
            }
            Event::Delete(pod) => {
                let Some((uid, pool)) = pool_of(pod) else { return };
                let mut of_pools = self.of_pools.lock();
                if let Some(of_pool) = of_pools.get_mut(&uid) {
                    of_pool.indexers.remove(&pod.name_any());
                    if of_pool.indexers.is_empty() && of_pool.unseen.is_empty() {
                        of_pools.remove(&uid);
                    }
                }
                drop(of_pools);
                self.wake(Wake::Pool(pool));
            }
            Event::Init => self.listed.lock().clear(),
            Event::InitApply(pod) => {
                Self::upsert(&self.listed, pod);
            }
            Event::InitDone => {
                let mut listed = std::mem::take(&mut *self.listed.lock());
                let mut of_pools = self.of_pools.lock();
                for (uid, of_pool) in of_pools.drain().filter(|(_, of_pool)| !of_pool.unseen.is_empty()) {
                    listed.entry(uid).or_default().unseen = of_pool.unseen;
                }
                *of_pools = listed;
                drop(of_pools);
                self.wake(Wake::All);
            }
        }
    }

    fn template_changed(&self, namespace: &str, name: &str) {
        self.wake(Wake::Template(namespace.to_owned(), name.to_owned()));
    }
}

/// The pool that a pod belongs to: its uid, and a reference to it.
fn pool_of(pod: &WatchedPod) -> Option<(String, ObjectRef<GuardedPool>)> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners.find(|o| o.controller == Some(true) && o.kind == "IndexerPool")?;
    let pool = ObjectRef::new(&owner.name).within(&pod.namespace().unwrap_or_default());
    Some((owner.uid.clone(), pool))
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
