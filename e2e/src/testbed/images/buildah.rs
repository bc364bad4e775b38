//! Building images without a daemon.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::testbed::{
    cache::{self, Cache},
    exec,
};

/// buildah with a store of our own in the cache.
#[derive(Debug)]
pub(super) struct Buildah {
    store: PathBuf,
    log: PathBuf,
}

impl Buildah {
    pub(super) fn new(cache: &Cache) -> Result<Self> {
        let store = cache.path("buildah");
        fs::create_dir_all(&store).with_context(|| format!("cannot create {}", store.display()))?;
        Ok(Self {
            store,
            log: cache.path("buildah.log"),
        })
    }

    /// Builds a Dockerfile on a local base image (`ARG BASE`), or on none, and writes a docker archive.
    pub(super) fn build(
        &self,
        dockerfile: &Path,
        context: &Path,
        base: Option<&str>,
        reference: &str,
        archive: &Path,
    ) -> Result<()> {
        let mut build = self.command();
        build.args([
            "build",
            "--format=docker",
            "--pull=never",
            "--layers=false",
            "--tag",
            reference,
        ]);
        build.args(base.map(|base| format!("--build-arg=BASE={base}")));
        exec::logged(build.arg("--file").arg(dockerfile).arg(context), &self.log)
            .with_context(|| format!("cannot build {reference}"))?;
        let target = format!("docker-archive:{}:{reference}", archive.display());
        exec::logged(self.command().args(["push", reference, &target]), &self.log)
            .with_context(|| format!("cannot write {}", archive.display()))?;
        // The archive is what counts; copies of all layers in the store would only fill the disk.
        exec::logged(self.command().args(["rmi", "--force", reference]), &self.log)
    }

    /// Makes sure that a base image is in the store: a Debian root file system with these packages.
    ///
    /// `hook` is a shell command that mmdebstrap runs at the end, with the root's path as `$1`.
    pub(super) fn base(&self, cache: &Cache, name: &str, mmdebstrap: &[&str], hook: &str) -> Result<String> {
        let hash = cache::content_hash(mmdebstrap.iter().copied().chain([hook]).map(str::as_bytes));
        let reference = format!("localhost/{name}:{hash}");
        let known = exec::output(self.command().args(["images", "--quiet", &reference]));
        if known.is_ok_and(|id| !id.trim().is_empty()) {
            return Ok(reference);
        }
        let root = cache.path(&format!("images/{name}.root.tar"));
        cache::remove(&root)?;
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).context("cannot create the folder of the images")?;
        }
        let mut debian = Command::new("mmdebstrap");
        debian
            .args(["--mode=root", "--dpkgopt=path-exclude=/usr/share/doc/*"])
            .args(mmdebstrap);
        debian
            .arg(format!("--customize-hook={hook}"))
            .arg("bookworm")
            .arg(&root);
        exec::logged(&mut debian, &self.log).context("cannot make a Debian root file system")?;
        let dockerfile = cache.path(&format!("images/{name}.Dockerfile"));
        cache::write(&dockerfile, format!("FROM scratch\nADD {name}.root.tar /\n"))?;
        let mut build = self.command();
        build
            .args([
                "build",
                "--format=docker",
                "--layers=false",
                "--tag",
                &reference,
                "--file",
            ])
            .arg(&dockerfile);
        build.arg(format!("--ignorefile={}", self.ignore_others(name)?.display()));
        exec::logged(build.arg(cache.path("images")), &self.log)
            .context("cannot import a Debian root file system")?;
        cache::remove(&dockerfile)?;
        cache::remove(&root)?;
        Ok(reference)
    }

    /// Keeps the archives beside it out of a base image's build.
    fn ignore_others(&self, name: &str) -> Result<PathBuf> {
        let path = self.store.with_extension("ignore");
        cache::write(&path, format!("*\n!{name}.root.tar\n"))?;
        Ok(path)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("buildah");
        // chroot needs neither a runtime nor namespaces; vfs no kernel support.
        command
            .env("BUILDAH_ISOLATION", "chroot")
            .args(["--storage-driver=vfs", "--root"])
            .arg(&self.store);
        command.arg("--runroot").arg(self.store.with_extension("run"));
        command
    }
}
