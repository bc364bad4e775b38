//! Writes the status of PeonTemplates: whether tasks can use them, and how many do.
//!
//! One loop for all templates. It is woken by changes of templates and of [`Slots`](super::aggregates::slots::Slots),
//! and writes counts of one template at most once in [`decide::INTERVAL`]. Its work does not depend on the number of
//! tasks.

pub mod changes;
pub mod decide;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;

use super::accept::template_readiness::{self, Unusable};
use super::accept::without_effect;
use super::watch::{Caches, GuardedTemplate};
use crate::api::PeonTemplateStatus;
use crate::apiserver::backoff::Backoff;
use crate::apiserver::classify::own_writes::Written;
use crate::apiserver::error::panicked;
use crate::apiserver::request::RequestError;
use crate::apiserver::status::patch_status;
use crate::clock::Clock;
use crate::druid::properties::RuntimeProperties;
use crate::process::leadership::Leadership;
use changes::Key;
use decide::{Decision, LastWrite, decide};

/// Most concurrent writes.
const CONCURRENCY: usize = 8;
/// Most templates of one namespace that are looked at before those of others.
const OF_A_NAMESPACE: usize = 4;
/// Delay before looking again for an own write that the watch has not delivered.
const OWN_WRITE: Duration = Duration::from_secs(5);

/// Writes the status of all PeonTemplates.
pub struct TemplateStatusWriter {
    client: Client,
    caches: Caches,
    operator: Arc<RuntimeProperties>,
    leadership: Leadership,
    clock: Clock,
    started: Instant,
    last: Mutex<HashMap<Key, LastWrite>>,
    written: Written,
    backoff: Backoff,
    /// Kinds of failures that were logged since the last write that succeeded.
    logged: Mutex<HashSet<Option<u16>>>,
}

impl TemplateStatusWriter {
    /// A writer that writes only under this leadership. Reads the sizes and properties of tasks from `operator`.
    #[must_use]
    pub fn new(
        client: Client,
        caches: Caches,
        operator: Arc<RuntimeProperties>,
        leadership: Leadership,
    ) -> Self {
        let clock = Clock::default();
        Self {
            client,
            caches,
            operator,
            leadership,
            started: clock.instant(),
            clock,
            last: Mutex::default(),
            written: Written::default(),
            backoff: Backoff::default(),
            logged: Mutex::default(),
        }
    }

    /// Never returns.
    pub async fn run(self) {
        self.caches.complete().await;
        let changes = self.caches.template_changes.clone();
        changes.begin();
        let counted = changes.clone();
        let report = Box::new(move |namespace: &str, name: &str| counted.add(namespace, name, false));
        self.caches.aggregates.slots.on_change(report);
        for template in self.caches.templates.state() {
            changes.add(
                &template.namespace().unwrap_or_default(),
                &template.name_any(),
                true,
            );
        }
        let mut due: BTreeMap<String, BTreeMap<String, Instant>> = BTreeMap::new();
        loop {
            let now = self.clock.instant();
            for ((namespace, name), object) in changes.take() {
                let of = due.entry(namespace).or_default();
                // One that is due later is not looked at earlier for its counts.
                if object {
                    of.insert(name, now);
                } else {
                    of.entry(name).or_insert(now);
                }
            }
            let batch = take_due(&mut due, now);
            if batch.is_empty() {
                let next = due.values().flat_map(BTreeMap::values).min().copied();
                let wait = next.map(|next| next.saturating_duration_since(now));
                tokio::select! {
                    () = changes.some() => {}
                    () = sleep(wait) => {}
                }
                continue;
            }
            let looks = futures::stream::iter(batch).map(|key| async {
                let again = self.guarded_look(&key).await;
                (key, again)
            });
            let again: Vec<_> = looks.buffer_unordered(CONCURRENCY).collect().await;
            let now = self.clock.instant();
            for ((namespace, name), again) in again {
                if let Some(delay) = again {
                    due.entry(namespace).or_default().insert(name, now + delay);
                }
            }
        }
    }

    /// A fault triggered by one object must not end the process for all.
    async fn guarded_look(&self, key: &Key) -> Option<Duration> {
        match AssertUnwindSafe(self.look(key)).catch_unwind().await {
            Ok(again) => again,
            Err(panic) => {
                let (fault, (namespace, template)) = (panicked(&*panic), key);
                tracing::error!(
                    namespace,
                    template,
                    fault,
                    "the status could not be decided: please report this"
                );
                None
            }
        }
    }

