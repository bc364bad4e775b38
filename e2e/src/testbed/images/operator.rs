//! The operator's image, from the Dockerfile at the root of the repository.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Archive, buildah::Buildah};
use crate::testbed::{
    cache::{self, Cache},
    exec,
    progress::Progress,
};

/// Set to anything, it has the operator compiled with optimisation, as users have it. That takes minutes, so only what
/// measures asks for it.
const OPTIMISED: &str = "OPTIMISED";
const REPOSITORY: &str = "localhost/peon-operator";
const DOCKERFILE: &str = include_str!("../../../../Dockerfile");
/// What a Rust program needs at run time, and no more.
const BASE: &[&str] = &[
    "--variant=extract",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--include=base-files,ca-certificates,libc6,libgcc-s1",
];
/// `extract` runs no package's scripts, so the certificates are put together here.
const BASE_HOOK: &str = r#"cat "$1"/usr/share/ca-certificates/mozilla/*.crt > "$1/etc/ssl/certs/ca-certificates.crt"
    rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt"#;

/// Compiles the operator and puts it on a minimal Debian.
pub(super) fn build(cache: &Cache, progress: &Progress) -> Result<Archive> {
    let context = cache.path("images/operator.context");
    cache::remove(&context)?;
    fs::create_dir_all(&context).with_context(|| format!("cannot create {}", context.display()))?;
    let program = context.join("peon-operator");
    let step = progress.slow_step("operator", "compiling");
    compile(&program, &cache.path("cargo-build.log"))?;
    step.done("compiled");

    let hash = file_hash(&program)?;
    let base = BASE.concat();
    let parts = [REPOSITORY, &hash, DOCKERFILE, &base];
    let name = cache::content_hash(parts.map(str::as_bytes));
    // A Deployment rolls out what has another name, and nothing else.
    let reference = format!("{REPOSITORY}:{name}");
    let name = format!("operator-{name}.tar");
    if !cache.path("images").join(&name).exists() {
        remove_older(&cache.path("images"))?;
    }
    let path = cache.entry(&format!("images/{name}"), |archive| {
        let step = progress.step("operator image");
        let buildah = Buildah::new(cache)?;
        let base = buildah.base(cache, "operator-base", BASE, BASE_HOOK)?;
        cache::write(&context.join("Dockerfile"), DOCKERFILE)?;
        buildah.build(
            &context.join("Dockerfile"),
            &context,
            Some(&base),
            &reference,
            archive,
        )?;
        step.done("built");
        Ok(())
    })?;
    cache::remove(&context)?;
    Ok(Archive { reference, path })
}

fn compile(program: &Path, log: &Path) -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (profile, folder) = match env::var_os(OPTIMISED).filter(|set| !set.is_empty()) {
        Some(_) => ("release", "release"),
        None => ("dev", "debug"),
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&repository)
        .args(["build", "--profile", profile])
        // As the workspace is built, or its dependencies would be compiled twice, with other features.
        .args(["--workspace", "--bin", "peon-operator"]);
    exec::logged(&mut cargo, log).context("cannot compile the operator")?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
    let built = repository.join(target).join(folder).join("peon-operator");
    // Debug information is most of the file and of no use in the image.
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg("-o").arg(program).arg(&built);
    exec::output(&mut strip)
        .map(drop)
        .context("cannot copy the operator's program")
}

/// By a program: our own build has no optimised SHA-256.
fn file_hash(path: &Path) -> Result<String> {
    let said = exec::output(Command::new("sha256sum").arg("--").arg(path))?;
    Ok(said.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Each change of the operator makes an archive; only the newest is of use.
fn remove_older(images: &Path) -> Result<()> {
    for file in fs::read_dir(images).into_iter().flatten().flatten() {
        if file.file_name().to_string_lossy().starts_with("operator-") {
            cache::remove(&file.path())?;
        }
    }
    Ok(())
}
