//! What the status of a PeonTemplate says, and when it is written (pure).

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

use crate::api::PeonTemplateStatus;
use crate::api::conditions::{Conditions, READY};
use crate::api::reason::TemplateReadiness;
use crate::task::accept::template_readiness::Unusable;
use crate::task::aggregates::slots::Counts;

/// Shortest time between two writes to one template, unless its generation changed.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// The last write of this process to a template.
#[derive(Debug, Clone)]
pub struct LastWrite {
    /// When.
    pub at: Instant,
    /// Uid of the template.
    pub uid: String,
    /// What was written.
    pub status: PeonTemplateStatus,
}

/// What to do about the status of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// It is up to date.
    Nothing,
    /// Write this status now.
    Write(PeonTemplateStatus),
    /// Look again after this time.
    Later(Duration),
}

/// The status of a template whose current status is `old`. `readiness` is what it says that has no effect on its tasks, or
/// why they cannot use it.
#[must_use]
pub fn status(
    old: Option<&PeonTemplateStatus>,
    readiness: Result<&[String], &Unusable>,
    counts: Counts,
    generation: Option<i64>,
    now: Timestamp,
) -> PeonTemplateStatus {
    let conditions = old.map(|old| old.conditions.as_slice()).unwrap_or_default();
    let mut conditions = Conditions::from(conditions, generation, now);
    match readiness {
        Ok(without_effect) => {
            let warning = match without_effect {
                [] => String::new(),
                settings => format!("; without effect: {}", settings.join("; ")),
            };
            let message = format!("tasks can use the template{warning}");
            conditions.set(READY, true, &TemplateReadiness::Valid, &message);
        }
        Err(unusable) => conditions.set(READY, false, &unusable.reason, &unusable.message),
    }
    PeonTemplateStatus {
        conditions: conditions.into_list(),
        running: Some(counts.running),
        waiting: Some(counts.waiting),
        observed_generation: generation,
    }
}

/// Whether `new` is written in place of `old`. `last` is the last write of this process to the template of this uid,
/// and `started` is when the process began to write: until its counts are complete, it writes no other ones.
#[must_use]
pub fn decide(
    old: Option<&PeonTemplateStatus>,
    new: PeonTemplateStatus,
    last: Option<&LastWrite>,
    started: Instant,
    now: Instant,
) -> Decision {
    if old == Some(&new) {
        return Decision::Nothing;
    }
    let of_the_same = |old: &PeonTemplateStatus| {
        old.observed_generation == new.observed_generation && old.conditions == new.conditions
    };
    let at_once = match last {
        None => !old.is_some_and(of_the_same),
        Some(last) => last.status.observed_generation != new.observed_generation,
    };
    let due = last.map_or(started, |last| last.at) + INTERVAL;
    if at_once || due <= now {
        Decision::Write(new)
    } else {
        Decision::Later(due - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn valid(running: u32, generation: i64) -> PeonTemplateStatus {
        let counts = Counts { running, waiting: 0 };
        status(None, Ok(&[]), counts, Some(generation), at(1))
    }

    fn last(status: &PeonTemplateStatus, at: Instant) -> LastWrite {
        LastWrite {
            at,
            uid: "u".into(),
            status: status.clone(),
        }
    }

    #[test]
    fn readiness_is_written_at_once_and_counts_after_the_interval() {
        let start = Instant::now();
        let soon = start + Duration::from_secs(1);
        let wrong = Unusable::undecodable("t", "no");
        let mut broken = status(Some(&valid(0, 1)), Err(&wrong), Counts::default(), Some(2), at(2));
        let first = last(&valid(0, 1), start);
        let later = Decision::Later(Duration::from_secs(4));
        for (old, new, last, expected) in [
            (None, valid(0, 1), None, Decision::Write(valid(0, 1))),
            (Some(valid(0, 1)), valid(0, 1), None, Decision::Nothing),
            // Counts of a process that has just begun may not be complete.
            (Some(valid(3, 1)), valid(0, 1), None, later.clone()),
            (
                Some(valid(0, 1)),
                broken.clone(),
                Some(&first),
                Decision::Write(broken.clone()),
            ),
            (Some(valid(0, 1)), valid(2, 1), Some(&first), later.clone()),
            // Another writer: no race.
            (None, valid(0, 1), Some(&first), later),
        ] {
            assert_eq!(decide(old.as_ref(), new, last, start, soon), expected);
        }
        let due = start + INTERVAL;
        let written = decide(Some(&valid(0, 1)), valid(2, 1), Some(&first), start, due);
        assert_eq!(written, Decision::Write(valid(2, 1)));
        assert_eq!(broken.conditions.remove(0).reason, "InvalidTemplate");
    }

    #[test]
    fn a_ready_template_says_what_has_no_effect() {
        let message = |without_effect: &[String]| {
            let mut status = status(None, Ok(without_effect), Counts::default(), Some(1), at(1));
            status.conditions.remove(0).message
        };
        assert_eq!(message(&[]), "tasks can use the template");
        assert_eq!(
            message(&["a".into(), "b".into()]),
            "tasks can use the template; without effect: a; b"
        );
    }

    #[test]
    fn a_thousand_changes_of_counts_within_an_interval_are_two_writes() {
        let start = Instant::now();
        let (mut old, mut writes) = (valid(0, 1), 0);
        let mut written = last(&old, start);
        let from = start + INTERVAL;
        for n in 1..=1000 {
            let now = from + INTERVAL * n / 1000;
            match decide(Some(&old), valid(n, 1), Some(&written), start, now) {
                Decision::Write(new) => {
                    (written, old, writes) = (last(&new, now), new, writes + 1);
                }
                Decision::Later(left) => assert!(left <= INTERVAL),
                Decision::Nothing => panic!("the counts differ"),
            }
        }
        assert_eq!(writes, 1);
        let end = decide(
            Some(&old),
            valid(1000, 1),
            Some(&written),
            start,
            written.at + INTERVAL,
        );
        assert_eq!(
            end,
            Decision::Write(valid(1000, 1)),
            "the last counts are written"
        );
    }
}
