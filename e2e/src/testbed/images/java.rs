//! What images of Java programs are made of: Debian's Java, and artifacts that Maven fetches.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::{Archive, buildah::Buildah};
use crate::testbed::{
    cache::{self, Cache},
    exec,
    progress::Progress,
};

const BASE: &[&str] = &[
    "--variant=apt",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--include=openjdk-17-jre-headless,ca-certificates",
];
const BASE_HOOK: &str = r#"rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt"#;

/// An image of a Java program.
pub(super) struct Program<'a> {
    /// Its name. In small letters it is that of the image.
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) dockerfile: &'a str,
    pub(super) libraries: &'a [Libraries<'a>],
    /// Name and content of each other file that the `Dockerfile` finds.
    pub(super) files: &'a [(&'a str, &'a str)],
    /// How long it takes the first time.
    pub(super) takes: &'a str,
}

/// What a `pom.xml` names, with all that it depends on.
pub(super) struct Libraries<'a> {
    pub(super) pom: &'a str,
    /// Where the `Dockerfile` finds them.
    pub(super) folder: &'a str,
    /// Fewer are not all.
    pub(super) at_least: usize,
}

impl Program<'_> {
    /// Fetches the program with all that it depends on and puts it on Debian with Java.
    pub(super) fn build(&self, cache: &Cache, progress: &Progress) -> Result<Archive> {
        let id = self.name.to_lowercase();
        let reference = format!("localhost/{id}:{}", self.version);
        let path = cache.entry(&format!("images/{id}-{}.tar", self.hash()), |archive| {
            let note = format!("fetching and building, {} the first time", self.takes);
            let step = progress.slow_step(format!("{} image", self.name), note);
            let context = cache.path(&format!("images/{id}.context"));
            let dockerfile = context.join("Dockerfile");
            cache::remove(&context)?;
            cache::write(&dockerfile, self.dockerfile)?;
            for libraries in self.libraries {
                libraries.fetch(cache, &context)?;
            }
            for (name, content) in self.files {
                cache::write(&context.join(name), content)?;
            }
            let buildah = Buildah::new(cache)?;
            let base = base(cache, &buildah)?;
            buildah.build(&dockerfile, &context, Some(&base), &reference, archive)?;
            cache::remove(&context)?;
            step.done("built");
            Ok(())
        })?;
        Ok(Archive { reference, path })
    }

    /// Names all that the image is made of.
    fn hash(&self) -> String {
        let base = BASE.concat();
        let mut parts: Vec<&str> = self.libraries.iter().map(|l| l.pom).collect();
        parts.extend(self.files.iter().flat_map(|(name, content)| [*name, *content]));
        parts.extend([self.dockerfile, &base, BASE_HOOK]);
        cache::content_hash(parts.into_iter().map(str::as_bytes))
    }
}

impl Libraries<'_> {
    fn fetch(&self, cache: &Cache, context: &Path) -> Result<()> {
        let folder = context.join(self.folder);
        let goal = format!("-DoutputDirectory={}", folder.display());
        maven(cache, self.pom, &["dependency:copy-dependencies", &goal])?;
        let jars = fs::read_dir(folder).context("Maven fetched nothing")?.count();
        ensure!(jars >= self.at_least, "Maven fetched only {jars} files");
        Ok(())
    }
}

/// Makes sure that Debian with Java is in buildah's store; returns its name.
fn base(cache: &Cache, buildah: &Buildah) -> Result<String> {
    buildah.base(cache, "druid-base", BASE, BASE_HOOK)
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
