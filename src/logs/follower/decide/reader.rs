//! Splits a follower's stream (pure) into the container's log, the report behind it, and the position up to which the
//! log was read.
//!
//! Bytes that may be the report are output as well, in their place, and counted as [held](Reader::held): the caller
//! stores that many last bytes apart until it is decided what they are.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::kubelet_stream::{Cutter, GAP};
use super::log_mark::LogMark;
use crate::druid::out_of_memory;
use crate::logs::format::shared_log::{Piece, TaskFilter, TaskLines};
use crate::logs::format::{published, report};

/// Beginning of the line that may be followed by a report.
const BEGIN: &[u8] = b"-----BEGIN PEON REPORT ";
/// A longer line is not examined as a whole.
const LONGEST_LINE: usize = 64 * 1024;

/// Reads a stream that may break and be requested again.
#[derive(Debug)]
pub struct Reader {
    cutter: Cutter,
    /// The beginning of a line whose end has not arrived.
    carry: Vec<u8>,
    /// Bytes that may be a report; they belong to the log if they turn out to be none.
    held: Option<Held>,
    /// Whether the kubelet's messages mean nothing any more.
    ignores_complaints: bool,
    /// What the last line contains, if the container goes on behind it, and whether that line was read.
    last_line: Option<(String, bool)>,
    /// Which lines are the task's, if not all.
    filter: Option<TaskFilter>,
    /// Whether a line says that the task published segments.
    published: bool,
    /// Whether a line says that memory ran out.
    out_of_memory: bool,
}

#[derive(Debug)]
struct Held {
    shape: report::Shape,
    bytes: u64,
    /// The position in the log before them.
    before: Option<LogMark>,
}

impl Reader {
    /// Continues behind `mark`, or begins with the first line.
    #[must_use]
    pub fn new(mark: Option<LogMark>) -> Self {
        Self {
            cutter: Cutter::new(mark),
            carry: Vec::new(),
            held: None,
            ignores_complaints: false,
            last_line: None,
            filter: None,
            published: false,
            out_of_memory: false,
        }
    }

    /// Reads only these lines.
    pub fn only(&mut self, lines: TaskLines) {
        self.cutter.begins_late();
        self.filter = Some(TaskFilter::new(lines));
    }

    /// See [`Cutter::started`].
    pub fn started(&mut self, at: Timestamp) {
        self.cutter.started(at);
    }

    /// The log before the first line that is read here said that the task published segments.
    pub fn was_published(&mut self) {
        self.published = true;
    }

    /// Whether a line that was read says that the task published segments.
    #[must_use]
    pub fn published(&self) -> bool {
        self.published
    }

    /// Whether a line that was read here says that memory ran out. It is one of the last lines of a log, so it is not
    /// kept in the store.
    #[must_use]
    pub fn out_of_memory(&self) -> bool {
        self.out_of_memory
    }

    /// Looks for a line that contains this: the last one, though the container goes on.
    pub fn expect(&mut self, last_line: &str) {
        if self
            .last_line
            .as_ref()
            .is_none_or(|(known, _)| known != last_line)
        {
            self.last_line = Some((last_line.to_owned(), false));
        }
    }

    /// Whether the expected last line was read; `None` if none is expected.
    #[must_use]
    pub fn last_line(&self) -> Option<bool> {
        self.last_line.as_ref().map(|(_, read)| *read)
    }