    /// Writes the status of one template if that is due. Returns when to look again, if no event will report it.
    async fn look(&self, key: &Key) -> Option<Duration> {
        let (namespace, name) = key;
        let reference = ObjectRef::<GuardedTemplate>::new(name).within(namespace);
        let Some(template) = self.caches.templates.get(&reference) else {
            self.last.lock().remove(key);
            return None;
        };
        let uid = template.uid().unwrap_or_default();
        let version = template.meta().resource_version.as_deref();
        if self.written.is_ahead_of(&uid, version) {
            return Some(OWN_WRITE);
        }
        let now = self.clock.instant();
        let last = self.last.lock().get(key).filter(|last| last.uid == uid).cloned();
        let generation = template.meta().generation;
        let counts = self.caches.aggregates.slots.counts(namespace, name);
        let archives_logs = self.caches.logs.get().is_some();
        let (old, readiness, since) = match &template.0 {
            Ok(readable) => (
                readable.status.clone(),
                template_readiness::check(readable, &self.operator, archives_logs)
                    .map(|()| without_effect::of_template(&readable.spec)),
                None,
            ),
            // Its status is not decoded. The time is the same in every process, so that writing it again changes
            // nothing.
            Err(unreadable) => (
                last.as_ref().map(|last| last.status.clone()),
                Err(Unusable::undecodable(name, &unreadable.error)),
                unreadable.metadata.creation_timestamp.as_ref().map(|t| t.0),
            ),
        };
        let since = since.unwrap_or_else(|| self.clock.wall());
        let new = decide::status(old.as_ref(), readiness.as_deref(), counts, generation, since);
        match decide(old.as_ref(), new, last.as_ref(), self.started, now) {
            Decision::Nothing => None,
            Decision::Later(delay) => Some(delay),
            Decision::Write(status) => match self.write(namespace, name, version, &status).await {
                Ok(version) => {
                    self.written.record(&uid, version.as_deref());
                    self.backoff.clear(&uid);
                    self.logged.lock().clear();
                    let at = self.clock.instant();
                    self.last
                        .lock()
                        .insert(key.clone(), LastWrite { at, uid, status });
                    None
                }
                Err(error) => self.failed(key, &uid, error.as_ref()),
            },
        }
    }

    /// Logs each kind of failure once, and returns the delay.
    fn failed(
        &self,
        (namespace, template): &Key,
        uid: &str,
        error: Option<&RequestError>,
    ) -> Option<Duration> {
        let delay = self.backoff.failed(uid, self.clock.instant());
        let Some(error) = error else {
            // Not the leader: the process is about to end.
            return Some(delay);
        };
        match error.code() {
            // It is gone.
            Some(404) => return None,
            // It was changed: the watch reports it.
            Some(409) => {}
            code => {
                if self.logged.lock().insert(code) {
                    let error = error.to_string();
                    tracing::warn!(
                        namespace,
                        template,
                        error,
                        "the status of a PeonTemplate cannot be written"
                    );
                }
            }
        }
        Some(delay)
    }

    /// Writes a status, unless the object was changed since it was read. Returns the new resource version. Fails
    /// without an error if this process does not lead.
    ///
    /// # Access control
    /// peontemplates/status: patch.
    async fn write(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
        status: &PeonTemplateStatus,
    ) -> Result<Option<String>, Option<RequestError>> {
        self.leadership.check().map_err(|_| None)?;
        let api: Api<GuardedTemplate> = Api::namespaced(self.client.clone(), namespace);
        let written = patch_status("patch peontemplates/status", &api, name, version, status).await;
        Ok(written.map_err(Some)?.resource_version)
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Takes templates that are due, of each namespace at most [`OF_A_NAMESPACE`].
fn take_due(due: &mut BTreeMap<String, BTreeMap<String, Instant>>, now: Instant) -> Vec<Key> {
    let mut batch = Vec::new();
    for (namespace, templates) in due.iter_mut() {
        let ready = templates.iter().filter(|(_, at)| **at <= now);
        let names: Vec<String> = ready.map(|(name, _)| name.clone()).take(OF_A_NAMESPACE).collect();
        for name in names {
            templates.remove(&name);
            batch.push((namespace.clone(), name));
        }
    }
    due.retain(|_, templates| !templates.is_empty());
    batch
}
