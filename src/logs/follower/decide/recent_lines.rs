//! The last lines of a stream that several readers share (pure).
//!
//! A stream that breaks is requested again, and repeats some lines: they are dropped here, so that readers see each line once.
//! If lines are missing then, nothing that was read before fits what follows: readers begin anew, each behind the last line that
//! it has, and find out what they miss.

use std::collections::VecDeque;

use bytes::Bytes;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::kubelet_stream::Cutter;

/// Most bytes that are kept of one log.
pub const MOST: usize = 1 << 20;
/// Most bytes that are kept of all logs, unless there are very many.
const MOST_OF_ALL: usize = 64 << 20;
/// Least bytes that are kept of one of very many logs.
const LEAST: usize = 64 << 10;
/// Lines that are this much older than the last one are not kept.
const LONGEST: SignedDuration = SignedDuration::from_secs(180);
/// A longer line is not held until it ends.
const LONGEST_LINE: usize = 256 << 10;
/// How much later than its neighbours a line may have been written and still stand before them: the two outputs of a
/// container are read by two threads.
const DISORDER: SignedDuration = SignedDuration::from_millis(100);

/// The lines, with the kubelet's times, as pieces of the stream.
#[derive(Debug)]
pub struct RecentLines {
    cutter: Cutter,
    /// The beginning of a line whose end has not arrived.
    carry: Vec<u8>,
    pieces: VecDeque<Piece>,
    /// Number of the first piece.
    first: u64,
    bytes: usize,
    /// All lines that were written since are here.
    complete_from: Timestamp,
    /// When the last line was written.
    last: Option<Timestamp>,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// When its first line was written.
    written: Timestamp,
    /// Whether the line before it has another time: positions count the lines of a time.
    clean: bool,
}

/// What the next bytes of the stream mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// They follow what was read before.
    Following,
    /// Lines may have been skipped: the stream has to be requested again.
    Skipped,
    /// Lines are missing before them.
    Missing,
}

impl RecentLines {
    /// Nothing was read yet. The stream begins with the lines that were written at `since`, or with the first one.
    #[must_use]
    pub fn new(since: Option<Timestamp>) -> Self {
        Self {
            cutter: fresh(),
            carry: Vec::new(),
            pieces: VecDeque::new(),
            first: 0,
            bytes: 0,
            complete_from: since.unwrap_or(Timestamp::MIN),
            last: None,
        }
    }

