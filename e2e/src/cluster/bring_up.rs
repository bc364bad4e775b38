//! Starting the components in order, each as soon as what it needs is there.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{Cluster, Component, NODE, components, pki, runtime, sandbox};
use crate::{exec, images::Archive, wait::wait_until};

const START_LIMIT: Duration = Duration::from_secs(120);

/// From nothing to a node that takes pods.
pub(super) fn start_components(cluster: &Cluster, pause: &Archive) -> Result<()> {
    let Cluster { layout, progress, .. } = cluster;
    let whole = progress.step("cluster");
    let step = progress.step("namespaces, certificates");
    pki::write_all(layout)?;
    components::write_configuration(layout)?;
    let first = sandbox::create(layout)?;
    step.done("ready");

    let step = progress.step("etcd, kube-apiserver");
    cluster.start(Component::Etcd)?;
    cluster.start(Component::ApiServer)?;
    runtime::start(layout, first, progress)?;
    runtime::import(layout, pause, progress)?;
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
    wait_for(
        cluster,
        &[Component::Kubelet, Component::Containerd],
        "the node",
        || {
            let node = kubectl.get_json(&["node", NODE]).unwrap_or_default();
            let conditions = node["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            conditions
                .iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True")
        },
    )?;
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

/// Waits for `condition`; fails as soon as one of `needed` has ended, with its log.
fn wait_for(cluster: &Cluster, needed: &[Component], what: &str, condition: impl Fn() -> bool) -> Result<()> {
    let waited = wait_until(START_LIMIT, what, || {
        for component in needed {
            if !cluster.runs(*component) {
                anyhow::bail!("{} has ended", component.program());
            }
        }
        Ok(condition().then_some(()))
    });
    let logs = || {
        needed
            .iter()
            .map(|c| exec::tail(&cluster.layout.log(c.program()), 15))
            .collect::<Vec<_>>()
    };
    waited.with_context(|| format!("cannot start {what}; {}", logs().join("\n")))
}
