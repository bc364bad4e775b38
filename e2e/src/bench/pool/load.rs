//! Tasks of one way: many at once, and one after the other.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::overlord::Overlord;
use super::usage::{Cpu, Memory, Others};
use super::ways::{Ground, Way};
use crate::testbed::fixture::{Fixture, LIMIT};
use crate::testbed::interrupt;

/// How often the overlord is asked for tasks that run at once, and for how many of them: the oldest.
const POLL: Duration = Duration::from_millis(100);
const ASKED: usize = 64;
/// How often it is asked for the one that runs alone.
const POLL_ONE: Duration = Duration::from_millis(10);
/// Tasks for each slot that do not count, of a way whose JVMs run them one after the other.
const WARM_UP: usize = 5;

/// What was measured of one way in one round.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) tasks: usize,
    /// From the first submission until the overlord has the last SUCCESS.
    pub(super) seconds: f64,
    /// From the first submission until as many Indexers are warm as before.
    pub(super) cpu: Cpu,
    /// The most that all JVMs which run tasks had in memory, in MiB.
    pub(super) memory: u64,
    /// Seconds of tasks that ran alone.
    pub(super) alone: Vec<f64>,
}

/// Tasks of one way, behind one overlord.
pub(super) struct Load<'a> {
    pub(super) fixture: &'a Fixture,
    pub(super) overlord: Overlord,
    pub(super) way: Way,
    pub(super) round: usize,
    /// How long tasks are submitted, of a way that starts a JVM for each.
    pub(super) slow: Duration,
}

impl Load<'_> {
    /// `tasks` at once, or as many as can be begun in some time, and then `alone` one after the other.
    pub(super) fn measure(
        &self,
        ground: &Ground<'_>,
        others: &Others,
        tasks: usize,
        alone: usize,
    ) -> Result<Measured> {
        if self.way.is_fast() {
            self.burst("warm", self.way.slots() * WARM_UP)?;
        }
        ground.until_at_rest()?;
        let memory = Memory::watch(others.clone());
        let before = others.cpu()?;
        let (tasks, seconds) = self.burst("many", tasks)?;
        ground.until_at_rest()?;
        let cpu = others.cpu()?.since(before);
        let memory = memory.most();
        let mut measured = Measured {
            tasks,
            seconds,
            cpu,
            memory,
            alone: Vec::new(),
        };
        for n in 0..alone {
            measured.alone.push(self.alone(n)?);
            ground.until_at_rest()?;
        }
        Ok(measured)
    }

    /// How many tasks ran, and how long it took.
    fn burst(&self, name: &str, tasks: usize) -> Result<(usize, f64)> {
        let began = Instant::now();
        let window = self.way.window(tasks);
        let mut submitted = 0;
        let mut left: Vec<String> = Vec::new();
        let mut last_end = began;
        loop {
            interrupt::check()?;
            let polled = Instant::now();
            let goes_on = self.way.is_fast() || began.elapsed() < self.slow;
            // Between two polls: what ended is replaced at once, and the overlord is not asked for what was just submitted.
            while goes_on && submitted < tasks && left.len() < window && polled.elapsed() < POLL {
                let task = self
                    .way
                    .task(self.fixture, &format!("{name}_{}_{submitted}", self.round))?;
                self.overlord.submit(&task)?;
                left.push(task["id"].as_str().unwrap_or_default().to_owned());
                submitted += 1;
            }
            if left.is_empty() {
                return Ok((submitted, last_end.duration_since(began).as_secs_f64()));
            }
            let asked = &left[..left.len().min(ASKED)];
            let statuses = self.overlord.statuses(asked)?;
            let before = left.len();
            if let Some((id, status)) = statuses
                .iter()
                .find(|(_, s)| !matches!(s.as_str(), "RUNNING" | "SUCCESS"))
            {
                bail!("{id} is {status}");
            }
            left.retain(|id| statuses.get(id).is_none_or(|status| status == "RUNNING"));
            if left.len() < before {
                last_end = Instant::now();
            }
            ensure!(last_end.elapsed() < LIMIT, "no task ends any longer: {left:?}");
            thread::sleep(POLL.saturating_sub(polled.elapsed()));
        }
    }

    /// Seconds of one task, on a machine that does nothing else.
    fn alone(&self, n: usize) -> Result<f64> {
        let task = self
            .way
            .task(self.fixture, &format!("alone_{}_{n}", self.round))?;
        let id = task["id"].as_str().unwrap_or_default();
        let began = Instant::now();
        self.overlord.submit(&task)?;
        loop {
            interrupt::check()?;
            match self.overlord.status(id)?.as_str() {
                "RUNNING" => {}
                "SUCCESS" => return Ok(began.elapsed().as_secs_f64()),
                other => bail!("{id} is {other}"),
            }
            ensure!(began.elapsed() < LIMIT, "{id} does not end");
            thread::sleep(POLL_ONE);
        }
    }
}
