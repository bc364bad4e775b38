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

/// The newest version of which the central repository has the overlord's classes.
const NEWEST: &str = "37.0.0";

const POM: &str = include_str!("../../../druid/pom.xml");
const NEWEST_POM: &str = include_str!("../../../druid/client/pom.xml");
const EXTENSION_POM: &str = include_str!("../../../druid/extensions.pom.xml");
/// The extension's name in `druid.extensions.loadList`, and of its folder.
const EXTENSION: &str = "druid-kafka-indexing-service";
const DOCKERFILE: &str = include_str!("../../../druid/Dockerfile");
const ARCHIVE: &str = include_str!("../../../../config/class-archive/archive.sh");
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

/// A Druid whose classes run on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classes {
    /// All of the version that runs in the tests.
    Tested,
    /// The overlord's part of the newest version that can be fetched.
    Newest,
}

impl Classes {
    /// The version.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Tested => VERSION,
            Self::Newest => NEWEST,
        }
    }

    const fn pom(self) -> &'static str {
        match self {
            Self::Tested => POM,
            Self::Newest => NEWEST_POM,
        }
    }

    fn entry(self) -> String {
        format!(
            "maven/class-path-{}",
            cache::content_hash([self.pom().as_bytes()])
        )
    }

    /// The class path, if it was needed before.
    pub(super) fn known_class_path(self, cache: &Cache) -> Option<String> {
        let known = fs::read_to_string(cache.path(&self.entry())).ok()?;
        Some(known.trim().to_owned())
    }

    /// The class path. It is kept beside the artifacts that it names.
    pub(super) fn class_path(self, cache: &Cache, progress: &Progress) -> Result<String> {
        let path = cache.entry(&self.entry(), |file| {
            let name = format!("the class path of Druid {}", self.version());
            let step = progress.slow_step(&name, "fetching, two minutes the first time");
            let goal = format!("-Dmdep.outputFile={}", file.display());
            java::maven(cache, self.pom(), &["dependency:build-classpath", &goal])?;
            step.done("known");
            Ok(())
        })?;
        Ok(fs::read_to_string(path)?.trim().to_owned())
    }
}