    /// How many of the last output bytes may be the report; the others belong to the log.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.bytes)
    }

    /// The held bytes belong to the log.
    pub fn let_go(&mut self) {
        self.held = None;
    }

    /// The position in the log behind all output bytes that are not held.
    #[must_use]
    pub fn mark(&self) -> Option<&LogMark> {
        match &self.held {
            Some(held) => held.before.as_ref(),
            None => self.cutter.mark(),
        }
    }

    /// Time from which to request the log.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        let begins = self.filter.as_ref().map(TaskFilter::since);
        self.cutter.since().or(begins)
    }

    /// Number of gaps.
    #[must_use]
    pub fn gaps(&self) -> u32 {
        self.cutter.gaps
    }

    /// The kubelet's message in place of a log.
    #[must_use]
    pub fn complaint(&self) -> Option<&str> {
        let complaint = self.cutter.complaint.as_deref();
        complaint.filter(|_| !self.ignores_complaints)
    }

    /// Ignores the kubelet's messages: there was a log. This includes one that [`Self::finish`] finds: a kubelet writes
    /// no line break behind its message, so it may not be known before.
    pub fn ignore_complaints(&mut self) {
        self.ignores_complaints = true;
    }

    /// The stream ended or broke: another one follows, from [`Self::since`] on.
    pub fn again(&mut self) {
        self.carry.clear();
        self.cutter.again();
        if let Some(filter) = &mut self.filter {
            filter.again();
        }
    }

    /// A stream was requested at this time.
    pub fn opened(&mut self, at: Timestamp) {
        self.cutter.opened(at);
    }

    /// See [`Cutter::examined`].
    pub fn examined(&mut self) {
        self.cutter.examined();
    }

    /// See [`Cutter::arrived`].
    pub fn arrived(&mut self, at: SignedDuration) {
        self.cutter.arrived(at);
    }

    /// Whether the stream may have skipped something and has to be requested again.
    #[must_use]
    pub fn jumped(&self) -> bool {
        self.cutter.jumped()
    }

    /// Takes the next piece of the stream and appends the log's bytes, and the held ones, to `log`.
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
        if let Some((last_line, read)) = &mut self.last_line {
            *read = *read || contains(lines, last_line.as_bytes());
        }
        if let Some(mut filter) = self.filter.take() {
            self.own_lines(&mut filter, lines, log);
            self.filter = Some(filter);
            return;
        }
        self.published = self.published || published::says_so(lines);
        self.out_of_memory = self.out_of_memory || out_of_memory::is_logged(lines);
        if self.held.is_none() && !contains(lines, BEGIN) {
            self.cutter.feed(lines, log);
            return;
        }
        for line in lines.split_inclusive(|b| *b == b'\n') {
            self.line(line, log);
        }
    }

    /// The pieces of the stream that are the task's; the others only move the position.
    fn own_lines(&mut self, filter: &mut TaskFilter, lines: &[u8], log: &mut Vec<u8>) {
        for piece in lines.split_inclusive(|b| *b == b'\n') {
            let text = self.cutter.text_of(piece);
            let (start, gaps) = (log.len(), self.cutter.gaps);
            self.cutter.feed(piece, log);
            let whose = filter.piece(text);
            if whose != Piece::Foreign {
                self.published = self.published || published::says_so(piece);
                self.out_of_memory = self.out_of_memory || out_of_memory::is_logged(piece);
            }
            // What the operator says about a gap is said to all.
            let said = if self.cutter.gaps > gaps {
                memchr::memmem::rfind(&log[start..], GAP.as_bytes()).map_or(0, |at| at + GAP.len())
            } else {
                0
            };
            let begins = start + said;
            match whose {
                Piece::Foreign => log.truncate(begins),
                Piece::Own => {}
                Piece::Headed { .. } => {
                    // Only a whole line still has what is to be left out.
                    if log[begins..] == *text {
                        let text = filter.strip(text, whose);
                        log.truncate(begins);
                        log.extend_from_slice(&text);
                    }
                }
            }
        }
    }

    fn line(&mut self, line: &[u8], log: &mut Vec<u8>) {
        let before = self.cutter.mark().cloned();
        let start = log.len();
        self.cutter.feed(line, log);
        let text = &log[start..];
        if text.starts_with(BEGIN) {
            // A block that another one follows is no report.
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

    /// The log ended for good: outputs its rest. Returns whether the held bytes are a whole block.
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
