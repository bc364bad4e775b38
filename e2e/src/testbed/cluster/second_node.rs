//! A second node, inside the running cluster, for tests of what happens when a node is lost.
//!
//! It is a machine of its own as far as pods can tell: process, mount and network namespaces inside those of the
//! cluster, with another containerd, kubelet and kube-proxy, and a cable to the first node.

use std::sync::{Mutex, PoisonError};

use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    Cluster, Component, bring_up, components,
    layout::{Layout, NODE, NodeLayout, SECOND_NODE, SECOND_NODE_TAINT},
    pods::{PodProcess, pod_processes},
    processes, runtime, sandbox, switch, teardown,
};
use crate::testbed::{cache, interrupt, kubectl::Kubectl, progress::Progress};

/// An interrupt and the failure that it causes both remove the node: one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The second node, and what a test can do to it.
///
/// Dropping it ends the node, in whatever state it is, and removes everything it made, as does an interrupt of the
/// process, unless it was [kept](SecondNode::keep) or was there before.
#[derive(Debug)]
pub struct SecondNode<'c> {
    pub(super) cluster: &'c Cluster,
    owned: bool,
}

impl Cluster {
    /// Brings the second node up, with the images that the first has; one that is up already is used as it is.
    ///
    /// Only pods that were [placed](SecondNode::place) come there.
    ///
    /// # Errors
    /// When a component does not start: the message then holds the end of its log.
    pub fn second_node(&self) -> Result<SecondNode<'_>> {
        let found = SecondNode {
            cluster: self,
            owned: false,
        };
        if Component::OF_A_NODE.iter().all(|c| found.runs(*c)) {
            // Whoever left it may have left it cut off.
            if found.heal().and_then(|()| found.until_ready()).is_ok() {
                return Ok(found);
            }
        }
        if !self.second_node_leftovers()?.is_empty() {
            self.remove_second_node()?;
        }
        if !self.owned {
            let (layout, kubectl, progress) = (self.layout.clone(), self.kubectl(), self.progress);
            interrupt::on_interrupt(move || report(remove(&layout, &kubectl, &progress)));
        }
        // From here on a failure drops this value, which removes the node.
        let node = SecondNode {
            cluster: self,
            owned: true,
        };
        let step = self.progress.step(SECOND_NODE);
        components::write_node_configuration(&self.layout, &self.layout.second)?;
        boot(&self.layout)?;
        runtime::start(&self.layout, &self.layout.second, &self.progress)?;
        runtime::import_all(
            &self.layout,
            &self.layout.first,
            &self.layout.second,
            &self.progress,
        )?;
        node.start(Component::Kubelet)?;
        node.start(Component::Proxy)?;
        bring_up::wait_for_node(self, &self.layout.second)?;
        step.done("up");
        Ok(node)
    }

    /// Ends the second node, if there is one, and removes everything it made.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove_second_node(&self) -> Result<()> {
        let step = self.progress.step(SECOND_NODE);
        remove(&self.layout, &self.kubectl(), &self.progress)?;
        step.done("down");
        Ok(())
    }

    /// Lists what there is of a second node, in words.
    ///
    /// # Errors
    /// When the cluster is not up.
    pub fn second_node_leftovers(&self) -> Result<Vec<String>> {
        let (first, second) = (&self.layout.first, &self.layout.second);
        let mut found: Vec<String> = processes::of_node(second)
            .iter()
            .map(|process| format!("process {} ({})", process.id, process.program))
            .collect();
        found
            .extend(of_second(pod_processes()).map(|p| format!("process {} in a pod ({})", p.id, p.program)));
        found.extend(
            switch::devices(first, second)?
                .iter()
                .map(|d| format!("network link {d}")),
        );
        found.extend(
            teardown::cgroups(&second.cgroup)
                .iter()
                .map(|g| format!("cgroup {}", g.display())),
        );
        if second.folder.exists() {
            found.push(format!("folder {}", second.folder.display()));
        }
        let object = ["get", "node", SECOND_NODE, "--ignore-not-found", "--output=name"];
        found.extend(self.kubectl().run(&object)?.lines().map(str::to_owned));
        Ok(found)
    }
}

