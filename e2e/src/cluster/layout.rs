//! Where a cluster keeps its files and which addresses it uses.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::cache::Cache;

/// Name of the only node.
pub const NODE: &str = "node-1";
/// Address of the node, of the API server and of the pods' gateway: the bridge's own.
pub const NODE_IP: &str = "10.200.0.1";
/// Cluster IP of the `kubernetes` service: the first of the service range.
pub const KUBERNETES_SERVICE_IP: &str = "10.201.0.1";
/// Pods of this node.
pub(super) const NODE_PODS: &str = "10.200.0.0/24";
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

/// A unix socket's path has at most 107 bytes; kubelet's longest name below the run folder has 47.
const LONGEST_RUN_FOLDER: usize = 60;

/// The files of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) run: PathBuf,
    pub(super) bin: PathBuf,
    /// containerd's images: kept from one cluster to the next.
    pub(super) containerd_root: PathBuf,
}

impl Layout {
    pub(super) fn new(cache: &Cache, bin: &Path) -> Result<Self> {
        let run = cache.path("run/cluster");
        ensure!(
            run.as_os_str().len() <= LONGEST_RUN_FOLDER,
            "{} is too long for unix sockets: set PEON_CACHE to a shorter path",
            run.display()
        );
        Ok(Self {
            run,
            bin: bin.to_owned(),
            containerd_root: cache.path("containerd"),
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    pub(super) fn log(&self, component: &str) -> PathBuf {
        self.run.join(format!("logs/{component}.log"))
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    pub(super) fn marker(&self) -> String {
        self.run.display().to_string()
    }
}
