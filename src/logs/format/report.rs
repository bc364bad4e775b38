//! `report.json` at the end of a log (pure).
//!
//! Where no sidecar reads the task's directory, the log is the only way out of the pod. So the peon's script, once Java
//! has ended, appends the report to the log as a block:
//!
//! ```text
//!
//! -----BEGIN PEON REPORT <bytes> <sha256>-----
//! <gzip in lines of base64>
//! -----END PEON REPORT <sha256>-----
//! ```
//!
//! The line break before the block belongs to the block: a log may end in the middle of a line. Only a block that is
//! complete, matches its hash and has nothing behind it is a report. Everything else belongs to the log, whatever it
//! looks like.

use std::io::{self, BufRead, ErrorKind, Read, Write};

use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::digest::hex;

/// Most bytes of a report; the peon's script says in the log that a larger one was left out.
pub const MAX_REPORT: usize = 8 << 20;
/// Longest block: base64 of incompressible data, line breaks and the two marks.
pub const MAX_BLOCK: usize = MAX_REPORT / 3 * 4 + MAX_REPORT / 32;

const BEGIN: &[u8] = b"\n-----BEGIN PEON REPORT ";
const END: &[u8] = b"-----END PEON REPORT ";
const DASHES: &str = "-----";
/// Longest line of base64, and longest mark.
const LONGEST_LINE: usize = 160;

/// The part of the peon's script that prints the block. It must not fail: the exit code is Java's.
pub const SCRIPT: &str = r#"print_report() {
  report=/peon/task/attempt/1/report.json
  [ -f "$report" ] && [ -s "$report" ] || return 0
  bytes=$(($(wc -c <"$report")))
  if [ "$bytes" -gt 8388608 ]; then
    printf '\npeon report: report.json has %s bytes and is left out, at most 8388608 are kept\n' "$bytes"
    return 0
  fi
  hash=$(sha256sum <"$report")
  hash=${hash%% *}
  printf '\n-----BEGIN PEON REPORT %s %s-----\n' "$bytes" "$hash"
  gzip -c <"$report" | base64
  printf '%s\n' "-----END PEON REPORT $hash-----"
}
"#;

/// A log, and the report at its end if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Length of the log in bytes.
    pub log: usize,
    /// The report behind it.
    pub report: Option<Vec<u8>>,
}

/// Looks for a report at the end of `stream`, or of its last [`MAX_BLOCK`] bytes.
#[must_use]
pub fn split(stream: &[u8]) -> Split {
    let none = Split {
        log: stream.len(),
        report: None,
    };
    // From the end back to the first line that is not base64, which has to be the beginning mark.
    let Some(lines) = stream.strip_suffix(b"\n") else {
        return none;
    };
    let Some(mut at) = lines.iter().rposition(|b| *b == b'\n') else {
        return none;
    };
    if !lines[at + 1..].starts_with(END) {
        return none;
    }
    while let Some(before) = stream[..at].iter().rposition(|b| *b == b'\n') {
        if stream.len() - before > MAX_BLOCK {
            return none;
        }
        if stream[before..].starts_with(BEGIN) {
            return match read(&stream[before..]) {
                Some(report) => Split {
                    log: before,
                    report: Some(report),
                },
                None => none,
            };
        }
        if !is_base64(&stream[before + 1..at]) {
            return none;
        }
        at = before;
    }
    none
}

fn is_base64(line: &[u8]) -> bool {
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    line.len() <= LONGEST_LINE && line.iter().all(base64)
}

/// The report of a block, from its line break to the end of its last line.
fn read(block: &[u8]) -> Option<Vec<u8>> {
    let mut report = Vec::new();
    let whole = decode(block.strip_prefix(b"\n")?, &mut report);
    whole.is_ok_and(|whole| whole).then_some(report)
}

/// Decodes a block that begins with the line of its mark, in a few KiB of memory. Returns whether it is a report:
/// complete, of the size and hash that the mark states, and with nothing behind it. The bytes written `into` are valid
/// only then.
///
/// # Errors
/// When `block` cannot be read, or `into` not be written.
pub fn decode(block: impl BufRead, mut into: impl Write) -> io::Result<bool> {
    let mut body = Body::new(block);
    let Some((bytes, hash)) = body.line()?.and_then(begin) else {
        return Ok(false);
    };
    body.line.clear();
    let mut hasher = Sha256::new();
    let mut found = 0;
    {
        // One byte more than allowed, to detect a report that is too long.
        let decoder = MultiGzDecoder::new(DecoderReader::new(&mut body, &STANDARD));
        let mut decoder = decoder.take(bytes + 1);
        let mut some = vec![0; 16 * 1024];
        loop {
            let length = match decoder.read(&mut some) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return body.failed.map_or(Ok(false), Err),
            };
            found += length as u64;
            hasher.update(&some[..length]);
            into.write_all(&some[..length])?;
        }
    }
    Ok(found == bytes && body.ends_with(&hash)? && hex(&hasher.finalize()) == hash)
}

/// Size and hash in the line of the mark.
fn begin(line: &[u8]) -> Option<(u64, String)> {
    let said = std::str::from_utf8(line.strip_prefix(&BEGIN[1..])?).ok()?;
    let (bytes, hash) = said.strip_suffix(DASHES)?.split_once(' ')?;
    let bytes = bytes.parse().ok().filter(|bytes| *bytes <= MAX_REPORT as u64)?;
    Some((bytes, hash.to_owned()))
}

/// The base64 of a block, without its line breaks.
struct Body<R> {
    block: R,
    line: Vec<u8>,
    /// Bytes of the line already consumed.
    at: usize,
    /// The line behind the base64 was read.
    ended: bool,
    /// Why the block could not be read.
    failed: Option<io::Error>,
}

