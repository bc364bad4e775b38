//! A web server of rows for tasks that are to be in the middle of reading while something happens.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::testbed::fixture::{Fixture, LIMIT};
use crate::testbed::wait::wait_until;

/// What is answered: as many rows as the inline data of the sample has.
const ROWS: &str = concat!(
    "{\"ts\": \"2024-01-01T00:00:00Z\", \"page\": \"home\", \"user\": \"ada\", \"added\": 1}\n",
    "{\"ts\": \"2024-01-01T01:00:00Z\", \"page\": \"help\", \"user\": \"ada\", \"added\": 2}\n",
    "{\"ts\": \"2024-01-02T00:00:00Z\", \"page\": \"home\", \"user\": \"bob\", \"added\": 3}\n",
);
/// Bytes that are written at a time of a line without an end.
const PIECE: usize = 1 << 20;

/// The server. It answers no request until it is [opened](Self::open), and then all of them.
pub(super) struct Source {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    open: bool,
    /// Requests that are not answered, with the id of the task that sent each.
    held: Vec<(String, TcpStream)>,
}

impl Source {
    /// Listens at the address of this machine that pods can reach.
    pub(super) fn start(fixture: &Fixture) -> Result<Self> {
        let own = fixture.target.own().context("no cluster of our own")?;
        let listener = TcpListener::bind((own.machine_address(), 0))?;
        let source = Self {
            address: listener.local_addr()?,
            state: Arc::default(),
        };
        let state = Arc::downgrade(&source.state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(state) = state.upgrade() else { return };
                let Ok(id) = asks(&stream) else { continue };
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.open {
                    // A reader that has gone away needs no answer.
                    let _ = answer(&stream);
                } else {
                    state.held.push((id, stream));
                }
            }
        });
        Ok(source)
    }

    /// Has a task read from here.
    pub(super) fn feed(&self, mut task: Value) -> Result<Value> {
        let id = task["id"].as_str().context("a task without an id")?.to_owned();
        let url = format!("http://{}/{id}", self.address);
        task["spec"]["ioConfig"]["inputSource"] = json!({"type": "http", "uris": [url]});
        Ok(task)
    }

    /// Waits until a task has asked for its rows.
    pub(super) fn until_read_by(&self, id: &str) -> Result<()> {
        wait_until(LIMIT, &format!("{id} to read"), || {
            let is_held = self.state().held.iter().any(|(task, _)| task == id);
            Ok(is_held.then_some(()))
        })
    }

    /// Answers a task with one line that has no end, until it goes away.
    pub(super) fn flood(&self, id: &str) -> Result<()> {
        let mut state = self.state();
        let found = state.held.iter().position(|(task, _)| task == id);
        let (_, mut stream) = state.held.remove(found.context("it does not read")?);
        thread::spawn(move || {
            let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"page\": \"";
            let piece = vec![b'a'; PIECE];
            let mut written = stream.write_all(head);
            while written.is_ok() {
                written = stream.write_all(&piece);
            }
        });
        Ok(())
    }

    /// Answers all requests, those that wait and those that come.
    pub(super) fn open(&self) {
        let mut state = self.state();
        state.open = true;
        for (_, stream) in state.held.drain(..) {
            // Of a JVM that has died.
            let _ = answer(&stream);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a request, and returns its path without the first slash: the id of a task.
fn asks(stream: &TcpStream) -> Result<String> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split_whitespace().nth(1).context("no path")?;
    Ok(path.trim_start_matches('/').to_owned())
}

fn answer(mut stream: &TcpStream) -> std::io::Result<()> {
    let length = ROWS.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(ROWS.as_bytes())
}
