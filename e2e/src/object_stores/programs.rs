//! The servers' programs, each of one version, built or installed once.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    cache::Cache,
    exec,
    lock::{Busy, Lock},
    progress::Progress,
};

const VERSITYGW: &str = "v1.8.0";
const FAKE_GCS: &str = "v1.56.1";
/// Later ones need a Node.js that Debian 12 does not have.
const AZURITE: &str = "3.35.0";

/// S3 over a folder.
pub(super) fn versitygw(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    go(
        cache,
        progress,
        "versitygw",
        "github.com/versity/versitygw/cmd/versitygw",
        VERSITYGW,
    )
}

/// Google Cloud Storage in memory.
pub(super) fn fake_gcs(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    go(
        cache,
        progress,
        "fake-gcs-server",
        "github.com/fsouza/fake-gcs-server",
        FAKE_GCS,
    )
}

/// Microsoft's own emulator of Azure Storage: a script for Node.js.
pub(super) fn azurite(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let name = format!("azurite-{AZURITE}");
    let folder = installed(cache, progress, &name, |to| {
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

fn go(cache: &Cache, progress: &Progress, program: &str, package: &str, version: &str) -> Result<PathBuf> {
    let folder = installed(cache, progress, &format!("{program}-{version}"), |to| {
        let mut go = Command::new("go");
        go.env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env("GOFLAGS", "")
            .env("GOBIN", to);
        go.args(["install", "-trimpath", &format!("{package}@{version}")]);
        go
    })?;
    Ok(folder.join(program))
}

fn installed(
    cache: &Cache,
    progress: &Progress,
    name: &str,
    install: impl FnOnce(&std::path::Path) -> Command,
) -> Result<PathBuf> {
    let entry = format!("object-stores/{name}");
    if cache.path(&entry).exists() {
        return Ok(cache.path(&entry));
    }
    let lock = cache.path("object-stores.lock");
    let _lock = Lock::take(&lock, "the object stores", Busy::Wait, progress)?;
    cache.entry(&entry, |to| {
        let step = progress.slow_step(name, "installing, a minute or two, once");
        std::fs::create_dir_all(to)?;
        exec::logged(&mut install(to), &cache.path("object-stores.log"))?;
        step.done("installed");
        Ok(())
    })
}
