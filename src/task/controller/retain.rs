//! `--retain-finished`: the oldest finished tasks of a namespace are deleted.

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::Context;
use crate::api::PeonTask;
use crate::task::decide::history_record;
use crate::task::effects::act::ActError;
use crate::task::watch::GuardedTask;

/// A namespace of which a pass deletes finished tasks, until this is dropped, be it by a panic.
struct Retaining<'a> {
    context: &'a Context,
    /// `None` once it is said.
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
    /// Deletes the oldest finished tasks of the namespace beyond those that are to be kept. One pass of a namespace does so
    /// at a time, and does not end before it has done so for all of them.
    pub(super) async fn retain(&self, task: &PeonTask) -> Result<(), ActError> {
        let Some(keep) = self.retain_finished else {
            return Ok(());
        };
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
                let excess = self.excess(&namespace, keep);
                if excess.is_empty() {
                    // Under the lock: whoever found it taken has said before what is to be found here.
                    retaining.remove(&namespace);
                    guard.namespace = None;
                    return Ok(());
                }
                excess
            };
            for (name, uid) in excess {
                tracing::info!(namespace, task = name, "deleted: newer finished tasks are kept");
                self.actor
                    .delete::<PeonTask>("delete peontask", &namespace, &name, uid.clone())
                    .await?;
                // The watch will say so, too.
                self.caches.aggregates.retention.gone(&uid);
            }
        }
    }

    /// Name and uid of the finished tasks of a namespace that are to be deleted now.
    fn excess(&self, namespace: &str, keep: usize) -> Vec<(String, String)> {
        let aggregates = &self.caches.aggregates;
        let mut excess = aggregates.retention.excess(namespace, keep);
        // Others are passed over again when their log has come, and when the history has them.
        excess.retain(|(name, uid)| {
            self.caches
                .logs
                .get()
                .is_none_or(|logs| !logs.is_busy(uid) && !self.is_awaited(namespace, name))
        });
        excess
    }

    fn is_awaited(&self, namespace: &str, name: &str) -> bool {
        let key = ObjectRef::<GuardedTask>::new(name).within(namespace);
        let task = self.caches.tasks.get(&key);
        task.is_some_and(|t| {
            t.0.as_ref()
                .is_ok_and(|t| history_record::is_awaited(t, self.clock.wall()))
        })
    }
}
