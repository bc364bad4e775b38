//! HTTP to the overlord without the API server in between: its work for thousands of requests would be measured, too.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::testbed::{druid::Druid, proxy::encoded};

const LIMIT: Duration = Duration::from_secs(60);

/// The overlord at the address of its Service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overlord {
    address: SocketAddr,
}

impl Overlord {
    pub(super) fn of(druid: &Druid) -> Result<Self> {
        let url = druid.service_url()?;
        let address = url.trim_start_matches("http://").parse();
        Ok(Self {
            address: address.with_context(|| format!("not an address: {url}"))?,
        })
    }

    /// Submits a task.
    pub(super) fn submit(&self, task: &Value) -> Result<()> {
        self.request("POST", "/druid/indexer/v1/task", Some(task))
            .map(drop)
    }

    /// RUNNING, SUCCESS or FAILED, by task id.
    pub(super) fn statuses(&self, ids: &[String]) -> Result<HashMap<String, String>> {
        let answer = self.request("POST", "/druid/indexer/v1/taskStatus", Some(&json!(ids)))?;
        let all = answer
            .as_object()
            .with_context(|| format!("not an object: {answer}"))?;
        let code = |status: &Value| {
            let code = status["statusCode"]
                .as_str()
                .or_else(|| status["status"].as_str());
            code.map(str::to_owned)
                .with_context(|| format!("no status: {status}"))
        };
        all.iter()
            .map(|(id, status)| Ok((id.clone(), code(status)?)))
            .collect()
    }

    /// RUNNING, SUCCESS or FAILED.
    pub(super) fn status(&self, id: &str) -> Result<String> {
        let path = format!("/druid/indexer/v1/task/{}/status", encoded(id));
        let answer = self.request("GET", &path, None)?;
        let code = answer["status"]["statusCode"].as_str();
        code.map(str::to_owned)
            .with_context(|| format!("no status: {answer}"))
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let asked = || format!("{method} {path}");
        let mut stream = TcpStream::connect_timeout(&self.address, LIMIT).with_context(asked)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        let body = body.map(Value::to_string).unwrap_or_default();
        // Version 1.0: the body ends with the connection and is not chunked.
        let text = format!(
            "{method} {path} HTTP/1.0\r\nHost: overlord\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).with_context(asked)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(asked)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
        if !head
            .split_whitespace()
            .nth(1)
            .is_some_and(|status| status.starts_with('2'))
        {
            bail!("{} answered {head}: {body}", asked());
        }
        serde_json::from_str(body).with_context(|| format!("{} answered no JSON: {body}", asked()))
    }
}
