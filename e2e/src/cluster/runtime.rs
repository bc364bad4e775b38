//! containerd's images and what containers leave in it.
//!
//! Its root folder is kept from one cluster to the next, because importing images costs more than
//! everything else. It must then hold images only: containers and their snapshots are removed when a
//! cluster goes down, or, after a crash, before the next one uses the folder.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};

use super::{layout::Layout, sandbox};
use crate::{cache, exec, images::Archive, progress::Progress, wait::wait_until};

/// Lies in the root folder while that holds images only.
const CLEAN: &str = "only-images";

/// `ctr` in the namespace that Kubernetes uses.
pub(super) fn ctr(layout: &Layout) -> Command {
    let mut ctr = Command::new("ctr");
    ctr.arg("--address")
        .arg(layout.containerd_socket())
        .args(["--namespace", "k8s.io"]);
    ctr
}

/// Starts containerd and waits until it answers, with a root folder that holds images only.
pub(super) fn start(layout: &Layout, first: i32, progress: &Progress) -> Result<()> {
    let step = progress.step("containerd");
    let root = &layout.containerd_root;
    let clean = root.join(CLEAN);
    if root.is_dir() && !clean.exists() {
        progress.say("the last cluster did not end in order: importing all images again");
        discard(root)?;
    }
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    cache::remove(&clean)?;
    let args = super::Component::Containerd.arguments(layout);
    sandbox::start(layout, first, "containerd", &args)?;
    wait_ready(layout)?;
    step.done("ready");
    Ok(())
}

/// Waits until containerd answers.
pub(super) fn wait_ready(layout: &Layout) -> Result<()> {
    let ready = wait_until(Duration::from_secs(30), "containerd", || {
        Ok(exec::output(ctr(layout).arg("version")).is_ok().then_some(()))
    });
    ready.with_context(|| exec::tail(&layout.log("containerd"), 15))
}

/// Removes containers and their snapshots from a running containerd; images stay.
///
/// Nothing may run any more when this is called: containers do not start again after it.
pub(super) fn remove_containers(layout: &Layout) -> Result<()> {
    let listed = |args: &[&str]| -> Result<Vec<String>> {
        let text = exec::output(ctr(layout).args(args))?;
        Ok(text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect())
    };
    for task in listed(&["tasks", "list", "--quiet"])? {
        let _ = exec::output(ctr(layout).args(["tasks", "delete", "--force", &task]));
    }
    let containers = listed(&["containers", "list", "--quiet"])?;
    if !containers.is_empty() {
        exec::output(ctr(layout).args(["containers", "delete"]).args(&containers))?;
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
        exec::output(ctr(layout).args(["snapshots", "remove"]).args(&snapshots))?;
    }
    Ok(())
}

/// Says that the root folder holds images only; containerd must have ended.
pub(super) fn mark_clean(layout: &Layout) -> Result<()> {
    let root = &layout.containerd_root;
    // What the Kubernetes interface remembers about each container.
    cache::remove(&root.join("io.containerd.grpc.v1.cri"))?;
    cache::write(&root.join(CLEAN), "")
}

/// Removes the root folder, images and all.
pub(super) fn discard(root: &Path) -> Result<()> {
    cache::remove(root)
}

/// Imports an image unless its name already stands for exactly this archive.
pub(super) fn import(layout: &Layout, image: &Archive, progress: &Progress) -> Result<()> {
    // Archives are named by their content.
    let content = image.path.file_name().unwrap_or_default().to_string_lossy();
    let imported = layout
        .containerd_root
        .join("imported")
        .join(image.reference.replace(['/', ':'], "_"));
    if fs::read_to_string(&imported).is_ok_and(|known| known == content) {
        return Ok(());
    }
    let step = progress.step(format!("image {}", image.reference));
    exec::output(ctr(layout).args(["images", "import"]).arg(&image.path))
        .with_context(|| format!("cannot import {}", image.path.display()))?;
    cache::write(&imported, content.as_bytes())?;
    step.done("imported");
    Ok(())
}
