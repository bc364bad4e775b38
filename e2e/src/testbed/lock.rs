//! One user at a time: a lock file that says who holds it.

use std::{
    fs::{File, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
    process,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::testbed::{progress::Progress, wait::wait_until};

/// What to do when somebody else holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Say who and fail.
    Fail,
    /// Say who and wait.
    Wait,
}

/// The held lock; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`, which guards `what`.
    ///
    /// # Errors
    /// When another process holds it (and `busy` says to fail, or an hour passed), or the file system
    /// refuses.
    pub fn take(path: &Path, what: &str, busy: Busy, progress: &Progress) -> Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path);
        let mut file = file.with_context(|| format!("cannot open the lock {}", path.display()))?;
        if !try_lock(&file)? {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            if busy == Busy::Fail {
                bail!("another run uses {what}: {holder}; wait for it to end, or pass --wait");
            }
            progress.say(format_args!(
                "waiting for another run to let go of {what}: {holder}"
            ));
            wait_until(Duration::from_secs(3600), "the other run", || {
                Ok(try_lock(&file)?.then_some(()))
            })?;
        }
        let words: Vec<String> = std::env::args().collect();
        let holder = format!(
            "process {}, `{}`, since {}\n",
            process::id(),
            words.join(" "),
            jiff::Zoned::now()
        );
        file.rewind()
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.write_all(holder.as_bytes()))?;
        Ok(Self { _file: file })
    }
}

fn try_lock(file: &File) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock"),
    }
}
