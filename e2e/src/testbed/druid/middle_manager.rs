//! A VirtualMiddleManager beside the fixture's overlord, whose workers it is.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::testbed::{
    fixture::{Fixture, LIMIT},
    json::{list, text},
    kubectl::is_ready,
    wait::wait_until,
};

/// Its name.
pub(crate) const NAME: &str = "ingestion";

/// Whether the VirtualMiddleManager of the cases that share one exists.
static SHARED: Mutex<bool> = Mutex::new(false);

/// Workers of the overlord, for as long as the value lives; shared ones live until [`MiddleManager::end_shared`].
pub(crate) struct MiddleManager<'a> {
    /// In whose namespace it is.
    pub(crate) fixture: &'a Fixture,
    is_shared: bool,
}

impl<'a> MiddleManager<'a> {
    /// Makes the VirtualMiddleManager and waits until the overlord has every identity as an enabled worker.
    pub(crate) fn start(fixture: &'a Fixture) -> Result<Self> {
        Self::start_with(fixture, |_| ())
    }

    /// As [`Self::start`], with another spec.
    pub(crate) fn start_with(fixture: &'a Fixture, change: impl FnOnce(&mut Value)) -> Result<Self> {
        let workers = Self::create(fixture, change)?;
        workers.until_ready()?;
        workers.until_workers(2)?;
        Ok(workers)
    }

    /// The workers of all cases of the turn that shares them. The first of these makes them; they take submissions of
    /// ingestions and noops, and no case may change or kill them.
    pub(crate) fn shared(fixture: &'a Fixture) -> Result<Self> {
        let mut exists = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if !*exists {
            let mut workers = Self::start_with(fixture, |spec| {
                spec["submissions"] = json!({"enabled": true, "taskTypes": ["index_parallel", "noop"]});
            })?;
            workers.is_shared = true;
            *exists = true;
        }
        Ok(Self {
            fixture,
            is_shared: true,
        })
    }

    /// Ends the shared workers, if there are any.
    pub(crate) fn end_shared(fixture: &'a Fixture) {
        let mut exists = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *exists) {
            drop(Self {
                fixture,
                is_shared: false,
            });
        }
    }

    /// Makes the VirtualMiddleManager and waits for nothing.
    pub(crate) fn create(fixture: &'a Fixture, change: impl FnOnce(&mut Value)) -> Result<Self> {
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
        if spec["authRef"].is_null() {
            // The Druid of this cluster knows no users.
            spec["allowAnonymous"] = json!(true);
        }
        let object = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager", "metadata": {"name": NAME}, "spec": spec,
        });
        fixture.apply(fixture.home(), &object)?;
        Ok(Self {
            fixture,
            is_shared: false,
        })
    }

    /// Its status.
    pub(crate) fn status(&self) -> Result<Value> {
        let args = ["virtualmiddlemanager", NAME, "--namespace", self.fixture.home()];
        Ok(self.fixture.kubectl.get_json(&args)?["status"].take())
    }

    /// Waits until it says that it is ready.
    pub(crate) fn until_ready(&self) -> Result<()> {
        let args = ["virtualmiddlemanager", NAME, "--namespace", self.fixture.home()];
        self.fixture.kubectl.wait_for(&args, LIMIT, is_ready).map(drop)
    }

    /// Changes its spec.
    pub(crate) fn change(&self, spec: &Value) -> Result<()> {
        self.fixture
            .change_of("virtualmiddlemanager", self.fixture.home(), NAME, spec)
    }

    /// Waits until the overlord has so many enabled workers.
    pub(crate) fn until_workers(&self, wanted: usize) -> Result<Vec<Value>> {
        wait_until(LIMIT, "the overlord's workers", || {
            // One that has just begun again, or that the API server has lost sight of, is asked until the time is over.
            let Ok(workers) = self.fixture.druid.get("/druid/indexer/v1/workers") else {
                return Ok(None);
            };
            // Of a worker that is disabled the version is empty.
            let enabled: Vec<_> = list(&workers)
                .into_iter()
                .filter(|w| !text(&w["worker"]["version"]).is_empty())
                .collect();
            Ok((enabled.len() == wanted).then_some(enabled))
        })
    }

    /// Submits a task to the overlord.
    pub(crate) fn submit(&self, task: &Value) -> Result<String> {
        self.fixture.druid.submit(task)
    }

    /// Waits until the overlord says that a task has ended, and returns its status.
    pub(crate) fn until_ended(&self, id: &str) -> Result<Value> {
        self.until_status(id, |status| status["statusCode"] != "RUNNING")
    }

    /// Waits until the overlord's status of a task is as wanted, and returns it.
    pub(crate) fn until_status(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        wait_until(LIMIT, &format!("the overlord's status of {id}"), || {
            // As with its workers.
            Ok(self.fixture.druid.status(id).ok().filter(&wanted))
        })
    }

    /// Makes sure that the report of an ingestion says that it is complete.
    pub(crate) fn check_report(&self, id: &str) -> Result<()> {
        let path = format!("/druid/indexer/v1/task/{id}/reports");
        let report = self.fixture.druid.get(&path)?;
        let state = &report["ingestionStatsAndErrors"]["payload"]["ingestionState"];
        ensure!(state == "COMPLETED", "{report}");
        Ok(())
    }

    /// The PeonTasks of a Druid task, of which there is one at most.
    pub(crate) fn peon_tasks(&self, id: &str) -> Result<Vec<Value>> {
        let selector = format!("peon.dev/middle-manager={NAME}");
        let all = self.fixture.kubectl.get_json(&[
            "peontask",
            "--namespace",
            self.fixture.home(),
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

impl Drop for MiddleManager<'_> {
    fn drop(&mut self) {
        if self.is_shared {
            return;
        }
        let gone = self
            .fixture
            .kubectl
            .delete(&["virtualmiddlemanager", NAME, "--namespace", self.fixture.home()])
            .and_then(|()| {
                let pods = [
                    "pod",
                    "--namespace",
                    self.fixture.home(),
                    "--selector",
                    "peon.dev/serves",
                ];
                self.fixture
                    .kubectl
                    .wait_for(&pods, LIMIT, |found| found["items"] == json!([]))
            });
        if let Err(error) = gone {
            eprintln!("the VirtualMiddleManager stays: {error:#}");
        }
    }
}
