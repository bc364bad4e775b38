//! The VirtualMiddleManagers that are measured, each in a namespace of its own.

use anyhow::Result;
use serde_json::{Value, json};

use super::{PASSWORD, USER};
use crate::testbed::{
    fixture::{Fixture, LIMIT},
    json::{list, text},
    kwok::FakeNode,
};

/// Name of each VirtualMiddleManager.
const NAME: &str = "bench";
/// Tasks with this in their context wait for the slot of their template.
const HELD: (&str, &str) = ("pace", "held");

/// A kind of VirtualMiddleManager and of its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Tasks are held, payloads are in Secrets.
    HeldSecret,
    /// Tasks are held, payloads are in PeonTasks.
    HeldInline,
    /// Tasks run to their end, payloads are in Secrets.
    Life,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::HeldSecret, Self::HeldInline, Self::Life];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::HeldSecret => "held, Secret",
            Self::HeldInline => "held, Inline",
            Self::Life => "whole life, Secret",
        }
    }

    pub(super) fn is_held(self) -> bool {
        self != Self::Life
    }

    /// The context tags of its tasks.
    pub(super) fn tags(self) -> Value {
        if self.is_held() {
            json!({HELD.0: HELD.1})
        } else {
            json!({})
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::HeldSecret => "bench-secret",
            Self::HeldInline => "bench-inline",
            Self::Life => "bench-life",
        }
    }

    fn payload(self) -> &'static str {
        match self {
            Self::HeldSecret | Self::Life => "Secret",
            Self::HeldInline => "Inline",
        }
    }
}

/// The workers of one kind, for as long as the value lives.
pub(super) struct Workers<'f> {
    fixture: &'f Fixture,
    pub(super) kind: Kind,
    pub(super) namespace: String,
    /// Their path in ZooKeeper.
    pub(super) base: String,
}

impl<'f> Workers<'f> {
    /// Makes them; they are announced some seconds later.
    pub(super) fn start(
        fixture: &'f Fixture,
        node: &FakeNode,
        kind: Kind,
        identities: usize,
    ) -> Result<Self> {
        let namespace = fixture.namespace(kind.namespace())?;
        let workers = Self {
            fixture,
            kind,
            base: format!("/{namespace}"),
            namespace,
        };
        workers.template("default", node, true)?;
        workers.template("held", node, false)?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME},
            "stringData": {"username": USER, "password": PASSWORD},
        });
        fixture.apply(&workers.namespace, &secret)?;
        let spec = json!({
            "discovery": {"zookeeper": {"hosts": fixture.druid.zookeeper(), "basePath": workers.base}},
            "overlord": {"url": fixture.druid.service_url()?},
            "identities": identities,
            "capacity": 10_000,
            "advertise": "ClusterIP",
            "authRef": {"name": NAME},
            "payload": kind.payload(),
        });
        let object = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager", "metadata": {"name": NAME}, "spec": spec,
        });
        fixture.apply(&workers.namespace, &object)?;
        Ok(workers)
    }

    fn template(&self, name: &str, node: &FakeNode, at_once: bool) -> Result<()> {
        let mut template = self.fixture.bare_sample()?;
        template["metadata"]["name"] = json!(name);
        let spec = &mut template["spec"];
        node.place(&mut spec["template"], at_once);
        // A pod that runs nothing has no log.
        spec["logs"] = json!({"collect": "None"});
        if !at_once {
            spec["match"] = json!({"contextTags": {HELD.0: [HELD.1]}});
            spec["priority"] = json!(1);
            spec["maxRunning"] = json!(1);
        }
        self.fixture.apply(&self.namespace, &template)
    }

    /// Waits until the first task has the one slot.
    pub(super) fn until_slot_taken(&self) -> Result<()> {
        self.until(|tasks| tasks.iter().any(|task| task["status"]["phase"] == "Running"))
    }

    /// Waits until `wanted` tasks wait for the slot.
    pub(super) fn until_held(&self, wanted: usize) -> Result<()> {
        self.until(|tasks| {
            let held = tasks
                .iter()
                .filter(|task| text(&task["status"]["reason"]) == "MaxRunning");
            held.count() >= wanted
        })
    }

    fn until(&self, are: impl Fn(&[Value]) -> bool) -> Result<()> {
        let tasks = ["peontask", "--namespace", &self.namespace];
        self.fixture
            .kubectl
            .wait_for(&tasks, LIMIT, |found| are(&list(&found["items"])))
            .map(drop)
    }
}

impl Drop for Workers<'_> {
    fn drop(&mut self) {
        // Most clusters end with the benchmark, before hundreds of tasks are deleted.
        let namespace = ["namespace", &self.namespace, "--wait=false"];
        if let Err(error) = self.fixture.kubectl.delete(&namespace) {
            eprintln!("workers stay: {error:#}");
        }
    }
}
