//! How long tasks of one type and datasource took that succeeded (pure).
//!
//! The mean of the last ones by their time of completion, whatever the order in which they are observed and however often:
//! a process that begins learns the same from the PeonTasks that there are. What was deleted before is forgotten then.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use super::recently_used::RecentlyUsed;
use crate::api::conditions::{COMPLETE, is_true};
use crate::api::{PeonTaskStatus, TaskKind};

/// Most kinds of tasks remembered; beyond that, the least recently used one of the namespace with the most is removed.
const MOST: usize = 4096;
/// Tasks of a kind whose mean is taken.
const LAST: usize = 10;

/// How long a task is expected to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The mean.
    pub mean: Duration,
    /// Of so many tasks.
    pub tasks: usize,
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.mean.as_secs();
        match self.tasks {
            1 => write!(f, "the last task of its type and datasource took {seconds} s"),
            many => write!(
                f,
                "the last {many} tasks of its type and datasource took {seconds} s on average"
            ),
        }
    }
}

/// Seconds of the last tasks of a kind, by their time of completion and by what tells those of one second apart.
type Last = BTreeMap<(Timestamp, u64), u32>;

/// Durations by namespace and kind.
#[derive(Debug)]
pub struct Durations(Mutex<RecentlyUsed<Last>>);

impl Default for Durations {
    fn default() -> Self {
        Self(Mutex::new(RecentlyUsed::with_most(MOST)))
    }
}

impl Durations {
    /// Records what the status of a task says, if the task succeeded after it ran.
    pub fn observe(&self, namespace: &str, uid: &str, status: &PeonTaskStatus) {
        let (Some(task_type), Some(start), Some(end)) =
            (&status.task_type, &status.start_time, &status.completion_time)
        else {
            return;
        };
        if !is_true(&status.conditions, COMPLETE) {
            return;
        }
        let seconds = end.0.duration_since(start.0).as_secs();
        let seconds = u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        let mut all = self.0.lock();
        let key = key(task_type, status.data_source.as_deref());
        let mut last = all.get(namespace, &key).cloned().unwrap_or_default();
        last.insert((end.0, hasher.finish()), seconds);
        while last.len() > LAST {
            last.pop_first();
        }
        all.put(namespace, &key, last);
    }

    /// How long a task of this kind is expected to run; `None` if none is known that succeeded.
    #[must_use]
    pub fn expected(&self, namespace: &str, kind: &TaskKind) -> Option<Expected> {
        let mut all = self.0.lock();
        let last = all.get(namespace, &key(&kind.task_type, kind.data_source.as_deref()))?;
        let tasks = last.len();
        let sum: u64 = last.values().copied().map(u64::from).sum();
        let mean = sum.checked_div(u64::try_from(tasks).ok()?)?;
        Some(Expected {
            mean: Duration::from_secs(mean),
            tasks,
        })
    }
}

/// No type has a NUL.
fn key(task_type: &str, data_source: Option<&str>) -> String {
    format!("{task_type}\0{}", data_source.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::task::fixtures::at;

    fn kind(task_type: &str) -> TaskKind {
        TaskKind {
            task_type: task_type.to_owned(),
            data_source: Some("wiki".to_owned()),
        }
    }

    fn ended(condition: &str, end: i64, seconds: i64) -> PeonTaskStatus {
        let status = json!({
            "taskType": "index", "dataSource": "wiki",
            "startTime": at(end - seconds).to_string(), "completionTime": at(end).to_string(),
            "conditions": [{"type": condition, "status": "True", "reason": "Any", "message": "",
                "lastTransitionTime": at(end).to_string()}],
        });
        serde_json::from_value(status).unwrap()
    }

    fn learn(all: &[(i64, i64)]) -> Durations {
        let durations = Durations::default();
        for (end, seconds) in all {
            durations.observe("ns", &end.to_string(), &ended("Complete", *end, *seconds));
        }
        durations
    }

    #[test]
    fn the_mean_is_that_of_the_last_tasks_that_succeeded() {
        let all: Vec<(i64, i64)> = (0..20)
            .map(|n| (10_000 + n, if n < 10 { 5_000 } else { n }))
            .collect();
        let durations = learn(&all);
        let expected = durations.expected("ns", &kind("index")).unwrap();
        assert_eq!((expected.mean.as_secs(), expected.tasks), (14, 10));
        assert_eq!(
            expected.to_string(),
            "the last 10 tasks of its type and datasource took 14 s on average"
        );
        assert_eq!(durations.expected("other", &kind("index")), None);
        assert_eq!(durations.expected("ns", &kind("kill")), None);
        let one = learn(&[(10_000, 7)]).expected("ns", &kind("index")).unwrap();
        assert_eq!(
            one.to_string(),
            "the last task of its type and datasource took 7 s"
        );
    }

    #[test]
    fn failures_and_tasks_that_never_ran_teach_nothing() {
        let durations = Durations::default();
        durations.observe("ns", "a", &ended("Failed", 10_000, 5));
        let mut never_ran = ended("Complete", 10_000, 5);
        never_ran.start_time = None;
        durations.observe("ns", "b", &never_ran);
        assert_eq!(durations.expected("ns", &kind("index")), None);
    }

    proptest! {
        /// After a restart the tasks are observed in another order, and every change of a task is observed.
        #[test]
        fn order_and_repetition_do_not_matter(
            all in proptest::collection::btree_map(10_000_i64..10_200, 0_i64..900, 1..40),
            again in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let all: Vec<(i64, i64)> = all.into_iter().collect();
            let mut shuffled: Vec<(i64, i64)> = again.iter().map(|index| *index.get(&all)).collect();
            shuffled.extend(all.iter().rev());
            let expected = learn(&all).expected("ns", &kind("index"));
            prop_assert_eq!(learn(&shuffled).expected("ns", &kind("index")), expected);
        }
    }
}
