//! What no overlord sends: wrong credentials, polls that make no sense, bodies that are too large or no task.

use std::thread;

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{IDENTITIES, PASSWORD, USER, Workers, list};
use crate::testbed::{
    fixture::{Fixture, LIMIT},
    object_stores::http::request_to,
    wait::wait_until,
};

const POLL: &str = "/druid-internal/v1/worker";
const ASSIGN: &str = "/druid-internal/v1/worker/assignTask";
const SMILE: &str = "Content-Type: application/x-jackson-smile\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
/// The largest assignment that is taken, in bytes.
const LIMIT_OF_BODIES: usize = 64 << 20;
/// The largest task that is run, in bytes.
const LARGEST_TASK: usize = 16 << 20;
/// Assignments that arrive at the same time.
const AT_ONCE: usize = 4;

/// One of the workers, called by hand.
struct Worker {
    address: String,
}

impl Worker {
    fn of(workers: &Workers) -> Result<Self> {
        let worker = Self {
            address: format!("{}:8091", workers.address(IDENTITIES - 1)?),
        };
        wait_until(LIMIT, "the workers to serve", || {
            let health = worker.call_as("", "GET", "/status/health", "", b"");
            Ok(health.is_ok_and(|(code, _)| code == 200).then_some(()))
        })?;
        Ok(worker)
    }

