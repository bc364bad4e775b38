//! What images of Java programs are made of: Debian's Java, and artifacts that Maven fetches.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::buildah::Buildah;
use crate::{
    cache::{self, Cache},
    exec,
};

const BASE: &[&str] = &[
    "--variant=apt",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--include=openjdk-17-jre-headless,ca-certificates",
];
const BASE_HOOK: &str = r#"rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt"#;

/// Makes sure that Debian with Java is in buildah's store; returns its name.
pub(super) fn base(cache: &Cache, buildah: &Buildah) -> Result<String> {
    buildah.base(cache, "druid-base", BASE, BASE_HOOK)
}

/// What [`base`] is made of, for the name of an image on it.
pub(super) fn base_parts() -> [String; 2] {
    [BASE.concat(), BASE_HOOK.to_owned()]
}

/// Fetches what a `pom.xml` names, with all that it depends on, into a folder.
pub(super) fn fetch(cache: &Cache, pom: &str, folder: &Path, at_least: usize) -> Result<()> {
    let goal = format!("-DoutputDirectory={}", folder.display());
    maven(cache, pom, &["dependency:copy-dependencies", &goal])?;
    let jars = fs::read_dir(folder).context("Maven fetched nothing")?.count();
    ensure!(jars >= at_least, "Maven fetched only {jars} files");
    Ok(())
}

/// Runs Maven's goal for a `pom.xml`.
pub(super) fn maven(cache: &Cache, pom: &str, goal: &[&str]) -> Result<()> {
    let project = cache.path("maven/project");
    cache::write(&project.join("pom.xml"), pom)?;
    let mut maven = Command::new("mvn");
    maven
        .current_dir(&project)
        .args(["--batch-mode", "--no-transfer-progress"]);
    // Artifacts stay in the cache, out of the user's own repository.
    maven.arg(format!("-Dmaven.repo.local={}", cache.path("maven").display()));
    maven.args(goal).arg("-DincludeScope=runtime");
    exec::logged(&mut maven, &cache.path("maven.log")).context("cannot fetch from Maven's repository")
}
