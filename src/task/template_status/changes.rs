//! Templates whose status may have to be written.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Namespace and name of a template.
pub type Key = (String, String);

/// Templates that changed, or whose counts changed, since they were last taken. Nothing is recorded before
/// [`begin`](Self::begin), so that a process that does not lead collects nothing.
#[derive(Debug, Default)]
pub struct TemplateChanges {
    changed: Mutex<Option<HashMap<Key, bool>>>,
    wake: Notify,
}

impl TemplateChanges {
    /// Begins to record.
    pub fn begin(&self) {
        self.changed.lock().get_or_insert_default();
    }

    /// Records a template: the object changed, or only the counts of its tasks.
    pub fn add(&self, namespace: &str, name: &str, object: bool) {
        if let Some(changed) = &mut *self.changed.lock() {
            let key = (namespace.to_owned(), name.to_owned());
            *changed.entry(key).or_default() |= object;
            self.wake.notify_one();
        }
    }

    /// Takes what was recorded, and whether the object changed.
    #[must_use]
    pub fn take(&self) -> HashMap<Key, bool> {
        self.changed
            .lock()
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Waits until something is recorded. Cancel-safe.
    pub async fn some(&self) {
        self.wake.notified().await;
    }
}
