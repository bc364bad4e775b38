//! The caches: watches of PeonTasks, PeonTemplates and pods, and the tasks that they wake.
//!
//! Every replica watches; only the leader has tasks to wake. An object that cannot be read does not end a watch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures::{Stream, TryStreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::aggregates::TaskAggregates;
use super::aggregates::slots::Who;
use super::cached_pods::PodWriter;
use super::cached_task::{CachedTask, GuardedTask, TaskWriter};
use super::counts;
use super::decide::history_record::last_word;
use super::departed_pods::DepartedPods;
use super::run::pod::evidence::Evidence;
use super::template_status::changes::TemplateChanges;
use crate::api::{LABEL_MANAGED_BY, OPERATOR, PeonTask, PeonTemplate};
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::classify::watched_pod::WatchedPod;
use crate::apiserver::watch::{FirstList, in_scope, pods, report, watching};
use crate::indexer::decide::view::View;
use crate::logs::follower::Followers;
use crate::logs::format::record::LastWord;
use crate::metrics::{Counts, Metrics};
use crate::process::health;

/// A PeonTemplate from the watch.
pub type GuardedTemplate = Guarded<PeonTemplate>;

/// What else follows the events of the watches. It is called in their order, and must not block.
pub trait Listener: Send + Sync {
    /// An event of the operator's pods.
    fn pod_event(&self, event: &Event<WatchedPod>);

    /// The PeonTemplate was created, changed or deleted.
    fn template_changed(&self, namespace: &str, name: &str);
}

/// The caches and their state.
#[derive(Clone)]
pub struct Caches {
    /// PeonTasks; finished ones as text, without their payload.
    pub tasks: Store<CachedTask>,
    /// PeonTemplates.
    pub templates: Store<GuardedTemplate>,
    /// The operator's pods, with the fields that [`Evidence`] reads; without those that nothing reads any more.
    pub pods: Store<WatchedPod>,
    pod_writer: PodWriter,
    /// Pods that are gone.
    pub departed: Arc<DepartedPods>,
    /// While pods are listed again: those that had ended before.
    ended: Arc<Mutex<Vec<Arc<WatchedPod>>>>,
    /// Indexes over all tasks.
    pub aggregates: Arc<TaskAggregates>,
    /// Templates whose status may have to be written.
    pub template_changes: Arc<TemplateChanges>,
    /// The generation of each template when its tasks were last woken, by uid: a change of its status wakes none.
    generations: Arc<Mutex<HashMap<String, Option<i64>>>>,
    /// The followers that read logs, if logs are archived.
    pub logs: Arc<OnceLock<Followers>>,
    wake: Arc<Mutex<Option<mpsc::UnboundedSender<ObjectRef<CachedTask>>>>>,
    watches: [Arc<Watch>; 3],
    listener: Option<Arc<dyn Listener>>,
    first_list: FirstList,
}

/// The writers of the caches.
pub(crate) struct Writers {
    pub(crate) tasks: TaskWriter,
    pub(crate) templates: Writer<GuardedTemplate>,
    pub(crate) pods: PodWriter,
}

/// State of a watch.
#[derive(Debug)]
struct Watch {
    plural: &'static str,
    synced: AtomicBool,
    error: Mutex<Option<String>>,
}

