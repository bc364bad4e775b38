//! The pieces that a log is composed of, from the parts in its store (pure).
//!
//! A part may be gone: others remove old objects from the store, including ours. Then the log says so at that place and
//! continues after it.

use bytes::Bytes;

use super::attempt_parts::{chain, follows};
use super::parts::{Part, PartName, Piece};
use super::sidecar_parts::Chain;

/// Text in the log where a part is gone.
const LOST: &str = "\n[peon-operator] a part of the log is missing here: it had been archived, but is no \
    longer in the store\n";

/// The pieces of one attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// The parts, and a text in each place where one is gone.
    pub pieces: Vec<Piece>,
    /// The number of such places.
    pub missing: u32,
}

impl Rebuilt {
    /// Built from the parts in the store. `known` are those that this process wrote or continued from, in order: empty
    /// if another process or a sidecar read the attempt.
    #[must_use]
    pub fn of(listed: &[Part], attempt: u32, known: &[PartName]) -> Self {
        let row = if known.is_empty() {
            chain(listed, attempt)
        } else {
            let there = |name: &PartName| listed.iter().find(|part| part.name == *name).cloned();
            known.iter().filter_map(there).collect()
        };
        let mut rebuilt = Self::default();
        if row.is_empty() && known.is_empty() {
            rebuilt.sidecars(listed, attempt);
            return rebuilt;
        }
        let mut before: Option<&PartName> = None;
        for part in &row {
            if !follows(&part.name, before) {
                rebuilt.lost();
            }
            rebuilt.pieces.push(Piece::Part(part.name.clone()));
            before = Some(&part.name);
        }
        if known.last().is_some_and(|last| before != Some(last)) {
            rebuilt.lost();
        }
        rebuilt
    }

    fn sidecars(&mut self, listed: &[Part], attempt: u32) {
        let mut end = 0;
        for (start, part_end, name) in Chain::ranges(listed, attempt) {
            if start != end {
                self.lost();
            }
            end = part_end;
            self.pieces.push(Piece::Part(name));
        }
    }

    fn lost(&mut self) {
        self.missing += 1;
        self.pieces.push(Piece::Text(Bytes::from_static(LOST.as_bytes())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::follower::decide::log_mark::LogMark;
    use crate::logs::format::attempt_parts::{End, cursor};

    fn followed(count: u32) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for sequence in 0..count {
            let mark = LogMark {
                time: "2026-11-21T09:55:37.100000000Z".into(),
                nth: 1,
                read: u64::from(sequence),
                whole: true,
                hash: 0,
            };
            let cursor = cursor(parts.last().map(|p| &p.name), &End::at(&mark));
            let name = PartName::new(1, sequence, &cursor).unwrap();
            parts.push(Part { name, bytes: 9 });
        }
        parts
    }

    /// Each part by its number, a gap as `-`.
    fn shape(rebuilt: &Rebuilt) -> String {
        let letter = |piece: &Piece| match piece {
            Piece::Part(name) => name.sequence().to_string(),
            Piece::Text(_) => "-".to_owned(),
        };
        let shape: String = rebuilt.pieces.iter().map(letter).collect();
        assert_eq!(rebuilt.missing as usize, shape.matches('-').count());
        shape
    }

    /// Whichever parts are gone: what is there is in the log, and each gap is said.
    #[test]
    fn every_set_of_parts_that_are_gone_leaves_the_others() {
        let all = followed(4);
        let known: Vec<_> = all.iter().map(|p| p.name.clone()).collect();
        for there in 0..16_usize {
            let listed: Vec<_> = (0..4)
                .filter(|n| there & (1 << n) != 0)
                .map(|n| all[n].clone())
                .collect();
            let mut expected = String::new();
            for n in 0..4 {
                if there & (1 << n) != 0 {
                    expected.push_str(&n.to_string());
                } else if !expected.ends_with('-') {
                    expected.push('-');
                }
            }
            assert_eq!(shape(&Rebuilt::of(&listed, 1, &known)), expected, "{there:04b}");
            // Who did not write them does not know of those behind the last.
            let expected = expected.trim_end_matches('-');
            assert_eq!(shape(&Rebuilt::of(&listed, 1, &[])), expected, "{there:04b}");
        }
    }

    #[test]
    fn a_sidecars_parts_are_told_by_where_they_begin_and_end() {
        let part = |sequence, start: u64, end: u64| Part {
            name: PartName::new(1, sequence, &format!("b{end}")).unwrap(),
            bytes: end - start,
        };
        let all = [part(0, 0, 5), part(1, 5, 9), part(2, 9, 12)];
        for (there, expected) in [
            (vec![0, 1, 2], "012"),
            (vec![1, 2], "-12"),
            (vec![0, 2], "0-2"),
            (vec![0, 1], "01"),
            (vec![2], "-2"),
            (vec![], ""),
        ] {
            let listed: Vec<_> = there.into_iter().map(|n: usize| all[n].clone()).collect();
            assert_eq!(shape(&Rebuilt::of(&listed, 1, &[])), expected);
        }
    }
}
