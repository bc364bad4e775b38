//! A gate between an operator process and the API server, which counts the operator's writes and kills the
//! operator at one of them.
//!
//! Behind the gate stands `kubectl proxy`, which signs in with the operator's own service account, so that the
//! operator has the chart's rights and no others.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::testbed::{fixture::LIMIT, kubectl::Kubectl, proxy::Proxy, wait::wait_until};

/// When to kill the operator. Writes are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// When it is about to do the n-th write; the API server never sees that.
    Before(usize),
    /// When the API server did the n-th write; the operator never sees the answer.
    After(usize),
    /// Not killed but stopped (SIGSTOP) when the API server did the n-th write: whoever lets it go on lets it read the
    /// answer and do what it was about to do.
    StopAfter(usize),
}

#[derive(Debug, Default)]
struct State {
    operator: Option<i32>,
    kill: Option<Kill>,
    /// Parts of paths; writes of other paths do not count. Empty: all writes count.
    paths: &'static [&'static str],
    writes: usize,
}

/// A gate that is open.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _proxy: Proxy,
}

impl Gate {
    /// Opens a gate to the API server of this kubectl.
    ///
    /// # Errors
    /// When no port is free or `kubectl proxy` does not start.
    pub fn open(kubectl: &Kubectl) -> Result<Self> {
        let proxy = Proxy::start(kubectl)?;
        let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let (socket, shared) = (proxy.socket(), state.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (socket, shared) = (socket.clone(), shared.clone());
                // A connection that breaks is the operator's to repeat.
                thread::spawn(move || {
                    let upstream = UnixStream::connect(&socket)?;
                    serve(client, upstream, &shared)
                });
            }
        });
        Ok(Self {
            address,
            state,
            _proxy: proxy,
        })
    }

    /// The URL that stands for the API server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this process is the operator, its writes are counted anew, and it is killed as said.
    pub fn guard(&self, operator: u32, kill: Option<Kill>) {
        self.guard_writes_of(&[], operator, kill);
    }

    /// As [`Self::guard`], but only writes count whose path contains one of these parts; without any, all writes count.
    pub fn guard_writes_of(&self, paths: &'static [&'static str], operator: u32, kill: Option<Kill>) {
        let operator = i32::try_from(operator).ok();
        *locked(&self.state) = State {
            operator,
            kill,
            paths,
            writes: 0,
        };
    }

    /// Whether the kill is still to come.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        locked(&self.state).kill.is_some()
    }
}

/// Passes one request and its answer; then the connection ends.
fn serve(mut client: TcpStream, mut upstream: UnixStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;

    let write = is_write(&head).then(|| count(state, &head)).flatten();
    if write.is_some_and(|n| due(state, Kill::Before(n))) {
        return Ok(());
    }
    upstream.write_all(head.as_bytes())?;
    upstream.write_all(b"Connection: close\r\n\r\n")?;
    upstream.write_all(&body)?;
    match write {
        Some(n) => {
            let mut answer = Vec::new();
            upstream.read_to_end(&mut answer)?;
            if due(state, Kill::After(n)) {
                return Ok(());
            }
            if due(state, Kill::StopAfter(n)) {
                let operator = locked(state).operator.unwrap_or_default();
                until_stopped(operator).map_err(std::io::Error::other)?;
            }
            client.write_all(&answer)
        }
        // Watches stream for minutes.
        None => std::io::copy(&mut upstream, &mut client).map(drop),
    }
}

/// Leases are the process' own and Events are not part of a task's life.
fn is_write(head: &str) -> bool {
    let line = head.lines().next().unwrap_or_default();
    !line.starts_with("GET ") && !line.contains("/leases") && !line.contains("/events")
}

/// The number of a write; `None` if it does not count.
fn count(state: &Mutex<State>, head: &str) -> Option<usize> {
    let mut state = locked(state);
    let line = head.lines().next().unwrap_or_default();
    let counts = state.paths.is_empty() || state.paths.iter().any(|part| line.contains(part));
    counts.then(|| {
        state.writes += 1;
        state.writes
    })
}

/// Kills the operator if this is the moment.
fn due(state: &Mutex<State>, moment: Kill) -> bool {
    let mut state = locked(state);
    if state.kill != Some(moment) {
        return false;
    }
    state.kill = None;
    if let Some(operator) = state.operator {
        let signal = match moment {
            Kill::Before(_) | Kill::After(_) => Signal::SIGKILL,
            Kill::StopAfter(_) => Signal::SIGSTOP,
        };
        // It may have ended by itself; the case finds out.
        let _ = kill(Pid::from_raw(operator), signal);
    }
    true
}

/// A signal is on its way for a moment. A thread that has not stopped yet would read the answer, and do in its own time
/// what it is to do in another's.
fn until_stopped(process: i32) -> Result<()> {
    let tasks = format!("/proc/{process}/task");
    wait_until(LIMIT, "the process to stop", || {
        let mut all = fs::read_dir(&tasks)?;
        let stopped = all.all(|task| {
            let stat = task.and_then(|task| fs::read_to_string(task.path().join("stat")));
            // The name before it may hold anything, but is the last in brackets.
            stat.is_ok_and(|stat| {
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with('T'))
            })
        });
        Ok(stopped.then_some(()))
    })
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
