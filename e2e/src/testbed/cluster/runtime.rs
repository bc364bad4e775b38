//! containerd's images and what containers leave in it.
//!
//! Its root folder is kept from one cluster to the next, because importing images costs more than
//! everything else. It must then hold images only: containers and their snapshots are removed when a
//! cluster goes down, or, after a crash, before the next one uses the folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{
    Component,
    layout::{Layout, NodeLayout},
    sandbox,
};
use crate::testbed::{cache, exec, images::Archive, progress::Progress, wait::wait_until};

/// Lies in the root folder while that holds images only.
const CLEAN: &str = "only-images";

/// `ctr` in the namespace that Kubernetes uses.
pub(super) fn ctr(node: &NodeLayout) -> Command {
    let mut ctr = Command::new("ctr");
    ctr.arg("--address")
        .arg(node.containerd_socket())
        .args(["--namespace", "k8s.io"]);
    ctr
}

/// Starts containerd for a new node and waits until it answers, with a root folder that holds images only.
pub(super) fn start(layout: &Layout, node: &NodeLayout, progress: &Progress) -> Result<()> {
    let step = progress.step("containerd");
    let root = &node.containerd_root;
    let clean = root.join(CLEAN);
    if root.is_dir() && !clean.exists() {
        progress.say("the last cluster did not end in order: importing all images again");
        discard(root)?;
    }
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    cache::remove(&clean)?;
    start_again(layout, node)?;
    step.done("ready");
    Ok(())
}

/// Starts containerd with what its root folder has, and waits until it answers.
pub(super) fn start_again(layout: &Layout, node: &NodeLayout) -> Result<()> {
    sandbox::start(layout, node, Component::Containerd)?;
    let ready = wait_until(Duration::from_secs(30), "containerd", || {
        Ok(exec::output(ctr(node).arg("version")).is_ok().then_some(()))
    });
    ready.with_context(|| exec::tail(&node.log("containerd"), 15))
}

/// Removes containers and their snapshots from a running containerd; images stay.
///
/// Nothing may run any more when this is called: containers do not start again after it.
pub(super) fn remove_containers(node: &NodeLayout) -> Result<()> {
    let listed = |args: &[&str]| -> Result<Vec<String>> {
        let text = exec::output(ctr(node).args(args))?;
        Ok(text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect())
    };
    for task in listed(&["tasks", "list", "--quiet"])? {
        let _ = exec::output(ctr(node).args(["tasks", "delete", "--force", &task]));
    }
    let containers = listed(&["containers", "list", "--quiet"])?;
    if !containers.is_empty() {
        exec::output(ctr(node).args(["containers", "delete"]).args(&containers))?;
    }
    // Layers of images are of kind Committed; Active ones belonged to containers.
    let snapshots: Vec<String> = listed(&["snapshots", "list"])?
        .iter()
        .filter(|line| !line.ends_with("Committed"))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|key| *key != "KEY")
        .map(str::to_owned)
        .collect();
    if !snapshots.is_empty() {
        exec::output(ctr(node).args(["snapshots", "remove"]).args(&snapshots))?;
    }
    Ok(())
}

/// Says that the root folder holds images only; containerd must have ended.
pub(super) fn mark_clean(node: &NodeLayout) -> Result<()> {
    let root = &node.containerd_root;
    // What the Kubernetes interface remembers about each container.
    cache::remove(&root.join("io.containerd.grpc.v1.cri"))?;
    cache::write(&root.join(CLEAN), "")
}

/// Removes the root folder, images and all.
pub(super) fn discard(root: &Path) -> Result<()> {
    cache::remove(root)
}

/// Imports an image unless its name already stands for exactly this archive.
pub(super) fn import(node: &NodeLayout, image: &Archive, progress: &Progress) -> Result<()> {
    // Archives are named by their content.
    let content = image.path.file_name().unwrap_or_default().to_string_lossy();
    import_as(node, &record(&image.reference), &content, &image.path, progress)
}

/// Imports into `to` what is known to `from`, as long as its archive is still there.
pub(super) fn import_all(
    layout: &Layout,
    from: &NodeLayout,
    to: &NodeLayout,
    progress: &Progress,
) -> Result<()> {
    let records = imported(from);
    for entry in fs::read_dir(&records)
        .with_context(|| format!("cannot read {}", records.display()))?
        .flatten()
    {
        let content = fs::read_to_string(entry.path())
            .with_context(|| format!("cannot read {}", entry.path().display()))?;
        let archive = layout.images.join(&content);
        if archive.is_file() {
            import_as(
                to,
                &entry.file_name().to_string_lossy(),
                &content,
                &archive,
                progress,
            )?;
        }
    }
    Ok(())
}

fn import_as(
    node: &NodeLayout,
    record: &str,
    content: &str,
    archive: &Path,
    progress: &Progress,
) -> Result<()> {
    let imported = imported(node).join(record);
    // A kubelet without room on its disk deletes images that no pod uses.
    if fs::read_to_string(&imported).is_ok_and(|known| known == content) && has(node, record)? {
        return Ok(());
    }
    let step = progress.step(format!("image {content} on {}", node.name));
    exec::output(ctr(node).args(["images", "import"]).arg(archive))
        .with_context(|| format!("cannot import {}", archive.display()))?;
    cache::write(&imported, content.as_bytes())?;
    step.done("imported");
    Ok(())
}

/// Whether containerd has the image whose name makes this record.
fn has(node: &NodeLayout, record: &str) -> Result<bool> {
    let names = exec::output(ctr(node).args(["images", "list", "--quiet"]))?;
    Ok(names.lines().any(|name| self::record(name) == record))
}

fn record(reference: &str) -> String {
    reference.replace(['/', ':'], "_")
}

/// A file for each imported image, with its archive's name.
fn imported(node: &NodeLayout) -> PathBuf {
    node.containerd_root.join("imported")
}
