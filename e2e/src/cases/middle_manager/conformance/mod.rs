//! Druid's own client of workers, the class `HttpRemoteTaskRunner`, against the workers of a VirtualMiddleManager. Its
//! tasks are PeonTasks like any other; their pods are on a node that only the API server has, and run nothing.

mod heard;
mod on_pods;
mod refusals;
mod runs;
mod tls;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Case, Turn, case, list, process::Process, text};
use crate::testbed::{
    cluster::Cluster,
    druid::hrtr::{Client, Registry},
    fixture::{Fixture, LIMIT},
    kwok::FakeNode,
};

pub(super) const CASES: &[Case] = &[
    case(
        "middle_manager::conformance::druids_own_client_loses_nothing",
        runs::all,
    )
    .turn(Turn::OneByOne)
    .own()
    .full(),
    case(
        "middle_manager::conformance::a_newer_druids_client_loses_nothing",
        runs::newest,
    )
    .turn(Turn::OneByOne)
    .own(),
    case(
        "middle_manager::conformance::druids_own_client_finds_workers_on_pods",
        on_pods::all,
    )
    .turn(Turn::OneByOne)
    .own(),
    case(
        "middle_manager::conformance::a_newer_druids_client_finds_workers_on_pods",
        on_pods::newest,
    )
    .turn(Turn::OneByOne)
    .own()
    .full(),
    case(
        "middle_manager::conformance::what_no_overlord_sends_is_refused",
        refusals::all,
    )
    .turn(Turn::OneByOne)
    .own()
    .full(),
    case(
        "middle_manager::conformance::druids_own_client_speaks_tls",
        tls::all,
    )
    .turn(Turn::OneByOne)
    .own()
    .full(),
];

/// Name of the VirtualMiddleManager.
const NAME: &str = "conformance";
/// How many workers it is.
const IDENTITIES: usize = 2;
/// With which its workers are called, and no others.
const USER: &str = "druid_system";
const PASSWORD: &str = "pass:wörd";
/// Tasks with this in their context have pods that end when they are told to.
const HELD: (&str, &str) = ("pace", "held");

/// The workers, in a namespace of their own.
struct Workers<'f> {
    fixture: &'f Fixture,
    namespace: String,
    /// Whether they are announced on pods, for a Druid without ZooKeeper.
    is_on_pods: bool,
    /// Their base path in ZooKeeper, which is not that of the overlord that other cases use; on pods, the identifier of their
    /// cluster.
    base: String,
    // Goes after all that is on it.
    node: FakeNode,
}

impl<'f> Workers<'f> {
    /// Makes them; they are announced some seconds later.
    fn start(fixture: &'f Fixture) -> Result<Self> {
        Self::start_with(fixture, |_, _| Ok(()))
    }

    /// As [`Self::start`], announced on pods.
    fn start_on_pods(fixture: &'f Fixture) -> Result<Self> {
        let base = format!("{NAME}-{}", fixture.run);
        Self::start_at(fixture, true, base, |workers, spec| {
            spec["discovery"] = json!({"kubernetes": {"clusterIdentifier": workers.base}});
            Ok(())
        })
    }

    /// As [`Self::start`], with another spec.
    fn start_with(
        fixture: &'f Fixture,
        change: impl FnOnce(&Self, &mut Value) -> Result<()>,
    ) -> Result<Self> {
        let base = format!("/{NAME}-{}", fixture.run);
        Self::start_at(fixture, false, base, change)
    }

    fn start_at(
        fixture: &'f Fixture,
        is_on_pods: bool,
        base: String,
        change: impl FnOnce(&Self, &mut Value) -> Result<()>,
    ) -> Result<Self> {
        let node = FakeNode::start(cluster(fixture)?)?;
        let workers = Self {
            namespace: fixture.namespace(NAME)?,
            is_on_pods,
            base,
            fixture,
            node,
        };
        workers.template("default", true)?;
        workers.template("held", false)?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME},
            "stringData": {"username": USER, "password": PASSWORD},
        });
        fixture.apply(&workers.namespace, &secret)?;
        let mut spec = json!({
            "discovery": {"zookeeper": {"hosts": fixture.druid.zookeeper(), "basePath": workers.base}},
            "overlord": {"url": fixture.druid.service_url()?},
            "identities": IDENTITIES,
            "capacity": 10_000,
            "advertise": "ClusterIP",
            "authRef": {"name": NAME},
        });
        change(&workers, &mut spec)?;
        let object = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager", "metadata": {"name": NAME}, "spec": spec,
        });
        fixture.apply(&workers.namespace, &object)?;
        Ok(workers)
    }

    fn template(&self, name: &str, at_once: bool) -> Result<()> {
        let mut template = self.fixture.bare_sample()?;
        template["metadata"]["name"] = json!(name);
        let spec = &mut template["spec"];
        self.node.place(&mut spec["template"], at_once);
        // A pod that runs nothing has no log.
        spec["logs"] = json!({"collect": "None"});
        if !at_once {
            spec["match"] = json!({"contextTags": {HELD.0: [HELD.1]}});
            spec["priority"] = json!(1);
        }
        self.fixture.apply(&self.namespace, &template)
    }

    /// The address of an identity's Service.
    fn address(&self, ordinal: usize) -> Result<String> {
        let name = format!("{NAME}-vmm-{ordinal}");
        let service = ["service", &name, "--namespace", &self.namespace];
        let has_address = |found: &Value| found["spec"]["clusterIP"].is_string();
        let service = self.fixture.kubectl.wait_for(&service, LIMIT, has_address)?;
        Ok(text(&service["spec"]["clusterIP"]).to_owned())
    }

    /// The PeonTasks of tasks whose ids begin so.
    fn peon_tasks(&self, prefix: &str) -> Result<Vec<Value>> {
        let all = self
            .fixture
            .kubectl
            .get_json(&["peontask", "--namespace", &self.namespace])?;
        let of = |task: &Value| text(&task["status"]["taskId"]).starts_with(prefix);
        Ok(list(&all["items"]).into_iter().filter(of).collect())
    }

    /// Has the held pods end.
    fn end(&self) -> Result<()> {
        self.node
            .end(&self.namespace, &format!("peon.dev/middle-manager={NAME}"))
    }

    /// Has another pod take over from the one that serves them, which runs until the other does.
    fn replace_pod(&self) -> Result<()> {
        let spec = json!({"taskLabels": {"replaced": "true"}});
        self.fixture
            .change_of("virtualmiddlemanager", &self.namespace, NAME, &spec)
    }

    /// Kills the process that serves them, and waits for the next.
    fn kill(&self) -> Result<()> {
        Process::server_in(self.fixture, &self.namespace).kill()
    }
}

impl Drop for Workers<'_> {
    fn drop(&mut self) {
        let namespace = ["namespace", &self.namespace];
        let gone = self.fixture.kubectl.delete(&namespace).and_then(|()| {
            let pods = ["pod", "--namespace", &self.namespace];
            self.fixture
                .kubectl
                .wait_for(&pods, LIMIT, |found| found["items"] == json!([]))
        });
        if let Err(error) = gone {
            eprintln!("workers stay: {error:#}");
        }
    }
}

fn cluster(fixture: &Fixture) -> Result<&Cluster> {
    fixture.target.own().context("no cluster of our own")
}
