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
    layout::{CGROUP, Layout, MACHINE_LINK},
    processes, runtime, sandbox,
};
use crate::{cache, wait::wait_even_if_interrupted};

const CGROUPS: &str = "/sys/fs/cgroup";
const CNI_STATE: &str = "/var/lib/cni";

/// An interrupt and the failure that it causes both tear down: one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Ends everything and removes everything but the logs. Does nothing when nothing is there.
pub(super) fn tear_down(layout: &Layout) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // After a crash this cannot work, and then the images are imported again; that is all.
    let _ = leave_images_in_order(layout);
    let marker = layout.marker();
    let mut doomed = Vec::new();
    if let Some(id) = processes::first_in_namespaces(&marker) {
        // It ends last: the kernel first kills and reaps all others of its process namespace.
        doomed.push(processes::Process {
            id,
            program: "the first process of the namespaces".to_owned(),
        });
    }
    doomed.extend(processes::marked(&marker));
    processes::kill_all(&doomed)?;
    sandbox::disconnect()?;
    remove_cgroups()?;
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
    let groups = cgroups();
    if let Some(last) = groups.last() {
        found.push(format!("{} cgroups, such as {}", groups.len(), last.display()));
    }
    if fs::exists(format!("/sys/class/net/{MACHINE_LINK}"))? {
        found.push(format!("network link {MACHINE_LINK}"));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    for folder in [&layout.run, &layout.containerd_root] {
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

/// Removes the containers from containerd's records while it still runs, so that the next cluster finds
/// its images in place.
fn leave_images_in_order(layout: &Layout) -> Result<()> {
    let marker = layout.marker();
    let Some(containerd) = processes::find(&marker, "containerd") else {
        return Ok(());
    };
    for client in ["kubelet", "kube-controller-manager"] {
        if let Some(process) = processes::find(&marker, client) {
            processes::kill_all(&[process])?;
        }
    }
    for group in cgroups() {
        for id in fs::read_to_string(group.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            if let Ok(id) = id.parse() {
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
            }
        }
    }
    runtime::remove_containers(layout)?;
    processes::stop(&containerd, Duration::from_secs(10))?;
    runtime::mark_clean(layout)
}

/// Our cgroups, those below first.
fn cgroups() -> Vec<PathBuf> {
    let mut roots = vec![Path::new(CGROUPS).join(CGROUP)];
    roots.extend(folders(Path::new(CGROUPS)).map(|controller| controller.join(CGROUP)));
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

fn remove_cgroups() -> Result<()> {
    // A group is busy for a moment after its last process died.
    wait_even_if_interrupted(Duration::from_secs(20), "cgroups to become empty", || {
        for group in cgroups() {
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
