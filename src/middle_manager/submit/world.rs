//! An overlord in memory, a process before it and an API server, and users.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Submitter;
use super::decide::submission::Policy;
use super::task_queue::TaskQueue;
use crate::api::virtual_middle_manager::PayloadPlace;
use crate::api::{PeonTask, SubmissionState};
use crate::druid::worker::{TaskLocation, TaskState, TaskStatus};
use crate::middle_manager::http::backend::Backend;
use crate::middle_manager::model_api::{self, Bench, FIRST};
use crate::middle_manager::overlord::SubmitError;
use crate::middle_manager::overlord::decide::refusal::OverlordError;
use crate::middle_manager::registry::identity::Assigned;
use crate::middle_manager::sync::tasks::GuardedTask;
use crate::simulation::model_api::Kind;

/// Where a task of the overlord is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum At {
    Pending,
    Here,
    Elsewhere,
    Ended(TaskState),
}

#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) payload: String,
    pub(super) at: At,
}

/// What goes wrong with a question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Trouble {
    Lost,
    AnswerLost,
    Denied,
}

/// An overlord in memory: it takes an id once, and writes tasks anew.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) tasks: BTreeMap<String, Held>,
    /// Tasks that were taken, by the uid that they say.
    pub(super) taken: BTreeMap<String, usize>,
    pub(super) next: Option<Trouble>,
    /// A submission of this id is not answered.
    pub(super) silent: Option<String>,
}

impl Memory {
    /// As Druid writes a task: with defaults, and an entry of the context that nobody gave.
    pub(super) fn put(&mut self, json: &str) -> Result<(), SubmitError> {
        let task = serde_json::from_str(json);
        let mut task: Value = task.map_err(|e| SubmitError::Refused(e.to_string()))?;
        let id = task["id"].as_str().unwrap_or_default().to_owned();
        if self.tasks.contains_key(&id) {
            return Err(SubmitError::AlreadyExists(format!("Task[{id}] already exists")));
        }
        if task["type"] == "nonsense" {
            return Err(SubmitError::Refused(
                "Could not resolve type id 'nonsense'".into(),
            ));
        }
        task["groupId"] = json!(id);
        if !task["context"].is_object() {
            task["context"] = json!({});
        }
        task["context"]["forceTimeChunkLock"] = json!(true);
        let uid = task["context"]["peon.dev/submission"]["uid"]
            .as_str()
            .unwrap_or("nobody's");
        *self.taken.entry(uid.to_owned()).or_default() += 1;
        let held = Held {
            payload: task.to_string(),
            at: At::Pending,
        };
        self.tasks.insert(id, held);
        Ok(())
    }

    pub(super) fn of(&self, uid: &str) -> Option<(&String, &Held)> {
        self.tasks.iter().find(|(_, held)| {
            let task: Value = serde_json::from_str(&held.payload).unwrap();
            task["context"]["peon.dev/submission"]["uid"] == uid
        })
    }
}

#[derive(Clone, Default)]
pub(super) struct Overlord(pub(super) Arc<Mutex<Memory>>);

impl Overlord {
    async fn answer<T>(&self, question: impl FnOnce(&mut Memory) -> T) -> Result<T, OverlordError> {
        tokio::task::yield_now().await;
        let unavailable = || OverlordError::Unavailable {
            url: "http://o".into(),
            why: "no connection".into(),
        };
        let answer = {
            let mut memory = self.0.lock();
            let trouble = memory.next.take();
            match trouble {
                Some(Trouble::Lost) => Err(unavailable()),
                Some(Trouble::Denied) => Err(OverlordError::NotAuthorized {
                    url: "http://o".into(),
                    status: StatusCode::FORBIDDEN,
                    why: "Unauthorized".into(),
                }),
                Some(Trouble::AnswerLost) => {
                    question(&mut memory);
                    Err(unavailable())
                }
                None => Ok(question(&mut memory)),
            }
        };
        tokio::task::yield_now().await;
        answer
    }
}

impl TaskQueue for Overlord {
    async fn submit(&self, task: &str) -> Result<(), SubmitError> {
        let id = serde_json::from_str::<Value>(task).unwrap()["id"].take();
        let silent = self.0.lock().silent.clone();
        if silent.is_some_and(|silent| id == silent) {
            std::future::pending::<()>().await;
        }
        self.answer(|memory| memory.put(task)).await?
    }

    async fn payload(&self, id: &str) -> Result<Option<String>, OverlordError> {
        self.answer(|memory| memory.tasks.get(id).map(|held| held.payload.clone()))
            .await
    }

    async fn shutdown(&self, id: &str) -> Result<(), OverlordError> {
        self.answer(|memory| {
            if let Some(held) = memory.tasks.get_mut(id)
                && !matches!(held.at, At::Ended(_))
            {
                held.at = At::Ended(TaskState::Failed);
            }
        })
        .await
    }

    async fn states(&self, ids: &[String]) -> Result<BTreeMap<String, TaskStatus>, OverlordError> {
        self.answer(|memory| {
            let state = |id: &String| {
                let held = memory.tasks.get(id)?;
                let (status, location) = match held.at {
                    At::Pending | At::Here => (TaskState::Running, TaskLocation::unknown()),
                    At::Elsewhere => (TaskState::Running, TaskLocation::http("mm", 8100)),
                    At::Ended(state) => (state, TaskLocation::unknown()),
                };
                let error_msg = (status == TaskState::Failed).then(|| "it broke".to_owned());
                Some((
                    id.clone(),
                    TaskStatus {
                        id: id.clone(),
                        status,
                        duration: -1,
                        error_msg,
                        location,
                    },
                ))
            };
            ids.iter().filter_map(state).collect()
        })
        .await
    }
}

