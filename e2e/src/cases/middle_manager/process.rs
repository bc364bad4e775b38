//! Processes in pods, as this machine sees them.

use anyhow::Result;

use super::{list, text};
use crate::testbed::{
    cluster::pod_processes,
    fixture::{Fixture, LIMIT, OPERATOR_NAMESPACE},
    peons,
    wait::wait_until,
};

/// What the operator's process is called, and that which serves the identities.
const OPERATOR: &str = "peon-operator";

/// A program that runs in a pod; the process may be another one each time that it is looked for.
pub(super) struct Process<'a> {
    fixture: &'a Fixture,
    namespace: &'a str,
    /// Selects its pods.
    selector: &'static str,
    program: &'static str,
}

impl<'a> Process<'a> {
    /// The one that serves the identities.
    pub(super) fn server(fixture: &'a Fixture) -> Self {
        Self::server_in(fixture, fixture.home())
    }

    /// The one that serves the identities of another namespace.
    pub(super) fn server_in(fixture: &'a Fixture, namespace: &'a str) -> Self {
        Self {
            fixture,
            namespace,
            selector: "peon.dev/serves",
            program: OPERATOR,
        }
    }

    /// The operator's.
    pub(super) fn operator(fixture: &'a Fixture) -> Self {
        Self {
            fixture,
            namespace: OPERATOR_NAMESPACE,
            selector: "app.kubernetes.io/name=peon-operator",
            program: OPERATOR,
        }
    }

    /// The overlord's.
    pub(super) fn overlord(fixture: &'a Fixture) -> Self {
        Self {
            fixture,
            namespace: fixture.home(),
            selector: "app=overlord",
            program: "java",
        }
    }

    /// Its id, while it runs.
    pub(super) fn id(&self) -> Result<Option<i32>> {
        let pods = self.fixture.kubectl.get_json(&[
            "pod",
            "--namespace",
            self.namespace,
            "--selector",
            self.selector,
        ])?;
        let uids: Vec<String> = list(&pods["items"])
            .iter()
            .map(|p| text(&p["metadata"]["uid"]).to_owned())
            .collect();
        let runs_it = |id: i32| {
            std::fs::read_to_string(format!("/proc/{id}/comm"))
                .is_ok_and(|comm| comm.starts_with(self.program))
        };
        let found = pod_processes()
            .into_iter()
            .find(|p| uids.contains(&p.pod) && runs_it(p.id));
        Ok(found.map(|p| p.id))
    }

    /// Waits until it runs.
    pub(super) fn until_there(&self) -> Result<i32> {
        wait_until(LIMIT, "the process", || self.id())
    }

    /// Kills it, and waits for another one.
    pub(super) fn kill(&self) -> Result<()> {
        let id = self.until_there()?;
        peons::kill_hard(id)?;
        wait_until(LIMIT, "another process", || {
            Ok(self.id()?.filter(|other| *other != id))
        })
        .map(drop)
    }
}
