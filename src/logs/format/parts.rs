//! The pieces of a log that is still written (pure).

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

/// Most characters of a cursor.
pub const LONGEST_CURSOR: usize = 100;

/// The name of a part: what it is the part of, and where the next one begins.
///
/// Names sort as their parts follow each other: by attempt, sequence and cursor. Written as
/// `<attempt:04>-<sequence:08>-<cursor>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartName {
    attempt: u32,
    sequence: u32,
    cursor: String,
}

/// A cursor that cannot be in a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cursor {0:?} is not at most 100 of A-Z a-z 0-9 _ - . with no dot at its end")]
pub struct InvalidCursor(pub String);

impl PartName {
    /// Names a part: of which attempt (from 1), the how manieth of it (from 0), and the writer's own word on where it
    /// ends: at most 100 of `A-Z a-z 0-9 _ - .`, with no dot at its end, which Azure would drop.
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

    /// Which part of the attempt, from 0.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// The writer's word on where the part ends.
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

/// Not the name of a part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a part of a log")]
pub struct NoPart(pub String);

impl FromStr for PartName {
    type Err = NoPart;

    /// Reads what [`fmt::Display`] wrote, and nothing else.
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
    /// Its name.
    pub name: PartName,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What a log is composed of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A part that is in the store.
    Part(PartName),
    /// Text of ours: a header, a line between attempts, a word on a gap.
    Text(Bytes),
}

/// How composing a log went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Composed {
    /// The log was written and verified; so many bytes.
    Written(u64),
    /// It had been composed before, with so many bytes; nothing was written.
    Before(u64),
    /// There is not one byte of it; nothing was written, as an empty object breaks Druid's reading of ranges.
    Nothing,
}

/// Which bytes of a log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRange {
    /// All.
    All,
    /// From this offset on, in bytes from 0; nothing where the log is shorter.
    From(u64),
    /// The last bytes, or all where there are fewer.
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
