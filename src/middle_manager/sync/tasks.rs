//! The tasks of a VirtualMiddleManager: announces events of the watches on the long polls of its identities.
//!
//! One watch of PeonTasks and one of their pods serve all identities. The latter sees the pods of IndexerPools, too, which
//! have the same label. Each event costs the same, whatever the number of tasks.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::apiserver::classify::decode::{Guarded, Readable};
use crate::apiserver::watch::{report, watching};
use crate::clock::Clock;
use crate::druid::worker::TaskState;
use crate::metrics::Metrics;
use crate::middle_manager::http::backend::{Announce, Unavailable};
use crate::middle_manager::indexers::pods::IndexerPods;
use crate::middle_manager::registry::Registry;
use crate::middle_manager::registry::history_items::HistoryItem;
use crate::middle_manager::registry::identity::Ordinal;
use crate::middle_manager::registry::reachability::Gate;
use crate::middle_manager::registry::view::{PodSeen, PodView, Seen, TaskView};

/// Time limit for the list of pods.
const PODS: Duration = Duration::from_secs(30);

/// A PeonTask, guarded against decoding errors.
pub type GuardedTask = Guarded<TaskView>;
/// A pod, guarded against decoding errors.
pub type GuardedPod = Guarded<PodView>;

/// The registry of all identities' tasks, and the long polls on which they are announced.
pub struct Tasks<L> {
    /// By ordinal.
    lines: Vec<L>,
    known: Mutex<Registry>,
    gate: Mutex<Doors>,
    clock: Clock,
    /// Whether the pods were listed once.
    pods: watch::Sender<bool>,
    /// The pods of IndexerPools: those of no task.
    indexers: Arc<IndexerPods>,
    /// Requests a new list.
    doubt: Notify,
    /// Requests that a PeonTask is verified.
    look: Notify,
}

/// The gate, and what was last announced of it on each long poll.
struct Doors {
    gate: Gate,
    disabled: Vec<Option<bool>>,
}

impl<L: Announce> Tasks<L> {
    /// An empty registry. `lines` are the long polls of the identities, by ordinal.
    #[must_use]
    pub fn new(lines: Vec<L>, clock: Clock) -> Self {
        let doors = Doors {
            gate: Gate::new(clock.instant()),
            disabled: vec![None; lines.len()],
        };
        Self {
            lines,
            known: Mutex::default(),
            gate: Mutex::new(doors),
            clock,
            pods: watch::Sender::new(false),
            indexers: Arc::default(),
            doubt: Notify::new(),
            look: Notify::new(),
        }
    }

    /// Watches the PeonTasks that `selector` selects, and their pods, until the future is dropped.
    ///
    /// # Access control
    /// peontasks, pods: list, watch.
    pub async fn watch(self: Arc<Self>, client: &Client, namespace: &str, selector: &str, metrics: &Metrics) {
        let config = watching().labels(selector);
        let tasks = Api::<GuardedTask>::namespaced(client.clone(), namespace);
        let tasks = watcher(tasks, config.clone()).default_backoff();
        let pods = Api::<GuardedPod>::namespaced(client.clone(), namespace);
        let pods = watcher(pods, config).default_backoff();
        futures::join!(
            run("peontasks", tasks, metrics, |event| self.task_event(event)),
            run("pods", pods, metrics, |event| self.pod_event(event)),
        );
    }

    pub(crate) fn task_event(&self, event: Event<GuardedTask>) {
        match event {
            Event::Init => self.known.lock().list_begins(),
            Event::Apply(task) | Event::InitApply(task) => {
                if let Some(seen) = Seen::guarded(&task) {
                    self.tell(|known, now| known.see(seen, now));
                } else {
                    let uid = task.uid().unwrap_or_default();
                    self.tell(|known, _| {
                        known.unmarked(&uid);
                        Vec::new()
                    });
                }
            }
            Event::Delete(task) => {
                let (uid, last) = (task.uid().unwrap_or_default(), Seen::guarded(&task));
                self.tell(|known, now| known.vanished(&uid, last, now));
            }
            Event::InitDone => {
                if self.known.lock().list_ends() {
                    self.doubt.notify_one();
                }
            }
        }
    }

    pub(crate) fn pod_event(&self, event: Event<GuardedPod>) {
        self.indexers.event(&event);
        match event {
            Event::Init => self.known.lock().pods().list_begins(),
            Event::Apply(pod) | Event::InitApply(pod) => {
                if let Some(seen) = pod.0.as_ref().ok().and_then(PodSeen::of) {
                    self.tell(|known, now| known.see_pod(seen, now));
                }
            }
            Event::Delete(pod) => {
                if let Some(gone) = pod.0.as_ref().ok().and_then(PodSeen::of) {
                    self.known.lock().pods().gone(&gone.owner, &gone.uid);
                }
            }
            Event::InitDone => {
                self.known.lock().pods().list_ends();
                self.pods.send_replace(true);
            }
        }
    }