impl<R: BufRead> Body<R> {
    fn new(block: R) -> Self {
        Self {
            block,
            line: Vec::new(),
            at: 0,
            ended: false,
            failed: None,
        }
    }

    /// The next line, without its line break; `None` if there is none that a block may contain.
    fn line(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let most = LONGEST_LINE as u64 + 1;
        (&mut self.block).take(most).read_until(b'\n', &mut self.line)?;
        Ok(self.line.strip_suffix(b"\n"))
    }

    /// Whether the line behind the base64 is the end mark, with this hash, and the last line.
    fn ends_with(&mut self, hash: &str) -> io::Result<bool> {
        let end = self
            .line
            .strip_suffix(b"\n")
            .and_then(|line| line.strip_prefix(END));
        let end = end.and_then(|line| line.strip_suffix(DASHES.as_bytes()));
        let ends = self.ended && end == Some(hash.as_bytes());
        Ok(ends && self.block.fill_buf()?.is_empty())
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.ended {
                return Ok(0);
            }
            let left = self.line.get(self.at..).unwrap_or_default();
            let left = left.strip_suffix(b"\n").unwrap_or(left);
            if !left.is_empty() {
                let length = left.len().min(into.len());
                into[..length].copy_from_slice(&left[..length]);
                self.at += length;
                return Ok(length);
            }
            self.at = 0;
            match self.line() {
                Ok(Some(line)) if line.starts_with(END) => self.ended = true,
                Ok(Some(_)) => {}
                Ok(None) => return Err(ErrorKind::InvalidData.into()),
                Err(error) => {
                    self.failed = Some(error);
                    return Err(ErrorKind::Other.into());
                }
            }
        }
    }
}

/// Decides of lines in sequence whether they may be a block, and buffers at most one line.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    bytes: usize,
    lines: usize,
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
    /// The last line of the block was seen.
    ended: bool,
}

impl Shape {
    /// Takes the next bytes, beginning with the line of the mark; returns whether everything so far may be, or become,
    /// a block.
    pub fn push(&mut self, text: &[u8]) -> bool {
        text.split_inclusive(|b| *b == b'\n')
            .all(|piece| self.piece(piece))
    }

    fn piece(&mut self, piece: &[u8]) -> bool {
        let content = piece.strip_suffix(b"\n").unwrap_or(piece);
        self.bytes += piece.len();
        if self.ended || self.bytes > MAX_BLOCK || self.line.len() + content.len() > LONGEST_LINE {
            return false;
        }
        self.line.extend_from_slice(content);
        if content.len() == piece.len() {
            return true;
        }
        let line = std::mem::take(&mut self.line);
        self.ended = self.lines > 0 && line.starts_with(END);
        self.lines += 1;
        self.ended
            || if self.lines == 1 {
                line.starts_with(&BEGIN[1..])
            } else {
                is_base64(&line)
            }
    }

    /// Whether the last line of the block was seen.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ended
    }
}

/// Cuts the report off a log that arrives in pieces: only bytes that may be the block are held back.
#[derive(Debug, Clone, Default)]
pub struct Cutter {
    held: Vec<u8>,
    /// `held` begins with the mark, and up to here its lines are those of a block.
    checked: usize,
    /// The last line of the block was seen.
    ended: bool,
}

impl Cutter {
    /// Takes the next piece and appends to `log` what cannot be part of a report.
    pub fn push(&mut self, piece: &[u8], log: &mut Vec<u8>) {
        self.held.extend_from_slice(piece);
        // Bytes before this index belong to the log; they are removed once, at the end.
        let mut released = 0;
        loop {
            if self.checked == 0 {
                let held = &self.held[released..];
                let Some(at) = position(held, BEGIN) else {
                    released += held.len() - beginning(held);
                    break;
                };
                released += at;
                self.checked = 1;
                self.ended = false;
            }
            if self.is_block(released) {
                break;
            }
            // No report: its line break belongs to the log, and another report may begin behind it.
            released += 1;
            self.checked = 0;
        }
        log.extend(self.held.drain(..released));
    }

    /// Whether the held bytes from `start` on may be, or become, a block.
    fn is_block(&mut self, start: usize) -> bool {
        let held = &self.held[start..];
        while let Some(length) = held[self.checked..].iter().position(|b| *b == b'\n') {
            let line = &held[self.checked..self.checked + length];
            let begins = self.checked == 1;
            if self.ended
                || !(begins && line.len() <= LONGEST_LINE || is_base64(line) || line.starts_with(END))
            {
                return false;
            }
            self.ended = line.starts_with(END);
            self.checked += length + 1;
        }
        let rest = held.len() - self.checked;
        !(self.ended && rest > 0) && rest <= LONGEST_LINE && held.len() <= MAX_BLOCK
    }

    /// The stream has ended: the rest of the log, and the report.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut rest = self.held;
        let Split { log, report } = split(&rest);
        rest.truncate(log);
        (rest, report)
    }
}

fn position(of: &[u8], what: &[u8]) -> Option<usize> {
    of.windows(what.len()).position(|window| window == what)
}

/// Length of the longest suffix of `of` that is a prefix of [`BEGIN`].
fn beginning(of: &[u8]) -> usize {
    let longest = of.len().min(BEGIN.len() - 1);
    (0..=longest)
        .rev()
        .find(|length| of.ends_with(&BEGIN[..*length]))
        .unwrap_or(0)
}

#[cfg(test)]
#[path = "report_tests.rs"]
pub(crate) mod tests;
