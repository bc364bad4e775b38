//! A position in a container's log (pure): up to where it has been read.

use std::fmt;
use std::str::FromStr;

/// The position behind the last byte read, identified by the timestamps that the kubelet adds to each line.
///
/// Several lines may have the same timestamp, and a line may be very long. So the position consists of the line's
/// timestamp, its number among the lines with that timestamp, and the number of its bytes read. A hash of these bytes
/// tells whether a line found again is the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogMark {
    /// Timestamp of the line, as the kubelet writes it (RFC 3339 with nanoseconds).
    pub time: String,
    /// Number of the line among those with this timestamp, from 1.
    pub nth: u32,
    /// Bytes of the line that were read, including its line break.
    pub read: u64,
    /// Whether the whole line was read.
    pub whole: bool,
    /// [`struct@Hash`] of these bytes.
    pub hash: u64,
}

/// FNV-1a: a mark outlives the process that made it, so its hash has to be the same in every build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// Adds bytes.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(self.0, step))
    }
}

/// A text that is not a [`LogMark`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a position in a log")]
pub struct InvalidLogMark(String);

/// The form used in names of parts: only letters, digits, `_`, `-` and `.`.
impl fmt::Display for LogMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not every store accepts `:` and `+`: `_` and `p` replace them.
        let time = self.time.replace(':', "_").replace('+', "p");
        let whole = if self.whole { 'w' } else { 'c' };
        write!(f, "{time}.{}.{}{whole}.{:016x}", self.nth, self.read, self.hash)
    }
}

impl FromStr for LogMark {
    type Err = InvalidLogMark;

    fn from_str(text: &str) -> Result<Self, InvalidLogMark> {
        parse(text).ok_or_else(|| InvalidLogMark(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<LogMark> {
    let (rest, hash) = text.rsplit_once('.')?;
    let (rest, read) = rest.rsplit_once('.')?;
    let (time, nth) = rest.rsplit_once('.')?;
    let (read, whole) = match read.strip_suffix('w') {
        Some(read) => (read, true),
        None => (read.strip_suffix('c')?, false),
    };
    Some(LogMark {
        time: time.replace('_', ":").replace('p', "+"),
        nth: nth.parse().ok()?,
        read: read.parse().ok()?,
        whole,
        hash: u64::from_str_radix(hash, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_name_of_a_part() {
        for time in ["2026-11-21T09:55:37.123456789Z", "2026-11-21T09:55:37.1+02:00"] {
            for whole in [true, false] {
                let mark = LogMark {
                    time: time.into(),
                    nth: 3,
                    read: 1 << 40,
                    whole,
                    hash: Hash::default().and(b"x").0,
                };
                let text = mark.to_string();
                assert!(
                    text.bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
                );
                assert!(text.len() <= 100, "{text}");
                assert_eq!(text.parse(), Ok(mark));
            }
        }
        for text in ["", "x", "a.b.c", "2026.1.5x.00"] {
            assert!(text.parse::<LogMark>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_hash_does_not_depend_on_how_the_bytes_come() {
        assert_eq!(Hash::default().and(b"ab").and(b"c"), Hash::default().and(b"abc"));
        assert_ne!(Hash::default().and(b"ab"), Hash::default().and(b"ba"));
        // The published test vector of FNV-1a.
        assert_eq!(Hash::default().and(b"a").0, 0xaf63_dc4c_8601_ec8c);
    }
}