    /// Applies an update to the registry and announces the results. No older update is announced in between.
    pub(crate) fn tell(&self, news: impl FnOnce(&mut Registry, Timestamp) -> Vec<HistoryItem>) {
        let mut known = self.known.lock();
        let moves = news(&mut known, self.clock.wall());
        if known.is_in_doubt() {
            self.look.notify_one();
        }
        for next in moves {
            match next {
                HistoryItem::Announce(identity, announcement) => {
                    tracing::info!(
                        identity = identity.0,
                        task_id = announcement.id,
                        status = ?announcement.status,
                        host = announcement.task_location.host,
                        "announced"
                    );
                    if let Some(line) = self.line(identity) {
                        line.announce(*announcement);
                    }
                }
                HistoryItem::Remove(identity, id) => {
                    if let Some(line) = self.line(identity) {
                        line.remove(&id);
                    }
                }
                HistoryItem::Clash { id, name } => tracing::warn!(
                    task = name,
                    task_id = id,
                    "a second PeonTask has the id of the task: it is ignored"
                ),
            }
        }
    }

    /// Queries the registry.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&mut Registry, Timestamp) -> T) -> T {
        question(&mut self.known.lock(), self.clock.wall())
    }

    /// Changes or reads the gate, and announces on each long poll whether its identity accepts tasks.
    pub(crate) fn gate<T>(&self, change: impl FnOnce(&mut Gate, std::time::Instant) -> T) -> T {
        let mut doors = self.gate.lock();
        let now = self.clock.instant();
        let outcome = change(&mut doors.gate, now);
        for (at, line) in self.lines.iter().enumerate() {
            let identity = Ordinal(u16::try_from(at).unwrap_or(u16::MAX));
            let disabled = doors.gate.is_disabled(identity, now);
            if doors.disabled[at] != Some(disabled) {
                doors.disabled[at] = Some(disabled);
                tracing::info!(
                    identity = at,
                    disabled,
                    "the identity was enabled or disabled for new tasks"
                );
                line.disable(disabled);
            }
        }
        outcome
    }

    /// The long poll of an identity; `None` if it is no longer served.
    pub(crate) fn line(&self, identity: Ordinal) -> Option<&L> {
        self.lines.get(usize::from(identity.0))
    }

    /// The identities.
    pub(crate) fn identities(&self) -> impl Iterator<Item = Ordinal> + use<L> {
        (0..u16::try_from(self.lines.len()).unwrap_or(u16::MAX)).map(Ordinal)
    }

    /// The pods of IndexerPools with this VirtualMiddleManager.
    #[must_use]
    pub fn indexers(&self) -> &Arc<IndexerPods> {
        &self.indexers
    }

    /// Waits until the pods were listed once: before that the locations of tasks are unknown.
    pub(crate) async fn pods_listed(&self) -> Result<(), Unavailable> {
        let mut pods = self.pods.subscribe();
        let listed = tokio::time::timeout(PODS, pods.wait_for(|listed| *listed)).await;
        match listed {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Unavailable("the pods are not listed yet".to_owned())),
        }
    }

    /// Requests a new list of everything.
    pub(crate) fn list_anew(&self) {
        self.doubt.notify_one();
    }

    /// Waits until a new list is requested.
    pub(crate) async fn in_doubt(&self) {
        self.doubt.notified().await;
    }

    /// Waits until a PeonTask has to be verified.
    pub(crate) async fn to_be_looked_at(&self) {
        self.look.notified().await;
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Slots of an identity that are in use.
    #[must_use]
    pub fn used(&self, identity: Ordinal) -> u32 {
        let known = self.known.lock();
        let running = known
            .said(identity)
            .filter(|a| a.status == TaskState::Running)
            .map(|a| a.task_resource.required_capacity);
        running.fold(0, u32::saturating_add)
    }

    /// The last identity that has a task, whether or not it is served here.
    #[must_use]
    pub fn last_busy(&self) -> Option<Ordinal> {
        self.known.lock().last_busy()
    }

    /// Sets the number of wanted identities: the others accept no tasks.
    pub fn want(&self, identities: u16) {
        self.gate(|gate, _| gate.want(identities));
    }

    /// Whether an identity is disabled.
    #[must_use]
    pub fn is_disabled(&self, identity: Ordinal) -> bool {
        self.gate(|gate, now| gate.is_disabled(identity, now))
    }

    /// The process is about to end: no identity accepts tasks any more.
    pub fn drain(&self) {
        self.gate(|gate, _| gate.drain());
    }
}

/// Passes every event to `handle`. The stream retries a failed watch with increasing delays.
async fn run<K: Readable>(
    plural: &'static str,
    stream: impl Stream<Item = watcher::Result<Event<Guarded<K>>>>,
    metrics: &Metrics,
    mut handle: impl FnMut(Event<Guarded<K>>),
) {
    let mut stream = std::pin::pin!(stream);
    loop {
        match stream.try_next().await {
            Ok(Some(event)) => {
                report(&event, metrics);
                handle(event);
            }
            Ok(None) => return,
            Err(error) => tracing::warn!(
                resource = plural,
                error = crate::apiserver::error::chain(&error),
                "the watch failed and is repeated"
            ),
        }
    }
}
