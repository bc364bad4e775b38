//! The last state of pods that are gone.
//!
//! The kubelet reports how a container ended and removes the pod a moment later. The pass over the task may run after
//! both, when the cache no longer has the pod; so the watch remembers its last state.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;

use super::run::pod::evidence::Evidence;

/// Most pods remembered. A pass runs within moments of its pod's end; only a stalled operator gets near this number.
const MOST: usize = 4096;

/// Last states by namespace and pod name. If there are too many, the oldest of the namespace with the most is removed:
/// deleted pods of one namespace do not cost another one its verdicts.
#[derive(Debug, Default)]
pub struct DepartedPods(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    namespaces: HashMap<String, Namespace>,
    pods: usize,
    next: u64,
}

#[derive(Debug, Default)]
struct Namespace {
    /// By name, with their position in the order.
    pods: HashMap<String, (u64, Evidence)>,
    order: BTreeMap<u64, String>,
}

impl DepartedPods {
    /// Records the last state of a pod.
    pub fn keep(&self, namespace: &str, evidence: Evidence) {
        let inner = &mut *self.0.lock();
        inner.remove(namespace, &evidence.pod_name);
        let place = inner.next;
        inner.next += 1;
        let of = inner.namespaces.entry(namespace.to_owned()).or_default();
        of.order.insert(place, evidence.pod_name.clone());
        of.pods.insert(evidence.pod_name.clone(), (place, evidence));
        inner.pods += 1;
        if inner.pods > MOST {
            inner.remove_one();
        }
    }

    /// The last state of a pod.
    #[must_use]
    pub fn get(&self, namespace: &str, pod: &str) -> Option<Evidence> {
        let inner = self.0.lock();
        let (_, evidence) = inner.namespaces.get(namespace)?.pods.get(pod)?;
        Some(evidence.clone())
    }

    /// Removes a pod: its task has a verdict.
    pub fn forget(&self, namespace: &str, pod: &str) {
        self.0.lock().remove(namespace, pod);
    }
}

impl Inner {
    fn remove(&mut self, namespace: &str, pod: &str) {
        let Some(of) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let Some((place, _)) = of.pods.remove(pod) else {
            return;
        };
        of.order.remove(&place);
        self.pods -= 1;
        if of.pods.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// Removes the oldest pod of the namespace with the most.
    fn remove_one(&mut self) {
        let most = self.namespaces.iter().max_by_key(|(_, of)| of.pods.len());
        let oldest = most.and_then(|(name, of)| Some((name.clone(), of.order.first_key_value()?.1.clone())));
        if let Some((namespace, pod)) = oldest {
            self.remove(&namespace, &pod);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(name: usize) -> Evidence {
        Evidence {
            pod_name: name.to_string(),
            ..Evidence::default()
        }
    }

    #[test]
    fn is_bounded_and_forgets_the_oldest() {
        let departed = DepartedPods::default();
        for name in 0..=MOST {
            departed.keep("ns", evidence(name));
        }
        assert_eq!(departed.get("ns", "0"), None);
        assert!(departed.get("ns", "1").is_some());
        departed.forget("ns", "1");
        assert_eq!(departed.get("ns", "1"), None);
        assert_eq!(departed.get("other", "2"), None);
        for name in 0..=MOST {
            departed.forget("ns", &name.to_string());
        }
        let inner = departed.0.lock();
        assert!(inner.namespaces.is_empty() && inner.pods == 0);
    }

    #[test]
    fn a_namespace_whose_pods_go_by_the_thousand_loses_its_own() {
        let departed = DepartedPods::default();
        departed.keep("quiet", evidence(0));
        for name in 0..3 * MOST {
            departed.keep("flood", evidence(name));
        }
        assert!(departed.get("quiet", "0").is_some());
        assert_eq!(departed.get("flood", "0"), None);
    }
}