    fn call_as(
        &self,
        authorization: &str,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<(u16, String)> {
        let headers = format!("{authorization}{headers}");
        let (code, body) = request_to(&self.address, method, path, &headers, body)?;
        Ok((code, String::from_utf8_lossy(&body).into_owned()))
    }

    fn call(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<(u16, String)> {
        let right = basic(&format!("{USER}:{PASSWORD}"));
        self.call_as(&right, method, path, headers, body)
    }

    /// Everything that it announces.
    fn announced(&self) -> Result<Vec<Value>> {
        let (code, body) = self.call("GET", &format!("{POLL}?counter=-1&timeout=60000"), "", b"")?;
        ensure!(code == 200, "{code}: {body}");
        let mut state: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
        Ok(list(&state["requests"].take()))
    }
}

fn basic(pair: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

pub(super) fn all(fixture: &Fixture) -> Result<()> {
    let workers = Workers::start(fixture)?;
    let worker = Worker::of(&workers)?;
    credentials(&worker)?;
    polls(&worker)?;
    bodies(&worker)?;
    large_bodies(&worker)?;
    // Nothing of all that became a task, or ended the process.
    let announced = worker.announced()?;
    ensure!(
        announced.len() == 1 && announced[0] == json!({"type": "metadata", "disabled": false}),
        "{announced:?}"
    );
    ensure!(workers.peon_tasks("")?.is_empty(), "something became a task");
    huge_tasks(&worker)?;
    unharmed(&workers)?;
    // And it still does what it is for.
    let id = format!("after_all_{}", fixture.run);
    let (code, body) = worker.call(
        "POST",
        ASSIGN,
        JSON,
        json!({"type": "noop", "id": id}).to_string().as_bytes(),
    )?;
    ensure!(code == 200, "{code}: {body}");
    wait_until(LIMIT, "the task to succeed", || {
        let tasks = workers.peon_tasks(&id)?;
        Ok(tasks
            .iter()
            .any(|t| t["status"]["phase"] == "Succeeded")
            .then_some(()))
    })
}

fn credentials(worker: &Worker) -> Result<()> {
    let wrong = [
        String::new(),
        basic(&format!("{USER}:")),
        basic(&format!("{USER}:{PASSWORD}x")),
        basic(&format!("other:{PASSWORD}")),
        "Authorization: Basic *\r\n".to_owned(),
        "Authorization: Negotiate abc\r\n".to_owned(),
        basic(&format!("{USER}:{PASSWORD}")).repeat(2),
    ];
    let task = json!({"type": "noop", "id": "by_a_stranger"}).to_string();
    let calls = [
        ("GET", format!("{POLL}?counter=-1&timeout=1000"), ""),
        ("POST", ASSIGN.to_owned(), task.as_str()),
        ("POST", "/druid/worker/v1/disable".to_owned(), ""),
        ("POST", "/druid/worker/v1/task/x/shutdown".to_owned(), ""),
        ("GET", "/druid/worker/v1/task/x/log".to_owned(), ""),
        ("GET", "/druid/worker/v1/tasks".to_owned(), ""),
        ("GET", "/status".to_owned(), ""),
    ];
    for authorization in &wrong {
        for (method, path, body) in &calls {
            let (code, said) = worker.call_as(authorization, method, path, JSON, body.as_bytes())?;
            ensure!(code == 401, "{authorization:?} {path}: {code}: {said}");
        }
    }
    Ok(())
}

fn polls(worker: &Worker) -> Result<()> {
    for query in [
        "counter=-1",
        "counter=-1&timeout=0",
        "counter=-1&timeout=-5",
        "counter=-1&timeout=x",
        "counter=x&timeout=1000",
        "counter=1.5&timeout=1000",
        "counter=99999999999999999999&timeout=1000",
        "counter=0&hash=x&timeout=1000",
        "",
    ] {
        let (code, said) = worker.call("GET", &format!("{POLL}?{query}"), "", b"")?;
        ensure!(code == 400, "{query}: {code}: {said}");
    }
    for query in [
        "counter=0",
        "counter=0&hash=1",
        "counter=9999",
        "counter=9223372036854775807&hash=1",
    ] {
        let (code, said) = worker.call("GET", &format!("{POLL}?{query}&timeout=1000"), "", b"")?;
        let answer: Value =
            serde_json::from_str(&said).with_context(|| format!("{query}: {code}: {said}"))?;
        ensure!(
            code == 200 && answer["resetCounter"] == true,
            "{query}: {code}: {said}"
        );
        ensure!(
            answer["resetCause"].is_string() && answer["counter"].is_null(),
            "{query}: {said}"
        );
    }
    Ok(())
}

/// Bodies that are no tasks, by what is wrong with them.
fn no_tasks() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let smile = |body: &[u8]| [b":)\n\x05", body].concat();
    vec![
        ("nothing", SMILE, Vec::new()),
        ("no Smile", SMILE, b"nope".to_vec()),
        (
            "JSON that calls itself Smile",
            SMILE,
            br#"{"id":"a","type":"noop"}"#.to_vec(),
        ),
        ("a header", SMILE, smile(b"")),
        ("another version", SMILE, b":)\n\x35\xfa\xfb".to_vec()),
        ("an object that does not end", SMILE, smile(b"\xfa\x81id\x40a")),
        ("a name that is not there", SMILE, smile(b"\xfa\x7f\xfb")),
        (
            "a text that is longer than the body",
            SMILE,
            smile(b"\xfa\x81id\xe0aaaa"),
        ),
        ("a long name without an end", SMILE, smile(b"\xfa\x34aaaa")),
        ("bytes that are reserved", SMILE, smile(&[0xff; 64])),
        ("a million lists in each other", SMILE, smile(&[0xf8; 1_000_000])),
        ("a task without an id", SMILE, smile(b"\xfa\x83type\x43noop\xfb")),
        ("a list", JSON, b"[1]".to_vec()),
        ("half a task", JSON, br#"{"id":"a","type":"#.to_vec()),
        ("no text", JSON, b"{\"id\":\"\xff\xfe\"}".to_vec()),
    ]
}

fn bodies(worker: &Worker) -> Result<()> {
    for (what, kind, body) in no_tasks() {
        let (code, said) = worker.call("POST", ASSIGN, kind, &body)?;
        ensure!(code == 400, "{what}: {code}: {said}");
        let answer: Value = serde_json::from_str(&said).with_context(|| format!("{what}: {said}"))?;
        ensure!(answer["error"].is_string(), "{what}: {said}");
    }
    for kind in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    ] {
        let (code, said) = worker.call("POST", ASSIGN, kind, b"{}")?;
        ensure!(code == 415, "{kind}: {code}: {said}");
    }
    Ok(())
}

/// What is more than any task may have is refused, however much of it comes at the same time.
fn large_bodies(worker: &Worker) -> Result<()> {
    for (code, said) in at_once(worker, &vec![b' '; LIMIT_OF_BODIES + 1])? {
        ensure!(code == 413 && said.contains("bytes"), "{code}: {said}");
    }
    Ok(())
}

/// What is no larger than any body may be, and larger than any task, is taken and fails, so that the overlord says why.
fn huge_tasks(worker: &Worker) -> Result<()> {
    let filling = "y".repeat(LIMIT_OF_BODIES - 100);
    let task = json!({"id": "huge", "type": "noop", "x": filling}).to_string();
    for (code, said) in at_once(worker, task.as_bytes())? {
        ensure!(code == 200, "{code}: {said}");
    }
    let announced = worker.announced()?;
    let huge = announced.iter().find(|a| a["taskAnnouncement"]["id"] == "huge");
    let status = &huge.context("it is not announced")?["taskAnnouncement"]["taskStatus"];
    let said = status["errorMsg"].as_str().unwrap_or_default();
    ensure!(
        status["status"] == "FAILED" && said.contains(&LARGEST_TASK.to_string()),
        "{status}"
    );
    Ok(())
}

/// Assigns this several times at the same time; the answers.
fn at_once(worker: &Worker, body: &[u8]) -> Result<Vec<(u16, String)>> {
    thread::scope(|scope| {
        let calls: Vec<_> = (0..AT_ONCE)
            .map(|_| scope.spawn(|| worker.call("POST", ASSIGN, JSON, body)))
            .collect();
        let answers = calls.into_iter().map(thread::ScopedJoinHandle::join);
        answers
            .map(|answer| answer.map_err(|_| anyhow::anyhow!("a call panicked"))?)
            .collect()
    })
}

/// The process that began is the one that runs.
fn unharmed(workers: &Workers) -> Result<()> {
    let args = [
        "pod",
        "--namespace",
        &workers.namespace,
        "--selector",
        "peon.dev/serves",
    ];
    let pods = workers.fixture.kubectl.get_json(&args)?;
    let restarts: Vec<Value> = list(&pods["items"])
        .iter()
        .map(|p| p["status"]["containerStatuses"][0]["restartCount"].clone())
        .collect();
    ensure!(restarts == [json!(0)], "restarts: {restarts:?}");
    Ok(())
}
