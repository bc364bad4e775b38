//! The servers' programs, each of one version, built or installed once.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::testbed::{cache::Cache, progress::Progress, tools::program};

/// Where they are in the cache.
const FOLDER: &str = "object-stores";

const VERSITYGW: &str = "v1.8.0";
const FAKE_GCS: &str = "v1.56.1";
/// Later ones need a Node.js that Debian 12 does not have.
const AZURITE: &str = "3.35.0";

/// S3 over a folder.
pub(super) fn versitygw(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let package = "github.com/versity/versitygw/cmd/versitygw";
    program::go(cache, progress, FOLDER, package, VERSITYGW)
}

/// Google Cloud Storage in memory.
pub(super) fn fake_gcs(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let package = "github.com/fsouza/fake-gcs-server";
    program::go(cache, progress, FOLDER, package, FAKE_GCS)
}

/// Microsoft's own emulator of Azure Storage: a script for Node.js.
pub(super) fn azurite(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let name = format!("{FOLDER}/azurite-{AZURITE}");
    let folder = program::installed(cache, progress, &name, |to| {
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
        ])
        .arg(to)
        .arg(format!("azurite@{AZURITE}"));
        npm
    })?;
    Ok(folder.join("node_modules/azurite/dist/src/blob/main.js"))
}
