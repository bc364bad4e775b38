//! A model of an Indexer: the history of changes of Druid's `ChangeRequestHistory`, and every way to misbehave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::StatusCode;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::client::{HOLD, Polled, Worker};
use super::decide::post::Posted;
use super::decide::view::{HISTORY, Target, Trouble};
use crate::druid::worker::{
    Answer, Change, Counter, End, TaskAnnouncement, TaskFacts, TaskLocation, TaskResource,
};

/// Where the model's Indexer is.
pub fn target(pod_uid: &str) -> Target {
    Target {
        pod_uid: pod_uid.into(),
        host: "10.0.0.9".into(),
        port: 8091,
        tls: false,
    }
}

fn facts(id: &str) -> TaskFacts {
    TaskFacts {
        id: id.into(),
        task_type: "noop".into(),
        data_source: "none".into(),
        resource: TaskResource::one(id),
    }
}

/// Where the model says that its tasks are.
pub fn location() -> TaskLocation {
    TaskLocation::http("10.0.0.9", 8091)
}

/// A task that runs.
pub fn running(id: &str) -> TaskAnnouncement {
    TaskAnnouncement::running(facts(id), location())
}

/// A task that ended well.
pub fn succeeded(id: &str) -> TaskAnnouncement {
    TaskAnnouncement::ended(facts(id), End::Success, 10, location())
}

/// A task that ended badly.
pub fn failed(id: &str) -> TaskAnnouncement {
    TaskAnnouncement::ended(facts(id), End::Failed("why".into()), 10, location())
}

/// The announcement as a change.
pub fn update(task: TaskAnnouncement) -> Change {
    Change::TaskUpdate {
        task_announcement: Arc::new(task),
    }
}

/// The history of one JVM.
#[derive(Debug, Clone)]
pub struct Jvm {
    millis: i64,
    zero: Counter,
    changes: Vec<(Counter, Change)>,
    tasks: BTreeMap<String, TaskAnnouncement>,
}

impl Jvm {
    /// A JVM that started at this time in milliseconds.
    pub fn started(millis: i64) -> Self {
        let zero = Counter {
            counter: 0,
            hash: millis,
        };
        Self {
            millis,
            zero,
            changes: Vec::new(),
            tasks: BTreeMap::new(),
        }
    }

    fn last(&self) -> Counter {
        self.changes.last().map_or(self.zero, |(counter, _)| *counter)
    }

    fn add(&mut self, change: Change) {
        self.millis += 1;
        let counter = Counter {
            counter: self.last().counter + 1,
            hash: self.millis,
        };
        self.changes.push((counter, change));
    }

    pub fn announce(&mut self, task: TaskAnnouncement) {
        self.tasks.insert(task.id.clone(), task.clone());
        self.add(update(task));
    }

    pub fn forget(&mut self, id: &str) {
        if self.tasks.remove(id).is_some() {
            self.add(Change::TaskRemoval { task_id: id.into() });
        }
    }

    pub fn lists(&self, id: &str) -> bool {
        self.tasks.contains_key(id)
    }

    /// The answer, as `ChangeRequestHistory` gives it; `None` while there is nothing new.
    pub fn answer(&self, asked: Option<Counter>) -> Option<Answer> {
        let last = self.last();
        let Some(asked) = asked else {
            let mut all = vec![Change::Metadata { disabled: false }];
            all.extend(self.tasks.values().cloned().map(update));
            return Some(Answer::changes(last, all));
        };
        if asked == last {
            return None;
        }
        let behind = last.counter - asked.counter;
        if behind < 0 {
            return Some(Answer::reset(format!(
                "counter[{asked:?}] > last counter[{last:?}]"
            )));
        }
        if behind >= HISTORY {
            return Some(Answer::reset("can't serve so many changes".into()));
        }
        let at = |counter: i64| {
            let place = usize::try_from(counter - 1).ok()?;
            self.changes.get(place).map(|(counter, _)| *counter)
        };
        if at(asked.counter).unwrap_or(self.zero) != asked {
            return Some(Answer::reset(format!("counter[{asked:?}] failed to match")));
        }
        let from = usize::try_from(asked.counter).unwrap();
        let changes = self.changes[from..].iter().map(|(_, change)| change.clone());
        Some(Answer::changes(last, changes.collect()))
    }
}

/// How the model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Answers,
    /// Accepts connections and says nothing.
    Silent,
    /// Answers after this time.
    Late(Duration),
    /// Answers with this status.
    Fails(u16),
    /// Answers with a counter that goes back.
    Garbled,
    /// Answers that nothing is new without holding the poll.
    Hasty,
    /// The poller itself has a bug.
    Panics,
}

/// What the model was asked over HTTP: method, path with query, `Authorization`, body.
pub type Asked = (String, String, Option<String>, String);

/// An Indexer that has one JVM at a time.
pub struct ModelIndexer {
    state: Mutex<Model>,
    changed: Notify,
}

struct Model {
    jvm: Jvm,
    mood: Mood,
    polls: usize,
    posted: Vec<String>,
    stopped: Vec<String>,
    asked: Vec<Asked>,
}

