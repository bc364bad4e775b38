//! The parts of a log that is still being written (pure).

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

/// Most characters of a cursor.
pub const LONGEST_CURSOR: usize = 100;

/// The name of a part: its attempt, its sequence number, and where the next part begins.
///
/// Names sort in the order of their parts: by attempt, sequence and cursor. Written as
/// `<attempt:04>-<sequence:08>-<cursor>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartName {
    attempt: u32,
    sequence: u32,
    cursor: String,
}

/// A cursor that cannot be in a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cursor {0:?} must have at most 100 characters of A-Z a-z 0-9 _ - . without a dot at its end")]
pub struct InvalidCursor(pub String);

impl PartName {
    /// Names a part: its attempt (from 1), its number within the attempt (from 0), and the writer's cursor, which says
    /// where the part ends: at most 100 characters of `A-Z a-z 0-9 _ - .`, without a dot at the end, which Azure would
    /// drop.
    ///
    /// # Errors
    /// When the cursor has anything else.
    pub fn new(attempt: u32, sequence: u32, cursor: &str) -> Result<Self, InvalidCursor> {
        let fits = cursor.len() <= LONGEST_CURSOR
            && cursor
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
            && !cursor.ends_with('.');
        if !fits {
            return Err(InvalidCursor(cursor.to_owned()));
        }
        Ok(Self {
            attempt,
            sequence,
            cursor: cursor.to_owned(),
        })
    }

    /// The attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Number of the part within the attempt, from 0.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// The writer's cursor, which says where the part ends.
    #[must_use]
    pub fn cursor(&self) -> &str {
        &self.cursor
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:08}-{}", self.attempt, self.sequence, self.cursor)
    }
}

/// A text that is not the name of a part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a part of a log")]
pub struct NoPart(pub String);

impl FromStr for PartName {
    type Err = NoPart;

    /// Parses only the output of [`fmt::Display`].
    fn from_str(text: &str) -> Result<Self, NoPart> {
        let no_part = || NoPart(text.to_owned());
        let mut fields = text.splitn(3, '-');
        let mut field = || fields.next().ok_or_else(no_part);
        let (attempt, sequence, cursor) = (field()?, field()?, field()?);
        let number = |digits: &str| digits.parse().map_err(|_| no_part());
        let name = Self::new(number(attempt)?, number(sequence)?, cursor).map_err(|_| no_part())?;
        if name.to_string() == text {
            Ok(name)
        } else {
            Err(no_part())
        }
    }
}

/// A part that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Name of the part.
    pub name: PartName,
    /// Size of the part in bytes.
    pub bytes: u64,
}

/// A piece that a log is composed of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A part that is in the store.
    Part(PartName),
    /// Text of the operator: a header, a line between attempts, a line about a gap.
    Text(Bytes),
}

/// Result of composing a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Composed {
    /// The log was written and verified; its size in bytes.
    Written(u64),
    /// The log had been composed before; its size in bytes. Nothing was written.
    Before(u64),
    /// The log has no bytes. Nothing was written, as an empty object breaks Druid's range reads.
    Nothing,
}

/// Which bytes of a log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRange {
    /// The whole log.
    All,
    /// From this offset on, in bytes from 0; nothing if the log is shorter.
    From(u64),
    /// The last bytes, or the whole log if it is shorter.
    Last(u64),
}

impl LogRange {
    /// Begin and end in a log of this size.
    #[must_use]
    pub fn within(self, size: u64) -> std::ops::Range<u64> {
        let begin = match self {
            Self::All => 0,
            Self::From(offset) => offset.min(size),
            Self::Last(bytes) => size.saturating_sub(bytes),
        };
        begin..size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_written() {
        for (attempt, sequence, cursor) in [
            (1, 0, "a"),
            (12, 345, "2026-11-21T00.00.00Z-7_x"),
            (10_000, 99_999_999, ""),
            (1, 100_000_000, "-"),
        ] {
            let name = PartName::new(attempt, sequence, cursor).unwrap();
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert_eq!(PartName::new(1, 2, "c").unwrap().to_string(), "0001-00000002-c");
    }

    #[test]
    fn other_names_are_no_parts() {
        for name in [
            "",
            "composed",
            "1-2-c",
            "0001-00000002",
            "0001-00000002-a/b",
            "+001-00000002-c",
            "0001-0000000x-c",
        ] {
            assert_eq!(name.parse::<PartName>(), Err(NoPart(name.to_owned())));
        }
    }

    #[test]
    fn cursors_hold_what_every_store_takes() {
        for cursor in ["a b", "a/b", "a:b", "ä", "end.", &"a".repeat(101)] {
            assert_eq!(PartName::new(1, 0, cursor), Err(InvalidCursor(cursor.to_owned())));
        }
        assert!(PartName::new(1, 0, &"a".repeat(100)).is_ok());
    }

    #[test]
    fn parts_sort_as_they_follow_each_other() {
        let name = |a, s, c| PartName::new(a, s, c).unwrap();
        let sorted = [
            name(1, 2, "z"),
            name(1, 10, "a"),
            name(2, 0, "a"),
            name(2, 0, "b"),
            name(10, 0, ""),
        ];
        let mut names = sorted.clone();
        names.reverse();
        names.sort();
        assert_eq!(names, sorted);
    }

    #[test]
    fn ranges_end_with_the_log() {
        assert_eq!(LogRange::All.within(5), 0..5);
        assert_eq!(LogRange::From(2).within(5), 2..5);
        assert_eq!(LogRange::From(9).within(5), 5..5);
        assert_eq!(LogRange::Last(2).within(5), 3..5);
        assert_eq!(LogRange::Last(9).within(5), 0..5);
    }
}
