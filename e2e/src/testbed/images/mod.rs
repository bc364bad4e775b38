//! The container images, as archives in the cache.

mod buildah;
mod druid;
mod java;
mod kafka;
mod operator;

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};
use clap::ValueEnum;

use self::buildah::Buildah;
pub use self::druid::Classes;
use crate::testbed::{
    cache::{self, Cache},
    exec,
    lock::{Busy, Lock},
    progress::Progress,
};

/// The Druid version that runs in the tests.
pub const DRUID_VERSION: &str = druid::VERSION;
/// The class-data archive in that Druid's image.
pub const CLASS_ARCHIVE: &str = druid::CLASS_ARCHIVE;

/// The class path of the tested Druid and of the ZooKeeper that it comes with, for a JVM of this machine.
///
/// # Errors
/// When Maven cannot fetch it.
pub fn druid_class_path(cache: &Cache, progress: &Progress) -> Result<String> {
    class_path(Classes::Tested, cache, progress)
}

/// The class path of a Druid, for a JVM of this machine.
///
/// # Errors
/// When Maven cannot fetch it.
pub fn class_path(classes: Classes, cache: &Cache, progress: &Progress) -> Result<String> {
    if let Some(known) = classes.known_class_path(cache) {
        return Ok(known);
    }
    let _lock = lock(cache, progress)?;
    classes.class_path(cache, progress)
}

/// An image that is built here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Image {
    /// What keeps a pod's namespaces.
    Pause,
    /// peon-operator of this checkout.
    Operator,
    /// Apache Druid, laid out as in its public image.
    Druid,
    /// A Kafka broker.
    Kafka,
}

/// An image as a file that containerd, docker and kind can load. Its file name is unique to its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The name that pods use.
    pub reference: String,
    /// The file.
    pub path: PathBuf,
}

/// Builds images that are missing or out of date: these, or all when none is named.
///
/// # Errors
/// When a build fails.
pub fn build(cache: &Cache, only: &[Image], progress: &Progress) -> Result<Vec<Archive>> {
    let _lock = lock(cache, progress)?;
    let wanted = if only.is_empty() {
        Image::value_variants()
    } else {
        only
    };
    let build = |image: &Image| match image {
        Image::Pause => build_pause(cache, progress),
        Image::Operator => operator::build(cache, progress),
        Image::Druid => druid::build(cache, progress),
        Image::Kafka => kafka::build(cache, progress),
    };
    wanted.iter().map(build).collect()
}

fn lock(cache: &Cache, progress: &Progress) -> Result<Lock> {
    let path = cache.path("images.lock");
    Lock::take(&path, "the image builder", Busy::Wait, progress)
}

/// The image of the container that keeps a pod's namespaces.
pub(crate) fn pause(cache: &Cache, progress: &Progress) -> Result<Archive> {
    let mut archives = build(cache, &[Image::Pause], progress)?;
    archives.pop().context("no pause image")
}

/// It only waits to be told to end.
fn build_pause(cache: &Cache, progress: &Progress) -> Result<Archive> {
    const SOURCE: &str = include_str!("../../../images/pause.go");
    const DOCKERFILE: &str = "FROM scratch\nCOPY pause /pause\nENTRYPOINT [\"/pause\"]\n";
    let reference = "localhost/pause:1";
    let name = format!(
        "images/pause-{}.tar",
        cache::content_hash([SOURCE.as_bytes(), DOCKERFILE.as_bytes()])
    );
    let path = cache.entry(&name, |archive| {
        let step = progress.step("pause image");
        let context = cache.path("images/pause.context");
        cache::remove(&context)?;
        cache::write(&context.join("pause.go"), SOURCE)?;
        cache::write(&context.join("Dockerfile"), DOCKERFILE)?;
        let mut go = Command::new("go");
        go.current_dir(&context)
            .env("CGO_ENABLED", "0")
            .env("GO111MODULE", "off");
        exec::output(go.args(["build", "-ldflags=-s -w", "-o", "pause", "pause.go"]))
            .context("cannot build pause")?;
        Buildah::new(cache)?.build(&context.join("Dockerfile"), &context, None, reference, archive)?;
        cache::remove(&context)?;
        step.done("built");
        Ok(())
    })?;
    Ok(Archive {
        reference: reference.to_owned(),
        path,
    })
}
