//! HTTP client for an overlord: redirects, credentials, limits, and the meaning of status codes.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use reqwest::{Client, Response, Url};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::decide::refusal::OverlordError;
use super::{InvalidSettings, Settings};
use crate::druid::error_body;
use crate::druid_http::connection::{self, Trust, Unread, causes};
use crate::druid_http::credentials::Credentials;

/// Time limit for a request with all its redirects and the whole answer.
const LIMIT: Duration = Duration::from_secs(60);
/// Most bytes of an answer that are read; a task's payload may have megabytes.
const MOST: usize = 64 << 20;
/// Most bytes of an answer that names the leader.
const MOST_OF_A_NAME: usize = 16 << 10;
/// Most redirects followed: to the leader, and once more if that has just changed.
const REDIRECTS: usize = 4;

/// A client with the overlord's address and credentials.
#[derive(Debug, Clone)]
pub(super) struct HttpClient {
    http: Client,
    url: Url,
    authorization: Option<HeaderValue>,
    /// For [`HttpClient::confirm`], and sent only to the configured address.
    observer: Option<HeaderValue>,
}

/// An answer, and the URL that it came from.
pub(super) struct Answer {
    url: Url,
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl HttpClient {
    pub(super) fn new(settings: &Settings) -> Result<Self, InvalidSettings> {
        let url = address(&settings.url)?;
        let http = connection::client(&Trust {
            ca: settings.ca.as_deref(),
            tls: url.scheme() == "https",
            any_hostname: false,
        })?;
        Ok(Self {
            http,
            url,
            authorization: settings.credentials.as_ref().map(Credentials::header_value),
            observer: settings.observer.as_ref().map(Credentials::header_value),
        })
    }

    /// Sends a request and follows redirects.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, OverlordError> {
        self.ask_within(LIMIT, MOST, method, path, body).await
    }

    /// As [`HttpClient::ask`], with another time limit, for an answer of at most `most` bytes.
    pub(super) async fn ask_within(
        &self,
        limit: Duration,
        most: usize,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, OverlordError> {
        match timeout(limit, self.ask_leader(method, path, body, most)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unavailable(&format!("no answer within {} s", limit.as_secs()))),
        }
    }

    async fn ask_leader(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        most: usize,
    ) -> Result<Answer, OverlordError> {
        let mut url = self.url_of(path);
        for _ in 0..=REDIRECTS {
            let mut request = self.http.request(method.clone(), url.clone());
            if let Some(authorization) = &self.authorization {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            if let Some(body) = &body {
                request = request
                    .header(CONTENT_TYPE, "application/json")
                    .body(body.clone());
            }
            let response = request.send().await.map_err(|e| unavailable(&url, &causes(&e)))?;
            match response.status() {
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    let to = redirected(&url, response.headers().get(LOCATION))?;
                    // Otherwise the answering server could send credentials and task to any host.
                    if to.host() != url.host() && to.host() != self.url.host() {
                        self.confirm(&to).await?;
                    }
                    url = to;
                }
                _ => return read(url, response, most).await,
            }
        }
        Err(unavailable(
            &url,
            "the overlords redirect to each other: none leads yet",
        ))
    }

    /// Confirms with the configured address that another host is the leader's.
    async fn confirm(&self, to: &Url) -> Result<(), OverlordError> {
        let url = self.url_of("leader");
        let mut request = self.http.get(url.clone());
        if let Some(authorization) = self.observer.as_ref().or(self.authorization.as_ref()) {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(|e| unavailable(&url, &causes(&e)))?;
        let answer = read(url, response, MOST_OF_A_NAME).await?;
        if self.observer.is_some() && answer.is_of_rights() {
            return Err(self.unavailable(&format!(
                "it redirects to {}, but does not allow the user of spec.authRef to read which overlord leads \
                 ({}: {}), so the redirect is not followed: that user needs STATE READ in Druid",
                shown(to),
                answer.status,
                error_body::message(&answer.body)
            )));
        }
        let answer = answer.success()?;
        let said = String::from_utf8_lossy(&answer.body);
        let said = said.trim();
        if Url::parse(said).is_ok_and(|leader| leader.origin() == to.origin()) {
            return Ok(());
        }
        let said = if said.is_empty() { "none" } else { said };
        Err(self.unavailable(&format!(
            "it redirects to {}, but names {} as the leader: the redirect is not followed, since \
             credentials and tasks would be sent there",
            shown(to),
            error_body::shortened(said)
        )))
    }

    fn url_of(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!(
            "{}/druid/indexer/v1/{path}",
            url.path().trim_end_matches('/')
        ));
        url
    }

