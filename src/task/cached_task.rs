//! A PeonTask in the cache. One that has ended is kept as text: there may be very many of them, and they are rarely read.
//!
//! The text of a small task has 1.3 kB. The same task as a type has 1.6 kB in one piece and thirty small allocations
//! beside it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use serde::{Deserialize, Deserializer};

use crate::api::{PeonTask, Phase};
use crate::apiserver::classify::decode::{Guarded, Unreadable};

/// No pass is due.
const NEVER: i64 = i64::MAX;

/// A PeonTask from the API server.
pub type GuardedTask = Guarded<PeonTask>;

/// A PeonTask in the cache.
#[derive(Debug, Clone)]
pub enum CachedTask {
    /// It has no verdict.
    Unfinished(Arc<PeonTask>),
    /// It has its verdict.
    Finished(Arc<FinishedTask>),
    /// It cannot be read.
    Unreadable(Arc<Unreadable>),
}

/// A PeonTask that has its verdict, as text.
#[derive(Debug)]
pub struct FinishedTask {
    /// What the cache finds it by.
    identity: ObjectMeta,
    phase: Phase,
    /// When the next pass is due, in seconds since 1970; [`NEVER`] if none is.
    due: AtomicI64,
    /// The whole task as JSON.
    text: Box<str>,
}

impl CachedTask {
    /// The task, decoded if it has ended.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(&self) -> Result<Arc<PeonTask>, Arc<Unreadable>> {
        match self {
            Self::Unfinished(task) => Ok(task.clone()),
            Self::Finished(finished) => match GuardedTask::read(&finished.text).0 {
                Ok(task) => Ok(Arc::new(task)),
                Err(unreadable) => Err(Arc::new(unreadable)),
            },
            Self::Unreadable(unreadable) => Err(unreadable.clone()),
        }
    }

    /// The task, if it has no verdict.
    #[must_use]
    pub fn unfinished(&self) -> Option<&PeonTask> {
        match self {
            Self::Unfinished(task) => Some(task),
            Self::Finished(_) | Self::Unreadable(_) => None,
        }
    }

    /// Notes when the next pass over a finished task is due: a time in the task needs much less memory than an entry in
    /// the controller's schedule. False for other tasks.
    #[must_use]
    pub fn look_at(&self, due: Timestamp) -> bool {
        match self {
            Self::Finished(finished) => {
                finished.due.store(due.as_second(), Ordering::Relaxed);
                true
            }
            Self::Unfinished(_) | Self::Unreadable(_) => false,
        }
    }

    /// Whether such a pass is due by now; true once.
    #[must_use]
    pub fn take_due(&self, now: Timestamp) -> bool {
        match self {
            Self::Finished(finished) if finished.due.load(Ordering::Relaxed) <= now.as_second() => {
                finished.due.store(NEVER, Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }

    /// Bytes of a finished task and of what it points to.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let Self::Finished(finished) = self else {
            return 0;
        };
        let identity = &finished.identity;
        let strings = [
            &identity.name,
            &identity.namespace,
            &identity.uid,
            &identity.resource_version,
        ];
        let strings = strings.iter().filter_map(|part| part.as_ref());
        size_of::<Self>()
            + size_of::<FinishedTask>()
            + strings.map(String::capacity).sum::<usize>()
            + finished.text.len()
    }

    /// Its phase, if it can be read.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::Unfinished(task) => Some(task.status.as_ref().and_then(|s| s.phase).unwrap_or_default()),
            Self::Finished(finished) => Some(finished.phase),
            Self::Unreadable(_) => None,
        }
    }
}

impl From<&GuardedTask> for CachedTask {
    fn from(Guarded(task): &GuardedTask) -> Self {
        let task = match task {
            Ok(task) => task,
            Err(unreadable) => return Self::Unreadable(Arc::new(unreadable.clone())),
        };
        // A task that cannot be written as text stays as it is.
        match task.is_final().then(|| FinishedTask::of(task)).flatten() {
            Some(finished) => Self::Finished(Arc::new(finished)),
            None => Self::Unfinished(Arc::new(task.clone())),
        }
    }
}

impl FinishedTask {
    fn of(task: &PeonTask) -> Option<Self> {
        let text = serde_json::to_string(task).ok()?;
        Some(Self {
            identity: ObjectMeta {
                name: task.metadata.name.clone(),
                namespace: task.metadata.namespace.clone(),
                uid: task.metadata.uid.clone(),
                resource_version: task.metadata.resource_version.clone(),
                ..ObjectMeta::default()
            },
            phase: task.status.as_ref().and_then(|s| s.phase).unwrap_or_default(),
            due: AtomicI64::new(NEVER),
            text: text.into(),
        })
    }
}

