//! An API server in memory, which loses and refuses requests as it is told, and a line that remembers what was said.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Response;
use kube::Client;
use kube::client::Body;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use serde_json::Value;

use super::assign::Assigner;
use super::assign::decide::assignment::Maker;
use super::http::backend::Announce;
use super::registry::identity::{Assigned, Ordinal};
use super::sync::tasks::Tasks;
use crate::api::virtual_middle_manager::PayloadPlace;
use crate::clock::Clock;
use crate::druid::worker::{TaskAnnouncement, TaskState};
use crate::simulation::model_api::{Kind, ModelApi, Request, refusal};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives.
    Lost,
    /// It takes effect, and nobody hears of it.
    AnswerLost,
    /// It is refused.
    Refused(u16),
}

/// The API server.
#[derive(Default)]
pub struct Server {
    pub api: ModelApi,
    /// The next requests of this method to a path with this ending.
    pub faults: VecDeque<(&'static str, &'static str, Fault)>,
    /// Everything fails with this.
    pub outage: Option<Fault>,
    /// Requests of this method to the object of this name are refused.
    pub refused: Option<(&'static str, String)>,
    /// Requests of this method to the object of this name are not answered.
    pub silent: Option<(&'static str, String)>,
    /// What was asked, and the query.
    pub requests: Vec<(String, String)>,
    /// Logs by the name of their pod.
    pub logs: BTreeMap<String, String>,
}

impl Server {
    fn fault(&mut self, method: &str, path: &str) -> Option<Fault> {
        let is_meant = |(m, end, _): &(&str, &str, Fault)| *m == method && path.ends_with(end);
        if self.faults.front().is_some_and(is_meant) {
            return self.faults.pop_front().map(|(_, _, fault)| fault);
        }
        if Self::names(self.refused.as_ref(), method, path) {
            return Some(Fault::Refused(403));
        }
        self.outage
    }

    fn names(of: Option<&(&'static str, String)>, method: &str, path: &str) -> bool {
        of.is_some_and(|(m, name)| *m == method && path.rsplit('/').next() == Some(name))
    }

    fn log(&self, pod: &str, query: &str) -> (u16, Vec<u8>) {
        let Some(log) = self.logs.get(pod) else {
            let (code, body) = refusal(404, "NotFound", "there is no such pod");
            return (code, body.to_string().into_bytes());
        };
        let lines: Vec<&str> = log.split_inclusive('\n').collect();
        let tail = query.split('&').find_map(|pair| pair.strip_prefix("tailLines="));
        let tail = tail.map_or(usize::MAX, |n| n.parse().unwrap());
        let from = lines.len().saturating_sub(tail);
        (200, lines[from..].concat().into_bytes())
    }

    /// How often something was asked.
    pub fn count(&self, asked: &str) -> usize {
        self.requests.iter().filter(|(r, _)| r.contains(asked)).count()
    }

    /// The only PeonTask.
    pub fn task(&self) -> Value {
        let all: Vec<_> = self.api.all(Kind::Task).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }
}

#[derive(Clone)]
struct Wire(Arc<Mutex<Server>>);

impl tower::Service<http::Request<Body>> for Wire {
    type Response = Response<Body>;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move {
            let request = Request::receive(request).await?;
            let is_silent = {
                let server = server.lock();
                Server::names(server.silent.as_ref(), &request.method, &request.path)
            };
            if is_silent {
                std::future::pending::<()>().await;
            }
            let (code, body) = {
                let mut server = server.lock();
                let asked = format!("{} {}", request.method, request.path);
                server.requests.push((asked, request.query.clone()));
                let fault = server.fault(&request.method, &request.path);
                let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
                let (code, body) = match (fault, parts.as_slice()) {
                    (Some(Fault::Lost), _) => return Err("the connection was lost".into()),
                    (Some(Fault::Refused(code)), _) => {
                        let (code, body) = refusal(code, "Failure", "a fault");
                        (code, body.to_string().into_bytes())
                    }
                    (_, ["readyz"]) => (200, b"ok".to_vec()),
                    (_, [.., pod, "log"]) => server.log(pod, &request.query),
                    _ => {
                        let (code, body) = server.api.serve(&request);
                        (code, body.to_string().into_bytes())
                    }
                };
                if fault == Some(Fault::AnswerLost) {
                    return Err("the connection was lost".into());
                }
                (code, body)
            };
            // Answers come over a network: whoever waits lets others go on.
            tokio::task::yield_now().await;
            Ok(Response::builder().status(code).body(Body::from(body))?)
        })
    }
}

/// A line that remembers what was said.
#[derive(Default)]
pub struct LongPoll {
    pub said: Mutex<Vec<TaskAnnouncement>>,
    pub removed: Mutex<Vec<String>>,
    pub disabled: Mutex<Vec<bool>>,
    pub delivered: Mutex<BTreeSet<String>>,
}

impl LongPoll {
    /// State and message of what was said of a task.
    pub fn of(&self, id: &str) -> Vec<(TaskState, Option<String>)> {
        let said = self.said.lock();
        let of = said.iter().filter(|a| a.id == id);
        of.map(|a| (a.status, a.task_status.error_msg.clone())).collect()
    }
}

impl Announce for LongPoll {
    fn announce(&self, announcement: TaskAnnouncement) {
        self.said.lock().push(announcement);
    }

