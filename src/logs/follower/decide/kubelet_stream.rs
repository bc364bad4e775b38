//! From the kubelet's stream to a container's bytes (pure).
//!
//! The API server streams a log as lines that begin with their time. A stream may end anywhere, within a line and within
//! a character, and is then asked for again from a second before the last line that was read. What comes twice is
//! dropped, and where the last line does not come again the log says that something is missing: the container's log was
//! rotated meanwhile, and only its current file can be read.
//!
//! The kubelet itself says nothing when it passes over something. At the end of a file that was rotated it goes on with
//! the file that is current then, whatever lies between: so a line that comes sooner after the one before it than it was
//! written after it is not believed ([`Cutter::jumped`]), and the stream is asked for again. And where it comes to the end
//! of a file for the first time when that has just been rotated, it notices the next rotation only: so a pause after a
//! part of a log without pauses is not believed either.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::log_mark::{Hash, LogMark};
use crate::logs::format::own_lines;

/// What the log says where something is missing. A runtime cuts the line that it writes when it rotates, and a kubelet
/// that passes over files goes on within that line, with the first line of another file and without its time: so what is
/// missing may be within the line above, too.
pub const GAP: &str = "[peon-operator] a part of the log is missing here, or within the line above: it was rotated away before it was \
     read\n";
/// How much sooner a line may come after another one than it was written after it. Files of a log are rotated no faster
/// than every three seconds.
const SOONER: SignedDuration = SignedDuration::from_secs(2);
/// So many bytes of a stream without a pause make the pause after them doubtful.
const BUSY: u64 = 64 * 1024;
/// How much the clocks of a node and of this process may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(30);
/// No time is longer than this, with its blank.
const LONGEST_TIME: usize = 40;

/// Cuts a stream into the bytes that the container wrote. It holds no more of them than a line's time.
#[derive(Debug, Default)]
pub struct Cutter {
    mark: Option<LogMark>,
    /// What is looked for in a stream that was asked for again.
    sought: Option<Seek>,
    line: Line,
    head: Vec<u8>,
    /// When the stream was asked for: what was written before that stands in one file.
    opened: Option<Timestamp>,
    /// When what is fed comes, by a clock that no one sets.
    arrival: SignedDuration,
    /// When the line before was written, and when it came; only of this stream.
    before: Option<(Timestamp, SignedDuration)>,
    /// Bytes of this stream since it was opened, or since its last pause.
    busy: u64,
    jumped: bool,
    /// How many times something was missing.
    pub gaps: u32,
    /// What the kubelet says in place of a log, if it does.
    pub complaint: Option<String>,
}

#[derive(Debug, Default)]
enum Line {
    /// Its time is read.
    #[default]
    Head,
    /// Its bytes belong to the log.
    Kept(LogMark),
    /// It was read before.
    Known,
    /// The beginning of it was read before: what is compared, and how many bytes of it are left to compare.
    Compared { mark: LogMark, left: u64, hash: Hash },
    /// It is no line of the log.
    Complaint(Vec<u8>),
}

#[derive(Debug)]
struct Seek {
    mark: LogMark,
    /// The last time seen and how many lines bore it.
    at: Option<(String, u32)>,
}

impl Cutter {
    /// Goes on behind this place, or begins with the first line there is.
    #[must_use]
    pub fn new(mark: Option<LogMark>) -> Self {
        let mut cutter = Self {
            mark,
            ..Self::default()
        };
        cutter.again();
        cutter
    }

    /// Up to where the log has been read.
    #[must_use]
    pub fn mark(&self) -> Option<&LogMark> {
        match &self.line {
            Line::Kept(mark) if mark.read > 0 => Some(mark),
            _ => self.mark.as_ref(),
        }
    }

    /// From when on the log is to be asked for: whole seconds are what the API knows, and the one before is added because
    /// times are not as exact as they look.
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

    /// The stream was asked for at this time.
    pub fn opened(&mut self, at: Timestamp) {
        self.opened = Some(at);
    }

    /// What is fed from now on came so long after some moment, which is the same for all of a stream.
    pub fn arrived(&mut self, at: SignedDuration) {
        self.arrival = at;
    }

    /// Whether something may have been passed over in this stream: no more of it is read, and [`Self::again`] follows.
    #[must_use]
    pub fn jumped(&self) -> bool {
        self.jumped
    }

    /// Reads a piece of the stream; what belongs to the log goes to `out`.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() && !self.jumped {
            let end = bytes.iter().position(|b| *b == b'\n').map(|at| at + 1);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            bytes = rest;
            self.busy += piece.len() as u64;
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
        // What it said of a stream before, and there is a log again.
        self.complaint = None;
        let bare = self.head.ends_with(b"\n");
        let line = self.place(time, out);
        if bare {
            self.line = line;
            self.body(b"\n", out);
            return std::mem::take(&mut self.line);
        }
        line
    }

    /// Whether a line that was written then may not be the next one.
    fn is_jump(&mut self, written: Timestamp) -> bool {
        let (Some(opened), Some((before, came))) = (self.opened, self.before) else {
            return false;
        };
        let apart = written.duration_since(before);
        if apart < SOONER || written.duration_since(opened) <= -SKEW {
            return false;
        }
        let busy = std::mem::take(&mut self.busy) >= BUSY;
        busy || apart - (self.arrival - came) >= SOONER
    }

    /// Where the line of this time belongs.
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
                // A place in the log counts what the container wrote, and not this. Whoever feeds this gives the beginning
                // of a line at once.
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
                        // Its line break was the last byte.
                        self.mark = Some(mark.clone());
                        self.line = Line::Known;
                        return;
                    }
                    self.line = Line::Kept(mark);
                    return self.body(rest, out);
                }
                // Another line of the same time: the one that was read is gone.
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
            // It is shorter than what was read of it before.
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
