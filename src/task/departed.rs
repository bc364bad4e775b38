//! The last state of pods that are gone.
//!
//! The kubelet reports how a container ended and removes the pod a moment later. The pass over the task may run
//! after both, and the cache has forgotten the pod by then; so the watch keeps what it saw last.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use super::evidence::Evidence;

/// Most pods kept. A task is passed over within moments of its pod's end; only a stalled operator gets near.
const MOST: usize = 4096;

/// Last states by namespace and pod name.
#[derive(Debug, Default)]
pub struct Departed(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pods: HashMap<(String, String), Evidence>,
    order: VecDeque<(String, String)>,
}

impl Departed {
    /// Keeps the last state of a pod; the oldest one leaves when there are too many.
    pub fn keep(&self, namespace: &str, evidence: Evidence) {
        let key = (namespace.to_owned(), evidence.pod_name.clone());
        let mut inner = self.0.lock();
        if inner.pods.insert(key.clone(), evidence).is_none() {
            inner.order.push_back(key);
        }
        while inner.order.len() > MOST {
            if let Some(oldest) = inner.order.pop_front() {
                inner.pods.remove(&oldest);
            }
        }
    }

    /// The last state of a pod.
    #[must_use]
    pub fn get(&self, namespace: &str, pod: &str) -> Option<Evidence> {
        self.0
            .lock()
            .pods
            .get(&(namespace.to_owned(), pod.to_owned()))
            .cloned()
    }

    /// Forgets a pod: its task has a verdict.
    pub fn forget(&self, namespace: &str, pod: &str) {
        // Its place in the order is taken out when it comes to the front.
        self.0.lock().pods.remove(&(namespace.to_owned(), pod.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_bounded_and_forgets_the_oldest() {
        let departed = Departed::default();
        let evidence = |name: usize| Evidence {
            pod_name: name.to_string(),
            ..Evidence::default()
        };
        for name in 0..=MOST {
            departed.keep("ns", evidence(name));
        }
        assert_eq!(departed.get("ns", "0"), None);
        assert!(departed.get("ns", "1").is_some());
        departed.forget("ns", "1");
        assert_eq!(departed.get("ns", "1"), None);
        assert_eq!(departed.get("other", "2"), None);
    }
}
