//! A follower's stream, taken apart (pure): the container's log, the report behind it, and up to where the log was read.
//!
//! What may be the report is given out as well, in its place, and said to be [held](Reader::held): whoever takes the
//! bytes keeps the last so many apart until it turns out what they are.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::kubelet_stream::Cutter;
use super::log_mark::LogMark;
use crate::logs::format::report;

/// What the line begins with behind which a report may stand.
const BEGIN: &[u8] = b"-----BEGIN PEON REPORT ";
/// A line is looked at as a whole, unless it is longer.
const LONGEST_LINE: usize = 64 * 1024;

/// Reads a stream that may break, and be asked for again.
#[derive(Debug)]
pub struct Reader {
    cutter: Cutter,
    /// The beginning of a line whose end has not come.
    carry: Vec<u8>,
    /// What may be a report: it is the log's if it turns out to be none.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    shape: report::Shape,
    bytes: u64,
    /// The place in the log before it.
    before: Option<LogMark>,
}

impl Reader {
    /// Goes on behind this place, or begins with the first line there is.
    #[must_use]
    pub fn new(mark: Option<LogMark>) -> Self {
        Self {
            cutter: Cutter::new(mark),
            carry: Vec::new(),
            held: None,
        }
    }

    /// How many of the last bytes that were given out may be the report; the others are the log's.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.bytes)
    }

    /// What is held is the log's.
    pub fn let_go(&mut self) {
        self.held = None;
    }

    /// The place in the log behind everything that was given out and is not held.
    #[must_use]
    pub fn mark(&self) -> Option<&LogMark> {
        match &self.held {
            Some(held) => held.before.as_ref(),
            None => self.cutter.mark(),
        }
    }

    /// From when on the log is to be asked for.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        self.cutter.since()
    }

    /// How many times something was missing.
    #[must_use]
    pub fn gaps(&self) -> u32 {
        self.cutter.gaps
    }

    /// What the kubelet said in place of a log.
    #[must_use]
    pub fn complaint(&self) -> Option<&str> {
        self.cutter.complaint.as_deref()
    }

    /// What the kubelet said in place of a log does not count: there was one.
    pub fn ignore_complaint(&mut self) {
        self.cutter.complaint = None;
    }

    /// The stream ended or broke: another one follows, from [`Self::since`] on.
    pub fn again(&mut self) {
        self.carry.clear();
        self.cutter.again();
    }

    /// A stream was asked for at this time.
    pub fn opened(&mut self, at: Timestamp) {
        self.cutter.opened(at);
    }

    /// See [`Cutter::arrived`].
    pub fn arrived(&mut self, at: SignedDuration) {
        self.cutter.arrived(at);
    }

    /// Whether the stream is not to be believed from here on, and to be asked for again.
    #[must_use]
    pub fn jumped(&self) -> bool {
        self.cutter.jumped()
    }

    /// Takes the next piece of the stream and adds to `log` what belongs there, or is held.
    pub fn feed(&mut self, bytes: &[u8], log: &mut Vec<u8>) {
        self.carry.extend_from_slice(bytes);
        let whole = match self.carry.iter().rposition(|b| *b == b'\n') {
            Some(at) => at + 1,
            None if self.carry.len() >= LONGEST_LINE => self.carry.len(),
            None => return,
        };
        let rest = self.carry.split_off(whole);
        let lines = std::mem::replace(&mut self.carry, rest);
        self.lines(&lines, log);
    }

    fn lines(&mut self, lines: &[u8], log: &mut Vec<u8>) {
        if self.held.is_none() && !contains(lines, BEGIN) {
            self.cutter.feed(lines, log);
            return;
        }
        for line in lines.split_inclusive(|b| *b == b'\n') {
            self.line(line, log);
        }
    }

    fn line(&mut self, line: &[u8], log: &mut Vec<u8>) {
        let before = self.cutter.mark().cloned();
        let start = log.len();
        self.cutter.feed(line, log);
        let text = &log[start..];
        if text.starts_with(BEGIN) {
            // One that another one follows is none.
            self.held = Some(Held {
                shape: report::Shape::default(),
                bytes: 0,
                before,
            });
        }
        if let Some(held) = &mut self.held {
            held.bytes += text.len() as u64;
            if !held.shape.push(text) {
                self.held = None;
            }
        }
    }

    /// The log ended for good: the rest of it. Says whether what is held is a whole block.
    pub fn finish(&mut self, log: &mut Vec<u8>) -> bool {
        let rest = std::mem::take(&mut self.carry);
        self.lines(&rest, log);
        self.cutter.finish();
        self.held.as_ref().is_some_and(|held| held.shape.is_whole())
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(bytes, what).is_some()
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
