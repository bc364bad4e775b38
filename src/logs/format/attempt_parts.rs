//! Which parts of a follower's log belong together (pure).
//!
//! For a moment two processes may both believe that they are the one that reads a log. Both then write a part that
//! begins where the last common one ended. So each part's cursor names the part that it follows, and the log is the
//! longest path through the parts.

use super::parts::{Part, PartName};
use crate::logs::follower::decide::log_mark::{Hash, LogMark};

/// Predecessor of a part that no part comes before.
const FIRST: u64 = 0;

/// In a cursor: the log up to there says that the task published segments.
const PUBLISHED: char = 'p';

/// The cursor of a part that follows `before` and ends there.
#[must_use]
pub fn cursor(before: Option<&PartName>, end: &End) -> String {
    let End {
        mark,
        gaps,
        published,
    } = end;
    let published = published
        .then_some(PUBLISHED)
        .map(String::from)
        .unwrap_or_default();
    format!("{:08x}-{gaps}{published}.{mark}", id(before))
}

fn id(part: Option<&PartName>) -> u64 {
    // Half of the hash is enough: it only has to distinguish a few parts.
    part.map_or(FIRST, |p| Hash::default().and(p.to_string().as_bytes()).0 >> 32)
}

/// The predecessor of a part, and the rest of its cursor.
fn read(part: &PartName) -> Option<(u64, End)> {
    let (head, mark) = part.cursor().split_once('.')?;
    let (before, gaps) = head.split_once('-')?;
    let without = gaps.strip_suffix(PUBLISHED);
    let end = End {
        mark: mark.parse().ok()?,
        gaps: without.unwrap_or(gaps).parse().ok()?,
        published: without.is_some(),
    };
    Some((u64::from_str_radix(before, 16).ok()?, end))
}

/// Where a part ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The position in the log.
    pub mark: LogMark,
    /// Number of gaps up to there.
    pub gaps: u32,
    /// Whether the log up to there says that the task published segments.
    pub published: bool,
}

#[cfg(test)]
impl End {
    /// There, in a log without gaps that says nothing of segments.
    #[must_use]
    pub fn at(mark: &LogMark) -> Self {
        Self {
            mark: mark.clone(),
            gaps: 0,
            published: false,
        }
    }
}

/// Where a part ends; `None` for a part that no follower wrote.
#[must_use]
pub fn end(part: &PartName) -> Option<End> {
    read(part).map(|(_, end)| end)
}

/// Whether a part directly follows `before`, or is the first one if that is `None`.
#[must_use]
pub fn follows(part: &PartName, before: Option<&PartName>) -> bool {
    read(part).is_some_and(|(follows, _)| follows == id(before))
}

/// The parts of an attempt that follow each other: the longest path; of several equally long ones, the first by name.
/// Where a part is gone, the path continues with the next part that exists.
#[must_use]
pub fn chain(parts: &[Part], attempt: u32) -> Vec<Part> {
    let of = |part: &&Part| part.name.attempt() == attempt && read(&part.name).is_some();
    let all: Vec<&Part> = parts.iter().filter(of).collect();
    // Paths to the parts of one sequence number; there are hardly ever two.
    let mut ways: Vec<Vec<&Part>> = vec![Vec::new()];
    let mut next = 0;
    loop {
        let mut longer = Vec::new();
        for part in all.iter().filter(|p| p.name.sequence() == next) {
            let way = ways
                .iter()
                .find(|w| follows(&part.name, w.last().map(|p| &p.name)));
            if let Some(way) = way {
                longer.push(way.iter().copied().chain([*part]).collect());
            }
        }
        if longer.is_empty() {
            // The next part is gone, unless this is the end.
            let behind = all.iter().filter(|p| p.name.sequence() >= next);
            let Some(found) = behind.map(|p| p.name.sequence()).min() else {
                break;
            };
            let way = ways.swap_remove(0);
            let there = all.iter().filter(|p| p.name.sequence() == found);
            longer = there
                .map(|part| way.iter().copied().chain([*part]).collect())
                .collect();
            next = found;
        }
        ways = longer;
        let Some(more) = next.checked_add(1) else { break };
        next = more;
    }
    ways.swap_remove(0).into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(read: u64) -> LogMark {
        LogMark {
            time: "2026-11-21T09:55:37.100000000Z".into(),
            nth: 1,
            read,
            whole: true,
            hash: read,
        }
    }

    fn part(sequence: u32, before: Option<&Part>, read: u64) -> Part {
        let end = End {
            mark: mark(read),
            gaps: 2,
            published: read > 10,
        };
        let cursor = cursor(before.map(|p| &p.name), &end);
        Part {
            name: PartName::new(1, sequence, &cursor).unwrap(),
            bytes: read,
        }
    }

    #[test]
    fn parts_follow_each_other() {
        let first = part(0, None, 10);
        let second = part(1, Some(&first), 20);
        let all = [second.clone(), first.clone()];
        assert_eq!(chain(&all, 1), [first.clone(), second.clone()]);
        let end = super::end(&second.name).unwrap();
        assert_eq!((end.mark, end.gaps, end.published), (mark(20), 2, true));
        assert!(!super::end(&first.name).unwrap().published);
        assert_eq!(chain(&all, 2), []);
        // What was before it is gone.
        assert_eq!(chain(std::slice::from_ref(&second), 1), [second]);
    }

    #[test]
    fn of_two_writers_one_goes_on() {
        let first = part(0, None, 10);
        let late = part(1, Some(&first), 15);
        let other = part(1, Some(&first), 20);
        let third = part(2, Some(&other), 30);
        let all = [first.clone(), late, other.clone(), third.clone()];
        assert_eq!(chain(&all, 1), [first, other, third]);
    }

    #[test]
    fn what_no_follower_wrote_is_passed_over() {
        let name = PartName::new(1, 0, "4096").unwrap();
        assert_eq!(super::end(&name), None);
        assert_eq!(chain(&[Part { name, bytes: 1 }], 1), []);
    }

    #[test]
    fn behind_a_part_that_is_gone_the_way_goes_on() {
        let first = part(0, None, 10);
        let second = part(1, Some(&first), 20);
        let third = part(2, Some(&second), 30);
        let fourth = part(3, Some(&third), 40);
        let left = [first.clone(), third.clone(), fourth.clone()];
        assert_eq!(chain(&left, 1), left);
        assert!(follows(&fourth.name, Some(&third.name)) && !follows(&third.name, Some(&first.name)));
        assert_eq!(chain(&left[1..], 1), left[1..]);
    }
}
