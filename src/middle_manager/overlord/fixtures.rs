//! A real HTTP server that answers as a real Druid 33 was recorded to, or as its classes say.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{AUTHORIZATION, LOCATION};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::{Overlord, Settings};
use crate::druid_http::credentials::Credentials;

/// What a server was asked: method, path with query, `Authorization`, body.
pub(super) type Asked = (String, String, Option<String>, String);

/// A server that answers everything in one way, and remembers what it was asked.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Answering = Arc<dyn Fn(&str) -> Response + Send + Sync>;

impl Server {
    pub(super) async fn start(answer: impl Fn(&str) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
        };
        let state: (Server, Answering) = (server.clone(), Arc::new(answer));
        let routes = Router::new().fallback(Self::answer).with_state(state);
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        server
    }

    pub(super) async fn saying(status: u16, body: &'static str) -> Self {
        Self::start(move |_| (StatusCode::from_u16(status).unwrap(), body).into_response()).await
    }

    pub(super) async fn redirecting(to: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start(move |path| {
            let headers = [(LOCATION, to(path))];
            (StatusCode::TEMPORARY_REDIRECT, headers).into_response()
        })
        .await
    }

    async fn answer(State((server, answer)): State<(Self, Answering)>, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let path = head.uri.path_and_query().unwrap().to_string();
        let authorization = head.headers.get(AUTHORIZATION);
        let response = answer(&path);
        server.asked.lock().push((
            head.method.to_string(),
            path,
            authorization.map(|value| value.to_str().unwrap().to_owned()),
            String::from_utf8(body.into()).unwrap(),
        ));
        response
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn client(&self) -> Overlord {
        client(&self.url())
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}

pub(super) fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        ca: None,
        credentials: Some(Credentials::new("druid_system", "secret").unwrap()),
        observer: None,
    }
}

pub(super) fn client(url: &str) -> Overlord {
    Overlord::new(&settings(url)).unwrap()
}

/// The `Authorization` of these settings.
pub(super) const BASIC: &str = "Basic ZHJ1aWRfc3lzdGVtOnNlY3JldA==";
