//! When each task reached which state, as a client's watches show it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1;
use kube::api::ApiResource;
use kube::core::{NotUsed, Object};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Run;
use super::objects::resource;

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pod {
    Absent,
    Created,
    Runs,
    Ended,
}

/// What is read of a pod and of a task, whatever it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Status {
    phase: Option<String>,
    /// Of a Job.
    active: Option<i64>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

type Seen = Object<NotUsed, Status>;

#[derive(Default)]
struct Times {
    created: Option<Instant>,
    pod: Option<Instant>,
    running: Option<Instant>,
    verdict: Option<Instant>,
}

struct Task {
    times: Mutex<Times>,
    pod: watch::Sender<Pod>,
    has_verdict: watch::Sender<bool>,
}

/// The tasks of a run.
pub struct Board {
    tasks: HashMap<String, Task>,
    until_running: bool,
    left: AtomicUsize,
    /// Empty until all are done, or until one failed; then what failed.
    done: watch::Sender<Option<Result<(), String>>>,
}

impl Board {
    pub fn new(names: &[String], until_running: bool) -> Self {
        let task = |name: &String| {
            let task = Task {
                times: Mutex::default(),
                pod: watch::Sender::new(Pod::Absent),
                has_verdict: watch::Sender::new(false),
            };
            (name.clone(), task)
        };
        Self {
            tasks: names.iter().map(task).collect(),
            until_running,
            left: AtomicUsize::new(names.len()),
            done: watch::Sender::new(None),
        }
    }

    /// The state of the pod of a task.
    pub fn pod(&self, name: &str) -> Option<watch::Receiver<Pod>> {
        self.tasks.get(name).map(|task| task.pod.subscribe())
    }

    /// The request that creates it is sent now.
    pub fn created(&self, name: &str) {
        if let Some(task) = self.tasks.get(name) {
            task.times.lock().created = Some(Instant::now());
        }
    }

    /// Waits until the verdict of a task was seen.
    pub async fn until_verdict(&self, name: &str) -> anyhow::Result<()> {
        let task = self.tasks.get(name).context("no such task")?;
        task.has_verdict
            .subscribe()
            .wait_for(|has_verdict| *has_verdict)
            .await?;
        Ok(())
    }

    /// Waits until all tasks are done.
    pub async fn until_done(&self) -> anyhow::Result<()> {
        let mut done = self.done.subscribe();
        let done = done.wait_for(Option::is_some).await?.clone();
        match done {
            Some(Err(why)) => bail!(why),
            _ => Ok(()),
        }
    }

    /// Milliseconds from creation to pod, to the running task and to the verdict of each task; null for what was never
    /// seen.
    pub fn times(&self, names: &[String]) -> Value {
        let of = |name: &String| {
            let times = self.tasks.get(name)?.times.lock();
            let since = |at: Option<Instant>| Some((at? - times.created?).as_secs_f64() * 1000.0);
            Some(json!([
                since(times.pod),
                since(times.running),
                since(times.verdict)
            ]))
        };
        json!(names.iter().map(of).collect::<Vec<_>>())
    }

    fn pod_seen(&self, pod: &Seen) {
        let owner = pod
            .metadata
            .owner_references
            .iter()
            .flatten()
            .map(|owner| &owner.name)
            .next();
        let Some(task) = owner.and_then(|name| self.tasks.get(name)) else {
            return;
        };
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let now = match phase {
            Some("Running") => Pod::Runs,
            Some("Succeeded" | "Failed") => Pod::Ended,
            _ => Pod::Created,
        };
        task.times.lock().pod.get_or_insert_with(Instant::now);
        task.pod.send_if_modified(|was| {
            let further = now > *was;
            *was = now.max(*was);
            further
        });
    }

    fn task_seen(&self, seen: &Seen) {
        let name = seen.metadata.name.as_deref().unwrap_or_default();
        let (Some(task), Some(status)) = (self.tasks.get(name), &seen.status) else {
            return;
        };
        let is = |type_: &str| {
            status
                .conditions
                .iter()
                .any(|c| c.type_ == type_ && c.status == "True")
        };
        let phase = status.phase.as_deref();
        if phase == Some("Failed") || is("Failed") {
            self.done
                .send_replace(Some(Err(format!("{name} failed: {status:?}"))));
            return;
        }
        let verdict = phase == Some("Succeeded") || is("Complete");
        let running = phase == Some("Running") || (phase.is_none() && status.active > Some(0));
        let mut times = task.times.lock();
        let first_run = running && times.running.is_none();
        let first_verdict = verdict && times.verdict.is_none();
        if first_run {
            times.running = Some(Instant::now());
        }
        if first_verdict {
            times.verdict = Some(Instant::now());
            task.has_verdict.send_replace(true);
        }
        let reached = if self.until_running {
            first_run
        } else {
            first_verdict
        };
        if reached && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.done.send_replace(Some(Ok(())));
        }
    }
}

/// Watches pods and tasks, from now on until the value goes away.
pub async fn watch_all(client: &Client, run: &Run, board: &Arc<Board>) -> anyhow::Result<JoinSet<()>> {
    let mut watches = JoinSet::new();
    let pods = ApiResource::erase::<v1::Pod>(&());
    watch(client, run, &pods, board, Board::pod_seen, &mut watches).await?;
    let tasks = resource(run.way);
    watch(client, run, &tasks, board, Board::task_seen, &mut watches).await?;
    Ok(watches)
}

/// Returns when the watch has begun.
async fn watch(
    client: &Client,
    run: &Run,
    resource: &ApiResource,
    board: &Arc<Board>,
    seen: fn(&Board, &Seen),
    watches: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let api: Api<Seen> = Api::namespaced_with(client.clone(), &run.namespace, resource);
    let mut stream = watcher(api, watcher::Config::default()).boxed();
    while let Some(event) = stream.try_next().await? {
        if matches!(event, Event::InitDone) {
            break;
        }
    }
    let board = board.clone();
    watches.spawn(async move {
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => seen(&board, &object),
                Ok(_) => {}
                // The watch begins again, and reports what it missed.
                Err(error) => eprintln!("a watch broke: {error}"),
            }
        }
    });
    Ok(())
}
