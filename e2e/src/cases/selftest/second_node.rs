//! The second node: what happens to it really happens, and nothing is left of it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{LIMIT, create, ended, interrupt_when, nothing_left, pod_spec};
use crate::testbed::{
    cache::Cache,
    cluster::{self, Cluster, Component, KUBERNETES_SERVICE_IP, NODE, SECOND_NODE, SecondNode},
    images::{self, Image},
    kubectl::Kubectl,
    lock::Busy,
    progress::Progress,
    wait::wait_until,
};

/// Port of the pods that greet.
const PORT: u16 = 7000;

/// Pods on both nodes, a partition, a killed kubelet and a power failure, then the end of the node and of the cluster.
///
/// # Errors
/// What does not work, or is left.
pub fn fails_and_recovers(cache: &Cache, progress: &Progress) -> Result<()> {
    let rules = super::firewall()?;
    let cluster = Cluster::up(cache, Busy::Wait, progress)?;
    let archives = images::build(cache, &[Image::Druid], progress)?;
    archives.iter().try_for_each(|image| cluster.import(image))?;
    let image = &archives.first().context("no image")?.reference;
    let node = cluster.second_node()?;
    let ground = Ground {
        kubectl: cluster.kubectl(),
        node: &node,
        image,
    };

    let step = progress.step("pods on both nodes");
    let pod = talk(&ground)?;
    step.done("have logs, and reach each other and the API server");

    let step = progress.step("a partition");
    let before = processes(&node, &pod)?;
    node.partition()?;
    node.until_lost()?;
    ensure!(processes(&node, &pod)? == before, "its processes have changed");
    node.heal()?;
    node.until_ready()?;
    ensure!(processes(&node, &pod)? == before, "its processes have changed");
    step.done("leaves a pod running, and can be healed");

    let step = progress.step("kubelet and containerd, killed");
    for component in [Component::Kubelet, Component::Containerd] {
        node.kill(component)?;
        ensure!(!node.runs(component), "{} still runs", component.program());
    }
    ensure!(processes(&node, &pod)? == before, "its processes have changed");
    node.start(Component::Containerd)?;
    node.start(Component::Kubelet)?;
    node.until_ready()?;
    ground.run("later", "true")?;
    ended(&ground.kubectl, "later")?;
    ensure!(processes(&node, &pod)? == before, "its processes have changed");
    step.done("come back, and pods run on");

    let step = progress.step("a pod deleted by force during a partition");
    outlives_its_object(&ground)?;
    step.done("runs until the partition is healed");

    let step = progress.step("a Node deleted during a partition");
    node.partition()?;
    ground.kubectl.delete(&["node", node.name()])?;
    ensure!(processes(&node, &pod)? == before, "its processes have changed");
    node.heal()?;
    // Only then does it register itself.
    node.kill(Component::Kubelet)?;
    node.start(Component::Kubelet)?;
    node.until_ready()?;
    ensure!(processes(&node, &pod)? == before, "its processes have changed");
    step.done("comes back when kubelet starts anew, and pods run on");

    let step = progress.step("a power failure");
    node.power_off()?;
    let left = node.processes();
    ensure!(left.is_empty(), "still there: {left:?}");
    ensure!(
        Component::OF_A_NODE.iter().all(|c| !node.runs(*c)),
        "a component still runs"
    );
    node.until_lost()?;
    node.power_on()?;
    node.until_ready()?;
    ground
        .kubectl
        .wait_for(&["pod", "greeter-2"], LIMIT, |p| p["status"]["phase"] == "Failed")?;
    ground.run("anew", "true")?;
    ended(&ground.kubectl, "anew")?;
    step.done("ends its pods, and it starts again");

    node.power_off()?;
    node.down()?;
    let left = cluster.second_node_leftovers()?;
    ensure!(left.is_empty(), "left over: {}", left.join(", "));
    // The whole goes down with it, even when it is cut off.
    let node = cluster.second_node()?;
    node.partition()?;
    node.keep();
    cluster.down()?;
    nothing_left(cache, &rules)
}

