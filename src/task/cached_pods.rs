//! The cache of pods, without those that nothing reads any more: a task with a verdict needs its pods that have ended no
//! longer, and there may be very many.

use std::sync::Arc;

use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use parking_lot::Mutex;

use crate::apiserver::classify::watched_pod::WatchedPod;

/// The writer of the cache of pods.
#[derive(Debug, Clone)]
pub(crate) struct PodWriter {
    writer: Arc<Mutex<Writer<WatchedPod>>>,
    pods: Store<WatchedPod>,
}

impl PodWriter {
    pub(super) fn new(writer: Writer<WatchedPod>) -> Self {
        Self {
            pods: writer.as_reader(),
            writer: Arc::new(Mutex::new(writer)),
        }
    }

    /// Brings the cache up to date.
    pub(crate) fn apply_watcher_event(&self, event: &Event<WatchedPod>) {
        self.writer.lock().apply_watcher_event(event);
    }

    /// Removes a pod that has ended and is not needed any more. It comes back when it changes, or when pods are listed
    /// again. Another pod with this name stays.
    pub(super) fn forget(&self, namespace: &str, name: &str, uid: &str) {
        let mut writer = self.writer.lock();
        let pod = self.pods.get(&ObjectRef::new(name).within(namespace));
        if let Some(pod) = pod.filter(|pod| pod.metadata.uid.as_deref() == Some(uid)) {
            writer.apply_watcher_event(&Event::Delete((*pod).clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::fixtures::{POD, ended, pod};

    #[test]
    fn only_the_pod_that_was_named_is_removed() {
        let (pods, writer) = kube::runtime::reflector::store();
        let writer = PodWriter::new(writer);
        let ended = pod(ended(0, "Completed", ""));
        let uid = ended.metadata.uid.clone().unwrap();
        writer.apply_watcher_event(&Event::Apply(ended));
        writer.forget("ns", POD, "of another");
        writer.forget("elsewhere", POD, &uid);
        assert_eq!(pods.len(), 1);
        writer.forget("ns", POD, &uid);
        assert_eq!(pods.len(), 0);
        writer.forget("ns", POD, &uid);
    }
}
