//! Announces workers on pods, where Druid's Kubernetes extension discovers them (`druid.discovery.type=k8s`).
//!
//! A pod has room for one worker, so each identity has an announcing pod: pod n of the `StatefulSet` that the operator
//! creates beside the Deployment. There is only one pod of a name at a time, so an identity is never announced twice, and a
//! process takes it over from another one by writing to that pod, on the condition that the pod is as it was seen.
//!
//! Nothing removes an announcement when the process that wrote it dies. The announcing pod notices: it is not ready while
//! no process serves its identity, and Druid ignores it then.

pub mod decide;
pub mod reader;

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use self::decide::pods::{AnnouncingPod, AnnouncingPodView, AnnouncingPods};
use self::decide::step::{Step, next};
use self::reader::Reader;
use super::announce::{Board, Discovery, Presence, Wanted};
use crate::api::names;
use crate::apiserver::backoff::Backoff;
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::error;
use crate::apiserver::request::{PROMPT, RequestError, request_within};
use crate::apiserver::watch::watching;
use crate::druid::discovery::pod_announcement::PodAnnouncement;
use crate::druid::discovery::{Process, Worker};
use crate::middle_manager::FIELD_MANAGER;
use crate::middle_manager::controller::decide::announcing_pods::{LABEL_ANNOUNCES, announcing_pod};
use crate::middle_manager::controller::decide::objects::LABEL_SERVES;
use crate::middle_manager::registry::identity::Ordinal;

/// How often all is compared without an event.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often it is checked whether the process that has an identity still exists.
const IS_ALIVE: Duration = Duration::from_secs(10);
/// How soon a write is repeated if the pod had changed: the watch reports how.
const CHANGED: Duration = Duration::from_secs(1);
/// Key under which failures of the watch are counted.
const WATCH: &str = "watch";
/// Most writes in a row to a pod: one removes an announcement, one makes another.
const WRITES: usize = 3;

type Events = BoxStream<'static, Result<Event<Guarded<AnnouncingPodView>>, watcher::Error>>;

/// Announces on the announcing pods of a VirtualMiddleManager.
pub struct Kubernetes {
    client: Client,
    namespace: String,
    manager: String,
    cluster: String,
    process: Process,
}

/// A client has no representation.
impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace, manager, ..
        } = self;
        write!(f, "Kubernetes({namespace}/{manager})")
    }
}

impl Kubernetes {
    /// Announces for this process the workers of that VirtualMiddleManager, to the Druid cluster of that
    /// `clusterIdentifier`; it does not begin yet.
    #[must_use]
    pub fn new(client: Client, namespace: &str, manager: &str, cluster: &str, process: Process) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            manager: manager.to_owned(),
            cluster: cluster.to_owned(),
            process,
        }
    }

    /// Reads announcements of others.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.client.clone(), &self.namespace, &self.cluster)
    }

    fn api(&self) -> Api<Guarded<AnnouncingPodView>> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The announcing pods, from a new list on, after a delay.
    fn events(&self, delay: Duration) -> Events {
        let label = names::label_value(&self.manager);
        let config = watching().labels(&format!("{LABEL_ANNOUNCES}={label}"));
        let api = self.api();
        stream::once(tokio::time::sleep(delay))
            .flat_map(move |()| watcher(api.clone(), config.clone()))
            .boxed()
    }

    /// Writes the patch, and returns the pod as it is then.
    ///
    /// # Access control
    /// pods: list, watch, patch.
    ///
    /// The right to patch is narrowed to the announcing pods, by a role of the VirtualMiddleManager's own.
    async fn write(
        &self,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<Guarded<AnnouncingPodView>, RequestError> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let (api, patch) = (self.api(), Patch::Merge(patch));
        request_within(PROMPT, "patch pod", api.patch(name, &params, &patch)).await
    }

    /// What to do about the announcement on a pod. Another process counts while its pod exists.
    async fn step(&self, pod: &AnnouncingPod, wanted: Option<&PodAnnouncement>) -> Step {
        let mut other = None;
        let step = next(pod, wanted, &self.process, |pod| {
            other = Some(pod.to_owned());
            true
        });
        match (&step, other) {
            (Step::Yield { .. }, Some(other)) if !self.is_serving(&other).await => {
                next(pod, wanted, &self.process, |_| false)
            }
            _ => step,
        }
    }

    /// Whether a pod that serves the identities has that name; assumed where it cannot be found out.
    async fn is_serving(&self, pod: &str) -> bool {
        let label = names::label_value(&self.manager);
        let params = ListParams::default().labels(&format!("{LABEL_SERVES}={label}"));
        let api = self.api();
        match request_within(PROMPT, "list pods", api.list_metadata(&params)).await {
            Ok(pods) => pods.items.iter().any(|found| found.name_any() == pod),
            Err(error) => {
                tracing::warn!(
                    error = error.why(),
                    "the pods of the VirtualMiddleManager cannot be listed"
                );
                true
            }
        }
    }
}

