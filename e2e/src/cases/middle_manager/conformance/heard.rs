//! What pollers and overlords of Druid's client heard.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Client, list, text};

/// Waits until all these overlords heard that all these tasks succeeded, and that none failed.
pub(super) fn until_succeeded(client: &mut Client, overlords: &[&str], ids: &[String]) -> Result<()> {
    client.until("all tasks to succeed", |said| {
        let all = |overlord: &&str| {
            let succeeded = succeeded(overlord, said);
            ids.iter().all(|id| succeeded.contains(id))
        };
        (overlords.iter().all(all) || !failed(said).is_empty()).then_some(())
    })?;
    let failed = client.said(failed);
    ensure!(failed.is_empty(), "{failed:?}");
    Ok(())
}

/// A worker as a poller knows it: what was said of each task last, and whether tasks are taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Worker {
    pub(super) disabled: bool,
    pub(super) tasks: BTreeMap<String, String>,
}

/// A worker by what one poller heard of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    /// What it knows now.
    pub(super) worker: Worker,
    /// Complete states.
    pub(super) full: usize,
    /// Changes.
    pub(super) changes: usize,
    /// What changes said of each task, in their order, without what was said before.
    pub(super) lives: BTreeMap<String, Vec<String>>,
}

impl Heard {
    fn listen(&mut self, sync: &Value) {
        let items = list(&sync["items"]);
        if sync["sync"] == "full" {
            self.full += 1;
            self.worker = Worker::default();
        } else {
            self.changes += items.len();
        }
        for item in items {
            match text(&item["type"]) {
                "metadata" => self.worker.disabled = item["disabled"] == true,
                "taskRemoval" => drop(self.worker.tasks.remove(text(&item["taskId"]))),
                _ => {
                    let said = &item["taskAnnouncement"];
                    let id = text(&said["taskStatus"]["id"]).to_owned();
                    let now = stage(said);
                    let life = self.lives.entry(id.clone()).or_default();
                    if life.last() != Some(&now) {
                        life.push(now.clone());
                    }
                    self.worker.tasks.insert(id, now);
                }
            }
        }
    }
}

/// How far a task has come: its state, and whether it can be called.
fn stage(announcement: &Value) -> String {
    let state = text(&announcement["taskStatus"]["status"]);
    let location = &announcement["taskLocation"];
    match (state, location["host"].is_string(), &location["port"]) {
        ("RUNNING", true, port) => format!("RUNNING at {port}"),
        _ => state.to_owned(),
    }
}

/// All workers as a poller heard of them, by their addresses.
pub(super) fn by(poller: &str, said: &[Value]) -> BTreeMap<String, Heard> {
    let mut workers = BTreeMap::<String, Heard>::new();
    for sync in said.iter().filter(|s| s["poller"] == poller) {
        let worker = workers.entry(text(&sync["worker"]).to_owned()).or_default();
        worker.listen(sync);
    }
    workers
}

/// How often an overlord found a worker on a pod, and lost it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    pub(super) came: usize,
    pub(super) went: usize,
}

impl Found {
    pub(super) fn is_there(self) -> bool {
        self.came == self.went + 1
    }
}

/// What overlords that lead or listen found on pods, by overlord and address; those that retired look no more.
pub(super) fn found(said: &[Value]) -> BTreeMap<(String, String), Found> {
    let mut workers = BTreeMap::<(String, String), Found>::new();
    for seen in said
        .iter()
        .filter(|s| s["discovery"] == "second" || s["discovery"] == "leader-5")
    {
        let (came, went) = (seen["came"].as_str(), seen["went"].as_str());
        let address = came.or(went).unwrap_or_default().to_owned();
        let found = workers
            .entry((text(&seen["discovery"]).to_owned(), address))
            .or_default();
        found.came += usize::from(came.is_some());
        found.went += usize::from(went.is_some());
    }
    workers
}

/// The tasks of which an overlord heard that they succeeded; whoever else is in `failed` did not.
pub(super) fn succeeded(overlord: &str, said: &[Value]) -> BTreeSet<String> {
    statuses(overlord, said)
        .filter(|(_, status)| *status == "SUCCESS")
        .map(|(task, _)| task.to_owned())
        .collect()
}

/// The tasks of which any overlord heard that they failed, and why.
pub(super) fn failed(said: &[Value]) -> Vec<String> {
    said.iter()
        .filter(|s| text(&s["status"]).starts_with("FAILED"))
        .map(|s| {
            format!(
                "{} of {}: {}",
                text(&s["overlord"]),
                text(&s["task"]),
                text(&s["status"])
            )
        })
        .collect()
}

/// The tasks of which an overlord heard where they can be called.
pub(super) fn located(overlord: &str, said: &[Value]) -> BTreeSet<String> {
    said.iter()
        .filter(|s| s["overlord"] == overlord && text(&s["location"]).ends_with(":8100"))
        .map(|s| text(&s["task"]).to_owned())
        .collect()
}

fn statuses<'s>(overlord: &'s str, said: &'s [Value]) -> impl Iterator<Item = (&'s str, &'s str)> {
    said.iter()
        .filter(move |s| s["overlord"] == overlord && s["status"].is_string())
        .map(|s| (text(&s["task"]), text(&s["status"])))
}