    fn remove(&self, task_id: &str) {
        self.removed.lock().push(task_id.to_owned());
    }

    fn disable(&self, disabled: bool) {
        self.disabled.lock().push(disabled);
    }

    fn delivered(&self, task_id: &str) -> bool {
        self.delivered.lock().contains(task_id)
    }
}

/// A process with two identities, before an API server in memory.
pub struct Bench {
    pub server: Arc<Mutex<Server>>,
    pub assigner: Arc<Assigner<Arc<LongPoll>>>,
    pub lines: [Arc<LongPoll>; 2],
    /// The clock, in seconds.
    pub seconds: Arc<AtomicU32>,
}

impl Bench {
    pub fn new() -> Self {
        Self::of(Arc::default(), PayloadPlace::Secret)
    }

    /// Another process before the same API server.
    pub fn of(server: Arc<Mutex<Server>>, payload: PayloadPlace) -> Self {
        let lines: [Arc<LongPoll>; 2] = Default::default();
        let seconds = Arc::new(AtomicU32::new(1000));
        let clock = Clock::set_by(seconds.clone());
        Self {
            assigner: assigner(&server, payload, lines.to_vec(), clock),
            server,
            lines,
            seconds,
        }
    }

    /// What reads logs in this process.
    pub fn logs(&self) -> &super::sync::task_log::TaskLogs {
        self.assigner.logs()
    }

    /// The watch tells everything that it has not told.
    pub fn watch(&self) {
        for change in &self.server.lock().api.log[0] {
            let task = serde_json::from_value(change.object.clone()).unwrap();
            self.assigner.tasks().task_event(if change.deleted {
                Event::Delete(task)
            } else {
                Event::Apply(task)
            });
        }
    }

    /// The operator writes a status.
    pub fn status(&self, status: Value) {
        let mut server = self.server.lock();
        let name = server.task()["metadata"]["name"].as_str().unwrap().to_owned();
        server
            .api
            .update(Kind::Task, &name, |task| task["status"] = status);
    }
}

/// What stands behind these lines.
pub fn assigner<L: Announce>(
    server: &Arc<Mutex<Server>>,
    payload: PayloadPlace,
    lines: Vec<L>,
    clock: Clock,
) -> Arc<Assigner<L>> {
    let tasks = Arc::new(Tasks::new(lines, clock));
    tasks.pod_event(Event::InitDone);
    let maker = Maker {
        middle_manager: "vmm".into(),
        uid: "vmm-uid".into(),
        namespace: "ns".into(),
        labels: BTreeMap::from([("team".to_owned(), "ads".to_owned())]),
        payload,
    };
    let client = Client::new(Wire(server.clone()), "ns");
    Arc::new(Assigner::new(client, maker, tasks))
}

pub const FIRST: Ordinal = Ordinal(0);

/// A task as the overlord assigns it.
pub fn assigned(id: &str) -> Assigned {
    let json = serde_json::json!({"type": "index_kafka", "id": id, "dataSource": "wiki", "x": 1.5});
    Assigned {
        id: id.to_owned(),
        json: json.to_string(),
    }
}
