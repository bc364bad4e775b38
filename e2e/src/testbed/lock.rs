//! One user at a time: a lock file that says who holds it.

use std::{
    fs::{File, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::testbed::progress::Progress;

/// How long a run waits for another one.
const MOST: Duration = Duration::from_secs(3600);

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
            lock(&file)?;
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

/// Waits for the lock in the order of those who ask for it, which is that of the kernel.
fn lock(file: &File) -> Result<()> {
    // Locked by way of any of its descriptors, the open file is locked.
    let same = file.try_clone().context("cannot lock")?;
    let (sender, receiver) = mpsc::channel();
    // Where the time is over, the thread ends with the process.
    thread::spawn(move || sender.send(same.lock()));
    let locked = receiver.recv_timeout(MOST);
    locked
        .context("the other run still runs after an hour")?
        .context("cannot lock")
}

fn try_lock(file: &File) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_has_it_when_the_other_lets_go() {
        let path = std::env::temp_dir().join(format!("peon-e2e-lock-{}", process::id()));
        let progress = Progress::default();
        let first = Lock::take(&path, "a thing", Busy::Fail, &progress).unwrap();
        let refused = Lock::take(&path, "a thing", Busy::Fail, &progress)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("another run uses a thing: process"), "{refused}");
        thread::scope(|scope| {
            let second = scope.spawn(|| Lock::take(&path, "a thing", Busy::Wait, &progress));
            drop(first);
            second.join().unwrap().unwrap();
        });
        std::fs::remove_file(&path).unwrap();
    }
}
