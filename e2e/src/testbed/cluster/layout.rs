//! Where a cluster keeps its files and which addresses it uses.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::testbed::cache::Cache;

/// Name of the first node, which has the control plane.
pub const NODE: &str = "node-1";
/// Address of the first node, of the API server and of the pods' gateway: the bridge's own.
pub const NODE_IP: &str = "10.200.0.1";
/// Name of the second node, where there is one.
pub const SECOND_NODE: &str = "node-2";
/// Its address, and that of its pods' gateway: its own bridge's.
pub(super) const SECOND_NODE_IP: &str = "10.200.1.1";
/// Taint of the second node: only pods that ask for it come there.
pub(super) const SECOND_NODE_TAINT: &str = "e2e.peon.dev/second-node";
/// Cluster IP of the `kubernetes` service: the first of the service range.
pub const KUBERNETES_SERVICE_IP: &str = "10.201.0.1";
/// Pods of all nodes.
pub(super) const ALL_PODS: &str = "10.200.0.0/17";
/// Cluster IPs of services.
pub(super) const SERVICES: &str = "10.201.0.0/16";
/// Our end of the cable between the machine and the cluster's network.
pub(super) const MACHINE_IP: &str = "10.200.255.1";
/// The cluster's end of that cable.
pub(super) const UPLINK_IP: &str = "10.200.255.2";
/// The cable's name on the machine: the only network device that a cluster adds to it.
pub(super) const MACHINE_LINK: &str = "peon-e2e";
/// Below this cgroup are all pods, in every controller.
pub(super) const CGROUP: &str = "peon-e2e";
/// Every process of a cluster has this variable, with the run folder as its value.
pub(super) const MARKER: &str = "PEON_E2E_CLUSTER";
/// Every process of a node has this variable too, with the node's name as its value.
pub(super) const NODE_MARKER: &str = "PEON_E2E_NODE";

/// A unix socket's path has at most 107 bytes; kubelet's longest name below a node's folder has 47, and the
/// second node's folder is seven bytes longer than the run folder.
const LONGEST_RUN_FOLDER: usize = 53;

/// The files of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) run: PathBuf,
    pub(super) bin: PathBuf,
    /// Archives of the images that are built here.
    pub(super) images: PathBuf,
    pub(super) first: NodeLayout,
    pub(super) second: NodeLayout,
}

/// The files and addresses of one node.
#[derive(Debug, Clone)]
pub(super) struct NodeLayout {
    pub(super) name: &'static str,
    pub(super) ip: &'static str,
    /// Its pods.
    pub(super) pods: &'static str,
    /// Addresses below this are not given to pods.
    pub(super) first_pod_ip: &'static str,
    /// Below this cgroup are its pods, in every controller.
    pub(super) cgroup: String,
    /// What kubelet registers it with, as YAML.
    pub(super) taints: String,
    pub(super) folder: PathBuf,
    /// containerd's images: kept from one cluster to the next.
    pub(super) containerd_root: PathBuf,
    run: PathBuf,
    log_prefix: &'static str,
}

impl Layout {
    pub(super) fn new(cache: &Cache, bin: &Path) -> Result<Self> {
        let run = cache.path("run/cluster");
        ensure!(
            run.as_os_str().len() <= LONGEST_RUN_FOLDER,
            "{} is too long for unix sockets: set PEON_CACHE to a shorter path",
            run.display()
        );
        let first = NodeLayout {
            name: NODE,
            ip: NODE_IP,
            pods: "10.200.0.0/24",
            first_pod_ip: "10.200.0.10",
            cgroup: CGROUP.to_owned(),
            taints: "[]".to_owned(),
            folder: run.clone(),
            containerd_root: cache.path("containerd"),
            run: run.clone(),
            log_prefix: "",
        };
        let second = NodeLayout {
            name: SECOND_NODE,
            ip: SECOND_NODE_IP,
            pods: "10.200.1.0/24",
            first_pod_ip: "10.200.1.10",
            cgroup: format!("{CGROUP}/{SECOND_NODE}"),
            taints: format!("[{{key: {SECOND_NODE_TAINT}, effect: NoSchedule}}]"),
            folder: run.join(SECOND_NODE),
            containerd_root: cache.path("containerd-node-2"),
            run: run.clone(),
            log_prefix: "node-2-",
        };
        Ok(Self {
            run,
            bin: bin.to_owned(),
            images: cache.path("images"),
            first,
            second,
        })
    }

    pub(super) fn nodes(&self) -> [&NodeLayout; 2] {
        [&self.first, &self.second]
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.run.join(format!("logs/{name}.log"))
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    pub(super) fn marker(&self) -> String {
        self.run.display().to_string()
    }
}

impl NodeLayout {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.run.join(format!("logs/{}{program}.log", self.log_prefix))
    }

    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    pub(super) fn marker(&self) -> String {
        self.run.display().to_string()
    }
}
