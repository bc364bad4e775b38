//! The programs of the cluster with their arguments and configuration files.

use anyhow::Result;

use super::layout::{ALL_PODS, Layout, NodeLayout, SERVICES};
use crate::testbed::cache;

/// A program that the cluster consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The store of the API server.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers of Kubernetes itself: garbage collection, namespaces, node life cycle, Jobs …
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// The container runtime.
    Containerd,
    /// The node's agent.
    Kubelet,
    /// Makes cluster IPs work, with iptables.
    Proxy,
}

impl Component {
    /// All, in the order in which they are started.
    pub const ALL: [Self; 7] = [
        Self::Etcd,
        Self::ApiServer,
        Self::Containerd,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::Proxy,
    ];

    /// Those that every node has, in the order in which they are started.
    pub const OF_A_NODE: [Self; 3] = [Self::Containerd, Self::Kubelet, Self::Proxy];

    /// The program's name, which is also that of its log.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
        }
    }

    pub(super) fn arguments(self, layout: &Layout, node: &NodeLayout) -> Vec<String> {
        let template = match self {
            Self::Etcd => ETCD,
            Self::ApiServer => API_SERVER,
            Self::ControllerManager => CONTROLLER_MANAGER,
            Self::Scheduler => SCHEDULER,
            Self::Containerd => &["--config={node_run}/config/containerd.toml"],
            Self::Kubelet => KUBELET,
            Self::Proxy => &["--config={node_run}/config/kube-proxy.yaml"],
        };
        template
            .iter()
            .map(|argument| fill(argument, layout, node))
            .collect()
    }
}

const ETCD: &[&str] = &[
    "--data-dir={run}/etcd",
    "--listen-client-urls=http://127.0.0.1:2379",
    "--advertise-client-urls=http://127.0.0.1:2379",
    "--listen-peer-urls=http://127.0.0.1:2380",
    "--initial-advertise-peer-urls=http://127.0.0.1:2380",
    "--initial-cluster=default=http://127.0.0.1:2380",
    // The cluster never outlives the machine's memory, so its data need not either.
    "--unsafe-no-fsync",
    "--log-level=warn",
];

const API_SERVER: &[&str] = &[
    "--etcd-servers=http://127.0.0.1:2379",
    "--advertise-address={node_ip}",
    "--secure-port=6443",
    "--service-cluster-ip-range={services}",
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    "--allow-privileged=true",
    "--client-ca-file={run}/pki/ca.crt",
    "--tls-cert-file={run}/pki/apiserver.crt",
    "--tls-private-key-file={run}/pki/apiserver.key",
    "--kubelet-certificate-authority={run}/pki/ca.crt",
    "--kubelet-client-certificate={run}/pki/apiserver-to-kubelet.crt",
    "--kubelet-client-key={run}/pki/apiserver-to-kubelet.key",
    // Nothing resolves the node's name.
    "--kubelet-preferred-address-types=InternalIP",
    "--service-account-issuer=https://kubernetes.default.svc",
    "--service-account-key-file={run}/pki/service-accounts.pub",
    "--service-account-signing-key-file={run}/pki/service-accounts.key",
    "--audit-policy-file={run}/config/audit-policy.yaml",
    "--audit-log-path={run}/logs/audit.log",
    // In MB; the default would begin a new file in the middle of a test.
    "--audit-log-maxsize=8192",
    "--cert-dir={run}/pki",
    "--profiling=false",
];

const CONTROLLER_MANAGER: &[&str] = &[
    "--kubeconfig={run}/pki/kube-controller-manager.kubeconfig",
    "--service-account-private-key-file={run}/pki/service-accounts.key",
    "--root-ca-file={run}/pki/ca.crt",
    "--use-service-account-credentials=true",
    "--leader-elect=false",
    "--bind-address=127.0.0.1",
    "--cluster-cidr={all_pods}",
    "--allocate-node-cidrs=false",
    // A lost node is noticed, and its pods are evicted, while a test waits. See kubelet.yaml for its side.
    "--node-monitor-grace-period=12s",
    "--node-monitor-period=2s",
    // Not 1: a limiter that was stopped, as it is while no node is ready, says 1 of itself, and is then never
    // replaced by one of the same rate.
    "--node-eviction-rate=10",
    "--kube-api-qps=100",
    "--kube-api-burst=200",
    "--cert-dir={run}/pki/controller-manager",
];

const SCHEDULER: &[&str] = &[
    "--kubeconfig={run}/pki/kube-scheduler.kubeconfig",
    "--leader-elect=false",
    "--bind-address=127.0.0.1",
    "--cert-dir={run}/pki/scheduler",
];

const KUBELET: &[&str] = &[
    "--config={node_run}/config/kubelet.yaml",
    "--kubeconfig={run}/pki/kubelet-{node}.kubeconfig",
    "--hostname-override={node}",
    "--node-ip={node_ip}",
    "--root-dir={node_run}/kubelet",
    "--cert-dir={node_run}/kubelet/pki",
];

/// Writes the configuration files that the control plane's arguments name.
pub(super) fn write_configuration(layout: &Layout) -> Result<()> {
    let policy = include_str!("../../../cluster/audit-policy.yaml");
    cache::write(&layout.path("config/audit-policy.yaml"), policy)
}

/// Writes those that the arguments of a node's programs name.
pub(super) fn write_node_configuration(layout: &Layout, node: &NodeLayout) -> Result<()> {
    let files = [
        (
            "config/containerd.toml",
            include_str!("../../../cluster/containerd.toml"),
        ),
        (
            "config/kubelet.yaml",
            include_str!("../../../cluster/kubelet.yaml"),
        ),
        (
            "config/kube-proxy.yaml",
            include_str!("../../../cluster/kube-proxy.yaml"),
        ),
        (
            "cni/conf/10-pods.conflist",
            include_str!("../../../cluster/cni.conflist"),
        ),
    ];
    for (name, template) in files {
        cache::write(&node.path(name), fill(template, layout, node))?;
    }
    Ok(())
}

fn fill(template: &str, layout: &Layout, node: &NodeLayout) -> String {
    let run = layout.run.display().to_string();
    let node_run = node.folder.display().to_string();
    let root = node.containerd_root.display().to_string();
    let log_size = container_log_max_size();
    let values = [
        ("{run}", run.as_str()),
        ("{node_run}", node_run.as_str()),
        ("{containerd_root}", root.as_str()),
        ("{node}", node.name),
        ("{node_ip}", node.ip),
        ("{node_pods}", node.pods),
        ("{first_pod_ip}", node.first_pod_ip),
        ("{all_pods}", ALL_PODS),
        ("{services}", SERVICES),
        ("{cgroup}", node.cgroup.as_str()),
        ("{taints}", node.taints.as_str()),
        ("{log_size}", log_size.as_str()),
    ];
    values.iter().fold(template.to_owned(), |text, (name, value)| {
        text.replace(name, value)
    })
}

/// At what size kubelet rotates a container's log: its own default, unless the environment says more.
fn container_log_max_size() -> String {
    let set = std::env::var("CONTAINER_LOG_MAX_SIZE").ok();
    set.filter(|size| !size.is_empty())
        .unwrap_or_else(|| "10Mi".to_owned())
}
