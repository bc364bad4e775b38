//! Programs that some cases need, each of one version, built or installed once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::testbed::{
    cache::Cache,
    exec,
    lock::{Busy, Lock},
    progress::Progress,
};

/// A Go program of this version, built by the module proxy's sums, in a folder of the cache.
///
/// # Errors
/// When it cannot be built.
pub(crate) fn go(
    cache: &Cache,
    progress: &Progress,
    folder: &str,
    package: &str,
    version: &str,
) -> Result<PathBuf> {
    let program = package.rsplit('/').next().unwrap_or(package);
    let entry = format!("{folder}/{program}-{version}");
    let installed = installed(cache, progress, &entry, |to| {
        let mut go = Command::new("go");
        go.env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env("GOFLAGS", "")
            .env("GOBIN", to);
        go.args(["install", "-trimpath", &format!("{package}@{version}")]);
        go
    })?;
    Ok(installed.join(program))
}

/// The folder of the cache that `install` fills, which it is told.
///
/// # Errors
/// When it fails.
pub(crate) fn installed(
    cache: &Cache,
    progress: &Progress,
    entry: &str,
    install: impl FnOnce(&Path) -> Command,
) -> Result<PathBuf> {
    if cache.path(entry).exists() {
        return Ok(cache.path(entry));
    }
    let _lock = Lock::take(
        &cache.path("programs.lock"),
        "the installation of programs",
        Busy::Wait,
        progress,
    )?;
    cache.entry(entry, |to| {
        let step = progress.slow_step(entry, "installing, a minute or two, once");
        fs::create_dir_all(to)?;
        exec::logged(&mut install(to), &cache.path("programs.log"))?;
        step.done("installed");
        Ok(())
    })
}