    /// Time from which to request the stream again.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        let from = Some(self.complete_from).filter(|from| *from > Timestamp::MIN);
        self.cutter.since().or(from)
    }

    /// Another stream begins, requested at this time.
    pub fn again(&mut self, at: Timestamp) -> Fed {
        self.carry.clear();
        let is_cut = self.cutter.mark().is_some_and(|mark| !mark.whole);
        self.cutter.again();
        self.cutter.opened(at);
        if is_cut { Fed::Missing } else { Fed::Following }
    }

    /// Begins anew: what was read before is not followed by what comes.
    pub fn begin_anew(&mut self, since: Option<Timestamp>) {
        let next = self.next();
        *self = Self::new(since);
        self.first = next;
    }

    /// Takes the next bytes of the stream, which arrived at a time since it was opened.
    pub fn feed(&mut self, bytes: &[u8], at: SignedDuration) -> Fed {
        self.cutter.arrived(at);
        self.carry.extend_from_slice(bytes);
        let whole = match memchr::memrchr(b'\n', &self.carry) {
            Some(end) => end + 1,
            None if self.carry.len() >= LONGEST_LINE => self.carry.len(),
            None => return Fed::Following,
        };
        let rest = self.carry.split_off(whole);
        let lines = std::mem::replace(&mut self.carry, rest);
        self.take(&lines)
    }

    /// The stream ended, maybe within a line.
    pub fn end(&mut self) {
        let rest = std::mem::take(&mut self.carry);
        self.take(&rest);
    }

    fn take(&mut self, lines: &[u8]) -> Fed {
        let (mut new, mut text) = (Vec::new(), Vec::new());
        let mut begins = None;
        for line in lines.split_inclusive(|b| *b == b'\n') {
            let gaps = self.cutter.gaps;
            text.clear();
            self.cutter.feed(line, &mut text);
            let is_skipped = self.cutter.jumped();
            if is_skipped || self.cutter.gaps > gaps {
                self.push(new, begins);
                return if is_skipped { Fed::Skipped } else { Fed::Missing };
            }
            if text.is_empty() {
                continue;
            }
            let before = self.last;
            self.last = written(line).or(self.last);
            if begins.is_none() {
                begins = self.last.map(|written| (written, before != Some(written)));
            }
            new.extend_from_slice(line);
        }
        self.push(new, begins);
        Fed::Following
    }

    fn push(&mut self, lines: Vec<u8>, begins: Option<(Timestamp, bool)>) {
        let Some((written, clean)) = begins else { return };
        self.bytes += lines.len();
        self.pieces.push_back(Piece {
            bytes: lines.into(),
            written,
            clean,
        });
    }

    /// Whether more is kept of this log than its share, with this number of logs.
    #[must_use]
    pub fn is_full(&self, logs: usize) -> bool {
        let most = (MOST_OF_ALL / logs.max(1)).clamp(LEAST, MOST);
        let is_old = |piece: &Piece| {
            self.last
                .is_some_and(|last| last.duration_since(piece.written) > LONGEST)
        };
        self.pieces.len() > 1 && (self.bytes > most || self.pieces.front().is_some_and(is_old))
    }

    /// Drops the oldest piece.
    pub fn drop_first(&mut self) {
        let Some(piece) = self.pieces.pop_front() else {
            return;
        };
        self.first += 1;
        self.bytes -= piece.bytes.len();
        if let Some(next) = self.pieces.front() {
            let complete = next.written.checked_add(DISORDER).unwrap_or(next.written);
            self.complete_from = self.complete_from.max(complete);
        }
    }

    /// Number of the oldest piece.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Number of the piece that comes next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first + self.pieces.len() as u64
    }

    /// The piece with this number, if it is there.
    #[must_use]
    pub fn piece(&self, number: u64) -> Option<Bytes> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.pieces.get(index).map(|piece| piece.bytes.clone())
    }

    /// The piece to begin with for a reader that needs all lines since then; `None` if not all are here.
    #[must_use]
    pub fn from(&self, since: Option<Timestamp>) -> Option<u64> {
        let since = since.unwrap_or(Timestamp::MIN);
        if since < self.complete_from {
            return None;
        }
        let begins = |piece: &Piece| piece.clean && piece.written < since;
        match self.pieces.iter().rposition(begins) {
            Some(index) => Some(self.first + index as u64),
            // All lines are later, or the oldest ones are.
            None => self
                .pieces
                .front()
                .is_none_or(|piece| piece.clean)
                .then_some(self.first),
        }
    }
}

fn fresh() -> Cutter {
    let mut cutter = Cutter::new(None);
    cutter.begins_late();
    cutter
}

