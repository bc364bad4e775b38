//! When the sidecar archives what, and which space it frees (pure).

use std::time::Duration;

/// Most bytes of one part, and most bytes of the log in memory.
pub const MAX_PART: u64 = 8 << 20;

/// Limits of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushPolicy {
    /// Time after which new bytes are archived, even if there are few.
    pub flush: Duration,
    /// Limit of the log in bytes.
    pub max_bytes: u64,
}

/// State of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Bytes archived.
    pub archived: u64,
    /// Bytes written by the peon.
    pub written: u64,
    /// Time since the last part, or since the start.
    pub since_part: Duration,
    /// Whether no more bytes will be written.
    pub ended: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Check again later.
    Wait,
    /// Archive this many bytes, from the end of the archive on.
    Part(u64),
    /// Archive a line that says how many bytes are not stored.
    Dropped(u64),
    /// The archive is complete.
    Done,
}

impl FlushPolicy {
    /// The next step.
    #[must_use]
    pub fn step(&self, seen: Seen) -> Step {
        let kept = seen.written.min(self.max_bytes);
        let left = kept.saturating_sub(seen.archived);
        if left >= MAX_PART {
            return Step::Part(MAX_PART);
        }
        if left > 0 && (seen.ended || seen.since_part >= self.flush || kept == self.max_bytes) {
            return Step::Part(left);
        }
        if !seen.ended {
            return Step::Wait;
        }
        // An archive beyond the limit already contains the line: an earlier sidecar wrote it.
        if seen.written > self.max_bytes && seen.archived == self.max_bytes {
            return Step::Dropped(seen.written - self.max_bytes);
        }
        Step::Done
    }

    /// The log's bytes before this offset are no longer needed: they are archived, or beyond the limit, and `shown`
    /// says that they were copied to the container's own log.
    #[must_use]
    pub fn free_before(&self, archived: u64, shown: u64) -> u64 {
        if archived >= self.max_bytes {
            shown
        } else {
            shown.min(archived)
        }
    }

    /// The notice about dropped bytes.
    #[must_use]
    pub fn notice(&self, dropped: u64) -> String {
        format!(
            "{dropped} bytes more were written and are not archived: the limit is {} bytes",
            self.max_bytes
        )
    }
}

/// How long to wait before the next request to the store after `failures` failures in a row, at least one.
#[must_use]
pub fn delay(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: FlushPolicy = FlushPolicy {
        flush: Duration::from_secs(30),
        max_bytes: 20 << 20,
    };

    fn step(archived: u64, written: u64, seconds: u64, ended: bool) -> Step {
        let since_part = Duration::from_secs(seconds);
        PACE.step(Seen {
            archived,
            written,
            since_part,
            ended,
        })
    }

    #[test]
    fn a_part_is_made_when_it_is_large_or_old_or_the_last() {
        for (archived, written, seconds, ended, expected) in [
            (0, 0, 99, false, Step::Wait),
            (0, 5, 29, false, Step::Wait),
            (0, 5, 30, false, Step::Part(5)),
            (7, 7, 30, false, Step::Wait),
            (7, MAX_PART + 6, 0, false, Step::Wait),
            (7, MAX_PART + 7, 0, false, Step::Part(MAX_PART)),
            (7, 2 * MAX_PART, 0, true, Step::Part(MAX_PART)),
            (7, 9, 0, true, Step::Part(2)),
            (9, 9, 0, true, Step::Done),
            (0, 0, 0, true, Step::Done),
            // A file that lost its end is not read backwards.
            (9, 8, 99, true, Step::Done),
        ] {
            assert_eq!(
                step(archived, written, seconds, ended),
                expected,
                "{archived} {written}"
            );
        }
    }

    #[test]
    fn beyond_the_limit_nothing_is_kept_but_that_it_was_written() {
        let limit = PACE.max_bytes;
        for (archived, written, ended, expected) in [
            (2 * MAX_PART, limit, false, Step::Part(limit - 2 * MAX_PART)),
            (2 * MAX_PART, limit + 9, false, Step::Part(limit - 2 * MAX_PART)),
            (limit, limit + 9, false, Step::Wait),
            (limit, limit, true, Step::Done),
            (limit, limit + 9, true, Step::Dropped(9)),
            (limit + 70, limit + 9, true, Step::Done),
        ] {
            assert_eq!(
                step(archived, written, 0, ended),
                expected,
                "{archived} {written}"
            );
        }
        assert!(PACE.notice(9).starts_with("9 bytes"));
    }

    #[test]
    fn only_what_is_archived_and_shown_is_freed() {
        let limit = PACE.max_bytes;
        for (archived, shown, expected) in [
            (5, 9, 5),
            (9, 5, 5),
            (limit - 1, limit + 9, limit - 1),
            (limit, limit + 9, limit + 9),
        ] {
            assert_eq!(PACE.free_before(archived, shown), expected);
        }
    }

    #[test]
    fn a_store_is_left_alone_for_longer_and_longer() {
        let seconds: Vec<_> = (1..8).map(|failures| delay(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 16, 16]);
    }
}
