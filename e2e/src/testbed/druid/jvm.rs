//! Druid's own classes in a JVM of their own, which says on purpose what somebody waits for.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::testbed::background::Background;

/// Before everything that is said on purpose.
const MARK: &str = "druid: ";

/// The JVM. It ends with this value.
pub(crate) struct Jvm<T> {
    program: Background,
    said: Arc<Mutex<Vec<T>>>,
}

impl<T: Send + 'static> Jvm<T> {
    /// Starts it. What is said on purpose is what `read` makes of it; all else goes into the log.
    pub(crate) fn start(java: &mut Command, log: &Path, read: fn(&str) -> Option<T>) -> Result<Self> {
        let mut rest = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        java.stdout(Stdio::piped()).stderr(rest.try_clone()?);
        let mut program = Background::spawn(java, log)?;
        let output = program.output()?;
        let said = Arc::<Mutex<Vec<T>>>::default();
        let heard = said.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match line.strip_prefix(MARK).and_then(read) {
                    Some(said) => locked(&heard).push(said),
                    // What Druid itself says; it is for whoever looks for the reason of a failure.
                    None => drop(writeln!(rest, "{line}")),
                }
            }
        });
        Ok(Self { program, said })
    }

    /// Its input, which was to be a pipe, and is given once.
    pub(crate) fn input(&mut self) -> Result<ChildStdin> {
        self.program.input()
    }

    /// Everything that was said on purpose so far, oldest first.
    pub(crate) fn said(&self) -> MutexGuard<'_, Vec<T>> {
        locked(&self.said)
    }

    /// Waits until what was said holds this.
    pub(crate) fn until<F>(
        &mut self,
        limit: Duration,
        what: &str,
        found: impl Fn(&[T]) -> Option<F>,
    ) -> Result<F> {
        let said = &self.said;
        self.program.until(limit, what, || Ok(found(&locked(said))))
    }

    /// The end of its log, for an error message.
    pub(crate) fn tail(&self) -> String {
        self.program.tail()
    }
}

fn locked<T>(said: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}