/// Ctrl-C while a second node starts in a cluster that was up: only the node goes.
///
/// # Errors
/// When it is not heeded, or something is left.
pub fn goes_when_interrupted(cache: &Cache, progress: &Progress) -> Result<()> {
    Cluster::up(cache, Busy::Wait, progress)?.keep();
    let interrupted = interrupt_when(&["--wait", "node", "up"], "containerd … ready");
    let left = Cluster::attach(cache, Busy::Wait, progress).and_then(|cluster| {
        cluster
            .context("the cluster has gone too")?
            .second_node_leftovers()
    });
    cluster::down(cache, Busy::Wait, progress)?;
    interrupted?;
    let left = left?;
    ensure!(left.is_empty(), "left over: {}", left.join(", "));
    Ok(())
}

/// What the steps share.
struct Ground<'c> {
    kubectl: Kubectl,
    node: &'c SecondNode<'c>,
    image: &'c str,
}

impl Ground<'_> {
    /// Creates a pod on the second node.
    fn run(&self, name: &str, script: &str) -> Result<()> {
        let mut spec = pod_spec(self.image, script, "64Mi");
        self.node.place(&mut spec, 600);
        create(&self.kubectl, name, &spec)
    }

    /// Creates a pod on the first node: only the taint of the second keeps it there.
    fn run_on_first(&self, name: &str, script: &str) -> Result<()> {
        create(&self.kubectl, name, &pod_spec(self.image, script, "64Mi"))
    }

    fn running(&self, pod: &str) -> Result<Value> {
        let ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
        self.kubectl.wait_for(&["pod", pod], LIMIT, ready)
    }
}

/// Calls between pods of both nodes and to the API server; returns the unique id of a pod on the second, which runs on.
fn talk(ground: &Ground) -> Result<String> {
    let kubectl = &ground.kubectl;
    let greeter = format!(
        "exec perl -MIO::Socket::INET -e '$| = 1; $all = IO::Socket::INET->new(LocalPort => {PORT}, Listen => 5) or die; \
         print \"listening\\n\"; while ($one = $all->accept) {{ print $one \"hello\\n\"; close $one }}'"
    );
    ground.run_on_first("greeter-1", &greeter)?;
    ground.run("greeter-2", &greeter)?;
    let (one, two) = (ground.running("greeter-1")?, ground.running("greeter-2")?);
    let on = |pod: &Value| pod["spec"]["nodeName"].clone();
    ensure!(
        on(&one) == NODE && on(&two) == SECOND_NODE,
        "on {} and {}",
        on(&one),
        on(&two)
    );
    wait_until(LIMIT, "its log", || {
        Ok((kubectl.logs(&["greeter-2"])?.trim() == "listening").then_some(()))
    })?;
    let address = |pod: &Value| pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    let call = |address: String| {
        format!(
            "bash -c 'exec 3<>/dev/tcp/{address}/{PORT} && read -r said <&3 && [ \"$said\" = hello ] \
             && exec 4<>/dev/tcp/{KUBERNETES_SERVICE_IP}/443'"
        )
    };
    ground.run_on_first("caller-1", &call(address(&two)))?;
    ground.run("caller-2", &call(address(&one)))?;
    for caller in ["caller-1", "caller-2"] {
        let state = ended(kubectl, caller)?;
        ensure!(
            state["exitCode"] == 0,
            "{caller}: {state}: {}",
            kubectl.logs(&[caller])?
        );
    }
    Ok(two["metadata"]["uid"].as_str().context("no uid")?.to_owned())
}

fn outlives_its_object(ground: &Ground) -> Result<()> {
    let node = ground.node;
    ground.run("forced", "while :; do sleep 1; done")?;
    let uid = ground.running("forced")?["metadata"]["uid"]
        .as_str()
        .context("no uid")?
        .to_owned();
    node.partition()?;
    ground
        .kubectl
        .delete(&["pod", "forced", "--force", "--grace-period=0"])?;
    node.until_lost()?;
    ensure!(!processes(node, &uid)?.is_empty(), "it has ended");
    node.heal()?;
    node.until_ready()?;
    wait_until(LIMIT, "its processes to end", || {
        Ok(node.processes().iter().all(|p| p.pod != uid).then_some(()))
    })
}

/// Ids of a pod's processes, of which there must be some.
fn processes(node: &SecondNode, pod: &str) -> Result<Vec<i32>> {
    let mut found = node.processes();
    found.retain(|process| process.pod == pod && process.program != "sleep");
    ensure!(!found.is_empty(), "no process of the pod {pod} runs");
    Ok(found.into_iter().map(|process| process.id).collect())
}
