//! Being told when objects change, so that a wait costs next to nothing: a `kubectl get` takes a tenth of a second of
//! a core, and a few cases that ask ten times a second leave the peons they wait for none.

use std::{
    io::{BufRead as _, BufReader, Read},
    net::Shutdown,
    os::unix::{net::UnixStream, process::CommandExt as _},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use crate::testbed::{interrupt::Helper, kubectl::Kubectl};

/// Objects that are watched; this ends with the value.
#[derive(Debug)]
pub struct Changes {
    source: Source,
    lines: Receiver<()>,
}

/// Where changes are told, a line each.
#[derive(Debug)]
enum Source {
    /// `kubectl get --watch-only`.
    Process { child: Child, _helper: Helper },
    /// A request that goes on.
    Stream(UnixStream),
}

impl Changes {
    /// Watches what `kubectl get ARGS` gets. `None` when that cannot be started.
    #[must_use]
    pub fn of(kubectl: &Kubectl, args: &[&str]) -> Option<Self> {
        let (told, lines) = mpsc::channel();
        let source = if let Some((proxy, resource)) = kubectl.reader(args) {
            let stream = proxy.stream(&resource.watch()).ok()?;
            tell(stream.try_clone().ok()?, told);
            Source::Stream(stream)
        } else {
            let mut child = watching(kubectl, args).spawn().ok()?;
            let helper = Helper::group(child.id());
            tell(child.stdout.take()?, told);
            Source::Process {
                child,
                _helper: helper,
            }
        };
        Some(Self { source, lines })
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

fn watching(kubectl: &Kubectl, args: &[&str]) -> Command {
    let mut command = kubectl.command();
    command
        .arg("get")
        .args(args)
        .args(["--watch-only", "--output", "name"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    command
}

/// Sends one message for each line. Ends with the source, or when the receiver is dropped.
fn tell(read: impl Read + Send + 'static, told: Sender<()>) {
    thread::spawn(move || {
        let lines = BufReader::new(read).split(b'\n').map_while(Result::ok);
        lines.map(drop).try_for_each(|()| told.send(()))
    });
}

impl Drop for Changes {
    fn drop(&mut self) {
        match &mut self.source {
            Source::Process { child, .. } => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Source::Stream(stream) => {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}
