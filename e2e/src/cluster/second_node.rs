//! A second node, inside the running cluster, for tests of what happens when a node is lost.
//!
//! It is a machine of its own as far as pods can tell: process, mount and network namespaces inside those of the
//! cluster, with another containerd, kubelet and kube-proxy, and a cable to the first node.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    Cluster, Component, bring_up, components,
    layout::{Layout, NODE, NodeLayout, SECOND_NODE, SECOND_NODE_TAINT},
    pods::{PodProcess, pod_processes},
    processes, runtime, sandbox, switch, teardown,
};
use crate::{cache, interrupt, kubectl::Kubectl, progress::Progress};

/// How long a node may take to be seen as lost, or as back.
const LIMIT: Duration = Duration::from_secs(90);

/// An interrupt and the failure that it causes both remove the node: one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The second node, with the faults that a test can give it.
///
/// Dropping it ends the node, in whatever state it is, and removes everything it made, as does an interrupt of the
/// process, unless it was [kept](SecondNode::keep) or was there before.
#[derive(Debug)]
pub struct SecondNode<'c> {
    cluster: &'c Cluster,
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

    /// All processes in its pods that run now, whatever the API server knows.
    #[must_use]
    pub fn processes(&self) -> Vec<PodProcess> {
        of_second(pod_processes()).collect()
    }

    /// Cuts it off from the first node, and so from the API server: packets vanish, both ways. Everything on it
    /// runs on.
    ///
    /// # Errors
    /// When it has no power.
    pub fn partition(&self) -> Result<()> {
        switch::unplug(&self.cluster.layout.first, self.layout())
    }

    /// Undoes [`SecondNode::partition`].
    ///
    /// # Errors
    /// When it has no power.
    pub fn heal(&self) -> Result<()> {
        switch::plug(&self.cluster.layout.first, self.layout())
    }

    /// Kills one of its components, without warning; containers run on. Does nothing when it does not run.
    ///
    /// # Errors
    /// When the process does not end.
    pub fn kill(&self, component: Component) -> Result<()> {
        let process = processes::find(self.layout(), component.program());
        processes::kill_all(process.as_slice())
    }

    /// Starts one of its components that was [killed](SecondNode::kill); does not wait until it is ready.
    ///
    /// # Errors
    /// When the node has no power or the program ends at once.
    pub fn start(&self, component: Component) -> Result<()> {
        sandbox::start(&self.cluster.layout, self.layout(), component)
    }

    /// Whether one of its components' process exists.
    #[must_use]
    pub fn runs(&self, component: Component) -> bool {
        processes::runs(self.layout(), component)
    }

    /// Ends everything on it at once, as when its power fails: kubelet, containerd and all containers. Its disk keeps
    /// what it had.
    ///
    /// # Errors
    /// When something does not end.
    pub fn power_off(&self) -> Result<()> {
        teardown::power_off(self.layout())
    }

    /// Starts it again after [`SecondNode::power_off`], with its cable plugged in; does not wait until it is ready.
    ///
    /// # Errors
    /// When a component does not start.
    pub fn power_on(&self) -> Result<()> {
        boot(&self.cluster.layout)?;
        runtime::start_again(&self.cluster.layout, self.layout())?;
        self.start(Component::Kubelet)?;
        self.start(Component::Proxy)
    }

    /// Waits until the API server has heard from it after this call, and knows it as ready.
    ///
    /// # Errors
    /// After 90 s.
    pub fn until_ready(&self) -> Result<()> {
        let kubectl = self.cluster.kubectl();
        let lease = [
            "lease",
            SECOND_NODE,
            "--namespace=kube-node-lease",
            "--ignore-not-found",
        ];
        let args = [
            &["get"],
            lease.as_slice(),
            &["--output=jsonpath={.spec.renewTime}"],
        ]
        .concat();
        let before = kubectl.run(&args)?;
        kubectl
            .wait_for(&lease, LIMIT, |l| l["spec"]["renewTime"] != before.as_str())
            .with_context(|| format!("{SECOND_NODE} does not say anything"))?;
        kubectl
            .wait_for(&["node", SECOND_NODE], LIMIT, |n| ready(n) == Some("True"))
            .map(drop)
    }

    /// Waits until the API server knows that it is not ready, and pods have begun to be evicted.
    ///
    /// # Errors
    /// After 90 s.
    pub fn until_lost(&self) -> Result<()> {
        let tainted = |node: &Value| {
            let taints = node["spec"]["taints"].as_array();
            taints.into_iter().flatten().any(|t| t["effect"] == "NoExecute")
        };
        self.cluster
            .kubectl()
            .wait_for(&["node", SECOND_NODE], LIMIT, |node| {
                ready(node).is_some_and(|is| is != "True") && tainted(node)
            })
            .map(drop)
    }

    /// Says that it is out of service, which a person must have made sure of: pods on it are then deleted by force.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn taint_out_of_service(&self) -> Result<()> {
        let taint = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute";
        self.cluster
            .kubectl()
            .run(&["taint", "node", SECOND_NODE, "--overwrite", taint])
            .map(drop)
    }

    /// Undoes [`SecondNode::taint_out_of_service`].
    ///
    /// # Errors
    /// When there is no such node or taint.
    pub fn back_in_service(&self) -> Result<()> {
        let taint = "node.kubernetes.io/out-of-service-";
        self.cluster
            .kubectl()
            .run(&["taint", "node", SECOND_NODE, taint])
            .map(drop)
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

    fn layout(&self) -> &NodeLayout {
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

fn ready(node: &Value) -> Option<&str> {
    let conditions = node["status"]["conditions"].as_array()?;
    conditions.iter().find(|c| c["type"] == "Ready")?["status"].as_str()
}

fn of_second(processes: Vec<PodProcess>) -> impl Iterator<Item = PodProcess> {
    processes
        .into_iter()
        .filter(|process| process.node == SECOND_NODE)
}

/// The machine without its programs: namespaces and cable.
fn boot(layout: &Layout) -> Result<()> {
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
