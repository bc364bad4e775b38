//! The parts that a sidecar made of a log (pure).
//!
//! The cursor of a part is `b` and the offset in the log at which the part ends, or `p` and that offset if the log up to
//! there says that the task published segments; of one of our own lines it is `n` and that offset. A part whose writer
//! died before it had an answer may exist beside the one that its successor wrote from the same offset, with another
//! length. A part's bytes follow from where it begins and ends, so any sequence of adjoining parts is the log, and the
//! longest one is used.

use std::collections::BTreeMap;

use super::parts::{InvalidCursor, Part, PartName};

/// A sequence of a log's parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// The parts, in order and without a gap.
    pub parts: Vec<PartName>,
    /// Where the last one ends.
    pub end: u64,
}

impl Chain {
    /// The longest sequence of this attempt's parts; where one is gone it continues with the next one that exists.
    /// Parts that no sidecar wrote are ignored.
    #[must_use]
    pub fn of(parts: &[Part], attempt: u32) -> Self {
        let ranges = Self::ranges(parts, attempt);
        Self {
            end: ranges.last().map_or(0, |(_, end, _)| *end),
            parts: ranges.into_iter().map(|(_, _, name)| name).collect(),
        }
    }

    /// The same sequence, each part with its begin and end.
    #[must_use]
    pub fn ranges(parts: &[Part], attempt: u32) -> Vec<(u64, u64, PartName)> {
        let range = |part: &Part| {
            let end = part.name.cursor().strip_prefix(['b', 'p', 'n'])?;
            let end: u64 = end.parse().ok()?;
            let start = end.checked_sub(part.bytes)?;
            (part.name.attempt() == attempt && start < end).then(|| (start, end, part.name.clone()))
        };
        let mut ranges: Vec<_> = parts.iter().filter_map(range).collect();
        ranges.sort();
        // By end offset: the part with which a sequence may get there, and where that part's sequence continued from;
        // none counts as length zero.
        let mut reached: BTreeMap<u64, Option<(u64, PartName, u64)>> = BTreeMap::from([(0, None)]);
        for (start, end, name) in ranges {
            let furthest = reached.last_key_value().map_or(0, |(end, _)| *end);
            let from = if reached.contains_key(&start) {
                start
            } else if start > furthest {
                // The parts are sorted: no existing part joins the two.
                furthest
            } else {
                continue;
            };
            reached.entry(end).or_insert(Some((start, name, from)));
        }
        let mut at = reached.last_key_value().map_or(0, |(end, _)| *end);
        let mut row = Vec::new();
        while let Some(Some((start, name, from))) = reached.get(&at) {
            row.push((*start, at, name.clone()));
            at = *from;
        }
        row.reverse();
        row
    }

    /// The name of the next part, if it has `bytes` bytes; `published` says whether the log up to its end says that the
    /// task published segments.
    ///
    /// # Errors
    /// Never: a number is a cursor.
    pub fn next(&self, attempt: u32, bytes: u64, published: bool) -> Result<PartName, InvalidCursor> {
        let sequence = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        let kind = if published { 'p' } else { 'b' };
        PartName::new(attempt, sequence, &format!("{kind}{}", self.end + bytes))
    }

    /// Whether the log in these parts says that the task published segments.
    #[must_use]
    pub fn published(&self) -> bool {
        self.parts.iter().any(|part| part.cursor().starts_with('p'))
    }

    /// The name of the next part, if it is one of our own lines of `bytes` bytes.
    ///
    /// # Errors
    /// Never: a number is a cursor.
    pub fn next_of_ours(&self, attempt: u32, bytes: u64) -> Result<PartName, InvalidCursor> {
        let sequence = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        PartName::new(attempt, sequence, &format!("n{}", self.end + bytes))
    }

    /// Whether a part contains the task's own output.
    #[must_use]
    pub fn is_raw(part: &PartName) -> bool {
        let end = part.cursor().strip_prefix(['b', 'p']);
        end.is_some_and(|end| end.parse::<u64>().is_ok())
    }

    /// Appends a part that was written.
    pub fn push(&mut self, name: PartName, bytes: u64) {
        self.parts.push(name);
        self.end += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(attempt: u32, sequence: u32, start: u64, end: u64) -> Part {
        Part {
            name: PartName::new(attempt, sequence, &format!("b{end}")).unwrap(),
            bytes: end - start,
        }
    }

    fn ends(parts: &[Part]) -> Vec<String> {
        let chain = Chain::of(parts, 1);
        let last = chain.parts.last().map_or("b0", PartName::cursor);
        assert_eq!(last, format!("b{}", chain.end));
        chain.parts.iter().map(|name| name.cursor().to_owned()).collect()
    }

    #[test]
    fn a_chain_goes_on_where_it_ended() {
        let (mut chain, mut parts) = (Chain::default(), Vec::new());
        for bytes in [5, 1, 100] {
            let name = chain.next(1, bytes, false).unwrap();
            parts.push(Part {
                name: name.clone(),
                bytes,
            });
            chain.push(name, bytes);
            assert_eq!(Chain::of(&parts, 1), chain);
        }
        assert_eq!(chain.parts[2].to_string(), "0001-00000002-b106");
    }

    #[test]
    fn of_parts_that_overlap_the_longest_row_is_taken() {
        assert_eq!(ends(&[]), [""; 0]);
        // The successor wrote more from the same place.
        assert_eq!(
            ends(&[part(1, 0, 0, 5), part(1, 1, 5, 7), part(1, 1, 5, 9)]),
            ["b5", "b9"]
        );
        // The predecessor's came late, when the successor had gone on from a shorter one.
        assert_eq!(
            ends(&[
                part(1, 0, 0, 5),
                part(1, 1, 5, 7),
                part(1, 1, 5, 8),
                part(1, 2, 7, 20)
            ]),
            ["b5", "b7", "b20"]
        );
        assert_eq!(
            ends(&[part(1, 0, 0, 9), part(1, 0, 0, 5), part(1, 1, 5, 9)])
                .last()
                .unwrap(),
            "b9"
        );
    }

    #[test]
    fn behind_a_part_that_is_gone_the_row_goes_on() {
        assert_eq!(ends(&[part(1, 0, 1, 5)]), ["b5"]);
        assert_eq!(ends(&[part(1, 0, 0, 5), part(1, 1, 6, 9)]), ["b5", "b9"]);
        assert_eq!(
            ends(&[
                part(1, 0, 0, 5),
                part(1, 2, 7, 8),
                part(1, 2, 7, 9),
                part(1, 3, 8, 20)
            ]),
            ["b5", "b8", "b20"]
        );
    }

    #[test]
    fn what_does_not_join_is_not_taken() {
        let odd = |cursor: &str| Part {
            name: PartName::new(1, 0, cursor).unwrap(),
            bytes: 5,
        };
        assert_eq!(ends(&[part(1, 0, 0, 5), part(1, 1, 4, 9)]), ["b5"]);
        assert_eq!(
            ends(&[part(2, 0, 0, 5), odd("5"), odd("2026"), odd("b"), odd("b3")]),
            [""; 0]
        );
        assert_eq!(Chain::of(&[part(2, 0, 0, 5)], 2).end, 5);
    }
}
