//! Druid's image: the same paths and user as the public one, from Maven's artifacts and Debian's Java.

use std::fs;

use anyhow::Result;

use super::{
    Archive,
    java::{self, Libraries, Program},
};
use crate::testbed::{
    cache::{self, Cache},
    progress::Progress,
};

/// The newest version whose artifacts are all published.
pub(super) const VERSION: &str = "33.0.0";

const POM: &str = include_str!("../../../druid/pom.xml");
const EXTENSION_POM: &str = include_str!("../../../druid/extensions.pom.xml");
/// The extension's name in `druid.extensions.loadList`, and of its folder.
const EXTENSION: &str = "druid-kafka-indexing-service";
const DOCKERFILE: &str = include_str!("../../../druid/Dockerfile");
const ARCHIVE: &str = include_str!("../../../druid/archive.sh");
/// A class-data archive in the image: a peon that uses it starts with two seconds of a core less.
pub(super) const CLASS_ARCHIVE: &str = "/opt/druid/peon.jsa";

/// Fetches Druid with all it depends on and puts it on a Debian with Java 17.
pub(super) fn build(cache: &Cache, progress: &Progress) -> Result<Archive> {
    let extension = format!("extensions/{EXTENSION}");
    let druid = Program {
        name: "Druid",
        version: VERSION,
        dockerfile: DOCKERFILE,
        libraries: &[
            Libraries {
                pom: POM,
                folder: "lib",
                at_least: 150,
            },
            Libraries {
                pom: EXTENSION_POM,
                folder: &extension,
                at_least: 2,
            },
        ],
        files: &[("archive.sh", ARCHIVE)],
        takes: "three or four minutes",
    };
    druid.build(cache, progress)
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
        let goal = format!("-Dmdep.outputFile={}", file.display());
        java::maven(cache, POM, &["dependency:build-classpath", &goal])?;
        step.done("known");
        Ok(())
    })?;
    Ok(fs::read_to_string(path)?.trim().to_owned())
}
