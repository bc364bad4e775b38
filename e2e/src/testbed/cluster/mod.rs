//! A Kubernetes cluster in namespaces of its own on this machine: one node, and a second where a test wants one.

mod bring_up;
mod components;
mod layout;
pub(crate) mod logs;
mod node_faults;
mod pki;
mod pods;
mod processes;
mod runtime;
mod sandbox;
mod second_node;
mod switch;
mod teardown;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use self::layout::{Layout, NodeLayout};
pub use self::{
    components::Component,
    layout::{KUBERNETES_SERVICE_IP, NODE, NODE_IP, SECOND_NODE},
    pods::{PodProcess, pod_processes},
    second_node::SecondNode,
};
use crate::testbed::{
    cache::Cache,
    images::{self, Archive},
    interrupt,
    kubectl::Kubectl,
    lock::{Busy, Lock},
    progress::Progress,
    tools,
};

/// A running cluster.
///
/// Dropping it ends the cluster and removes everything it made, as does an interrupt of the process,
/// unless it was [kept](Cluster::keep) or was only [attached](Cluster::attach) to.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    progress: Progress,
    owned: bool,
    _lock: Lock,
}

impl Cluster {
    /// Starts a new cluster; one that is still there, whole or broken, is ended first.
    ///
    /// # Errors
    /// When another run uses the cluster, programs are missing, or a component does not start: the
    /// message then holds the end of its log.
    pub fn up(cache: &Cache, busy: Busy, progress: &Progress) -> Result<Self> {
        let lock = Lock::take(&cache.path("cluster.lock"), "the cluster", busy, progress)?;
        Self::start_all(cache, lock, progress)
    }

    /// Uses the cluster that an earlier `e2e up` left running, if it is up.
    ///
    /// # Errors
    /// When another run uses the cluster.
    pub fn attach(cache: &Cache, busy: Busy, progress: &Progress) -> Result<Option<Self>> {
        let lock = Lock::take(&cache.path("cluster.lock"), "the cluster", busy, progress)?;
        Ok(Self::running(cache, lock, progress)?.ok())
    }

    /// [Attaches](Cluster::attach) or else starts a new one.
    ///
    /// # Errors
    /// As [`Cluster::up`].
    pub fn attach_or_up(cache: &Cache, busy: Busy, progress: &Progress) -> Result<Self> {
        // The lock is held throughout: a run that released it here would be the last of those that wait for it.
        let lock = Lock::take(&cache.path("cluster.lock"), "the cluster", busy, progress)?;
        match Self::running(cache, lock, progress)? {
            Ok(running) => {
                progress.say("the cluster is up already");
                Ok(running)
            }
            Err(lock) => Self::start_all(cache, lock, progress),
        }
    }

    /// The cluster that is up, or else the lock.
    fn running(cache: &Cache, lock: Lock, progress: &Progress) -> Result<Result<Self, Lock>> {
        let Ok(bin) = tools::kubernetes_programs(cache) else {
            return Ok(Err(lock));
        };
        let layout = Layout::new(cache, &bin)?;
        if !is_healthy(&layout) {
            return Ok(Err(lock));
        }
        Ok(Ok(Self {
            layout,
            progress: *progress,
            owned: false,
            _lock: lock,
        }))
    }

    fn start_all(cache: &Cache, lock: Lock, progress: &Progress) -> Result<Self> {
        let layout = Layout::new(cache, &tools::kubernetes_programs(cache)?)?;
        if !teardown::leftovers(&layout)?.is_empty() {
            let step = progress.step("what an earlier cluster left");
            teardown::tear_down(&layout)?;
            step.done("removed");
        }
        let pause = images::pause(cache, progress)?;
        crate::testbed::cache::remove(&layout.run)?;
        fs::create_dir_all(layout.path("logs")).context("cannot create the run folder")?;
        let doomed = layout.clone();
        interrupt::on_interrupt(move || report(teardown::tear_down(&doomed)));
        // From here on a failure drops this value, which tears down.
        let cluster = Self {
            layout,
            progress: *progress,
            owned: true,
            _lock: lock,
        };
        bring_up::start_components(&cluster, &pause)?;
        Ok(cluster)
    }

    /// Leaves the cluster running when this value goes away.
    pub fn keep(mut self) {
        self.owned = false;
        interrupt::clear();
    }

