//! Waiting on conditions with deadlines.
//!
//! A wait that is given up says for what, since when, and the last three different things that were seen meanwhile: whatever
//! asks something (a program, the API server, Druid, the list of peons) calls `saw` with the answer.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;

use crate::testbed::interrupt;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Looking takes no more than a fifth of the time: what is waited for needs the machine, too.
const REST: u32 = 4;
/// But after this time it is looked at again: a look that hung for minutes must not be followed by a rest of a quarter of an hour.
const LONGEST_REST: Duration = Duration::from_secs(5);

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
    let _seen = Seen::begin();
    let begun = Instant::now();
    let deadline = begun + limit;
    let since = || Timestamp::now() - begun.elapsed();
    loop {
        let looked = Instant::now();
        let found = condition();
        let found = found.with_context(|| format!("while waiting for {what} since {:.0}", since()));
        if let Some(value) = found? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!(
                "gave up waiting for {what} after {} s, since {:.0}; {}",
                limit.as_secs(),
                since(),
                sightings()
            );
        }
        rest(looked);
    }
}

/// Rests between two looks, of which the last began then.
pub(crate) fn rest(looked: Instant) {
    thread::sleep(after(looked.elapsed()));
}

/// How long the rest is after a look that took so long.
fn after(look: Duration) -> Duration {
    POLL.max(look.saturating_mul(REST)).min(LONGEST_REST)
}

/// How many different things a failure shows.
const SHOWN: usize = 3;
/// How many characters of each: as many of its beginning, and of its end, where the status of an object is.
const HEAD: usize = 150;
const END: usize = 450;

thread_local! {
    /// What was seen in the waits that go on in this thread, the innermost last.
    static WAITS: RefCell<Vec<Sightings>> = const { RefCell::new(Vec::new()) };
}

/// Notes what is seen now, for the innermost wait of this thread, if there is any.
pub(crate) fn saw(seen: impl fmt::Display) {
    WAITS.with_borrow_mut(|waits| {
        if let Some(sightings) = waits.last_mut() {
            sightings.add(shortened(&seen.to_string()));
        }
    });
}

/// Notes an answer, or why there is none.
pub(crate) fn saw_answer<T: fmt::Display>(of: impl fmt::Display, answer: &Result<T>) {
    match answer {
        Ok(said) => saw(format_args!("{of}: {said}")),
        // An error says itself what was asked.
        Err(error) => saw(format_args!("{error:#}")),
    }
}

/// Does something of which only what the caller notes afterwards is worth showing.
pub(crate) fn unseen<T>(does: impl FnOnce() -> T) -> T {
    let _apart = Seen::begin();
    does()
}

fn shortened(text: &str) -> String {
    let text = text.trim();
    let length = text.chars().count();
    if length <= HEAD + END {
        return text.to_owned();
    }
    let head: String = text.chars().take(HEAD).collect();
    let end: String = text.chars().skip(length - END).collect();
    format!("{head} … {end}")
}

/// The sightings of a wait, for as long as it goes on.
struct Seen;

impl Seen {
    fn begin() -> Self {
        WAITS.with_borrow_mut(|waits| waits.push(Sightings::new()));
        Self
    }
}

/// The sightings of the innermost wait of this thread.
fn sightings() -> String {
    WAITS
        .with_borrow(|waits| waits.last().map(ToString::to_string))
        .unwrap_or_default()
}

impl Drop for Seen {
    fn drop(&mut self) {
        WAITS.with_borrow_mut(Vec::pop);
    }
}

/// The last different things that were seen.
#[derive(Debug)]
struct Sightings {
    begun: Instant,
    last: VecDeque<(Duration, String)>,
}

impl Sightings {
    /// None yet.
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            last: VecDeque::new(),
        }
    }

    /// Adds what is seen now, unless it is shown already: a condition may ask several things by turns.
    fn add(&mut self, seen: String) {
        if self.last.iter().any(|(_, shown)| *shown == seen) {
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
            return f.write_str("nothing was seen");
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
    fn a_look_that_hung_is_followed_by_a_short_rest() {
        assert_eq!(after(Duration::ZERO), POLL);
        assert_eq!(after(Duration::from_millis(500)), Duration::from_secs(2));
        assert_eq!(after(Duration::from_secs(120)), LONGEST_REST);
    }

    #[test]
    fn a_failure_shows_the_last_three_states() {
        let mut sightings = Sightings::new();
        assert_eq!(sightings.to_string(), "nothing was seen");
        for seen in ["a", "b", "b", "c", "b", "d", "d"] {
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
    #[test]
    fn a_wait_that_is_given_up_says_what_was_seen() {
        let given_up = wait_until(Duration::ZERO, "a pod", || {
            unseen(|| saw("a detail"));
            wait_until(Duration::ZERO, "a node", || {
                saw("a node");
                Ok(Some(()))
            })?;
            saw_answer("a pod", &Ok("Pending"));
            saw_answer("a pod", &Err::<&str, _>(anyhow::anyhow!("refused")));
            Ok(None::<()>)
        });
        let said = given_up.unwrap_err().to_string();
        let seen: Vec<&str> = said
            .lines()
            .skip(1)
            .filter_map(|l| l.split(" s: ").nth(1))
            .collect();
        assert_eq!(seen, ["a pod: Pending", "refused"], "{said}");
        // Of no wait.
        saw("something");
        assert!(WAITS.with_borrow(Vec::is_empty));
    }

    #[test]
    fn a_condition_that_fails_says_for_what_was_waited() {
        let failed = wait_until(Duration::ZERO, "a pod", || {
            anyhow::bail!("two pods") as Result<Option<()>>
        });
        let said = format!("{:#}", failed.unwrap_err());
        assert!(said.starts_with("while waiting for a pod since 2"), "{said}");
        assert!(said.ends_with(": two pods"), "{said}");
    }

    #[test]
    fn of_much_text_beginning_and_end_are_shown() {
        let long = format!("ä{}z", "x".repeat(5000));
        let short = shortened(&long);
        assert!(short.starts_with('ä') && short.ends_with('z'), "{short}");
        assert!(short.chars().count() < 610, "{short}");
    }
}
