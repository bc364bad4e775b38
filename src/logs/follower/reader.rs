//! A follower's stream, taken apart (pure): the container's log, the report behind it, and up to where the log was read.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::cut::Cutter;
use super::mark::Mark;
use crate::logs::report;

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
    block: report::Cutter,
    /// The place in the log before it.
    before: Option<Mark>,
}

impl Reader {
    /// Goes on behind this place, or begins with the first line there is.
    #[must_use]
    pub fn new(mark: Option<Mark>) -> Self {
        Self {
            cutter: Cutter::new(mark),
            carry: Vec::new(),
            held: None,
        }
    }

    /// The place in the log behind everything that was given out.
    #[must_use]
    pub fn mark(&self) -> Option<&Mark> {
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

    /// Takes the next piece of the stream and adds to `log` what belongs there.
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
        let mut text = Vec::new();
        self.cutter.feed(line, &mut text);
        if text.starts_with(BEGIN) {
            // One that another one follows is none.
            self.release(log);
            let mut block = report::Cutter::default();
            // The line break that a block begins with was the last line's.
            block.push(b"\n", &mut Vec::new());
            self.held = Some(Held { block, before });
        }
        let Some(held) = &mut self.held else {
            log.extend_from_slice(&text);
            return;
        };
        let mut released = Vec::new();
        held.block.push(&text, &mut released);
        if !released.is_empty() {
            log.extend_from_slice(&released[1..]);
            let held = self.held.take().map(|h| h.block.finish().0).unwrap_or_default();
            log.extend_from_slice(&held);
        }
    }

    /// What was held is no report: all of it is the log's but the line break from above.
    fn release(&mut self, log: &mut Vec<u8>) {
        if let Some(held) = self.held.take() {
            let mut all = Vec::new();
            let mut block = held.block;
            block.push(b"no report\n", &mut all);
            all.extend_from_slice(&block.finish().0);
            let end = all.len() - b"no report\n".len();
            log.extend_from_slice(&all[1..end]);
        }
    }

    /// The log ended for good: the rest of it, and the report.
    pub fn finish(&mut self, log: &mut Vec<u8>) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.carry);
        self.lines(&rest, log);
        self.cutter.finish();
        let (rest, report) = self.held.take()?.block.finish();
        log.extend_from_slice(rest.get(1..).unwrap_or_default());
        report
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(bytes, what).is_some()
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