impl Caches {
    /// Starts the watches in `namespace`, or in all namespaces. The futures returned run until they are dropped.
    ///
    /// # Access control
    /// peontasks, peontemplates, pods: list, watch.
    pub fn start(
        client: &Client,
        namespace: Option<&str>,
        metrics: &Metrics,
        listener: Arc<dyn Listener>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (mut caches, writers) = Self::new();
        caches.listener = Some(listener);
        let ours = watching().labels(&format!("{LABEL_MANAGED_BY}={OPERATOR}"));
        let [task_watch, template_watch, pod_watch] = caches.watches.clone();

        let counted = metrics.clone();
        let stream = watcher(in_scope::<GuardedTask>(client, namespace), watching())
            .default_backoff()
            .inspect_ok(move |event| report(event, &counted));
        let (this, mut writer) = (caches.clone(), writers.tasks);
        let tasks = task_watch.run(stream, move |event| {
            writer.apply_watcher_event(&event);
            this.task_event(event);
        });

        let counted = metrics.clone();
        let stream = watcher(in_scope::<GuardedTemplate>(client, namespace), watching())
            .default_backoff()
            .inspect_ok(move |event| report(event, &counted));
        let (this, mut writer) = (caches.clone(), writers.templates);
        let templates = template_watch.run(stream, move |event| {
            writer.apply_watcher_event(&event);
            this.template_event(event);
        });

        let counted = metrics.clone();
        let stream = watcher(in_scope::<Guarded<WatchedPod>>(client, namespace), ours)
            .default_backoff()
            .inspect_ok(move |event| report(event, &counted))
            .map_ok(pods);
        let (this, writer) = (caches.clone(), writers.pods);
        let pods = pod_watch.run(stream, move |event| {
            writer.apply_watcher_event(&event);
            this.pod_event(event);
        });

        (caches, async {
            futures::join!(tasks, templates, pods);
        })
    }

    /// Caches that nothing fills yet.
    pub(crate) fn new() -> (Self, Writers) {
        let (tasks, task_writer) = store();
        let (templates, template_writer) = store();
        let (pods, pod_writer) = store();
        let pod_writer = PodWriter::new(pod_writer);
        let watch = |plural| {
            Arc::new(Watch {
                plural,
                synced: AtomicBool::new(false),
                error: Mutex::new(None),
            })
        };
        let caches = Self {
            tasks,
            templates,
            pods,
            pod_writer: pod_writer.clone(),
            departed: Arc::default(),
            ended: Arc::default(),
            aggregates: Arc::default(),
            template_changes: Arc::default(),
            generations: Arc::default(),
            logs: Arc::default(),
            wake: Arc::default(),
            watches: [watch("peontasks"), watch("peontemplates"), watch("pods")],
            listener: None,
            first_list: FirstList::default(),
        };
        let writers = Writers {
            tasks: TaskWriter(task_writer),
            templates: template_writer,
            pods: pod_writer,
        };
        (caches, writers)
    }

    /// Waits until every cache is complete.
    pub async fn complete(&self) {
        // The writers live as long as the watches, which live as long as the process.
        let ready = async {
            let _ = futures::join!(
                self.tasks.wait_until_ready(),
                self.templates.wait_until_ready(),
                self.pods.wait_until_ready()
            );
        };
        self.first_list.wait(ready).await;
    }

