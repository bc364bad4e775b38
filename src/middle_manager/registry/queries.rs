//! Queries of the registry (pure).

use k8s_openapi::jiff::Timestamp;

use super::Registry;
use super::entries::{Object, Task};
use super::history_items::{Log, Suspect, Target};
use super::identity::Ordinal;
use crate::druid::worker::TaskAnnouncement;
use crate::logs::format::shared_log::TaskLines;

impl Registry {
    /// The tasks of an identity whose end was announced.
    #[must_use]
    pub fn ended(&self, identity: Ordinal) -> Vec<String> {
        let ended = |(_, task): &(&String, &Task)| task.identity == identity && task.has_ended();
        self.tasks
            .iter()
            .filter(ended)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The last identity with a running task.
    #[must_use]
    pub fn last_busy(&self) -> Option<Ordinal> {
        let busy = self.tasks.values().filter(|t| t.said.is_some() && !t.has_ended());
        busy.map(|t| t.identity).max()
    }

    /// Whether a task with this id is assigned here, or was and is not forgotten.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.tasks.contains_key(id)
    }

    /// The PeonTask of a task.
    #[must_use]
    pub fn target(&self, id: &str) -> Option<Target> {
        let uid = self.tasks.get(id)?.uid.as_ref()?;
        self.objects.get(uid).map(Object::target)
    }

    /// Where the log of a task is: in the attempt's own pod, or in that of its Indexer.
    #[must_use]
    pub fn log(&self, identity: Ordinal, id: &str) -> Log {
        let task = self
            .tasks
            .get(id)
            .filter(|t| t.identity == identity && !t.has_ended());
        let uid = task.and_then(|t| t.uid.as_ref());
        let Some(object) = uid.and_then(|uid| self.objects.get(uid)) else {
            return Log::Elsewhere;
        };
        let pod = match object.indexer() {
            Some(run) => self.pods.indexer(&run.pod_uid),
            None => self.pods.of(&object.seen.uid, &object.pod_name()),
        };
        match pod.filter(|pod| pod.begun) {
            Some(pod) => Log::Pod {
                pod: pod.name.clone(),
                container: pod.container.clone(),
                lines: object.indexer().filter(|run| run.is_shared).map(|run| {
                    Box::new(TaskLines {
                        task_id: id.to_owned(),
                        pod_uid: run.pod_uid.clone(),
                        since: Timestamp::UNIX_EPOCH,
                    })
                }),
            },
            None => Log::NotBegun,
        }
    }

    /// All current announcements of an identity.
    pub fn said(&self, identity: Ordinal) -> impl Iterator<Item = &TaskAnnouncement> {
        let tasks = self.tasks.values().filter(move |t| t.identity == identity);
        tasks.filter_map(|t| t.said.as_ref())
    }

    /// The PeonTasks to verify: for one that does not exist call [`gone`](Self::gone), for others
    /// [refute](Self::refute) the suspicion.
    #[must_use]
    pub fn doubts(&self) -> Vec<Suspect> {
        let doubt = |(uid, number): (&String, u64)| {
            let object = self.objects.get(uid)?;
            Some(Suspect {
                target: object.target(),
                identity: object.seen.identity,
                facts: object.seen.facts.clone(),
                number,
            })
        };
        self.doubts.all().filter_map(doubt).collect()
    }

    /// Whether a PeonTask has to be verified.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        !self.doubts.is_empty()
    }
}
