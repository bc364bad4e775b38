//! Druid's image: the same paths and user as the public one, from Maven's artifacts and Debian's Java.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use super::{Archive, buildah::Buildah};
use crate::{
    cache::{self, Cache},
    exec,
    progress::Progress,
};

/// The newest version whose artifacts are all published.
pub(super) const VERSION: &str = "33.0.0";

const POM: &str = include_str!("../../druid/pom.xml");
const DOCKERFILE: &str = include_str!("../../druid/Dockerfile");
const BASE: &[&str] = &[
    "--variant=apt",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--include=openjdk-17-jre-headless,ca-certificates",
];
const BASE_HOOK: &str = r#"rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt"#;

/// Fetches Druid with all it depends on and puts it on a Debian with Java 17.
pub(super) fn build(cache: &Cache, progress: &Progress) -> Result<Archive> {
    let reference = format!("localhost/druid:{VERSION}");
    let base = BASE.concat();
    let parts = [POM, DOCKERFILE, &base, BASE_HOOK].map(str::as_bytes);
    let name = format!("images/druid-{}.tar", cache::content_hash(parts));
    let path = cache.entry(&name, |archive| {
        let step = progress.slow_step(
            "Druid image",
            "fetching and building, two or three minutes the first time",
        );
        let context = cache.path("images/druid.context");
        cache::remove(&context)?;
        cache::write(&context.join("pom.xml"), POM)?;
        cache::write(&context.join("Dockerfile"), DOCKERFILE)?;
        fetch(cache, &context)?;
        let buildah = Buildah::new(cache)?;
        let base = buildah.base(cache, "druid-base", BASE, BASE_HOOK)?;
        buildah.build(
            &context.join("Dockerfile"),
            &context,
            Some(&base),
            &reference,
            archive,
        )?;
        cache::remove(&context)?;
        step.done("built");
        Ok(())
    })?;
    Ok(Archive { reference, path })
}

/// The class path of Druid on this machine, if it was needed before.
pub(super) fn known_class_path(cache: &Cache) -> Option<String> {
    let known = fs::read_to_string(cache.path(&class_path_entry())).ok()?;
    Some(known.trim().to_owned())
}

fn class_path_entry() -> String {
    format!("maven/class-path-{}", cache::content_hash([POM.as_bytes()]))
}

/// The class path of Druid on this machine. It is kept beside the artifacts that it names.
pub(super) fn class_path(cache: &Cache, progress: &Progress) -> Result<String> {
    let path = cache.entry(&class_path_entry(), |file| {
        let step = progress.slow_step("Druid's class path", "fetching, two minutes the first time");
        let context = cache.path("maven/class-path.context");
        cache::write(&context.join("pom.xml"), POM)?;
        let goal = format!("-Dmdep.outputFile={}", file.display());
        maven(cache, &context, &["dependency:build-classpath", &goal])?;
        step.done("known");
        Ok(())
    })?;
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

fn fetch(cache: &Cache, context: &std::path::Path) -> Result<()> {
    maven(
        cache,
        context,
        &["dependency:copy-dependencies", "-DoutputDirectory=lib"],
    )?;
    let jars = fs::read_dir(context.join("lib"))
        .context("Maven fetched nothing")?
        .count();
    anyhow::ensure!(jars > 150, "Maven fetched only {jars} files");
    Ok(())
}

fn maven(cache: &Cache, context: &std::path::Path, goal: &[&str]) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven
        .current_dir(context)
        .args(["--batch-mode", "--no-transfer-progress"]);
    // Artifacts stay in the cache, out of the user's own repository.
    maven.arg(format!("-Dmaven.repo.local={}", cache.path("maven").display()));
    maven.args(goal).arg("-DincludeScope=runtime");
    exec::logged(&mut maven, &cache.path("maven.log")).context("cannot fetch Druid's artifacts")
}
