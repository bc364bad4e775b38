//! What a test can do to the second node, and what the API server then knows of it.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    Component, SecondNode, layout::SECOND_NODE, processes, runtime, sandbox, second_node::boot, switch,
    teardown,
};

/// How long a node may take to be seen as lost, or as back.
const LIMIT: Duration = Duration::from_secs(90);

impl SecondNode<'_> {
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
}

fn ready(node: &Value) -> Option<&str> {
    let conditions = node["status"]["conditions"].as_array()?;
    conditions.iter().find(|c| c["type"] == "Ready")?["status"].as_str()
}
