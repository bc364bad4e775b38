//! A stock overlord runs its tasks through a VirtualMiddleManager.

mod conformance;
mod draining;
mod faults;
mod faults_network;
mod faults_node;
mod kills;
mod polls;
mod process;
mod races;
mod runs;
mod strangers;
mod streaming;
mod submissions;
mod worker;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, Turn, case};
use crate::{
    fixture::{Fixture, LIMIT, NAMESPACE},
    kubectl::is_ready,
    wait::wait_until,
};

/// Name of the VirtualMiddleManager.
const NAME: &str = "ingestion";

/// The cases, with their turn: an overlord would give the workers what other cases left pending.
pub(super) fn cases() -> Vec<Case> {
    let all = runs::CASES
        .iter()
        .chain(kills::CASES)
        .chain(faults::CASES)
        .chain(races::CASES)
        .chain(polls::CASES)
        .chain(strangers::CASES)
        .chain(faults_network::CASES)
        .chain(faults_node::CASES)
        .chain(draining::CASES)
        .chain(streaming::CASES)
        .chain(submissions::CASES)
        .chain(conformance::CASES);
    all.map(|case| case.turn(Turn::Alone)).collect()
}

/// Workers of the overlord, for as long as the value lives.
pub(crate) struct Manager<'a> {
    fixture: &'a Fixture,
}

impl<'a> Manager<'a> {
    /// Makes the VirtualMiddleManager and waits until the overlord has every identity as an enabled worker.
    pub(crate) fn start(fixture: &'a Fixture) -> Result<Self> {
        Self::start_with(fixture, |_| ())
    }

    /// As [`Self::start`], with another spec.
    pub(crate) fn start_with(fixture: &'a Fixture, change: impl FnOnce(&mut Value)) -> Result<Self> {
        let manager = Self::create(fixture, change)?;
        manager.until_ready()?;
        manager.until_workers(2)?;
        Ok(manager)
    }

    /// Makes the VirtualMiddleManager and waits for nothing.
    fn create(fixture: &'a Fixture, change: impl FnOnce(&mut Value)) -> Result<Self> {
        // What other cases left pending would be assigned now.
        for state in ["pendingTasks", "waitingTasks", "runningTasks"] {
            for task in list(&fixture.druid.get(&format!("/druid/indexer/v1/{state}"))?) {
                fixture.druid.shutdown(text(&task["id"]))?;
            }
        }
        let mut spec = json!({
            "discovery": {"zookeeper": {"hosts": fixture.druid.zookeeper()}},
            "overlord": {"url": fixture.druid.service_url()?},
            "identities": 2,
            "capacity": 4,
            "advertise": "ClusterIP",
        });
        change(&mut spec);
        let object = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager", "metadata": {"name": NAME}, "spec": spec,
        });
        fixture.apply(NAMESPACE, &object)?;
        Ok(Self { fixture })
    }

    fn status(&self) -> Result<Value> {
        let args = ["virtualmiddlemanager", NAME, "--namespace", NAMESPACE];
        Ok(self.fixture.kubectl.get_json(&args)?["status"].take())
    }

    fn until_ready(&self) -> Result<()> {
        let args = ["virtualmiddlemanager", NAME, "--namespace", NAMESPACE];
        self.fixture.kubectl.wait_for(&args, LIMIT, is_ready).map(drop)
    }

    /// Changes its spec.
    fn change(&self, spec: &Value) -> Result<()> {
        let patch = json!({ "spec": spec }).to_string();
        let args = [
            "patch",
            "virtualmiddlemanager",
            NAME,
            "--type=merge",
            "--patch",
            &patch,
        ];
        let args = [args.as_slice(), &["--namespace", NAMESPACE]].concat();
        self.fixture.kubectl.run(&args).map(drop)
    }

    /// Waits until the overlord has so many enabled workers.
    pub(crate) fn until_workers(&self, wanted: usize) -> Result<Vec<Value>> {
        let mut last = Value::Null;
        let found = wait_until(LIMIT, "the overlord's workers", || {
            last = self.fixture.druid.get("/druid/indexer/v1/workers")?;
            // Of a worker that is disabled the version is empty.
            let enabled: Vec<_> = list(&last)
                .into_iter()
                .filter(|w| !text(&w["worker"]["version"]).is_empty())
                .collect();
            Ok((enabled.len() == wanted).then_some(enabled))
        });
        found.with_context(|| last.to_string())
    }

    /// Submits a task to the overlord.
    pub(crate) fn submit(&self, task: &Value) -> Result<String> {
        self.fixture.druid.submit(task)
    }

    /// Waits until the overlord says that a task has ended, and returns its status.
    pub(crate) fn until_ended(&self, id: &str) -> Result<Value> {
        self.until_status(id, |status| status["statusCode"] != "RUNNING")
    }

    fn until_status(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_until(LIMIT, &format!("the overlord's status of {id}"), || {
            last = self.fixture.druid.status(id)?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        found.with_context(|| last.to_string())
    }

    /// Makes sure that the report of an ingestion says that it is complete.
    fn check_report(&self, id: &str) -> Result<()> {
        let path = format!("/druid/indexer/v1/task/{id}/reports");
        let report = self.fixture.druid.get(&path)?;
        let state = &report["ingestionStatsAndErrors"]["payload"]["ingestionState"];
        ensure!(state == "COMPLETED", "{report}");
        Ok(())
    }

    /// The PeonTasks of a Druid task, of which there is one at most.
    fn peon_tasks(&self, id: &str) -> Result<Vec<Value>> {
        let selector = format!("peon.dev/middle-manager={NAME}");
        let all = self.fixture.kubectl.get_json(&[
            "peontask",
            "--namespace",
            NAMESPACE,
            "--selector",
            &selector,
        ])?;
        let of = |task: &Value| task["metadata"]["annotations"]["peon.dev/task-id"] == id;
        Ok(list(&all["items"]).into_iter().filter(of).collect())
    }

    /// Waits for the PeonTask of a Druid task, and returns its name.
    pub(crate) fn until_assigned(&self, id: &str) -> Result<String> {
        wait_until(LIMIT, &format!("the PeonTask of {id}"), || {
            let found = self.peon_tasks(id)?;
            ensure!(found.len() < 2, "{id} has two PeonTasks: {found:?}");
            Ok(found.first().map(|t| text(&t["metadata"]["name"]).to_owned()))
        })
    }
}

impl Drop for Manager<'_> {
    fn drop(&mut self) {
        let gone = self
            .fixture
            .kubectl
            .delete(&["virtualmiddlemanager", NAME, "--namespace", NAMESPACE])
            .and_then(|()| {
                let pods = ["pod", "--namespace", NAMESPACE, "--selector", "peon.dev/serves"];
                self.fixture
                    .kubectl
                    .wait_for(&pods, LIMIT, |found| found["items"] == json!([]))
            });
        if let Err(error) = gone {
            eprintln!("the VirtualMiddleManager stays: {error:#}");
        }
    }
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// A noop of the overlord's that runs so many milliseconds.
fn noop(fixture: &Fixture, name: &str, run_time: u64) -> Value {
    json!({"type": "noop", "id": format!("{name}_{}", fixture.run), "runTime": run_time})
}
