//! Lines in which Druid says that a task has published segments (pure).
//!
//! | class of Druid 33 | line |
//! |---|---|
//! | `BaseAppenderatorDriver` | `Published [2] segments with commit metadata[…].` |
//! | `ParallelIndexSupervisorTask`, `IndexTask` | `Published [2] segments` |
//!
//! A batch task that has published is not run again under its id: the second run has the same lock and the same segment
//! versions, so that its files may replace those of the first, whose rows in the metadata store stay; and one that appends
//! would append twice.

use memchr::memmem::{find, find_iter};

/// Beginning of what such a line says.
const PUBLISHED: &[u8] = b"Published ";
/// What follows in the same line.
const SEGMENTS: &[u8] = b"segments";
/// Bytes of a line that has not ended that are examined again with those that follow.
const LONGEST: usize = 4096;

/// Whether one of these lines says so.
#[must_use]
pub fn says_so(lines: &[u8]) -> bool {
    find_iter(lines, PUBLISHED).any(|at| {
        let rest = &lines[at..];
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        find(&rest[..end], SEGMENTS).is_some()
    })
}

/// Looks for a line of some kind in a log that comes in pieces that may end within a line.
#[derive(Debug)]
pub struct Search {
    says_so: fn(&[u8]) -> bool,
    /// The end of the last piece, if that is not the end of a line.
    begun: Vec<u8>,
    found: bool,
}

/// Looks for lines by which Druid says that a task published.
impl Default for Search {
    fn default() -> Self {
        Self::of(says_so)
    }
}

impl Search {
    /// A search for lines of which `says_so` is true.
    #[must_use]
    pub fn of(says_so: fn(&[u8]) -> bool) -> Self {
        Self {
            says_so,
            begun: Vec::new(),
            found: false,
        }
    }

    /// Whether an earlier search of the same log found one.
    #[must_use]
    pub fn continued(found: bool) -> Self {
        Self {
            found,
            ..Self::default()
        }
    }

    /// Examines the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.found {
            return;
        }
        self.begun.extend_from_slice(piece);
        self.found = (self.says_so)(&self.begun);
        let line = memchr::memrchr(b'\n', &self.begun).map_or(0, |at| at + 1);
        let line = line.max(self.begun.len().saturating_sub(LONGEST));
        self.begun.drain(..line);
    }

    /// Whether a line says so.
    #[must_use]
    pub fn found(&self) -> bool {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &[u8] =
        b"2026-11-29T23:12:30,181 INFO [task-runner-0-priority-0] Task - Published [2] segments\n";
    const DRIVER: &[u8] =
        b"INFO [publish-0] BaseAppenderatorDriver - Published [1] segments with commit metadata[null].\n";

    #[test]
    fn what_druid_writes_is_recognised() {
        for line in [INDEX, DRIVER] {
            assert!(says_so(line), "{}", String::from_utf8_lossy(line));
            assert!(says_so(&[b"before\n", line, b"after\n"].concat()));
        }
        for other in [
            &b"INFO Publishing segments\n"[..],
            b"INFO Published segment schemas[SegmentSchemaMapping{version='1'}].\n",
            b"INFO Published \nsegments\n",
            b"Published",
            b"",
        ] {
            assert!(!says_so(other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn it_is_found_wherever_pieces_end() {
        let log = [b"first\n", INDEX, b"last\n"].concat();
        for at in 0..log.len() {
            let mut search = Search::default();
            search.feed(&log[..at]);
            search.feed(&log[at..]);
            assert!(search.found(), "{at}");
        }
        let mut byte_by_byte = Search::default();
        for byte in &log {
            byte_by_byte.feed(&[*byte]);
        }
        assert!(byte_by_byte.found());
    }

    #[test]
    fn a_line_without_an_end_takes_little_memory() {
        let mut search = Search::default();
        for _ in 0..100 {
            search.feed(&[b'x'; 1000]);
        }
        assert!(search.begun.len() <= LONGEST && !search.found());
        assert!(Search::continued(true).found());
    }
}
