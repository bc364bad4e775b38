//! Programs that run beside this one, each in a process group of its own.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::testbed::{exec, interrupt::Helper, wait::wait_until};

/// A program that runs; it is killed when this value goes away.
#[derive(Debug)]
pub(crate) struct Background {
    child: Child,
    /// Of its program, for messages.
    name: String,
    log: PathBuf,
    _helper: Helper,
}

impl Background {
    /// Starts a program, with all that it says added to a log.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let copy = file.try_clone()?;
        Self::spawn(command.stdin(Stdio::null()).stdout(copy).stderr(file), log)
    }

    /// Starts a program with the streams that the command has; `log` is where it says what is wrong.
    pub(crate) fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{}`", exec::line(command)))?;
        let name = Path::new(command.get_program()).file_name().unwrap_or_default();
        Ok(Self {
            _helper: Helper::group(child.id()),
            child,
            name: name.to_string_lossy().into_owned(),
            log: log.to_owned(),
        })
    }

    /// Its input, which was to be a pipe, and is given once.
    pub(crate) fn input(&mut self) -> Result<ChildStdin> {
        self.child.stdin.take().context("no input")
    }

    /// Its output, which was to be a pipe, and is given once.
    pub(crate) fn output(&mut self) -> Result<ChildStdout> {
        self.child.stdout.take().context("no output")
    }

    /// Its process, as the machine numbers it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self, limit: Duration) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let name = self.name.clone();
        wait_until(limit, &format!("{name} to end"), || self.ended()).map(drop)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits as [`wait_until`] does, and no longer than it runs; a failure shows the end of its log.
    pub(crate) fn until<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut condition: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let waited = wait_until(limit, what, || {
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}", self.name);
            }
            condition()
        });
        waited.with_context(|| self.tail())
    }

    /// The end of its log, for an error message.
    pub(crate) fn tail(&self) -> String {
        exec::tail(&self.log, 15)
    }

    /// Freezes it: it does nothing, and does not know.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Ends the frost.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
