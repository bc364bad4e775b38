//! What an overlord sees: Druid's own classes, which look for workers in a JVM of their own.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::{program::LIMIT, server::Server};
use crate::testbed::{druid::jvm::Jvm, object_stores::server::Folder};

const SOURCE: &str = include_str!("../../../druid/Discovery.java");

/// Druid's eyes. They close with this value.
pub(super) struct Eyes {
    seen: Jvm<String>,
    // Goes after what is kept in it.
    _folder: Folder,
}

impl Eyes {
    /// Opens them, with the classes of a class path.
    pub(super) fn open(class_path: &str, server: &Server, base: &str) -> Result<Self> {
        let folder = Folder::new()?;
        let source = folder.path().join("Discovery.java");
        fs::write(&source, SOURCE)?;
        let mut java = Command::new("java");
        java.args([
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xmx256m",
            "-cp",
            class_path,
        ]);
        java.arg(&source).args([&server.hosts(), base]);
        java.stdin(Stdio::null());
        let log = folder.path().join("log");
        Ok(Self {
            seen: Jvm::start(&mut java, &log, |line| Some(line.to_owned()))?,
            _folder: folder,
        })
    }

    /// Waits until exactly this was seen since the eyes were opened.
    pub(super) fn until_seen(&mut self, expected: &[&str]) -> Result<()> {
        let is_it = |seen: &[String]| (seen == expected).then_some(());
        let waited = self.seen.until(LIMIT, "Druid to see it", is_it);
        waited.with_context(|| format!("it saw {:#?}", *self.seen.said()))
    }
}
