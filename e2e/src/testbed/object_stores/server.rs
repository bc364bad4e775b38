//! A server on this machine, with its data in a folder that goes with it.

use std::{
    env,
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::testbed::{background::Background, ports};

const LIMIT: Duration = Duration::from_secs(60);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder of a case; it is removed with this value.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("peon-e2e-store-{}-{count}", process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that runs; it is killed when this value goes away.
#[derive(Debug)]
pub(super) struct Server {
    // Goes before its data.
    _program: Background,
    pub(super) port: u16,
    folder: Folder,
}

impl Server {
    /// Starts a server that listens on the port that `command` is given, with its data in the folder, and waits until
    /// `ready` holds.
    pub(super) fn start(
        command: impl FnOnce(u16, &Path) -> Result<Command>,
        ready: impl Fn(u16) -> bool,
    ) -> Result<Self> {
        let folder = Folder::new()?;
        let port = ports::free()?.port();
        let log = folder.path().join("server.log");
        let mut command = command(port, folder.path())?;
        let mut program = Background::start(&mut command, &log)?;
        program.until(LIMIT, "an object store", || Ok(ready(port).then_some(())))?;
        Ok(Self {
            _program: program,
            port,
            folder,
        })
    }

    /// The folder with its data.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
