//! What the machine needs before a cluster can start: Debian packages, Go, the Kubernetes programs.

mod apt;
mod kubernetes;
pub(crate) mod program;

use std::path::PathBuf;

use anyhow::Result;

use crate::testbed::{
    cache::Cache,
    lock::{Busy, Lock},
    progress::Progress,
};

/// Installs and builds what is missing; returns the folder of the Kubernetes programs.
///
/// # Errors
/// When a package cannot be installed or a program cannot be built.
pub fn install(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let lock = Lock::take(&cache.path("tools.lock"), "the tools", Busy::Wait, progress)?;
    apt::install_missing(cache, progress)?;
    drop(lock);
    kubernetes::build_missing(cache, progress)
}

/// The folder of the Kubernetes programs.
///
/// # Errors
/// When they are not built yet: the message says which command does it.
pub fn kubernetes_programs(cache: &Cache) -> Result<PathBuf> {
    let folder = kubernetes::folder(cache, kubernetes::release()?);
    anyhow::ensure!(
        folder.is_dir(),
        "the Kubernetes programs are not built yet: run `e2e tools` first"
    );
    Ok(folder)
}

/// The oldest and the newest version of Kubernetes that the test cluster can have.
#[must_use]
pub fn kubernetes_versions() -> [&'static str; 2] {
    kubernetes::outermost()
}
