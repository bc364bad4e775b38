//! Waiting on conditions with deadlines.

use std::{
    collections::VecDeque,
    fmt, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use jiff::Timestamp;

use crate::testbed::interrupt;

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
    let begun = Instant::now();
    let deadline = begun + limit;
    loop {
        let looked = Instant::now();
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            let since = Timestamp::now() - begun.elapsed();
            bail!(
                "gave up waiting for {what} after {} s, since {since:.0}",
                limit.as_secs()
            );
        }
        rest(looked);
    }
}

/// Rests between two looks, of which the last began then.
pub(crate) fn rest(looked: Instant) {
    thread::sleep(POLL.max(looked.elapsed() * REST));
}

/// How many different states a failure shows.
const SHOWN: usize = 3;

/// The last different states of what is waited for, for the message of a failure.
#[derive(Debug)]
pub(crate) struct Sightings {
    begun: Instant,
    last: VecDeque<(Duration, String)>,
}

impl Sightings {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            last: VecDeque::new(),
        }
    }

    /// Adds what is seen now, unless it is what was seen before.
    pub(crate) fn add(&mut self, seen: String) {
        if self.last.back().is_some_and(|(_, last)| *last == seen) {
            return;
        }
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back((self.begun.elapsed(), seen));
    }
}

impl fmt::Display for Sightings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.last.is_empty() {
            return f.write_str("never seen");
        }
        f.write_str("last seen:")?;
        for (after, seen) in &self.last {
            write!(f, "\n  after {:.1} s: {seen}", after.as_secs_f32())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_last_three_states() {
        let mut sightings = Sightings::new();
        assert_eq!(sightings.to_string(), "never seen");
        for seen in ["a", "b", "b", "c", "d", "d"] {
            sightings.add(seen.to_owned());
        }
        let shown = sightings.to_string();
        let states: Vec<&str> = shown
            .lines()
            .skip(1)
            .filter_map(|l| l.rsplit(": ").next())
            .collect();
        assert_eq!(states, ["b", "c", "d"], "{shown}");
    }

    #[test]
    fn a_wait_that_is_given_up_says_for_what_and_since_when() {
        let given_up = wait_until(Duration::ZERO, "a pod", || Ok(None::<()>)).unwrap_err();
        let said = given_up.to_string();
        assert!(
            said.starts_with("gave up waiting for a pod after 0 s, since 2"),
            "{said}"
        );
    }
}