    pub(super) fn unavailable(&self, why: &str) -> OverlordError {
        unavailable(&self.url, why)
    }
}

impl Answer {
    /// This answer, if it is a success.
    pub(super) fn success(self) -> Result<Self, OverlordError> {
        let (status, url) = (self.status, shown(&self.url));
        if status.is_success() {
            return Ok(self);
        }
        let why = error_body::message(&self.body);
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                OverlordError::NotAuthorized { url, status, why }
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let why = format!("{status}, no overlord leads or it is starting: {why}");
                OverlordError::Unavailable { url, why }
            }
            _ if is_temporary(status) => {
                let why = format!("{status}: {why}");
                OverlordError::Unavailable { url, why }
            }
            _ => OverlordError::Unexpected {
                url,
                why: format!("{status}: {why}"),
            },
        })
    }

    /// Whether the status means missing rights.
    fn is_of_rights(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    /// Whether the request will never be accepted, as opposed to not now or not with these rights.
    pub(super) fn is_final_refusal(&self) -> bool {
        self.status.is_client_error() && !self.is_of_rights() && !is_temporary(self.status)
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, OverlordError> {
        serde_json::from_slice(&self.body).map_err(|e| self.unexpected(&e.to_string()))
    }

    pub(super) fn unexpected(&self, why: &str) -> OverlordError {
        OverlordError::Unexpected {
            url: shown(&self.url),
            why: why.to_owned(),
        }
    }
}

/// Target of a redirect. [`HttpClient::confirm`] decides whether it may be another host. Never from `https` to `http`:
/// that would expose the credentials and a task's payload on the network.
fn redirected(from: &Url, location: Option<&HeaderValue>) -> Result<Url, OverlordError> {
    let unexpected = |why: String| {
        let url = shown(from);
        Err(OverlordError::Unexpected { url, why })
    };
    let Some(location) = location.and_then(|location| location.to_str().ok()) else {
        return unexpected("it redirects without a valid Location header".to_owned());
    };
    match from.join(location) {
        Ok(to) if to.scheme() == "https" || (to.scheme(), from.scheme()) == ("http", "http") => Ok(to),
        Ok(to) if to.scheme() == "http" => unexpected(format!(
            "it redirects from https to {}, which is not followed: the overlords must announce themselves \
             with TLS",
            shown(&to)
        )),
        _ => unexpected(format!("it redirects to {}", error_body::shortened(location))),
    }
}

/// Whether a later request may succeed.
fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// Reads an answer of at most `most` bytes.
async fn read(url: Url, mut response: Response, most: usize) -> Result<Answer, OverlordError> {
    let status = response.status();
    let body = match connection::body(&mut response, most).await {
        Ok(body) => body,
        Err(error @ Unread::TooLong(_)) => {
            let (url, why) = (shown(&url), error.to_string());
            return Err(OverlordError::Unexpected { url, why });
        }
        Err(error @ Unread::Broken(_)) => return Err(unavailable(&url, &error.to_string())),
    };
    Ok(Answer { url, status, body })
}

fn unavailable(url: &Url, why: &str) -> OverlordError {
    OverlordError::Unavailable {
        url: shown(url),
        why: why.to_owned(),
    }
}

/// A URL for messages: it may come from other servers, and be written to a status.
fn shown(url: &Url) -> String {
    error_body::shortened(url.as_str())
}

/// Parses the URL of an overlord.
fn address(text: &str) -> Result<Url, InvalidSettings> {
    let invalid = |why: &str| InvalidSettings::Url {
        url: text.to_owned(),
        why: why.to_owned(),
    };
    let url = Url::parse(text).map_err(|e| invalid(&format!("{e}; give it as http://overlord:8090")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("it must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidSettings::Url {
            url: "…".to_owned(),
            why: "it contains a user or password: put them into the Secret of spec.authRef".to_owned(),
        });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it must not contain `?` or `#`"));
    }
    Ok(url)
}

#[cfg(test)]
#[path = "http_client_tests.rs"]
mod tests;
