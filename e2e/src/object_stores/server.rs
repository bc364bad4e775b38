//! A server on this machine, with its data in a folder that goes with it.

use std::{
    env,
    fs::{self, DirBuilder, File},
    net::TcpListener,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{exec, interrupt::Helper, wait::wait_until};

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
    child: Child,
    pub(super) port: u16,
    _helper: Helper,
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
        // Free a moment ago; whoever takes it meanwhile makes the server end, which is noticed.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = folder.path().join("server.log");
        let mut command = command(port, folder.path())?;
        let output = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", exec::line(&command)))?;
        let mut server = Self {
            _helper: Helper::group(child.id()),
            child,
            port,
            folder,
        };
        let child = &mut server.child;
        wait_until(LIMIT, "an object store", || {
            if let Some(status) = child.try_wait()? {
                bail!("it ended with {status}; {}", exec::tail(&log, 15));
            }
            Ok(ready(port).then_some(()))
        })?;
        Ok(server)
    }

    /// The folder with its data.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
