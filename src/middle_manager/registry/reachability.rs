//! Whether identities accept tasks (pure).
//!
//! An assignment cannot be refused: if a worker answers with an error, the overlord assumes that the worker has the
//! task, and fails the task minutes later. But it heeds a worker that was disabled beforehand. So a worker that could
//! not store tasks disables itself.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::identity::Ordinal;

/// How long the API server may be silent, or refuse PeonTasks, before the worker is disabled.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long no task is accepted after a task could not be stored. Then one is accepted as a test.
pub const HOLD: Duration = Duration::from_secs(60);

/// The causes that disable identities.
#[derive(Debug)]
pub struct Gate {
    by_hand: BTreeSet<Ordinal>,
    draining: bool,
    /// Number of wanted identities; later ones accept no tasks, even if an administrator enables them.
    wanted: u16,
    /// When the API server last answered.
    answered: Instant,
    /// Since when it has not answered.
    silent: bool,
    /// When the first and the last task could not be stored, with none stored in between.
    not_kept: Option<(Instant, Instant)>,
}

impl Gate {
    /// No cause is present.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            by_hand: BTreeSet::new(),
            draining: false,
            wanted: u16::MAX,
            answered: now,
            silent: false,
            not_kept: None,
        }
    }

    /// The API server answered. Returns whether it had been lost.
    pub fn answered(&mut self, now: Instant) -> bool {
        let was_lost = self.is_lost(now);
        (self.answered, self.silent) = (now, false);
        was_lost
    }

    /// The API server did not answer.
    pub fn silent(&mut self) {
        self.silent = true;
    }

    /// A task was stored.
    pub fn kept(&mut self) {
        self.not_kept = None;
    }

    /// A task cannot be stored for now.
    pub fn not_kept(&mut self, now: Instant) {
        let since = self
            .not_kept
            .filter(|(_, last)| now < *last + HOLD)
            .map_or(now, |(since, _)| since);
        self.not_kept = Some((since, now));
    }

    /// An administrator enables or disables an identity, until this process ends.
    pub fn enable(&mut self, identity: Ordinal, enabled: bool) {
        if enabled {
            self.by_hand.remove(&identity);
        } else {
            self.by_hand.insert(identity);
        }
    }

    /// Sets the number of wanted identities, which are the first ones.
    pub fn want(&mut self, identities: u16) {
        self.wanted = identities;
    }

    /// The process is about to end.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether the API server has not answered for too long.
    #[must_use]
    pub fn is_lost(&self, now: Instant) -> bool {
        self.silent && now.duration_since(self.answered) > PATIENCE
    }

    /// Whether an identity is disabled.
    #[must_use]
    pub fn is_disabled(&self, identity: Ordinal, now: Instant) -> bool {
        let refuses = |(since, last): (Instant, Instant)| last > since + PATIENCE && now < last + HOLD;
        self.by_hand.contains(&identity)
            || self.draining
            || identity.0 >= self.wanted
            || self.is_lost(now)
            || self.not_kept.is_some_and(refuses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Ordinal = Ordinal(0);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_silence_of_more_than_five_seconds_disables_all_until_it_ends() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        assert!(!gate.is_disabled(FIRST, start + 60 * SECOND), "nobody asked");
        gate.silent();
        assert!(!gate.is_disabled(FIRST, start + 5 * SECOND));
        assert!(gate.is_disabled(FIRST, start + 6 * SECOND));
        assert!(gate.is_disabled(Ordinal(7), start + 6 * SECOND));
        assert!(gate.answered(start + 7 * SECOND));
        assert!(!gate.is_disabled(FIRST, start + 7 * SECOND));
        gate.silent();
        assert!(!gate.answered(start + 9 * SECOND), "that was no loss");
    }

    #[test]
    fn what_an_administrator_disabled_stays_disabled() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        gate.enable(FIRST, false);
        gate.silent();
        gate.answered(start + 10 * SECOND);
        assert!(gate.is_disabled(FIRST, start + 10 * SECOND));
        assert!(!gate.is_disabled(Ordinal(1), start + 10 * SECOND));
        gate.enable(FIRST, true);
        assert!(!gate.is_disabled(FIRST, start + 10 * SECOND));
        gate.drain();
        assert!(gate.is_disabled(Ordinal(1), start + 10 * SECOND));
    }

    #[test]
    fn identities_that_are_not_wanted_take_no_tasks_whoever_enables_them() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        gate.want(1);
        gate.enable(Ordinal(1), true);
        assert!(!gate.is_disabled(FIRST, start) && gate.is_disabled(Ordinal(1), start));
        gate.want(2);
        assert!(!gate.is_disabled(Ordinal(1), start) && gate.is_disabled(Ordinal(2), start));
    }

    #[test]
    fn tasks_that_cannot_be_kept_keep_others_away_for_a_minute() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        gate.not_kept(start);
        gate.not_kept(start + 5 * SECOND);
        assert!(
            !gate.is_disabled(FIRST, start + 5 * SECOND),
            "the API server may just have started anew"
        );
        gate.not_kept(start + 6 * SECOND);
        assert!(gate.is_disabled(FIRST, start + 65 * SECOND));
        assert!(
            !gate.is_disabled(FIRST, start + 66 * SECOND),
            "one is let through"
        );
        gate.not_kept(start + 67 * SECOND);
        assert!(
            !gate.is_disabled(FIRST, start + 67 * SECOND),
            "it is tried for as long as the first"
        );
        gate.not_kept(start + 73 * SECOND);
        assert!(gate.is_disabled(FIRST, start + 73 * SECOND));
        gate.kept();
        assert!(!gate.is_disabled(FIRST, start + 73 * SECOND));
    }
}
