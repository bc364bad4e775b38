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
//! The line break before it belongs to it: a log may end in the middle of a line. Only a block that is whole, matches
//! its hash and has nothing behind it is a report. Everything else is the log's, whatever it looks like.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::api::names::hex;

/// Most bytes of a report; the peon's script says in the log that a larger one was left out.
pub const MAX_REPORT: usize = 8 << 20;
/// No block is longer: base64 of what does not compress, line breaks and the two marks.
pub const MAX_BLOCK: usize = MAX_REPORT / 3 * 4 + MAX_REPORT / 32;

const BEGIN: &[u8] = b"\n-----BEGIN PEON REPORT ";
const END: &[u8] = b"-----END PEON REPORT ";
const DASHES: &str = "-----";
/// Of a line of base64, and of a mark.
const LONGEST_LINE: usize = 160;

/// The part of the peon's script that prints the block. It may not fail: the exit code is Java's.
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

/// A log with what may be a report at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The first so many bytes are the log.
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
    // From the end to the first line that is no base64: it has to be the mark of the beginning.
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
    let text = std::str::from_utf8(block).ok()?;
    let (begin, rest) = text.strip_prefix('\n')?.split_once('\n')?;
    let (body, end) = rest.strip_suffix('\n')?.rsplit_once('\n')?;
    let begin = begin.as_bytes().strip_prefix(&BEGIN[1..])?;
    let (bytes, hash) = std::str::from_utf8(begin)
        .ok()?
        .strip_suffix(DASHES)?
        .split_once(' ')?;
    let end = end
        .as_bytes()
        .strip_prefix(END)?
        .strip_suffix(DASHES.as_bytes())?;
    let bytes: usize = bytes.parse().ok().filter(|bytes| *bytes <= MAX_REPORT)?;
    if end != hash.as_bytes() {
        return None;
    }
    let compressed = STANDARD.decode(body.replace('\n', "")).ok()?;
    let mut report = Vec::with_capacity(bytes);
    // One byte more than it may have, so that what is too long is seen.
    let limit = u64::try_from(bytes).ok()?.checked_add(1)?;
    MultiGzDecoder::new(compressed.as_slice())
        .take(limit)
        .read_to_end(&mut report)
        .ok()?;
    (report.len() == bytes && hex(&Sha256::digest(&report)) == hash).then_some(report)
}

/// Cuts the report off a log that comes piece by piece: what may be the block is held back, and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Cutter {
    held: Vec<u8>,
    /// `held` begins with the mark, and its lines are those of a block as far as here.
    checked: usize,
    /// The last line of the block was seen.
    ended: bool,
}

impl Cutter {
    /// Takes the next piece and adds to `log` what cannot be part of a report.
    pub fn push(&mut self, piece: &[u8], log: &mut Vec<u8>) {
        self.held.extend_from_slice(piece);
        // Bytes before this one are the log's; they are taken off once, at the end.
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
            // No report: its line break is the log's, and another one may begin behind it.
            released += 1;
            self.checked = 0;
        }
        log.extend(self.held.drain(..released));
    }

    /// Whether what is held from `start` on may be, or become, a block.
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

/// Length of the longest end of `of` that [`BEGIN`] begins with.
fn beginning(of: &[u8]) -> usize {
    let longest = of.len().min(BEGIN.len() - 1);
    (0..=longest)
        .rev()
        .find(|length| of.ends_with(&BEGIN[..*length]))
        .unwrap_or(0)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
