//! Starting the components in order, each as soon as what it needs is there.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Cluster, Component, components, layout::NodeLayout, pki, processes, runtime, sandbox};
use crate::testbed::{exec, images::Archive, json::text, kubectl::is_ready, wait::wait_until};

const START_LIMIT: Duration = Duration::from_secs(120);

/// From nothing to a node that takes pods.
pub(super) fn start_components(cluster: &Cluster, pause: &Archive) -> Result<()> {
    let Cluster { layout, progress, .. } = cluster;
    let whole = progress.step("cluster");
    let step = progress.step("namespaces, certificates");
    pki::write_all(layout)?;
    components::write_configuration(layout)?;
    components::write_node_configuration(layout, &layout.first)?;
    sandbox::create(layout)?;
    step.done("ready");

    let step = progress.step("etcd, kube-apiserver");
    cluster.start(Component::Etcd)?;
    cluster.start(Component::ApiServer)?;
    runtime::start(layout, &layout.first, progress)?;
    runtime::import(&layout.first, pause, progress)?;
    let kubectl = cluster.kubectl();
    wait_for(
        cluster,
        &[Component::ApiServer, Component::Etcd],
        "the API server",
        || kubectl.run(&["get", "--raw", "/readyz"]).is_ok(),
    )?;
    step.done("ready");

    let step = progress.step("kubelet, kube-proxy, kube-scheduler, kube-controller-manager");
    let rest = [
        Component::ControllerManager,
        Component::Scheduler,
        Component::Kubelet,
        Component::Proxy,
    ];
    rest.iter().try_for_each(|component| cluster.start(*component))?;
    wait_for_node(cluster, &layout.first)?;
    wait_for(
        cluster,
        &[Component::ControllerManager],
        "the default service account",
        || kubectl.run(&["get", "serviceaccount", "default"]).is_ok(),
    )?;
    step.done("ready");
    whole.done("up");
    Ok(())
}

/// Waits until a node takes pods.
pub(super) fn wait_for_node(cluster: &Cluster, node: &NodeLayout) -> Result<()> {
    let kubectl = cluster.kubectl();
    let needed = [Component::Kubelet, Component::Containerd];
    wait_for_on(node, &needed, node.name, || {
        takes_pods(&kubectl.get_json(&["node", node.name]).unwrap_or_default())
    })
}

/// Whether a node is ready, and no longer tainted as one that is not: the taint outlives the condition for a moment, and
/// pods that do not tolerate it are evicted meanwhile.
pub(super) fn takes_pods(node: &Value) -> bool {
    let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
    is_ready(node) && !taints.any(|taint| text(&taint["key"]).starts_with("node.kubernetes.io/"))
}

fn wait_for(cluster: &Cluster, needed: &[Component], what: &str, condition: impl Fn() -> bool) -> Result<()> {
    wait_for_on(&cluster.layout.first, needed, what, condition)
}

/// Waits for `condition`; fails as soon as one of `needed` has ended on `node`, with its log.
fn wait_for_on(
    node: &NodeLayout,
    needed: &[Component],
    what: &str,
    condition: impl Fn() -> bool,
) -> Result<()> {
    let waited = wait_until(START_LIMIT, what, || {
        for component in needed {
            if !processes::runs(node, *component) {
                anyhow::bail!("{} has ended", component.program());
            }
        }
        Ok(condition().then_some(()))
    });
    let logs = || {
        needed
            .iter()
            .map(|c| exec::tail(&node.log(c.program()), 15))
            .collect::<Vec<_>>()
    };
    waited.with_context(|| format!("cannot start {what}; {}", logs().join("\n")))
}
