//! A process of the operator: the real caches, actor and passes, and a client whose requests wait until the history
//! decides their outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use tokio::task::JoinHandle;

use super::client::{Inbox, Parked, Wire};
use super::model_api::{Change, Kind, ModelApi, Request};
use super::polls::ModelPolls;
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::classify::watched_pod::WatchedPod;
use crate::apiserver::watch;
use crate::clock::Clock;
use crate::druid::properties::RuntimeProperties;
use crate::druid::worker::TaskState;
use crate::indexer::client::Connect;
use crate::indexer::decide::view::View;
use crate::indexer::polls::Polling;
use crate::metrics::Metrics;
use crate::pool::work::Work;
use crate::process::leadership::Leadership;
use crate::task::cached_task::{CachedTask, GuardedTask};
use crate::task::controller::{Context, Plan};
use crate::task::effects::act::Actor;
use crate::task::fixtures::ID;
use crate::task::watch::{Caches, Writers};

/// The name of the task that histories are about.
pub const TASK: &str = "nightly";
/// The VirtualMiddleManager to which a task for a pool is assigned.
pub const MANAGER: &str = "ingestion";
/// For so many seconds a process that followed another one gives no Indexer to a task. No watch lags longer.
pub const SETTLES: u32 = 15;

/// One registry serves all: making one takes longer than a pass.
fn metrics() -> Metrics {
    static METRICS: std::sync::OnceLock<Metrics> = std::sync::OnceLock::new();
    METRICS.get_or_init(Metrics::default).clone()
}

/// A process of the operator.
pub struct Process {
    pub(super) caches: Caches,
    writers: Writers,
    wakes: Option<Pin<Box<dyn Stream<Item = ObjectRef<CachedTask>> + Send>>>,
    context: Arc<Context>,
    leadership: Leadership,
    inbox: Inbox,
    cursors: [usize; 3],
    pub(super) clock: Clock,
    pub polls: ModelPolls,
    /// What connects it with the pool, if the history has one.
    pub(super) work: Option<Work<ModelPolls>>,
    /// Pods that it created for the pool and has not seen, and when.
    pub(super) unseen: Vec<(String, u32)>,
    /// Tells it from all other processes.
    pub serial: u32,
    /// When its watches have told at least this much.
    settles: Option<(u32, [usize; 3])>,
    /// At the beginning of the pass: what its watch of tasks had told, whether it knew of pools, and the Indexers from
    /// which it had heard SUCCESS.
    before: (usize, bool, Vec<String>),
    /// The attempt for which it began to create a pod, and whether no pool was known.
    began: Option<(u32, bool)>,
    /// The tasks that it passes over.
    follows: fn(&str) -> bool,
    /// When a pass over a task is due, by its name.
    due: BTreeMap<String, u32>,
    /// The task that it passes over.
    passing: String,
    pass: Option<JoinHandle<Option<Duration>>>,
    /// Uids of the pods that its last pass over a pool of shared Indexers drains.
    pub(super) draining: BTreeSet<String>,
    /// It led once; it leads again only after a restart.
    pub led: bool,
    pub stopped: bool,
    /// Uids of pods whose SUCCESS its watch told it.
    pub told_success: Vec<String>,
    pub passes: u32,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pass) = &self.pass {
            pass.abort();
        }
    }
}

impl Process {
    pub fn new(api: &ModelApi, seconds: &Arc<AtomicU32>, plan: Plan, has_pool: bool, serial: u32) -> Self {
        let inbox = Inbox::default();
        let (caches, writers) = Caches::new();
        let client = Client::new(Wire(inbox.clone()), "ns");
        let reporter = Reporter {
            controller: "peon-operator".into(),
            instance: None,
        };
        let leadership = Leadership::default();
        let clock = Clock::set_by(seconds.clone());
        let recorder = Recorder::new(client.clone(), reporter);
        let mut actor = Actor::new(client, recorder, leadership.clone(), caches.aggregates.clone())
            .with_clock(clock.clone());
        let polls = ModelPolls::default();
        let wire = Wire(inbox.clone());
        let connect: Connect = Arc::new(move |_| Ok(Arc::new(wire.clone())));
        let work = has_pool.then(|| Work::new(caches.clone(), polls.clone(), connect).under(clock.clone()));
        if let Some(work) = &work {
            actor = actor.with_indexers(Arc::new(work.clone()));
        }
        let properties = Arc::new(RuntimeProperties::default());
        let context = Context::new(caches.clone(), actor, properties, metrics()).under(clock.clone(), plan);
        let mut process = Self {
            caches,
            writers,
            wakes: None,
            context: Arc::new(context),
            leadership,
            inbox,
            cursors: [0; 3],
            clock,
            polls,
            work,
            unseen: Vec::new(),
            serial,
            settles: None,
            before: (0, false, Vec::new()),
            began: None,
            follows: |name| name == TASK,
            due: BTreeMap::new(),
            passing: String::new(),
            pass: None,
            draining: BTreeSet::new(),
            led: false,
            stopped: false,
            told_success: Vec::new(),
            passes: 0,
        };
        for kind in [Kind::Task, Kind::Template, Kind::Pod] {
            process.relist(api, kind);
        }
        process
    }

