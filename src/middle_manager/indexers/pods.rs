//! The pods of IndexerPools, as the watch of pods sees them.

use std::collections::{HashMap, HashSet};

use kube::ResourceExt;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::decide::pod::IndexerPod;
use crate::apiserver::classify::decode::Guarded;
use crate::middle_manager::registry::view::PodView;

/// The pods that have not ended, by uid.
#[derive(Debug, Default)]
pub struct IndexerPods {
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    pods: HashMap<String, IndexerPod>,
    /// Uids of a watch's initial list, while it is received.
    listing: Option<HashSet<String>>,
}

impl IndexerPods {
    /// Takes an event of the watch. Pods of no IndexerPool are ignored, and so are changes that are not read here.
    ///
    /// A pod that cannot be decoded stays as it was.
    pub fn event(&self, event: &Event<Guarded<PodView>>) {
        if self.known.lock().event(event) {
            self.changed.notify_one();
        }
    }

    /// The pods, in any order.
    #[must_use]
    pub fn all(&self) -> Vec<IndexerPod> {
        self.known.lock().pods.values().cloned().collect()
    }

    /// Waits until a pod has changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Known {
    /// Returns whether a pod changed.
    fn event(&mut self, event: &Event<Guarded<PodView>>) -> bool {
        match event {
            Event::Init => {
                self.listing = Some(HashSet::new());
                false
            }
            Event::Apply(pod) | Event::InitApply(pod) => self.see(pod),
            Event::Delete(pod) => pod.uid().is_some_and(|uid| self.pods.remove(&uid).is_some()),
            Event::InitDone => {
                let listing = self.listing.take().unwrap_or_default();
                let before = self.pods.len();
                self.pods.retain(|uid, _| listing.contains(uid));
                self.pods.len() != before
            }
        }
    }

    fn see(&mut self, pod: &Guarded<PodView>) -> bool {
        let Some(uid) = pod.uid() else {
            return false;
        };
        let seen = match &pod.0 {
            Ok(pod) => IndexerPod::of(pod),
            Err(_) => self.pods.get(&uid).cloned(),
        };
        let Some(seen) = seen else {
            return self.pods.remove(&uid).is_some();
        };
        if let Some(listing) = &mut self.listing {
            listing.insert(uid.clone());
        }
        let is_new = self.pods.get(&uid) != Some(&seen);
        self.pods.insert(uid, seen);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::middle_manager::object_fixtures::{indexer, pod};

    fn guarded(pod: &Value) -> Guarded<PodView> {
        serde_json::from_value(pod.clone()).unwrap()
    }

    fn uids(pods: &IndexerPods) -> Vec<String> {
        let mut uids: Vec<String> = pods.all().into_iter().map(|pod| pod.uid).collect();
        uids.sort();
        uids
    }

    fn is_changed(pods: &IndexerPods) -> bool {
        pods.changed().now_or_never().is_some()
    }

    #[test]
    fn follows_the_pods_of_pools_and_no_others() {
        let pods = IndexerPods::default();
        pods.event(&Event::Apply(guarded(&pod("task", 1, true, 120))));
        pods.event(&Event::Delete(guarded(&pod("task", 1, true, 120))));
        assert!(!is_changed(&pods));
        pods.event(&Event::Apply(guarded(&indexer("a", "10.0.0.1"))));
        assert!(is_changed(&pods));
        // What is not read is no change.
        let mut same = indexer("a", "10.0.0.1");
        same["metadata"]["resourceVersion"] = json!("9");
        pods.event(&Event::Apply(guarded(&same)));
        assert!(!is_changed(&pods));
        pods.event(&Event::Apply(guarded(&indexer("b", "10.0.0.2"))));
        assert_eq!(uids(&pods), ["a", "b"]);
        pods.event(&Event::Delete(guarded(&same)));
        assert_eq!(uids(&pods), ["b"]);
        // One that has ended gives its address back.
        let mut ended = indexer("b", "10.0.0.2");
        ended["status"]["phase"] = json!("Succeeded");
        pods.event(&Event::Apply(guarded(&ended)));
        assert!(pods.all().is_empty() && is_changed(&pods));
    }

    #[test]
    fn a_new_list_replaces_what_was_known() {
        let pods = IndexerPods::default();
        for (uid, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
            pods.event(&Event::Apply(guarded(&indexer(uid, ip))));
        }
        assert!(is_changed(&pods));
        pods.event(&Event::Init);
        pods.event(&Event::InitApply(guarded(&indexer("b", "10.0.0.2"))));
        let mut odd = indexer("c", "10.0.0.3");
        odd["status"]["conditions"] = json!("odd");
        assert!(guarded(&odd).0.is_err());
        pods.event(&Event::InitApply(guarded(&odd)));
        assert_eq!(uids(&pods), ["a", "b", "c"]);
        assert!(!is_changed(&pods));
        pods.event(&Event::InitDone);
        assert_eq!(uids(&pods), ["b", "c"]);
        assert!(is_changed(&pods));
    }
}
