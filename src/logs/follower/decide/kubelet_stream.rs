//! From the kubelet's stream to a container's bytes (pure).
//!
//! The API server streams a log as lines that begin with a timestamp. A stream may end anywhere, even within a line or
//! a character; it is then requested again from a second before the last line read. Repeated lines are dropped. If the
//! last line is not repeated, the log gets a line about a gap: the container's log was rotated meanwhile, and only its
//! current file can be read.
//!
//! The kubelet does not report that it skipped something. At the end of a rotated file it continues with the file that
//! is then current, whatever lies between. So if two lines arrive closer together than their timestamps say, lines
//! between them may have been skipped ([`Cutter::jumped`]), and the stream is requested again: a kubelet that is behind
//! by several rotations also sends the current file once more for each of them. If the kubelet first
//! reaches the end of a file when that has just been rotated, it notices only the next rotation; so a pause after a
//! busy part of a log also makes the stream suspect. A log that was read from its beginning on without a gap is not, while
//! it is small: its first file was not rotated yet.
//!
//! A log that is opened late may have lost its beginning. Nothing in the stream shows this; it is reported if the first
//! line was written long after the container had started, and was there when the stream was opened.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::log_mark::{Hash, LogMark};
use crate::logs::format::own_lines;

/// Line in the log where something is missing. A runtime cuts the line that it is writing when it rotates, and a
/// kubelet that skips files continues within that line, with the first line of another file and without its timestamp:
/// so the missing part may also be within the line above.
pub const GAP: &str = "[peon-operator] a part of the log is missing here, or within the line above: it was rotated away before it was \
     read\n";
/// Line in the log where its beginning may be missing.
pub const BEGINNING: &str = "[peon-operator] the beginning of the log may be missing: it was not read when its container started, and may \
     have been rotated away\n";
/// A first line written this long after its container's start may not be the first one. A JVM writes its first line within
/// seconds; and the clocks of a node and of this process may differ ([`SKEW`]).
const LATE: SignedDuration = SignedDuration::from_secs(30);
/// How much closer together than their timestamps two lines may arrive. Files of a log are rotated at most every three
/// seconds.
const SOONER: SignedDuration = SignedDuration::from_secs(2);
/// A pause after this many bytes without a pause is suspect.
const BUSY: u64 = 64 * 1024;
/// No kubelet rotates a file that has fewer bytes (`containerLogMaxSize`, 10 MiB by default).
const SMALLEST_FILE: u64 = 48 * 1024;
/// How much the clocks of a node and of this process may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(30);
/// Longest timestamp, including its blank.
const LONGEST_TIME: usize = 40;

/// Cuts a stream into the bytes that the container wrote. It buffers no more than a line's timestamp.
#[derive(Debug, Default)]
pub struct Cutter {
    mark: Option<LogMark>,
    /// The position to find in a stream that was requested again.
    sought: Option<Seek>,
    line: Line,
    head: Vec<u8>,
    /// When the stream was requested: everything written before that is in one file.
    opened: Option<Timestamp>,
    /// When the first stream was requested.
    first_opened: Option<Timestamp>,
    /// When the container started, if its log is read from its beginning on.
    started: Option<Timestamp>,
    /// When the bytes being fed arrive, by a monotonic clock.
    arrival: SignedDuration,
    /// When the previous line was written and when it arrived; only of this stream.
    before: Option<(Timestamp, SignedDuration)>,
    /// Bytes of this stream since it was opened, or since its last pause.
    busy: u64,
    /// Bytes of all streams; they have some lines in common.
    read: u64,
    /// Whether they are all that was read of the log.
    from_the_start: bool,
    jumped: bool,
    /// Number of gaps.
    pub gaps: u32,
    /// The kubelet's message in place of a log, if there is one.
    pub complaint: Option<String>,
}

#[derive(Debug, Default)]
enum Line {
    /// The timestamp is being read.
    #[default]
    Head,
    /// Its bytes belong to the log.
    Kept(LogMark),
    /// The line was read before.
    Known,
    /// The beginning of the line was read before: the hash to compare with, and how many bytes are left to compare.
    Compared { mark: LogMark, left: u64, hash: Hash },
    /// The line does not belong to the log.
    Complaint(Vec<u8>),
}

#[derive(Debug)]
struct Seek {
    mark: LogMark,
    /// The last timestamp seen and the number of lines that had it.
    at: Option<(String, u32)>,
}

impl Cutter {
    /// Continues behind `mark`, or begins with the first line.
    #[must_use]
    pub fn new(mark: Option<LogMark>) -> Self {
        let mut cutter = Self {
            from_the_start: mark.is_none(),
            mark,
            ..Self::default()
        };
        cutter.again();
        cutter
    }

