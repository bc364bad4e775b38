//! `--retain-finished`: deletes the oldest finished tasks of a namespace.

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::Context;
use crate::api::PeonTask;
use crate::task::cached_task::CachedTask;
use crate::task::decide::history_record;
use crate::task::effects::act::ActError;

/// A namespace in which a pass deletes finished tasks, until this is dropped, even by a panic.
struct Retaining<'a> {
    context: &'a Context,
    /// `None` once it was released.
    namespace: Option<String>,
}

impl Drop for Retaining<'_> {
    fn drop(&mut self) {
        if let Some(namespace) = self.namespace.take() {
            self.context.retaining.lock().remove(&namespace);
        }
    }
}

impl Context {
    /// Deletes the oldest finished tasks of the namespace beyond the retained number. Only one pass per namespace does
    /// so at a time, and it ends only when none is left.
    pub(super) async fn retain(&self, task: &PeonTask) -> Result<(), ActError> {
        if !self.caches.aggregates.retention.is_limited() {
            return Ok(());
        }
        let namespace = task.namespace().unwrap_or_default();
        if !self.retaining.lock().insert(namespace.clone()) {
            return Ok(());
        }
        let mut guard = Retaining {
            context: self,
            namespace: Some(namespace.clone()),
        };
        loop {
            let excess = {
                let mut retaining = self.retaining.lock();
                let excess = self.excess(&namespace);
                if excess.is_empty() {
                    // Under the lock: a pass that found the namespace taken has recorded its task before this check.
                    retaining.remove(&namespace);
                    guard.namespace = None;
                    return Ok(());
                }
                excess
            };
            for (name, uid) in excess {
                tracing::info!(
                    namespace,
                    task = name,
                    "deleting the PeonTask: its namespace has more finished PeonTasks than \
                     --retain-finished allows"
                );
                self.actor
                    .delete::<PeonTask>("delete peontask", &namespace, &name, uid.clone())
                    .await?;
                // The watch will report it, too.
                self.caches.aggregates.retention.gone(&uid);
            }
        }
    }

    /// Name and uid of the finished tasks of a namespace that are to be deleted now.
    fn excess(&self, namespace: &str) -> Vec<(String, String)> {
        let aggregates = &self.caches.aggregates;
        let mut excess = aggregates.retention.excess(namespace);
        // Other tasks get another pass when their log has been archived, and when they are in the history.
        excess.retain(|(name, uid)| {
            self.caches
                .logs
                .get()
                .is_none_or(|logs| !logs.is_busy(uid) && !self.is_awaited(namespace, name))
        });
        excess
    }

    fn is_awaited(&self, namespace: &str, name: &str) -> bool {
        let key = ObjectRef::<CachedTask>::new(name).within(namespace);
        let task = self.caches.tasks.get(&key);
        task.is_some_and(|t| {
            t.read()
                .is_ok_and(|t| history_record::is_awaited(&t, self.clock.wall()))
        })
    }
}