impl SecondNode<'_> {
    /// Its name, which is also its label `kubernetes.io/hostname`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        SECOND_NODE
    }

    /// Changes a pod's spec such that the pod comes to this node, and is evicted so many seconds after the node was
    /// found to be lost.
    pub fn place(&self, pod_spec: &mut Value, seconds_when_lost: u32) {
        let lost = |taint: &str| {
            json!({"key": format!("node.kubernetes.io/{taint}"), "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": seconds_when_lost})
        };
        pod_spec["nodeSelector"] = json!({"kubernetes.io/hostname": SECOND_NODE});
        pod_spec["tolerations"] = json!([
            {"key": SECOND_NODE_TAINT, "operator": "Exists"},
            lost("not-ready"),
            lost("unreachable"),
        ]);
    }

    /// What containers wrote, below the folder of their pod; there until the node is [down](Self::down).
    #[must_use]
    pub fn pod_logs(&self) -> PathBuf {
        self.layout().path("var-log/pods")
    }

    /// All processes in its pods that run now, whatever the API server knows.
    #[must_use]
    pub fn processes(&self) -> Vec<PodProcess> {
        of_second(pod_processes()).collect()
    }

    /// Leaves it up when this value goes away.
    pub fn keep(mut self) {
        self.forget();
    }

    /// Ends it and removes everything it made, unless it was there before.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn down(mut self) -> Result<()> {
        if !self.owned {
            return Ok(());
        }
        self.owned = false;
        self.cluster.remove_second_node()?;
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        self.owned = false;
        if !self.cluster.owned {
            interrupt::clear();
        }
    }

    pub(super) fn layout(&self) -> &NodeLayout {
        &self.cluster.layout.second
    }
}

impl Drop for SecondNode<'_> {
    fn drop(&mut self) {
        // An interrupt ends a cluster of this run as a whole.
        if self.owned && !(self.cluster.owned && interrupt::came()) {
            report(self.cluster.remove_second_node());
            self.forget();
        }
    }
}

fn of_second(processes: Vec<PodProcess>) -> impl Iterator<Item = PodProcess> {
    processes
        .into_iter()
        .filter(|process| process.node == SECOND_NODE)
}

/// The machine without its programs: namespaces and cable.
pub(super) fn boot(layout: &Layout) -> Result<()> {
    let node = &layout.second;
    // A machine's memory does not outlive its power: of containers that ran, only the disks are left.
    cache::remove(&node.path("containerd"))?;
    sandbox::create_inside(layout, node)?;
    switch::connect(&layout.first, node)
}

/// Ends the node in whatever state it is. Does nothing when there is none.
fn remove(layout: &Layout, kubectl: &Kubectl, progress: &Progress) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let node = &layout.second;
    if let Err(error) = leave_images_in_order(layout) {
        progress.say(format_args!(
            "{SECOND_NODE} will import its images again: {error:#}"
        ));
    }
    teardown::power_off(node)?;
    switch::remove(&layout.first, node)?;
    cache::remove(&node.folder)?;
    kubectl.delete(&["node", SECOND_NODE])?;
    let pods = format!("--field-selector=spec.nodeName={SECOND_NODE}");
    kubectl.delete(&[
        "pod",
        "--all-namespaces",
        &pods,
        "--force",
        "--grace-period=0",
        "--wait=false",
    ])
}

/// Removes containers by way of containerd, which for that is started once more when it had ended.
fn leave_images_in_order(layout: &Layout) -> Result<()> {
    let node = &layout.second;
    if !node.folder.exists() {
        return Ok(());
    }
    if !processes::runs(node, Component::Containerd) {
        if processes::first_in_namespaces(node).is_none() {
            boot(layout)?;
        }
        runtime::start_again(layout, node)?;
    }
    teardown::leave_images_in_order(node)
}

fn report(removed: Result<()>) {
    if let Err(error) = removed {
        eprintln!(
            "{SECOND_NODE} is not entirely gone ({NODE} runs on), `e2e node down` may finish it: {error:#}"
        );
    }
}
