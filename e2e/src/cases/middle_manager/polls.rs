//! Complete states that are asked for while the process that gives them knows least.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{
    Case, MiddleManager, Turn, case,
    faults_network::Paused,
    process::Process,
    races::{TOO_MUCH, noop_that_waits},
    text,
    worker::{JSON, Worker, assignment},
};
use crate::testbed::{
    cluster::Component,
    fixture::{Fixture, LIMIT},
    wait::{rest, wait_until},
};

pub(super) const CASES: &[Case] = &[case(
    "middle_manager::races::no_complete_state_lacks_an_assigned_task",
    nothing_lacks,
)
.turn(Turn::Alone)
.own()];

/// Complete states that have to be seen of one process.
const MANY: usize = 100;

/// Whoever asks one worker for complete states, again and again.
struct Poller {
    worker: Worker,
    /// What each of them has to have.
    assigned: BTreeSet<String>,
    /// The process that said a state first.
    first: i64,
    /// How many states were said by each process, in their order.
    seen: Vec<(i64, usize)>,
    refused: usize,
}

impl Poller {
    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let Ok(answer) = self.worker.poll(5000) else {
                // Nobody listens for a moment.
                rest(asked);
                continue;
            };
            if answer.code == 503 {
                self.refused += 1;
                continue;
            }
            let (hash, tasks) = answer.state()?;
            for id in &self.assigned {
                let said = tasks.get(id).map(String::as_str);
                ensure!(said == Some("RUNNING"), "{id} is {said:?} in {tasks:?}");
            }
            match self.seen.last_mut() {
                Some((last, count)) if *last == hash => *count += 1,
                _ => self.seen.push((hash, 1)),
            }
            let is_next = |(hash, count): &(i64, usize)| *hash != self.first && *count >= MANY;
            if self.seen.last().is_some_and(is_next) {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn nothing_lacks(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let workers = [Worker::of(&manager, 0)?, Worker::of(&manager, 1)?];
    let mut pollers = workers.clone().map(|worker| Poller {
        worker,
        assigned: BTreeSet::new(),
        first: 0,
        seen: Vec::new(),
        refused: 0,
    });
    let mut all = Vec::new();
    for n in 0..6 {
        let id = manager.submit(&noop_that_waits(fixture, &format!("in_all_states_{n}")))?;
        let name = manager.until_assigned(&id)?;
        let task = fixture.get(fixture.home(), &name)?;
        let ordinal: usize = text(&task["metadata"]["labels"]["peon.dev/identity"]).parse()?;
        let poller = pollers.get_mut(ordinal).context("no such identity")?;
        poller.assigned.insert(id.clone());
        all.push(id);
    }
    ensure!(
        pollers.iter().all(|p| !p.assigned.is_empty()),
        "one has all of them"
    );
    for poller in &mut pollers {
        poller.first = poller.worker.poll(60_000)?.state()?.0;
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let polling: Vec<_> = pollers
            .iter_mut()
            .map(|poller| scope.spawn(|| poller.run(&stop)))
            .collect();
        let killed = Process::server(fixture).kill().and_then(|()| {
            wait_until(LIMIT, "the states of the next process", || {
                Ok(polling
                    .iter()
                    .all(thread::ScopedJoinHandle::is_finished)
                    .then_some(()))
            })
        });
        stop.store(true, Ordering::Relaxed);
        for thread in polling {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        killed
    })?;
    for poller in &pollers {
        println!(
            "complete states of {}, by process: {:?}, refused: {}",
            poller.worker.address, poller.seen, poller.refused
        );
    }
    directly_after(fixture, &workers)?;
    without_api_server(fixture, &pollers)?;
    for id in &all {
        fixture.druid.shutdown(id)?;
    }
    for id in &all {
        let status = manager.until_ended(id)?;
        ensure!(status["statusCode"] == "FAILED", "{status}");
    }
    Ok(())
}

/// A state that is asked for when an assignment was just acknowledged has it, whatever the watch has told by then.
fn directly_after(fixture: &Fixture, workers: &[Worker]) -> Result<()> {
    for n in 0..20 {
        let worker = &workers[n % workers.len()];
        let id = format!("directly_after_{n}_{}", fixture.run);
        let mut task = assignment(&id, 3_600_000);
        task["context"] = json!({"druid.peon.pod.memory": TOO_MUCH});
        let answer = worker.assign(task.to_string().as_bytes(), JSON)?;
        ensure!(answer.code == 200, "{answer:?}");
        // The overlord does not know it and may have ended it by now.
        let said = worker.says(&id)?;
        ensure!(said.is_some(), "{id} is missing");
        ensure!(worker.shutdown(&id)?.code == 200);
    }
    Ok(())
}

/// Where the API server does not say what there is, neither does the worker.
fn without_api_server(fixture: &Fixture, pollers: &[Poller]) -> Result<()> {
    let own = fixture.target.own().context("no cluster of our own")?;
    let server = own.process_id(Component::ApiServer).context("no API server")?;
    let paused = Paused::by(server, Signal::SIGSTOP)?;
    for poller in pollers {
        let answer = poller.worker.poll(1000)?;
        ensure!(answer.code == 503, "{answer:?}");
    }
    drop(paused);
    for poller in pollers {
        let (_, tasks) = poller.worker.poll(60_000)?.state()?;
        ensure!(
            poller.assigned.iter().all(|id| tasks.contains_key(id)),
            "{tasks:?}"
        );
    }
    Ok(())
}
