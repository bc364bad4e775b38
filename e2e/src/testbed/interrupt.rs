//! Ctrl-C, SIGTERM and SIGHUP: what was started is torn down before the process ends.

use std::{
    collections::BTreeSet,
    process,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

type Teardown = Box<dyn FnOnce() + Send>;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static WATCHING: AtomicBool = AtomicBool::new(false);
static TEARDOWN: Mutex<Option<Teardown>> = Mutex::new(None);
static HELPERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
static STARTING: Mutex<()> = Mutex::new(());

/// Exit status after an interrupt, as shells have it for Ctrl-C.
pub const INTERRUPTED_STATUS: u8 = 130;

/// Begins to watch for the signals. Call it once early; later calls do nothing.
///
/// # Errors
/// When the handler cannot be installed.
pub fn watch() -> Result<()> {
    if WATCHING.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot install a signal handler")?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            eprintln!("interrupted: stopping what was started …");
            for helper in locked(&HELPERS).iter() {
                let _ = kill(Pid::from_raw(*helper), Signal::SIGTERM);
            }
            let teardown = locked(&TEARDOWN).take();
            if let Some(teardown) = teardown {
                // Whoever is about to start something finishes that first; nobody starts after.
                let _starting = locked(&STARTING);
                teardown();
            }
            process::exit(INTERRUPTED_STATUS.into());
        }
    });
    Ok(())
}

/// Fails when the run was interrupted, so that loops end.
///
/// # Errors
/// Exactly then.
pub fn check() -> Result<()> {
    if came() {
        bail!("interrupted");
    }
    Ok(())
}

/// Whether an interrupt came.
#[must_use]
pub fn came() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Sets what an interrupt has to undo; replaces what was set before.
pub fn on_interrupt(teardown: impl FnOnce() + Send + 'static) {
    *locked(&TEARDOWN) = Some(Box::new(teardown));
}

/// Nothing is left to undo.
pub fn clear() {
    *locked(&TEARDOWN) = None;
}

/// Runs `start`, which starts something that outlives this process, unless an interrupt came first.
///
/// # Errors
/// Those of `start`, or that the run was interrupted.
pub fn starting<T>(start: impl FnOnce() -> Result<T>) -> Result<T> {
    let _starting = locked(&STARTING);
    check()?;
    start()
}

/// A helper program that an interrupt ends, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Helper(i32);

impl Helper {
    /// A program that leads a process group: all of that is ended.
    pub(crate) fn group(id: u32) -> Self {
        Self::register(-i32::try_from(id).unwrap_or_default())
    }

    /// A program in our own process group: only that is ended.
    pub(crate) fn process(id: u32) -> Self {
        Self::register(i32::try_from(id).unwrap_or_default())
    }

    /// As `kill` has it: a negative number is a group.
    fn register(target: i32) -> Self {
        locked(&HELPERS).insert(target);
        Self(target)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        locked(&HELPERS).remove(&self.0);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
