//! Being told when objects change, so that a wait costs next to nothing: a `kubectl get` takes a tenth of a second of
//! a core, and a few cases that ask ten times a second leave the peons they wait for none.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use crate::testbed::{interrupt::Helper, kubectl::Kubectl};

/// A running `kubectl get --watch-only`; it ends with this value.
#[derive(Debug)]
pub struct Changes {
    child: Child,
    lines: Receiver<()>,
    _helper: Helper,
}

impl Changes {
    /// Watches what `kubectl get ARGS` gets. `None` when that cannot be started.
    #[must_use]
    pub fn of(kubectl: &Kubectl, args: &[&str]) -> Option<Self> {
        let mut command = kubectl.command();
        command
            .arg("get")
            .args(args)
            .args(["--watch-only", "--output", "name"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let mut child = command.spawn().ok()?;
        let helper = Helper::group(child.id());
        let (told, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                // Ends with kubectl, or when nobody waits any more.
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                lines.map(drop).try_for_each(|()| told.send(()))
            });
        }
        Some(Self {
            child,
            lines,
            _helper: helper,
        })
    }

    /// Waits for a change, `at_most` that long. Says whether the watch goes on: there may have been nothing to watch
    /// yet, or the API server ended it.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> bool {
        match self.lines.recv_timeout(at_most) {
            Ok(()) => {
                // What came meanwhile is seen with the same look.
                self.lines.try_iter().for_each(drop);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