    /// The log is not read from its beginning on: its file may be rotated at any time.
    pub fn begins_late(&mut self) {
        self.from_the_start = false;
    }

    /// The log is read from its beginning on, which was written after this time.
    pub fn started(&mut self, at: Timestamp) {
        self.started = Some(at);
    }

    /// What the container wrote of the next piece of the stream, whether or not it was read before.
    #[must_use]
    pub fn text_of<'a>(&self, piece: &'a [u8]) -> &'a [u8] {
        if !matches!(self.line, Line::Head) {
            return piece;
        }
        let blank = piece.iter().take(LONGEST_TIME).position(|b| *b == b' ');
        blank.map_or(piece, |at| &piece[at + 1..])
    }

    /// The position up to which the log has been read.
    #[must_use]
    pub fn mark(&self) -> Option<&LogMark> {
        match &self.line {
            Line::Kept(mark) if mark.read > 0 => Some(mark),
            _ => self.mark.as_ref(),
        }
    }

    /// Time from which to request the log. The API takes whole seconds; one second is subtracted because timestamps are
    /// less exact than they look.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        let time: Timestamp = self.mark()?.time.parse().ok()?;
        let second = Timestamp::from_second(time.as_second()).ok()?;
        second.checked_sub(SignedDuration::from_secs(1)).ok()
    }

    /// The stream ended or broke: a new one follows, from [`Self::since`] on.
    pub fn again(&mut self) {
        self.mark = self.mark().cloned();
        self.line = Line::Head;
        self.head.clear();
        self.before = None;
        self.busy = 0;
        self.jumped = false;
        self.sought = self.mark.clone().map(|mark| Seek { mark, at: None });
    }

    /// The stream was requested at this time.
    pub fn opened(&mut self, at: Timestamp) {
        self.opened = Some(at);
        self.first_opened.get_or_insert(at);
    }

    /// The stream comes from lines in which skipped ones were looked for already.
    pub fn examined(&mut self) {
        self.opened = None;
    }

    /// The bytes fed from now on arrived at `at`, measured from a moment that is the same for the whole stream.
    pub fn arrived(&mut self, at: SignedDuration) {
        self.arrival = at;
    }

    /// Whether the stream may have skipped something: no more of it is read, and [`Self::again`] follows.
    #[must_use]
    pub fn jumped(&self) -> bool {
        self.jumped
    }

    /// Reads a piece of the stream; bytes of the log are appended to `out`.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() && !self.jumped {
            let end = bytes.iter().position(|b| *b == b'\n').map(|at| at + 1);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            bytes = rest;
            self.busy += piece.len() as u64;
            self.read += piece.len() as u64;
            self.piece(piece, end.is_some(), out);
        }
    }

    /// A piece of one line.
    fn piece(&mut self, piece: &[u8], ends: bool, out: &mut Vec<u8>) {
        let mut piece = piece;
        if matches!(self.line, Line::Head) {
            let blank = piece.iter().position(|b| *b == b' ').map(|at| at + 1);
            let most = LONGEST_TIME.saturating_sub(self.head.len());
            let take = blank.unwrap_or(piece.len()).min(most);
            self.head.extend_from_slice(&piece[..take]);
            piece = &piece[take..];
            if blank.is_none() && !ends && self.head.len() < LONGEST_TIME {
                return;
            }
            self.line = self.begin(out);
            self.head.clear();
        }
        self.body(piece, out);
        if ends {
            self.end_line(out);
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) -> Line {
        let text = String::from_utf8_lossy(&self.head);
        // An empty line may come without the blank.
        let time = text.trim_end_matches(['\n', ' ']).to_owned();
        let Ok(written) = time.parse::<Timestamp>() else {
            return Line::Complaint(self.head.clone());
        };
        if self.sought.is_none() {
            self.jumped = self.is_jump(written);
            if self.jumped {
                return Line::Known;
            }
            self.before = Some((written, self.arrival));
        }
        // The complaint was about an earlier stream; now there is a log again.
        self.complaint = None;
        let bare = self.head.ends_with(b"\n");
        if self.is_late(written) {
            out.extend_from_slice(BEGINNING.as_bytes());
            self.gaps += 1;
        }
        let line = self.place(time, out);
        if bare {
            self.line = line;
            self.body(b"\n", out);
            return std::mem::take(&mut self.line);
        }
        line
    }

    /// Whether a line written at that time may not be the next one.
    fn is_jump(&mut self, written: Timestamp) -> bool {
        let (Some(opened), Some((before, came))) = (self.opened, self.before) else {
            return false;
        };
        let apart = written.duration_since(before);
        if apart < SOONER || written.duration_since(opened) <= -SKEW {
            return false;
        }
        if self.from_the_start && self.gaps == 0 && self.read < SMALLEST_FILE {
            return false;
        }
        let busy = std::mem::take(&mut self.busy) >= BUSY;
        busy || apart - (self.arrival - came) >= SOONER
    }

    /// Whether this line is the first one read, and may not be the first one that the container wrote. A container that
    /// was silent until then has written nothing before the stream was opened.
    fn is_late(&self, written: Timestamp) -> bool {
        let (Some(started), Some(opened)) = (self.started, self.first_opened) else {
            return false;
        };
        let is_first = self.from_the_start && self.mark.is_none() && self.gaps == 0;
        is_first && written.duration_since(started) >= LATE && written < opened
    }

    /// How to treat the line with this timestamp.
    fn place(&mut self, time: String, out: &mut Vec<u8>) -> Line {
        let Some(seek) = &mut self.sought else {
            let nth = match &self.mark {
                Some(mark) if mark.time == time => mark.nth + 1,
                _ => 1,
            };
            return Line::Kept(fresh(time, nth));
        };
        let nth = match &seek.at {
            Some((at, nth)) if *at == time => nth + 1,
            _ => 1,
        };
        seek.at = Some((time.clone(), nth));
        let mark = &seek.mark;
        if mark.time == time && mark.nth == nth {
            return Line::Compared {
                left: mark.read,
                mark: mark.clone(),
                hash: Hash::default(),
            };
        }
        let later = match (time.parse::<Timestamp>(), mark.time.parse::<Timestamp>()) {
            (Ok(now), Ok(then)) => now > then || (now == then && nth > mark.nth),
            _ => true,
        };
        if !later {
            return Line::Known;
        }
        self.gap(out);
        Line::Kept(fresh(time, nth))
    }

    fn gap(&mut self, out: &mut Vec<u8>) {
        // A line that was cut short ends where it was cut.
        if self.mark.as_ref().is_some_and(|m| !m.whole && m.read > 0) {
            out.push(b'\n');
        }
        out.extend_from_slice(GAP.as_bytes());
        self.gaps += 1;
        self.sought = None;
    }

    fn body(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.line {
            Line::Kept(mark) => {
                // A position counts only bytes written by the container. The caller feeds the beginning of a line at
                // once.
                if mark.read == 0 && own_lines::needs_escape(bytes) {
                    out.push(b'\\');
                }
                out.extend_from_slice(bytes);
                mark.read += bytes.len() as u64;
                mark.hash = Hash(mark.hash).and(bytes).0;
            }
            Line::Complaint(text) => {
                let most = 512_usize.saturating_sub(text.len());
                text.extend_from_slice(&bytes[..bytes.len().min(most)]);
            }
            Line::Compared { mark, left, hash } => {
                let known = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *hash = hash.and(&bytes[..known]);
                *left -= known as u64;
                if *left > 0 {
                    return;
                }
                let (same, mark, rest) = (hash.0 == mark.hash, mark.clone(), &bytes[known..]);
                if same && (!mark.whole || rest.is_empty()) {
                    self.sought = None;
                    if mark.whole {
                        // The line break was the last byte.
                        self.mark = Some(mark.clone());
                        self.line = Line::Known;
                        return;
                    }
                    self.line = Line::Kept(mark);
                    return self.body(rest, out);
                }
                // Another line has the same timestamp: the line that was read is gone.
                self.gap(out);
                self.line = Line::Known;
            }
            Line::Head | Line::Known => {}
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.line) {
            Line::Kept(mut mark) => {
                mark.whole = true;
                self.mark = Some(mark);
            }
            Line::Complaint(text) => {
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                self.complaint = Some(text);
            }
            // The line is shorter than what was read of it before.
            Line::Compared { .. } => self.gap(out),
            Line::Head | Line::Known => {}
        }
    }

    /// The log ended for good, maybe without a line break: nothing follows.
    pub fn finish(&mut self) {
        self.mark = self.mark().cloned();
        if let Line::Complaint(text) = std::mem::take(&mut self.line) {
            self.complaint = Some(String::from_utf8_lossy(&text).trim().to_owned());
        }
    }
}

fn fresh(time: String, nth: u32) -> LogMark {
    LogMark {
        time,
        nth,
        read: 0,
        whole: false,
        hash: Hash::default().0,
    }
}

#[cfg(test)]
#[path = "kubelet_stream_tests.rs"]
mod tests;
