//! Waiting on conditions with deadlines.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::interrupt;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Looking takes no more than a fifth of the time: what is waited for needs the machine, too.
const REST: u32 = 4;

/// Looks at `condition` until it gives a value and returns that.
///
/// `what` completes the sentence "gave up waiting for …".
///
/// # Errors
/// At once when `condition` fails or the run is interrupted; after `limit` when it never held.
pub fn wait_until<T>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait_even_if_interrupted(limit, what, || {
        interrupt::check()?;
        condition()
    })
}

/// Like [`wait_until`], for tearing down: an interrupt does not end it.
///
/// # Errors
/// At once when `condition` fails; after `limit` when it never held.
pub fn wait_even_if_interrupted<T>(
    limit: Duration,
    what: &str,
    condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait_resting(limit, what, condition, rest)
}

/// Like [`wait_even_if_interrupted`], with something else than [`rest`] between two looks.
pub(crate) fn wait_resting<T>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<Option<T>>,
    mut rest: impl FnMut(Instant),
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let looked = Instant::now();
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("gave up waiting for {what} after {} s", limit.as_secs());
        }
        rest(looked);
    }
}

/// Rests between two looks, of which the last began then.
pub(crate) fn rest(looked: Instant) {
    thread::sleep(POLL.max(looked.elapsed() * REST));
}