    /// It leads, and waits until the last writes of another process are seen, if one led before.
    pub fn lead(&mut self, api: &ModelApi, waits: bool) {
        self.led = true;
        if waits && self.work.is_some() {
            let opens = self.clock.instant() + Duration::from_secs(SETTLES.into());
            self.caches.aggregates.indexers.opens(opens);
            self.settles = Some((api.now + SETTLES, std::array::from_fn(|kind| api.log[kind].len())));
        }
        self.leadership
            .extend(std::time::Instant::now() + Duration::from_secs(86_400));
        self.wakes = Some(Box::pin(self.caches.wakes()));
    }

    /// Its lease lapsed.
    pub fn depose(&mut self) {
        self.leadership.end();
    }

    /// How many changes its watch of this kind has not told.
    pub fn lag(&self, api: &ModelApi, kind: usize) -> usize {
        api.log[kind].len() - self.cursors[kind]
    }

    /// The watch tells the next change; with `again`, the last one a second time.
    pub fn deliver(&mut self, api: &ModelApi, kind: usize, again: bool) {
        let at = self.cursors[kind];
        let Some(change) =
            (if again { at.checked_sub(1) } else { Some(at) }).and_then(|i| api.log[kind].get(i))
        else {
            return;
        };
        if !again {
            self.cursors[kind] += 1;
        } else if change.deleted {
            return;
        }
        self.tell(kind, change);
    }

    /// No watch lags longer than a process waits that followed another one.
    pub fn settle(&mut self, api: &ModelApi) {
        if let Some((_, told)) = self.settles.take_if(|(at, _)| *at <= api.now) {
            for (kind, told) in told.into_iter().enumerate() {
                while self.cursors[kind] < told {
                    self.deliver(api, kind, false);
                }
            }
        }
    }

    /// An Indexer said something new.
    pub fn heard(&self, pod_uid: &str) {
        let view = self.polls.view(pod_uid);
        let _ = self.caches.wake_tasks_on(pod_uid, view.as_deref());
    }

    /// Whether nothing was written to the task since its pass began that its pass does not know.
    pub fn knows_all(&self, api: &ModelApi) -> bool {
        self.before.0 == api.log[0].len()
    }

    /// Whether it had heard SUCCESS from this Indexer when its pass began.
    pub fn heard_success(&self, pod_uid: &str) -> bool {
        self.before.2.iter().any(|uid| uid == pod_uid)
    }

    /// It creates what a pod of this attempt needs. Returns whether it knew of no pool when it began that.
    pub fn creates(&mut self, attempt: u32) -> bool {
        let began = self.began.filter(|(number, _)| *number == attempt);
        let (_, unpooled) = *self.began.insert(began.unwrap_or((attempt, !self.before.1)));
        unpooled
    }

    fn tell(&mut self, kind: usize, change: &Change) {
        match kind {
            0 => {
                let task = read::<GuardedTask>(&change.object);
                let event = if change.deleted {
                    Event::Delete(task)
                } else {
                    Event::Apply(task)
                };
                self.writers.tasks.apply_watcher_event(&event);
                self.caches.task_event(event);
            }
            1 => {
                let template = read(&change.object);
                let event = if change.deleted {
                    Event::Delete(template)
                } else {
                    Event::Apply(template)
                };
                self.writers.templates.apply_watcher_event(&event);
                self.caches.template_event(event);
            }
            _ => {
                self.note_success(&change.object);
                let pod = read::<Guarded<WatchedPod>>(&change.object);
                let event = watch::pods(if change.deleted {
                    Event::Delete(pod)
                } else {
                    Event::Apply(pod)
                });
                self.writers.pods.apply_watcher_event(&event);
                self.caches.pod_event(event);
            }
        }
    }