impl Clone for FinishedTask {
    fn clone(&self) -> Self {
        Self {
            identity: self.identity.clone(),
            phase: self.phase,
            due: AtomicI64::new(self.due.load(Ordering::Relaxed)),
            text: self.text.clone(),
        }
    }
}

impl Resource for CachedTask {
    type DynamicType = ();
    type Scope = <PeonTask as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        PeonTask::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        PeonTask::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        PeonTask::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        PeonTask::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Unfinished(task) => &task.metadata,
            Self::Finished(finished) => &finished.identity,
            Self::Unreadable(unreadable) => &unreadable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Unfinished(task) => &mut Arc::make_mut(task).metadata,
            Self::Finished(finished) => &mut Arc::make_mut(finished).identity,
            Self::Unreadable(unreadable) => &mut Arc::make_mut(unreadable).metadata,
        }
    }
}

/// The controller of the client library asks for it.
impl<'de> Deserialize<'de> for CachedTask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        GuardedTask::deserialize(deserializer).map(|task| Self::from(&task))
    }
}

/// The writer of the cache of PeonTasks.
#[derive(Debug)]
pub(crate) struct TaskWriter(pub(super) Writer<CachedTask>);

impl TaskWriter {
    /// Brings the cache up to date.
    pub(crate) fn apply_watcher_event(&mut self, event: &Event<GuardedTask>) {
        self.0.apply_watcher_event(&match event {
            Event::Apply(task) => Event::Apply(task.into()),
            Event::Delete(task) => Event::Delete(task.into()),
            Event::Init => Event::Init,
            Event::InitApply(task) => Event::InitApply(task.into()),
            Event::InitDone => Event::InitDone,
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(status: &serde_json::Value) -> CachedTask {
        let task = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask",
            "metadata": {
                "name": "t", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {crate::api::LABELS_READ[0]: "x"},
            },
            "spec": {"task": {"type": "noop"}, "ttlSecondsAfterFinished": 60},
            "status": status,
        });
        serde_json::from_value(task).unwrap()
    }

    fn ended() -> serde_json::Value {
        json!({
            "phase": "Failed", "reason": "TaskFailed", "attempt": 2,
            "run": {"kind": "Pod", "pod": "t-2", "podUID": "p"},
            "conditions": [{"type": "Failed", "status": "True", "reason": "TaskFailed", "message": "m",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        })
    }

    #[test]
    fn a_task_that_has_ended_is_read_as_it_was() {
        let task = json!({
            "metadata": {
                "name": "t", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {crate::api::LABELS_READ[0]: "x"},
            },
            "spec": {"ttlSecondsAfterFinished": 60, "poolRef": {"name": "warm"}, "cancel": true},
            "status": ended(),
        });
        let seen = GuardedTask::read(&task.to_string());
        let known = seen.0.as_ref().unwrap();
        let cached = CachedTask::from(&seen);
        assert!(matches!(cached, CachedTask::Finished(_)));
        assert_eq!(
            serde_json::to_value(&*cached.read().unwrap()).unwrap(),
            serde_json::to_value(known).unwrap()
        );
        assert_eq!(cached.phase(), Some(Phase::Failed));
        assert!(cached.unfinished().is_none());
    }

    #[test]
    fn a_pass_over_a_finished_task_is_due_once() {
        let cached = read(&ended());
        let at = crate::task::fixtures::at;
        assert!(!cached.take_due(at(100)));
        assert!(cached.look_at(at(10)));
        assert!(!cached.take_due(at(9)));
        assert!(cached.clone().take_due(at(10)));
        assert!(!cached.take_due(at(100)));
        assert!(!read(&json!({"phase": "Running", "conditions": []})).look_at(at(10)));
    }

    #[test]
    fn it_is_found_by_name_namespace_and_uid_whatever_its_state() {
        for status in [
            json!(null),
            json!({"phase": "Running", "conditions": []}),
            ended(),
            json!({"phase": 1}),
        ] {
            let cached = read(&status);
            let meta = cached.meta();
            let identity = [&meta.name, &meta.namespace, &meta.uid, &meta.resource_version];
            assert_eq!(
                identity.map(|part| part.as_deref().unwrap()),
                ["t", "ns", "u", "7"],
                "{status}"
            );
        }
        assert!(read(&json!({"phase": 1})).read().is_err());
        assert_eq!(read(&json!({"phase": 1})).phase(), None);
        assert_eq!(read(&json!(null)).phase(), Some(Phase::Pending));
    }
}
