//! The stages of one task, as the overlord tells them.

use std::{
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::testbed::{
    fixture::{Fixture, LIMIT},
    interrupt,
};

/// How often the overlord is asked.
const POLL: Duration = Duration::from_millis(50);

/// Seconds since the task was submitted.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::bench) struct Times {
    /// The overlord says RUNNING, with a location. A short task may be over before that is seen.
    pub(in crate::bench) located: Option<f64>,
    /// Something listens there.
    pub(in crate::bench) listens: Option<f64>,
    /// The overlord says SUCCESS.
    pub(in crate::bench) ended: f64,
}

type Of = fn(&Times) -> Option<f64>;

/// What the table shows.
pub(in crate::bench) const STAGES: [(&str, Of); 3] = [
    ("RUNNING, located", |times| times.located),
    ("peon listens", |times| times.listens),
    ("SUCCESS", |times| Some(times.ended)),
];

/// Submits a task and follows it to its end.
pub(in crate::bench) fn time(fixture: &Fixture, task: &Value) -> Result<Times> {
    let begun = Instant::now();
    let id = fixture.druid.submit(task)?;
    let mut times = Times::default();
    let mut location: Option<SocketAddr> = None;
    loop {
        interrupt::check()?;
        let looked = Instant::now();
        let status = fixture.druid.status(&id)?;
        let now = begun.elapsed().as_secs_f64();
        match status["statusCode"].as_str().unwrap_or_default() {
            "RUNNING" => {}
            "SUCCESS" => {
                times.ended = now;
                return Ok(times);
            }
            _ => bail!("{id}: {status}"),
        }
        if location.is_none() && status["runnerStatusCode"] == "RUNNING" {
            location = address(&status);
            if location.is_some() {
                times.located = Some(now);
            }
        }
        if let Some(address) = location
            && times.listens.is_none()
            && TcpStream::connect_timeout(&address, POLL).is_ok()
        {
            times.listens = Some(begun.elapsed().as_secs_f64());
        }
        ensure!(begun.elapsed() < LIMIT, "{id} does not end: {status}");
        thread::sleep(POLL.saturating_sub(looked.elapsed()));
    }
}

fn address(status: &Value) -> Option<SocketAddr> {
    let host = status["location"]["host"].as_str()?;
    let port = status["location"]["port"].as_u64().filter(|port| *port > 0)?;
    format!("{host}:{port}")
        .parse()
        .context("a location without an address")
        .ok()
}
