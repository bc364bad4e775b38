//! Ending a cluster, in whatever state it is, and finding what one left behind.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    layout::{CGROUP, Layout, MACHINE_LINK, NodeLayout},
    processes, runtime, sandbox,
};
use crate::testbed::{cache, wait::wait_even_if_interrupted};

const CGROUPS: &str = "/sys/fs/cgroup";
const CNI_STATE: &str = "/var/lib/cni";

/// An interrupt and the failure that it causes both tear down: one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Ends everything and removes everything but the logs. Does nothing when nothing is there.
pub(super) fn tear_down(layout: &Layout) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // It would make new pods in the place of those that end.
    if let Some(process) = processes::find(&layout.first, "kube-controller-manager") {
        processes::kill_all(&[process])?;
    }
    for node in layout.nodes() {
        // After a crash this cannot work, and then the images are imported again; that is all.
        let _ = leave_images_in_order(node);
    }
    let mut doomed = namespaces(&layout.first);
    doomed.extend(processes::marked(&layout.marker()));
    processes::kill_all(&doomed)?;
    sandbox::disconnect()?;
    remove_cgroups(CGROUP)?;
    if layout.path("made-var-lib-cni").exists() {
        // It is empty, unless somebody else began to use it.
        let _ = fs::remove_dir(CNI_STATE);
    }
    remove_files(layout)
}

/// Lists what a cluster left on the machine, in words.
pub(super) fn leftovers(layout: &Layout) -> Result<Vec<String>> {
    let mut found: Vec<String> = processes::marked(&layout.marker())
        .iter()
        .map(|process| format!("process {} ({})", process.id, process.program))
        .collect();
    let groups = cgroups(CGROUP);
    if let Some(last) = groups.last() {
        found.push(format!("{} cgroups, such as {}", groups.len(), last.display()));
    }
    if fs::exists(format!("/sys/class/net/{MACHINE_LINK}"))? {
        found.push(format!("network link {MACHINE_LINK}"));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    let roots = layout.nodes().map(|node| &node.containerd_root);
    for folder in [&layout.run].into_iter().chain(roots) {
        let below = folder.display().to_string();
        let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        found.extend(
            mounted
                .filter(|at| at.starts_with(&below))
                .map(|at| format!("mount {at}")),
        );
    }
    found.extend(
        files(layout)?
            .iter()
            .map(|path| format!("file {}", path.display())),
    );
    if layout.path("made-var-lib-cni").exists() && Path::new(CNI_STATE).exists() {
        found.push(format!("folder {CNI_STATE}"));
    }
    Ok(found)
}

/// Ends everything on a node at once, and removes its cgroups, as losing power would. Does nothing when nothing runs.
pub(super) fn power_off(node: &NodeLayout) -> Result<()> {
    let mut doomed = namespaces(node);
    doomed.extend(processes::of_node(node));
    processes::kill_all(&doomed)?;
    remove_cgroups(&node.cgroup)
}

/// The first process of a node's namespaces, to be killed: the kernel kills and reaps all others of its process
/// namespace, those in containers too, before it ends.
fn namespaces(node: &NodeLayout) -> Vec<processes::Process> {
    let first = processes::first_in_namespaces(node).map(|id| processes::Process {
        id,
        program: "the first process of the namespaces".to_owned(),
        node: node.name.to_owned(),
    });
    first.into_iter().collect()
}

/// Removes the containers from containerd's records while it still runs, so that the next one finds its images in
/// place.
pub(super) fn leave_images_in_order(node: &NodeLayout) -> Result<()> {
    let Some(containerd) = processes::find(node, "containerd") else {
        return Ok(());
    };
    if let Some(kubelet) = processes::find(node, "kubelet") {
        processes::kill_all(&[kubelet])?;
    }
    for group in cgroups(&node.cgroup) {
        for id in fs::read_to_string(group.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            if let Ok(id) = id.parse() {
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
            }
        }
    }
    runtime::remove_containers(node)?;
    processes::stop(&containerd, Duration::from_secs(10))?;
    runtime::mark_clean(node)
}

/// A cgroup of ours in every controller with all below it, those below first.
pub(super) fn cgroups(group: &str) -> Vec<PathBuf> {
    let mut roots = vec![Path::new(CGROUPS).join(group)];
    roots.extend(folders(Path::new(CGROUPS)).map(|controller| controller.join(group)));
    let mut found = Vec::new();
    for root in roots {
        collect(&root, &mut found);
    }
    found
}

fn collect(group: &Path, found: &mut Vec<PathBuf>) {
    if group.is_dir() {
        folders(group).for_each(|below| collect(&below, found));
        found.push(group.to_owned());
    }
}

fn folders(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

fn remove_cgroups(group: &str) -> Result<()> {
    // A group is busy for a moment after its last process died.
    wait_even_if_interrupted(Duration::from_secs(20), "cgroups to become empty", || {
        for group in cgroups(group) {
            match fs::remove_dir(&group) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Ok(None),
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", group.display()));
                }
                _ => {}
            }
        }
        Ok(Some(()))
    })
}

/// What lies in the run folder besides the logs.
fn files(layout: &Layout) -> Result<Vec<PathBuf>> {
    if !layout.run.is_dir() {
        return Ok(Vec::new());
    }
    let entries =
        fs::read_dir(&layout.run).with_context(|| format!("cannot read {}", layout.run.display()))?;
    Ok(entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| !path.ends_with("logs"))
        .collect())
}

fn remove_files(layout: &Layout) -> Result<()> {
    files(layout)?.iter().try_for_each(|path| cache::remove(path))
}
