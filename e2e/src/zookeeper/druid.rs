//! What an overlord sees: Druid's own classes, which look for workers in a JVM of their own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail};

use super::{program::LIMIT, server::Server};
use crate::{exec, interrupt::Helper, object_stores::server::Folder, wait::wait_until};

const SOURCE: &str = include_str!("../../druid/Discovery.java");
/// Before everything that is said on purpose.
const MARK: &str = "druid: ";

/// Druid's eyes. They close with this value.
pub(super) struct Eyes {
    child: Child,
    seen: Arc<Mutex<Vec<String>>>,
    folder: Folder,
    _helper: Helper,
}

impl Eyes {
    /// Opens them.
    pub(super) fn open(server: &Server, base: &str) -> Result<Self> {
        let folder = Folder::new()?;
        let source = folder.path().join("Discovery.java");
        fs::write(&source, SOURCE)?;
        let mut log = fs::File::create(folder.path().join("log"))?;
        let mut java = Command::new("java");
        java.args([
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xmx256m",
            "-cp",
            server.class_path(),
        ]);
        java.arg(&source).args([&server.hosts(), base]);
        java.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .process_group(0);
        let mut child = java
            .spawn()
            .with_context(|| format!("cannot start `{}`", exec::line(&java)))?;
        let output = child.stdout.take().context("no output")?;
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let said = seen.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match line.strip_prefix(MARK) {
                    Some(line) => said
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(line.to_owned()),
                    // What Druid itself says; it is for whoever looks for the reason of a failure.
                    None => drop(writeln!(log, "{line}")),
                }
            }
        });
        Ok(Self {
            _helper: Helper::group(child.id()),
            child,
            seen,
            folder,
        })
    }

    /// Waits until exactly this was seen since the eyes were opened.
    pub(super) fn until_seen(&mut self, expected: &[&str]) -> Result<()> {
        let seen = || self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let child = &mut self.child;
        let log = self.folder.path().join("log");
        let waited = wait_until(LIMIT, "Druid to see it", || {
            if let Some(status) = child.try_wait()? {
                bail!("it ended with {status}; {}", exec::tail(&log, 15));
            }
            Ok((seen() == expected).then_some(()))
        });
        waited.with_context(|| format!("it saw {:#?}; {}", seen(), exec::tail(&log, 15)))
    }
}

impl Drop for Eyes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