impl ModelIndexer {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(Model {
                jvm: Jvm::started(1_000_000),
                mood: Mood::Answers,
                polls: 0,
                posted: Vec::new(),
                stopped: Vec::new(),
                asked: Vec::new(),
            }),
            changed: Notify::new(),
        })
    }

    pub fn announce(&self, task: TaskAnnouncement) {
        self.state.lock().jvm.announce(task);
        self.changed.notify_waiters();
    }

    pub fn forget(&self, id: &str) {
        self.state.lock().jvm.forget(id);
        self.changed.notify_waiters();
    }

    /// Another JVM answers from now on.
    pub fn restart(&self) {
        let mut state = self.state.lock();
        state.jvm = Jvm::started(state.jvm.millis + 60_000);
        self.changed.notify_waiters();
    }

    pub fn mood(&self, mood: Mood) {
        self.state.lock().mood = mood;
        self.changed.notify_waiters();
    }

    /// How often it was polled.
    pub fn polls(&self) -> usize {
        self.state.lock().polls
    }

    pub fn posted(&self) -> Vec<String> {
        self.state.lock().posted.clone()
    }

    pub fn stopped(&self) -> Vec<String> {
        self.state.lock().stopped.clone()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().asked.clone()
    }

    async fn answer(&self, asked: Option<Counter>, hold: Duration) -> Result<Polled, Trouble> {
        self.state.lock().polls += 1;
        let until = tokio::time::Instant::now() + hold;
        loop {
            let changed = self.changed.notified();
            let (mood, answer) = {
                let state = self.state.lock();
                (state.mood, state.jvm.answer(asked))
            };
            match mood {
                Mood::Late(by) => sleep(by).await,
                Mood::Silent => std::future::pending().await,
                Mood::Fails(status) => {
                    let why = "no reason is given".to_owned();
                    return Err(Trouble::Refused { status, why });
                }
                Mood::Garbled => {
                    let counter = Counter { counter: -7, hash: 0 };
                    return Ok(Polled::Answer(Answer::changes(counter, Vec::new())));
                }
                Mood::Hasty if answer.is_none() => return Ok(Polled::NothingNew),
                Mood::Answers | Mood::Hasty => {}
                Mood::Panics => panic!("a bug"),
            }
            if let Some(answer) = answer {
                return Ok(Polled::Answer(answer));
            }
            let left = until.duration_since(tokio::time::Instant::now());
            if timeout(left, changed).await.is_err() {
                return Ok(Polled::NothingNew);
            }
        }
    }

    fn assigned(&self, id: String) -> Posted {
        let mut state = self.state.lock();
        if let Mood::Fails(status) = state.mood {
            return Posted::of_answer(status, b"");
        }
        if !state.jvm.lists(&id) {
            state.jvm.announce(running(&id));
        }
        state.posted.push(id);
        self.changed.notify_waiters();
        Posted::Accepted
    }

    fn stop(&self, id: &str) -> Posted {
        self.state.lock().stopped.push(id.to_owned());
        Posted::Accepted
    }

    /// Serves it over HTTP, with the paths and answers of a real one.
    pub async fn serve(self: &Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().fallback(over_http).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        address
    }
}

async fn over_http(State(model): State<Arc<ModelIndexer>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let path = head.uri.path_and_query().unwrap().to_string();
    let authorization = head.headers.get(AUTHORIZATION);
    model.state.lock().asked.push((
        head.method.to_string(),
        path.clone(),
        authorization.map(|value| value.to_str().unwrap().to_owned()),
        String::from_utf8(body.to_vec()).unwrap(),
    ));
    let posted = |posted| match posted {
        Posted::Refused { status, .. } => StatusCode::from_u16(status).unwrap().into_response(),
        Posted::Accepted => StatusCode::OK.into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    match head.uri.path() {
        "/druid-internal/v1/worker" => {
            let query: BTreeMap<String, i64> =
                serde_urlencoded::from_str(head.uri.query().unwrap_or_default()).unwrap();
            let hash = query.get("hash").copied();
            let asked = hash.map(|hash| Counter {
                counter: query["counter"],
                hash,
            });
            let hold = Duration::from_millis(query["timeout"].try_into().unwrap());
            match model.answer(asked, hold).await {
                Ok(Polled::Answer(answer)) => serde_json::to_string(&answer).unwrap().into_response(),
                Ok(Polled::NothingNew) => StatusCode::NO_CONTENT.into_response(),
                Err(Trouble::Refused { status, .. }) => StatusCode::from_u16(status).unwrap().into_response(),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
        "/druid-internal/v1/worker/assignTask" => {
            let task: serde_json::Value = serde_json::from_slice(&body).unwrap();
            posted(model.assigned(task["id"].as_str().unwrap().to_owned()))
        }
        "/status/selfDiscovered/status" => {
            let ready = model.state.lock().mood == Mood::Answers;
            let status = if ready { 200 } else { 503 };
            StatusCode::from_u16(status).unwrap().into_response()
        }
        path => match path
            .strip_prefix("/druid/worker/v1/task/")
            .and_then(|path| path.strip_suffix("/shutdown"))
        {
            Some(id) => posted(model.stop(id)),
            None => StatusCode::NOT_FOUND.into_response(),
        },
    }
}

impl Worker for ModelIndexer {
    fn poll<'a>(&'a self, _: &'a Target, asked: Option<Counter>) -> BoxFuture<'a, Result<Polled, Trouble>> {
        self.answer(asked, HOLD).boxed()
    }

    fn assign<'a>(&'a self, _: &'a Target, task: Bytes, _: Duration) -> BoxFuture<'a, Posted> {
        let task: serde_json::Value = serde_json::from_slice(&task).unwrap();
        let id = task["id"].as_str().unwrap().to_owned();
        async move { self.assigned(id) }.boxed()
    }

    fn shutdown<'a>(&'a self, _: &'a Target, task_id: &'a str, _: Duration) -> BoxFuture<'a, Posted> {
        async move { self.stop(task_id) }.boxed()
    }
}