    /// The stream of tasks that need a pass, beginning with all that have no verdict. A second call ends the first
    /// stream.
    pub fn wakes(&self) -> impl Stream<Item = ObjectRef<CachedTask>> + Send + 'static {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.wake.lock() = Some(sender);
        self.wake_all();
        futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|r| (r, receiver))
        })
    }

    fn wake_task(&self, task: &impl Resource) {
        self.wake_named(&task.namespace().unwrap_or_default(), &task.name_any());
    }

    /// A task has its verdict, and nothing reads this pod of it any more, which has ended.
    pub(crate) fn forget_pod(&self, namespace: &str, pod: &Evidence) {
        self.pod_writer.forget(namespace, &pod.pod_name, &pod.pod_uid);
    }

    /// Requests a pass over the task with this name, if it still exists.
    pub fn wake_named(&self, namespace: &str, name: &str) {
        if let Some(sender) = &*self.wake.lock() {
            // A closed channel: the controller is shutting down.
            let _ = sender.send(ObjectRef::new(name).within(namespace));
        }
    }

    /// Wakes every task: those that have a verdict are deleted when their time has come.
    fn wake_all(&self) {
        for task in self.tasks.state() {
            self.wake_task(&*task);
        }
    }

    /// Wakes the finished tasks of which a pass is due.
    pub(crate) fn wake_due(&self, now: Timestamp) {
        for task in self.tasks.state_filter(|task| task.take_due(now)) {
            self.wake_task(&*task);
        }
    }

    // While a list is received, the cache still has its old content, which a woken task would see. So items of a list
    // wake no task, and all are woken at its end. Objects that went while the watch was broken are not reported anyway.

    pub(crate) fn task_event(&self, event: Event<GuardedTask>) {
        match event {
            Event::Apply(task) => {
                if let Ok(task) = &task.0 {
                    self.wake_these(self.aggregates.observe(task));
                }
                self.wake_task(&task);
            }
            Event::Delete(task) => {
                let last_word = task.0.as_ref().map_or(LastWord::None, last_word);
                self.wake_these(self.gone(&task.uid().unwrap_or_default(), last_word));
                // The controller does not find it, or finds the new task with its name, and releases what is reserved
                // for it.
                self.wake_task(&task);
            }
            Event::InitDone => {
                // No event reports tasks that went while the watch was broken.
                let tasks = self.tasks.state();
                let uids = tasks.iter().filter_map(|t| t.uid()).collect();
                if let Some(logs) = self.logs.get() {
                    logs.keep_only(&uids);
                }
                self.aggregates.keep_only(&uids);
                for task in tasks.iter().filter_map(|task| task.read().ok()) {
                    self.aggregates.observe(&task);
                }
                self.aggregates.listed();
                self.wake_all();
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }

    /// A task is gone, with its last known state. Returns the tasks that may continue because of it.
    fn gone(&self, uid: &str, last_word: LastWord) -> Vec<Who> {
        if let Some(logs) = self.logs.get() {
            logs.gone(uid, last_word);
        }
        self.aggregates.gone(uid)
    }

    /// A pass has ended whose task is gone, which was reported or will be in a moment. Returns the tasks that may
    /// continue because of it.
    pub(crate) fn outlived(&self, uid: &str) -> Vec<Who> {
        if let Some(logs) = self.logs.get() {
            logs.abandon(uid);
        }
        self.aggregates.gone(uid)
    }

    pub(crate) fn wake_these(&self, tasks: Vec<Who>) {
        for (namespace, name) in tasks {
            self.wake_named(&namespace, &name);
        }
    }

    /// Wakes the tasks that have the Indexer in the pod with this uid and that its answer concerns, and those that wait
    /// for a slot that became free. Returns whether its pool has to look.
    #[must_use]
    pub fn wake_tasks_on(&self, pod_uid: &str, answer: Option<&View>) -> bool {
        let (tasks, pool) = self.aggregates.indexers.heard(pod_uid, answer);
        self.wake_these(tasks);
        pool
    }

    pub(crate) fn template_event(&self, event: Event<GuardedTemplate>) {
        match event {
            Event::Apply(template) => {
                self.template_changed(&template);
                let (uid, generation) = (template.uid().unwrap_or_default(), template.meta().generation);
                let woken = self.generations.lock().insert(uid, generation);
                // Without a generation it is unknown what changed.
                if generation.is_none() || woken != Some(generation) {
                    self.wake_waiting_for(&template);
                }
            }
            Event::Delete(template) => {
                self.template_changed(&template);
                self.generations
                    .lock()
                    .remove(&template.uid().unwrap_or_default());
                self.wake_waiting_for(&template);
            }
            Event::InitDone => {
                // No event reports templates that went while the watch was broken.
                let templates = self.templates.state();
                *self.generations.lock() = templates
                    .iter()
                    .map(|t| (t.uid().unwrap_or_default(), t.meta().generation))
                    .collect();
                for template in &templates {
                    self.template_changed(template);
                }
                self.wake_all();
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }

    fn template_changed(&self, template: &GuardedTemplate) {
        let namespace = template.namespace().unwrap_or_default();
        self.template_changes.add(&namespace, &template.name_any(), true);
        if let Some(listener) = &self.listener {
            listener.template_changed(&namespace, &template.name_any());
        }
    }

    pub(crate) fn pod_event(&self, event: Event<WatchedPod>) {
        if let Some(listener) = &self.listener {
            listener.pod_event(&event);
        }
        match event {
            Event::Apply(pod) => self.wake_owner(&pod),
            Event::Delete(pod) => {
                let evidence = Evidence::of(&pod);
                self.departed.keep(&pod.namespace().unwrap_or_default(), evidence);
                self.wake_owner(&pod);
            }
            Event::Init => {
                // The cache still has its old content. A pod that had ended does not change any more; what became of
                // other pods that are gone after the list is unknown.
                *self.ended.lock() = self.pods.state_filter(|p| !Evidence::of(p).may_live());
            }
            Event::InitDone => {
                for pod in std::mem::take(&mut *self.ended.lock()) {
                    if self.pods.get(&ObjectRef::from_obj(&*pod)).is_none() {
                        self.departed
                            .keep(&pod.namespace().unwrap_or_default(), Evidence::of(&pod));
                    }
                }
                self.wake_all();
            }
            Event::InitApply(_) => {}
        }
    }

    /// Tasks of its namespace may wait for a template that was created or changed: those that name it, and those that
    /// name none, which it may now match or no longer match.
    fn wake_waiting_for(&self, template: &GuardedTemplate) {
        let (namespace, name) = (template.namespace(), template.name_any());
        // Selected by the template's name in the task and not by the reason: the status in the cache may be older than
        // this event.
        let waits = |task: &CachedTask| {
            let has_pod = |t: &PeonTask| t.status.as_ref().is_some_and(|s| s.pod_uid().is_some());
            let names = |t: &PeonTask| {
                t.namespace() == namespace && t.template_name().is_none_or(|named| named == name)
            };
            task.unfinished().is_some_and(|t| names(t) && !has_pod(t))
        };
        for task in self.tasks.state_filter(waits) {
            self.wake_task(&*task);
        }
    }

    /// Wakes the task that a pod runs: the pod's controller, or the one that has the Indexer in the pod.
    fn wake_owner(&self, pod: &WatchedPod) {
        let mut owners = pod.metadata.owner_references.iter().flatten();
        let Some(owner) = owners.find(|o| o.controller == Some(true) && o.kind == "PeonTask") else {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            self.wake_these(self.aggregates.indexers.tasks_on(uid));
            return;
        };
        self.wake_named(&pod.namespace().unwrap_or_default(), &owner.name);
    }
}

impl health::Caches for Caches {
    /// Why the caches are not complete, for the readiness probe; empty if they are.
    fn pending(&self) -> Vec<String> {
        let waits = |watch: &Arc<Watch>| {
            if watch.synced.load(Ordering::Acquire) {
                return None;
            }
            let error = watch
                .error
                .lock()
                .clone()
                .unwrap_or_else(|| "the objects are not listed yet".into());
            Some(format!("{}: {error}", watch.plural))
        };
        self.watches.iter().filter_map(waits).collect()
    }

    /// Counted on request, so that no pass has to do it.
    fn measure(&self, metrics: &Metrics) {
        metrics.tasks(|| {
            let tasks = self.tasks.state();
            Counts {
                slots: self.aggregates.indexers.slots(),
                ..counts::of(tasks.iter().map(|task| &**task))
            }
        });
    }
}

impl Watch {
    /// Passes every event to `handle`. The stream retries a failed watch with increasing delays.
    async fn run<K>(
        self: Arc<Self>,
        stream: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        mut handle: impl FnMut(Event<K>) + Send + 'static,
    ) {
        let mut stream = std::pin::pin!(stream);
        loop {
            match stream.try_next().await {
                Ok(Some(event)) => {
                    let is_complete = matches!(event, Event::InitDone);
                    handle(event);
                    if is_complete {
                        self.synced.store(true, Ordering::Release);
                        *self.error.lock() = None;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    let said = crate::apiserver::error::chain(&error);
                    tracing::warn!(
                        resource = self.plural,
                        error = said,
                        "the watch failed and is repeated"
                    );
                    *self.error.lock() = Some(said);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