pub(super) type LongPoll = Arc<model_api::LongPoll>;

/// A process before an API server and an overlord that outlive it.
pub(super) struct World {
    pub(super) bench: Bench,
    pub(super) overlord: Overlord,
    pub(super) policy: watch::Sender<Policy>,
    pub(super) submitter: Submitter<LongPoll, Overlord>,
    /// How much of the watch it was told.
    pub(super) told: usize,
    pub(super) users: usize,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Bench::new(), Overlord::default(), enabled(), 0)
    }

    pub(super) fn with(bench: Bench, overlord: Overlord, allowed: Policy, users: usize) -> Self {
        let (policy, policies) = watch::channel(allowed);
        let submitter = Submitter::new(bench.assigner.clone(), overlord.clone(), policies);
        Self {
            bench,
            overlord,
            policy,
            submitter,
            told: 0,
            users,
        }
    }

    /// The process is another one.
    pub(super) fn restart(self) -> Self {
        let bench = Bench::of(self.bench.server.clone(), PayloadPlace::Secret);
        bench
            .seconds
            .store(self.bench.seconds.load(Ordering::Relaxed), Ordering::Relaxed);
        let allowed = self.policy.borrow().clone();
        Self::with(bench, self.overlord, allowed, self.users)
    }

    /// A user creates a PeonTask; `id` is that of its task.
    pub(super) fn create(&mut self, task_type: &str, id: Option<&str>) -> String {
        self.users += 1;
        let name = format!("task-{}", self.users);
        let mut task = json!({"type": task_type, "n": 1, "context": {"priority": 7}});
        if let Some(id) = id {
            task["id"] = json!(id);
        }
        let object = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "metadata": {"name": name},
            "spec": {"taskJson": task.to_string(), "middleManagerRef": {"name": "vmm"}},
        });
        self.bench.server.lock().api.create(Kind::Task, object);
        name
    }

    pub(super) fn task(&self, name: &str) -> Option<PeonTask> {
        let server = self.bench.server.lock();
        let found = server.api.get(Kind::Task, name)?.clone();
        Some(serde_json::from_value(found).unwrap())
    }

    pub(super) fn state(&self, name: &str) -> Option<SubmissionState> {
        self.task(name)?.submission().map(|s| s.state)
    }

    /// The watches tell what they have not told.
    pub(super) fn hear(&mut self) {
        self.bench.watch();
        let changes = {
            let server = self.bench.server.lock();
            let changes: Vec<_> = server.api.log[0][self.told..]
                .iter()
                .map(|c| (c.deleted, c.object.clone()))
                .collect();
            self.told = server.api.log[0].len();
            changes
        };
        for (deleted, object) in changes {
            let is_selected = object["spec"]["middleManagerRef"]["name"] == "vmm"
                && object["metadata"]["labels"]["peon.dev/identity"].is_null();
            let task: GuardedTask = serde_json::from_value(object).unwrap();
            self.submitter.event(if deleted || !is_selected {
                Event::Delete(task)
            } else {
                Event::Apply(task)
            });
        }
    }

    pub(super) fn pass_time(&self, seconds: u32) {
        self.bench.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// The overlord assigns a task that waits. Says whether it was taken.
    pub(super) async fn assign(&mut self, id: &str) -> bool {
        let payload = {
            let mut memory = self.overlord.0.lock();
            let held = memory.tasks.get_mut(id).unwrap();
            held.at = At::Here;
            held.payload.clone()
        };
        let assigned = Assigned {
            id: id.to_owned(),
            json: payload,
        };
        self.bench.assigner.assign(FIRST, assigned).await.is_ok()
    }

    pub(super) async fn settle(&mut self) {
        for _ in 0..12 {
            self.hear();
            self.submitter.round().await;
            self.hear();
            self.submitter.ask().await;
            self.pass_time(61);
        }
    }
}

pub(super) fn enabled() -> Policy {
    Policy {
        enabled: true,
        types: vec!["noop".into(), "nonsense".into()],
    }
}

/// What the chunks of an assigned task hold.
pub(super) fn assigned_text(world: &World, task: &PeonTask) -> String {
    let from = task.task_from().unwrap();
    let server = world.bench.server.lock();
    let part = |chunk: &crate::api::Chunk| {
        let secret = server.api.get(Kind::Secret, &chunk.name).unwrap();
        let bytes: k8s_openapi::ByteString =
            serde_json::from_value(secret["data"][&chunk.key].clone()).unwrap();
        bytes.0
    };
    let parts: Vec<_> = from.secrets.iter().map(part).collect();
    String::from_utf8(crate::payload::chunks::assemble(from, &parts).unwrap()).unwrap()
}

/// Goes so far with something, and then drops it, as a process does that is killed.
pub(super) async fn until_killed<T>(work: impl Future<Output = T>, steps: u64) -> bool {
    let mut work = std::pin::pin!(work);
    for _ in 0..steps {
        if futures::poll!(&mut work).is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}
