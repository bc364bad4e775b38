//! A node that only the API server has, and pods on it that run nothing: for numbers that no kubelet of this machine could
//! bear. kwok says of node and pods what a kubelet would (`kwok/stages.yaml`).

use std::{fs, process::Command, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use crate::testbed::{
    background::Background,
    cache::{self, Cache},
    cluster::Cluster,
    kubectl::{Kubectl, is_ready},
    progress::Progress,
    tools::program,
};

const VERSION: &str = "v0.8.0";
const STAGES: &str = include_str!("../../kwok/stages.yaml");
/// Name of the node, and key of its taint.
const NODE: &str = "fake-node";
const TAINT: &str = "e2e.peon.dev/fake-node";
/// Nodes with this annotation are kwok's, no others.
const MANAGED: &str = "kwok.x-k8s.io/node";
/// A pod that has this annotation ends, with Druid's word of success.
const ENDS: &str = "e2e.peon.dev/ends";
const LIMIT: Duration = Duration::from_secs(120);
/// Addresses of pods at which nothing answers.
const UNUSED: &str = "100.64.0.0/16";
/// Addresses of pods that a process on this machine may have: the upper half of the loopback network.
const LOOPBACK: &str = "127.128.0.0/9";

/// The node. It goes with this value; remove what runs on it first.
#[derive(Debug)]
pub struct FakeNode {
    kubectl: Kubectl,
    kwok: Background,
}

impl FakeNode {
    /// Makes the node, and waits until it is ready. Nothing answers at the addresses of its pods.
    ///
    /// # Errors
    /// When kwok cannot be built or does not run.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        Self::with_addresses(cluster, UNUSED)
    }

    /// As [`Self::start`], with pods whose addresses are of this machine's loopback network: a process may answer there in
    /// place of a pod.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_on_loopback(cluster: &Cluster) -> Result<Self> {
        Self::with_addresses(cluster, LOOPBACK)
    }

    fn with_addresses(cluster: &Cluster, addresses: &str) -> Result<Self> {
        let (cache, progress) = (Cache::open()?, Progress::default());
        let kwok = program::go(&cache, &progress, "kwok", "sigs.k8s.io/kwok/cmd/kwok", VERSION)?;
        let folder = cluster.scratch("kwok")?;
        let stages = folder.join("stages.yaml");
        fs::write(&stages, STAGES)?;
        let log = cluster.log_dir().join("kwok.log");
        // Of an earlier node.
        cache::remove(&log)?;
        let mut command = Command::new(kwok);
        command
            .env("HOME", &folder)
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .arg("--config")
            .arg(&stages)
            .arg(format!("--manage-nodes-with-annotation-selector={MANAGED}=fake"))
            .arg(format!("--cidr={addresses}"))
            // A quarter of it is the time between two signs of life.
            .arg("--node-lease-duration-seconds=12");
        let mut node = Self {
            kubectl: cluster.kubectl(),
            kwok: Background::start(&mut command, &log)?,
        };
        let object = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}, "annotations": {MANAGED: "fake"}},
            "spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]},
        });
        node.kubectl.apply(&object.to_string())?;
        node.kwok.until(LIMIT, "the fake node", || {
            Ok(is_ready(&node.kubectl.get_json(&["node", NODE])?).then_some(()))
        })?;
        Ok(node)
    }

    /// Changes a pod template such that its pods come to this node, and end at once or when they are [told
    /// to](Self::end).
    pub fn place(&self, template: &mut Value, at_once: bool) {
        template["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": NODE});
        template["spec"]["tolerations"] = json!([{"key": TAINT, "operator": "Exists"}]);
        if at_once {
            template["metadata"]["annotations"] = json!({ENDS: "at-once"});
        }
    }

    /// Has pods end.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn end(&self, namespace: &str, selector: &str) -> Result<()> {
        let annotation = format!("{ENDS}=now");
        let args = [
            "annotate",
            "pod",
            "--overwrite",
            "--namespace",
            namespace,
            "--selector",
            selector,
            &annotation,
        ];
        self.kubectl.run(&args).map(drop)
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        if let Err(error) = self.kubectl.delete(&["node", NODE]) {
            eprintln!("the fake node stays: {error:#}");
        }
    }
}