    /// Ends the cluster and removes everything it made, except its logs.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn down(mut self) -> Result<()> {
        self.owned = false;
        let step = self.progress.step("cluster");
        teardown::tear_down(&self.layout)?;
        interrupt::clear();
        step.done("down");
        Ok(())
    }

    /// Ends the cluster unless it was only [attached](Cluster::attach) to.
    ///
    /// # Errors
    /// As [`Cluster::down`].
    pub fn down_if_owned(self) -> Result<()> {
        if self.owned { self.down() } else { Ok(()) }
    }

    /// kubectl with the administrator's rights.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        let kubectl = Kubectl::new(self.layout.program("kubectl"), self.layout.kubeconfig());
        kubectl.marked(layout::MARKER, self.layout.marker())
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The API server's audit log: one JSON object a line, every request, level Metadata.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.layout.log("audit")
    }

    /// The folder of the components' logs.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.layout.path("logs")
    }

    /// The folder of kubectl, helm and the components' programs.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.layout.bin
    }

    /// A folder on the machine that goes away with the cluster, for `hostPath` volumes.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.layout.path("scratch").join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// Where the first node keeps the logs of containers.
    #[must_use]
    pub fn pod_logs(&self) -> PathBuf {
        self.layout.path("var-log/pods")
    }

    /// The address of this machine for the cluster's pods.
    #[must_use]
    pub fn machine_address(&self) -> &'static str {
        layout::MACHINE_IP
    }

    /// Makes an image known to the nodes; quick when it already is.
    ///
    /// # Errors
    /// When containerd refuses the archive.
    pub fn import(&self, image: &Archive) -> Result<()> {
        for node in self.layout.nodes() {
            if processes::runs(node, Component::Containerd) {
                runtime::import(node, image, &self.progress)?;
            }
        }
        Ok(())
    }

    /// A command that runs inside the cluster's namespaces, for instance `iptables-save` or `ip`.
    ///
    /// # Errors
    /// When the cluster is not up.
    pub fn enter(&self, program: &str) -> Result<Command> {
        Ok(sandbox::enter(sandbox::first(&self.layout.first)?, program))
    }

    /// Whether a component's process exists; of those that every node has, the first node's.
    #[must_use]
    pub fn runs(&self, component: Component) -> bool {
        self.process_id(component).is_some()
    }

    /// A component's process, as the machine numbers it: for a test that kills it.
    #[must_use]
    pub fn process_id(&self, component: Component) -> Option<i32> {
        processes::find(&self.layout.first, component.program()).map(|process| process.id)
    }

    /// Starts a component that was [stopped](Cluster::stop); does not wait until it is ready.
    ///
    /// # Errors
    /// When the cluster is not up.
    pub fn start(&self, component: Component) -> Result<()> {
        sandbox::start(&self.layout, &self.layout.first, component)
    }

    /// Stops a component and starts it with further arguments, which override the usual ones.
    ///
    /// # Errors
    /// When it does not end or does not start.
    pub fn restart_with(&self, component: Component, more: &[&str]) -> Result<()> {
        self.stop(component)?;
        sandbox::start_with(&self.layout, &self.layout.first, component, more)
    }

    /// Stops a component; containers keep running without kubelet and containerd.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&self, component: Component) -> Result<()> {
        match processes::find(&self.layout.first, component.program()) {
            Some(process) => processes::stop(&process, Duration::from_secs(20)),
            None => Ok(()),
        }
    }

    /// Collects component logs, objects, events and pod logs into `folder`.
    ///
    /// # Errors
    /// When `folder` cannot be written to.
    pub fn collect_logs(&self, folder: &Path) -> Result<()> {
        logs::collect(Some(&self.log_dir()), &self.kubectl(), folder)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.owned {
            report(teardown::tear_down(&self.layout));
            interrupt::clear();
        }
    }
}

/// Ends whatever cluster there is.
///
/// # Errors
/// When another run uses it or something cannot be removed.
pub fn down(cache: &Cache, busy: Busy, progress: &Progress) -> Result<()> {
    let lock = Lock::take(&cache.path("cluster.lock"), "the cluster", busy, progress)?;
    let layout = Layout::new(cache, Path::new(""))?;
    let cluster = Cluster {
        layout,
        progress: *progress,
        owned: false,
        _lock: lock,
    };
    cluster.down()
}

/// Lists what a cluster has left on the machine, in words; empty when nothing.
///
/// # Errors
/// When the machine cannot be looked at.
pub fn leftovers(cache: &Cache) -> Result<Vec<String>> {
    teardown::leftovers(&Layout::new(cache, Path::new(""))?)
}

/// One line for each component.
///
/// # Errors
/// When the cache folder's path is too long.
pub fn status(cache: &Cache) -> Result<Vec<String>> {
    let layout = Layout::new(cache, Path::new(""))?;
    let line = |node: &NodeLayout, component: &Component| {
        let program = component.program();
        match processes::find(node, program) {
            Some(process) => format!("{program}: process {}", process.id),
            None => format!("{program}: not running"),
        }
    };
    let mut lines: Vec<String> = Component::ALL.iter().map(|c| line(&layout.first, c)).collect();
    if layout.second.folder.exists() {
        let second = Component::OF_A_NODE.iter().map(|c| line(&layout.second, c));
        lines.extend(second.map(|line| format!("{SECOND_NODE} {line}")));
    }
    Ok(lines)
}

fn is_healthy(layout: &Layout) -> bool {
    let all = Component::ALL
        .iter()
        .all(|component| processes::find(&layout.first, component.program()).is_some());
    let kubectl = Kubectl::new(layout.program("kubectl"), layout.kubeconfig());
    all && kubectl.run(&["get", "--raw", "/readyz"]).is_ok()
}

fn report(torn_down: Result<()>) {
    if let Err(error) = torn_down {
        eprintln!("the cluster is not entirely gone, `e2e down` may finish it: {error:#}");
    }
}