    fn note_success(&mut self, pod: &serde_json::Value) {
        if super::invariants::reports_success(pod) {
            self.told_success
                .push(pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
        }
    }

    /// The watch broke and lists anew: what happened meanwhile is not told.
    pub fn relist(&mut self, api: &ModelApi, kind: Kind) {
        let at = match kind {
            Kind::Task => 0,
            Kind::Template => 1,
            _ => 2,
        };
        self.cursors[at] = api.log[at].len();
        match kind {
            Kind::Task => {
                let mut events = vec![Event::Init];
                events.extend(api.all(kind).map(|o| Event::InitApply(read::<GuardedTask>(o))));
                for event in events.into_iter().chain([Event::InitDone]) {
                    self.writers.tasks.apply_watcher_event(&event);
                    self.caches.task_event(event);
                }
            }
            Kind::Template => {
                let items = api.all(kind).map(|o| Event::InitApply(read(o)));
                for event in [Event::Init].into_iter().chain(items).chain([Event::InitDone]) {
                    self.writers.templates.apply_watcher_event(&event);
                    self.caches.template_event(event);
                }
            }
            _ => {
                let ours = |p: &&serde_json::Value| {
                    p["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "peon-operator"
                };
                let pods: Vec<_> = api.all(kind).filter(ours).cloned().collect();
                let mut events = vec![Event::Init];
                for pod in &pods {
                    self.note_success(pod);
                    events.push(watch::pods(Event::InitApply(read(pod))));
                }
                for event in events.into_iter().chain([Event::InitDone]) {
                    self.writers.pods.apply_watcher_event(&event);
                    self.caches.pod_event(event);
                }
            }
        }
    }

    /// Takes in what woke it, and begins a pass if one is due.
    pub fn begin(&mut self, now: u32) -> bool {
        while let Some(Some(woken)) = self.wakes.as_mut().and_then(|w| w.next().now_or_never()) {
            if (self.follows)(&woken.name) {
                self.due_at(woken.name, now);
            }
        }
        if self.pass.is_some() || self.stopped {
            return false;
        }
        // The one that has waited longest.
        let next = self.due.iter().filter(|(_, due)| **due <= now);
        let Some(name) = next.min_by_key(|(_, due)| **due).map(|(name, _)| name.clone()) else {
            return false;
        };
        self.due.remove(&name);
        let Some(cached) = self.caches.tasks.get(&ObjectRef::new(&name).within("ns")) else {
            return false;
        };
        self.passing = name;
        let context = self.context.clone();
        if self.work.is_some() {
            let succeeded = |view: &View| {
                let task = view.task(ID).into_iter().chain(view.former_task(ID)).next();
                task.is_some_and(|t| t.announcement.status == TaskState::Success)
            };
            let uids = self.polls.targets().into_iter().map(|target| target.pod_uid);
            let heard = uids.filter(|uid| self.polls.view(uid).is_some_and(|view| succeeded(&view)));
            let pools = !self.caches.aggregates.indexers.pools("ns", MANAGER).is_empty();
            self.before = (self.cursors[0], pools, heard.collect());
        }
        self.passes += 1;
        self.pass = Some(tokio::spawn(async move {
            let task = cached.read().expect("the model keeps readable tasks");
            match context.pass(&task).await {
                Ok((_, requeue)) => requeue,
                Err(_) => Some(context.failed(task.metadata.uid.as_deref().unwrap_or_default())),
            }
        }));
        true
    }

    /// It passes over every task that it knows.
    pub fn follow_all(&mut self) {
        self.follows = |_| true;
    }

    fn due_at(&mut self, name: String, then: u32) {
        let due = self.due.entry(name).or_insert(then);
        *due = (*due).min(then);
    }

    /// Wakes it for the task, as an event that changes nothing would.
    pub fn nudge(&mut self, name: &str, now: u32) {
        self.due_at(name.to_owned(), now);
    }

    /// When it looks again by itself.
    pub fn due(&self) -> Option<u32> {
        self.due.values().min().copied()
    }

    pub fn is_passing(&self) -> bool {
        self.pass.is_some()
    }

    /// Lets the pass go on until it waits for an answer or has ended.
    pub async fn go_on(&mut self, now: u32, attempt: u32) {
        for _ in 0..200 {
            let Some(pass) = &mut self.pass else { return };
            if let Some(parked) = self.inbox.lock().back_mut() {
                if parked.attempt == 0 {
                    parked.attempt = attempt;
                }
                return;
            }
            if pass.is_finished() {
                let requeue = pass.await.expect("a pass does not panic");
                self.pass = None;
                if let Some(requeue) = requeue {
                    let seconds = u32::try_from(requeue.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
                    let then = now.saturating_add(seconds.max(1));
                    self.due_at(self.passing.clone(), then);
                }
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("a pass neither waits for an answer nor ends");
    }

    /// The request that waits to be served, or whose answer waits to be delivered.
    pub fn parked<T>(&mut self, with: impl FnOnce(&mut Parked) -> T) -> Option<T> {
        self.inbox.lock().front_mut().map(with)
    }

    /// Delivers the answer of a request that was served.
    pub fn answer(&mut self) {
        let parked = self.inbox.lock().pop_front();
        if let Some(Parked {
            served: Some(served),
            reply,
            ..
        }) = parked
        {
            let _ = reply.send(served);
        }
    }

    /// The process dies: a request that was not served may still arrive.
    pub fn die(self) -> Option<(Request, u32)> {
        let parked = self.inbox.lock().pop_front();
        parked
            .filter(|p| p.served.is_none())
            .map(|p| (p.request, p.attempt))
    }
}

fn read<T: serde::de::DeserializeOwned>(object: &serde_json::Value) -> T {
    serde::Deserialize::deserialize(object).expect("the model keeps readable objects")
}