/// When a line was written.
fn written(line: &[u8]) -> Option<Timestamp> {
    let end = line.iter().position(|b| matches!(b, b' ' | b'\n'))?;
    std::str::from_utf8(&line[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> Timestamp {
        format!("2026-11-30T05:00:{second:02}Z").parse().unwrap()
    }

    fn line(second: u32, text: &str) -> String {
        format!("2026-11-30T05:00:{second:02}.500000000Z {text}\n")
    }

    fn feed(lines: &mut RecentLines, text: &str) -> Fed {
        lines.feed(text.as_bytes(), SignedDuration::ZERO)
    }

    /// What a reader gets that needs all lines since then.
    fn read(lines: &RecentLines, since: Timestamp) -> Option<String> {
        let from = lines.from(Some(since))?;
        let pieces = (from..lines.next()).filter_map(|number| lines.piece(number));
        let all: Vec<u8> = pieces.flatten().collect();
        Some(String::from_utf8(all).unwrap())
    }

    #[test]
    fn a_reader_that_comes_later_gets_the_lines_since_its_time() {
        let mut lines = RecentLines::new(Some(at(10)));
        assert_eq!(read(&lines, at(12)).as_deref(), Some(""), "nothing was written");
        for second in [11, 12, 13] {
            assert_eq!(feed(&mut lines, &line(second, "x")), Fed::Following);
        }
        assert_eq!(read(&lines, at(13)), Some(line(12, "x") + &line(13, "x")));
        assert_eq!(
            read(&lines, at(10)),
            Some(line(11, "x") + &line(12, "x") + &line(13, "x"))
        );
        assert_eq!(read(&lines, at(9)), None, "older lines were not read");
        assert_eq!(lines.from(None), None);
    }

    #[test]
    fn bytes_may_arrive_in_any_pieces() {
        let text = line(11, "one") + &line(11, "two") + &line(12, "three");
        for step in [1, 7, 40, text.len()] {
            let mut lines = RecentLines::new(None);
            for some in text.as_bytes().chunks(step) {
                assert_eq!(lines.feed(some, SignedDuration::ZERO), Fed::Following);
            }
            assert_eq!(read(&lines, at(11)), Some(text.clone()), "{step}");
        }
    }

    #[test]
    fn lines_that_a_second_stream_repeats_are_there_once() {
        let mut lines = RecentLines::new(Some(at(10)));
        feed(
            &mut lines,
            &(line(11, "one") + &line(12, "two") + "2026-11-30T05:00:13.5"),
        );
        assert_eq!(lines.since(), Some(at(11)));
        assert_eq!(lines.again(at(14)), Fed::Following);
        let repeated = line(12, "two") + &line(13, "three");
        assert_eq!(feed(&mut lines, &repeated), Fed::Following);
        assert_eq!(
            read(&lines, at(10)),
            Some(line(11, "one") + &line(12, "two") + &line(13, "three"))
        );
    }

    #[test]
    fn a_stream_that_ends_within_a_line_is_read_to_its_end() {
        let mut lines = RecentLines::new(Some(at(10)));
        let cut = line(12, "two").trim_end().to_owned();
        feed(&mut lines, &cut);
        assert_eq!(read(&lines, at(10)).as_deref(), Some(""));
        lines.end();
        assert_eq!(read(&lines, at(10)), Some(cut));
        assert_eq!(
            lines.again(at(14)),
            Fed::Missing,
            "the next one has the whole line"
        );
    }

    #[test]
    fn a_second_stream_without_the_last_line_does_not_follow() {
        let mut lines = RecentLines::new(Some(at(10)));
        feed(&mut lines, &line(12, "two"));
        lines.again(at(14));
        assert_eq!(feed(&mut lines, &line(13, "three")), Fed::Missing);
        let next = lines.next();
        lines.begin_anew(Some(at(13)));
        assert_eq!(
            (lines.first(), lines.next()),
            (next, next),
            "no number is used twice"
        );
        assert_eq!(read(&lines, at(12)), None);
    }

    #[test]
    fn a_pause_that_the_stream_did_not_make_is_a_skip() {
        let mut lines = RecentLines::new(Some(at(10)));
        lines.again(at(10));
        feed(&mut lines, &line(11, "one"));
        assert_eq!(feed(&mut lines, &line(20, "much later")), Fed::Skipped);
        assert_eq!(read(&lines, at(10)), Some(line(11, "one")));
    }

    #[test]
    fn what_is_dropped_is_not_offered() {
        let mut lines = RecentLines::new(Some(at(10)));
        let long = "x".repeat(MOST / 4);
        for second in 11..=20 {
            feed(&mut lines, &line(second, &long));
            while lines.is_full(1) {
                lines.drop_first();
            }
        }
        assert_eq!(lines.next() - lines.first(), 3);
        assert_eq!(read(&lines, at(18)), None);
        assert_eq!(
            read(&lines, at(19)),
            Some(line(18, &long) + &line(19, &long) + &line(20, &long))
        );
        assert_eq!(lines.piece(0), None);
    }

    #[test]
    fn of_many_logs_less_is_kept_and_old_lines_are_not() {
        let mut lines = RecentLines::new(Some(at(10)));
        let long = "x".repeat(MOST / 4);
        feed(&mut lines, &line(11, &long));
        feed(&mut lines, &line(12, &long));
        assert!(!lines.is_full(64) && lines.is_full(200) && lines.is_full(usize::MAX));
        let mut lines = RecentLines::new(Some(at(10)));
        feed(&mut lines, &line(11, "x"));
        feed(&mut lines, &line(12, "x").replace("05:00", "05:03"));
        assert!(lines.is_full(1));
        lines.drop_first();
        assert!(!lines.is_full(1), "the last one is kept");
    }

    /// A position counts the lines with the time of its line: a reader begins with the first of them.
    #[test]
    fn a_reader_begins_with_the_first_line_of_a_time() {
        let mut lines = RecentLines::new(Some(at(10)));
        for text in ["one", "two", "three"] {
            feed(&mut lines, &line(11, text));
        }
        assert_eq!(lines.from(Some(at(12))), Some(0));
    }
}