impl Discovery for Kubernetes {
    async fn keep(self, mut wanted: watch::Receiver<Wanted>, board: Board) {
        if wanted.wait_for(|wanted| !wanted.is_empty()).await.is_ok() {
            let announcing = Announcing {
                events: self.events(Duration::ZERO),
                kubernetes: self,
                board,
                pods: AnnouncingPods::default(),
                held: BTreeSet::new(),
                trouble: None,
                backoff: Backoff::default(),
            };
            announcing.run(wanted).await;
        }
    }
}

/// The announcements of a process.
struct Announcing {
    kubernetes: Kubernetes,
    board: Board,
    events: Events,
    pods: AnnouncingPods,
    /// The identities of which something of this process may be announced.
    held: BTreeSet<Ordinal>,
    /// Why the announcing pods cannot be watched.
    trouble: Option<String>,
    backoff: Backoff,
}

impl Announcing {
    /// Ends when the sender of `wanted` is gone and nothing is announced any more.
    async fn run(mut self, mut wanted: watch::Receiver<Wanted>) {
        let mut was_ending = false;
        loop {
            let ends = wanted.has_changed().is_err();
            let begins_to_end = ends && !was_ending;
            was_ending = ends;
            if begins_to_end && self.trouble.is_some() {
                // What was seen may be outdated, and there is no time left to wait for the next try.
                self.events = self.kubernetes.events(Duration::ZERO);
            }
            let subjects = if ends {
                Wanted::<Worker>::new()
            } else {
                wanted.borrow_and_update().clone()
            };
            let rest = self.reconcile(&subjects).await;
            if ends && self.held.is_empty() {
                return;
            }
            tokio::select! {
                // An error is an end, which the next turn notices.
                _ = wanted.changed(), if !ends => {}
                event = self.events.next() => self.take(event),
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    fn take(&mut self, event: Option<Result<Event<Guarded<AnnouncingPodView>>, watcher::Error>>) {
        match event {
            Some(Ok(Event::Init)) => self.pods.list_begins(),
            Some(Ok(Event::Apply(pod) | Event::InitApply(pod))) => self.pods.see(&pod),
            Some(Ok(Event::Delete(pod))) => self.pods.gone(&pod),
            Some(Ok(Event::InitDone)) => {
                self.pods.list_ends();
                self.trouble = None;
                self.backoff.clear(WATCH);
            }
            Some(Err(broken)) => self.broken(&error::chain(&broken)),
            None => self.broken("the watch has ended"),
        }
    }

    /// Watches anew, from a list on: a watch that works again does not say so.
    fn broken(&mut self, why: &str) {
        tracing::warn!(
            error = why,
            "the announcing pods cannot be watched; it is tried again"
        );
        self.trouble = Some(format!(
            "the announcing pods cannot be watched ({why}): what is announced stays as it is"
        ));
        self.events = self.kubernetes.events(self.backoff.failed(WATCH, Instant::now()));
    }

    /// Makes the announcements match `subjects`. Returns after how long this is to be repeated at the latest.
    async fn reconcile(&mut self, subjects: &Wanted) -> Duration {
        let ends = subjects.is_empty();
        if !self.pods.is_listed() {
            // Nothing was written.
            self.board_without_list(subjects);
            return LOOK_AGAIN;
        }
        if let Some(trouble) = self.trouble.as_deref().filter(|_| !ends) {
            for identity in self.held.iter().chain(subjects.keys()) {
                self.board.wrong(identity, trouble);
            }
            return LOOK_AGAIN;
        }
        self.held.extend(subjects.keys());
        let mut rest = LOOK_AGAIN;
        for identity in self.held.clone() {
            rest = rest.min(self.identity(identity, subjects.get(&identity)).await);
        }
        rest
    }

    fn board_without_list(&self, subjects: &Wanted) {
        let listing = "the announcing pods are being listed";
        let error = self.trouble.as_deref().unwrap_or(listing);
        self.board.all_wrong(subjects, true, error);
    }

    /// Makes the announcement of an identity match. Returns when to look again.
    async fn identity(&mut self, identity: Ordinal, worker: Option<&Worker>) -> Duration {
        let of = |worker| PodAnnouncement::of(worker, &self.kubernetes.process, &self.kubernetes.cluster);
        let wanted = match worker.map(of).transpose() {
            Ok(wanted) => wanted,
            Err(error) => return self.failed(identity, &error.to_string()),
        };
        let name = announcing_pod(&self.kubernetes.manager, identity.0);
        for _ in 0..WRITES {
            let Some(pod) = self.pods.get(&name).cloned() else {
                return self.without_pod(identity, worker.is_some(), &name);
            };
            match self.kubernetes.step(&pod, wanted.as_ref()).await {
                Step::Stands => return self.stands(identity, &pod, &name),
                Step::Absent => return self.withdrawn(identity),
                Step::Yield { .. } if wanted.is_none() => return self.withdrawn(identity),
                Step::Yield { to } => {
                    self.board.set(&identity, Presence::Superseded { by: to });
                    return IS_ALIVE;
                }
                Step::Write(patch) => match self.kubernetes.write(&name, &patch).await {
                    Ok(pod) => self.pods.written(&pod),
                    // It changed, or there is another one: the watch reports it.
                    Err(error) if matches!(error.code(), Some(404 | 409)) => return CHANGED,
                    Err(error) => return self.refused(identity, &name, &error),
                },
            }
        }
        self.failed(
            identity,
            &format!("another client keeps changing the labels of pod {name}"),
        )
    }

    fn stands(&self, identity: Ordinal, pod: &AnnouncingPod, name: &str) -> Duration {
        self.backoff.clear(&identity.to_string());
        if pod.is_ready {
            self.board.set(&identity, Presence::Announced);
        } else {
            let why = format!(
                "pod {name}, which carries the announcement, is not ready, and Druid ignores it: kubectl describe pod {name}"
            );
            self.board.tell(&identity, Presence::Absent, why);
        }
        LOOK_AGAIN
    }

    fn without_pod(&mut self, identity: Ordinal, is_wanted: bool, name: &str) -> Duration {
        if !is_wanted {
            return self.withdrawn(identity);
        }
        let why = format!("pod {name}, which is to carry the announcement, does not exist (yet)");
        self.board.tell(&identity, Presence::Absent, why);
        LOOK_AGAIN
    }

    fn withdrawn(&mut self, identity: Ordinal) -> Duration {
        self.held.remove(&identity);
        self.backoff.clear(&identity.to_string());
        self.board.withdrawn(&identity);
        LOOK_AGAIN
    }

    fn refused(&self, identity: Ordinal, name: &str, error: &RequestError) -> Duration {
        let why = error.why();
        let hint = match error.code() {
            Some(403) => "; the operator gives the right to patch it, in a Role of the VirtualMiddleManager",
            _ => "",
        };
        self.failed(identity, &format!("pod {name} cannot be patched: {why}{hint}"))
    }

    fn failed(&self, identity: Ordinal, error: &str) -> Duration {
        tracing::warn!(announcement = %identity, "{error}");
        self.board.wrong(&identity, error);
        self.backoff.failed(&identity.to_string(), Instant::now())
    }
}

#[cfg(test)]
#[path = "druid_reader_tests.rs"]
mod druid_reader;
#[cfg(test)]
#[path = "history_tests.rs"]
mod history;
#[cfg(test)]
#[path = "pod_server_tests.rs"]
mod pod_server;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
