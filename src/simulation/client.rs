//! The client of a process: its requests wait until the history decides their outcome.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::Response;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::indexers::NO_CONNECTION;
use super::model_api::{Answer, Request};
use crate::druid::worker::Counter;
use crate::indexer::client::{Polled, Worker};
use crate::indexer::decide::post::Posted;
use crate::indexer::decide::view::{Target, Trouble};

/// What comes of a request.
pub enum Outcome {
    Answered(Answer),
    Lost,
}

/// A request on its way, until its answer is delivered.
pub struct Parked {
    pub request: Request,
    /// The attempt that the task was at when the request was made.
    pub attempt: u32,
    /// What waits to be delivered.
    pub served: Option<Outcome>,
    /// It was looked at when it was sent.
    pub checked: bool,
    pub(super) reply: oneshot::Sender<Outcome>,
}

pub type Inbox = Arc<Mutex<VecDeque<Parked>>>;

/// Sends requests to the API server and to Indexers.
#[derive(Clone)]
pub struct Wire(pub Inbox);

impl Wire {
    async fn send(&self, request: Request) -> Outcome {
        let (reply, answer) = oneshot::channel();
        self.0.lock().push_back(Parked {
            request,
            attempt: 0,
            served: None,
            checked: false,
            reply,
        });
        answer.await.unwrap_or(Outcome::Lost)
    }

    /// A request to an Indexer.
    async fn post(&self, target: &Target, what: &str, body: Value) -> Posted {
        let request = Request {
            method: "POST".into(),
            path: format!("/indexers/{}/{what}", target.pod_uid),
            query: target.host.clone(),
            body,
        };
        match self.send(request).await {
            Outcome::Answered((NO_CONNECTION, _)) => Posted::NotReceived("no connection".into()),
            Outcome::Answered((status, _)) => Posted::of_answer(status, b""),
            Outcome::Lost => Posted::Unknown("the connection was lost".into()),
        }
    }
}

impl Worker for Wire {
    fn poll<'a>(&'a self, _: &'a Target, _: Option<Counter>) -> BoxFuture<'a, Result<Polled, Trouble>> {
        std::future::pending().boxed()
    }

    fn assign<'a>(&'a self, target: &'a Target, task: Bytes, _: Duration) -> BoxFuture<'a, Posted> {
        let task = serde_json::from_slice(&task).expect("a task is JSON");
        self.post(target, "assignTask", task).boxed()
    }

    fn shutdown<'a>(&'a self, target: &'a Target, task_id: &'a str, _: Duration) -> BoxFuture<'a, Posted> {
        self.post(target, "shutdown", json!({"id": task_id})).boxed()
    }
}

impl tower::Service<http::Request<Body>> for Wire {
    type Response = Response<Body>;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let wire = self.clone();
        Box::pin(async move {
            match wire.send(Request::receive(request).await?).await {
                Outcome::Answered((code, body)) => {
                    let body = Body::from(serde_json::to_vec(&body)?);
                    Ok(Response::builder().status(code).body(body)?)
                }
                Outcome::Lost => Err("the connection was lost".into()),
            }
        })
    }
}
