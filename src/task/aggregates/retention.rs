//! The finished tasks of every namespace, oldest first: what `--retain-finished` deletes (pure).

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

/// Finished tasks by namespace.
#[derive(Debug, Default)]
pub struct Retention(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Most that a namespace keeps; nothing is recorded without it.
    most: Option<usize>,
    namespaces: HashMap<String, BTreeMap<Age, String>>,
    by_uid: HashMap<String, (String, Age)>,
}

/// Completion time and name.
type Age = (Timestamp, String);

impl Retention {
    /// Sets how many finished tasks a namespace keeps, before any is recorded.
    pub fn limit(&self, most: Option<usize>) {
        self.0.lock().most = most;
    }

    /// Whether there is a limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.0.lock().most.is_some()
    }

    /// Records a finished task, if there is a limit. Idempotent.
    pub fn finished(&self, namespace: &str, name: &str, uid: &str, completed: Timestamp) {
        let age = (completed, name.to_owned());
        let inner = &mut *self.0.lock();
        if inner.most.is_none() {
            return;
        }
        if inner.by_uid.get(uid).is_some_and(|(_, known)| *known == age) {
            return;
        }
        inner.remove(uid);
        let of = inner.namespaces.entry(namespace.to_owned()).or_default();
        // A task with the same name: the earlier one is gone.
        if let Some(former) = of.insert(age.clone(), uid.to_owned()) {
            inner.by_uid.remove(&former);
        }
        inner.by_uid.insert(uid.to_owned(), (namespace.to_owned(), age));
    }

    /// A task does not exist any more.
    pub fn gone(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// The finished tasks.
    #[must_use]
    pub fn uids(&self) -> Vec<String> {
        self.0.lock().by_uid.keys().cloned().collect()
    }

    /// Name and uid of the oldest finished tasks of a namespace beyond the newest that it keeps, oldest first. They are
    /// returned until they are [`gone`](Self::gone).
    #[must_use]
    pub fn excess(&self, namespace: &str) -> Vec<(String, String)> {
        let inner = self.0.lock();
        let (Some(of), Some(most)) = (inner.namespaces.get(namespace), inner.most) else {
            return Vec::new();
        };
        of.iter()
            .take(of.len().saturating_sub(most))
            .map(|((_, name), uid)| (name.clone(), uid.clone()))
            .collect()
    }
}

impl Inner {
    fn remove(&mut self, uid: &str) {
        let Some((namespace, age)) = self.by_uid.remove(uid) else {
            return;
        };
        if let Some(of) = self.namespaces.get_mut(&namespace) {
            of.remove(&age);
            if of.is_empty() {
                self.namespaces.remove(&namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keeping(most: usize) -> Retention {
        let retention = Retention::default();
        retention.limit(Some(most));
        retention
    }

    fn finish(retention: &Retention, n: i64) {
        let completed = Timestamp::from_second(n / 2).unwrap();
        retention.finished("ns", &format!("task-{n}"), &format!("uid-{n}"), completed);
    }

    fn names(numbers: &[i64]) -> Vec<(String, String)> {
        numbers
            .iter()
            .map(|n| (format!("task-{n}"), format!("uid-{n}")))
            .collect()
    }

    #[test]
    fn the_oldest_go_first_by_name_where_equal() {
        let retention = keeping(1);
        for n in [5, 2, 4, 3, 2] {
            finish(&retention, n);
        }
        retention.finished("other", "x", "uid-x", Timestamp::from_second(0).unwrap());
        assert_eq!(retention.excess("ns"), names(&[2, 3, 4]));
        retention.gone("uid-3");
        retention.gone("uid-3");
        assert_eq!(retention.excess("ns"), names(&[2, 4]));
        assert_eq!(retention.excess("other"), []);
        assert_eq!(retention.excess("nowhere"), []);
    }

    #[test]
    fn without_a_limit_nothing_is_recorded() {
        let retention = Retention::default();
        finish(&retention, 1);
        assert_eq!(
            (retention.uids(), retention.excess("ns")),
            (Vec::new(), Vec::new())
        );
        assert!(!retention.is_limited());
    }

    #[test]
    fn a_task_that_was_made_anew_is_counted_once() {
        let retention = keeping(0);
        let second = |n| Timestamp::from_second(n).unwrap();
        retention.finished("ns", "a", "1", second(1));
        retention.finished("ns", "a", "2", second(1));
        retention.gone("1");
        assert_eq!(retention.excess("ns"), [("a".into(), "2".into())]);
        retention.finished("ns", "a", "2", second(2));
        assert_eq!(retention.excess("ns"), [("a".into(), "2".into())]);
    }

    proptest! {
        #[test]
        fn nothing_leaks(steps in proptest::collection::vec((any::<bool>(), 0_i64..20), 0..100), keep in 0_usize..5) {
            let retention = keeping(keep);
            let mut finished = std::collections::BTreeSet::new();
            for (done, n) in steps {
                if done {
                    finish(&retention, n);
                    finished.insert((n / 2, format!("task-{n}"), format!("uid-{n}")));
                } else {
                    retention.gone(&format!("uid-{n}"));
                    finished.retain(|(_, name, _)| *name != format!("task-{n}"));
                }
                let beyond = finished.len().saturating_sub(keep);
                let oldest: Vec<_> =
                    finished.iter().take(beyond).map(|(_, name, uid)| (name.clone(), uid.clone())).collect();
                prop_assert_eq!(retention.excess("ns"), oldest);
            }
            for n in 0..20 {
                retention.gone(&format!("uid-{n}"));
            }
            let inner = retention.0.lock();
            prop_assert!(inner.namespaces.is_empty() && inner.by_uid.is_empty());
        }
    }
}
