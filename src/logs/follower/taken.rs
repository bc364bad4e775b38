//! What was read of a log and is not in its store yet.

use std::path::Path;

use super::chain;
use super::collect::Limits;
use super::reader::Reader;
use super::spool::Spool;
use crate::logs::parts::{Part, PartName};

/// The log that is read, between stream and store.
pub(super) struct Log {
    pub(super) reader: Reader,
    pub(super) spool: Spool,
    pub(super) parts: Vec<PartName>,
    pub(super) bytes: u64,
    /// Bytes that came in all streams, or more: what a process before this one read of the log counts.
    pub(super) came: u64,
    /// Bytes that were left out because the log is too long.
    pub(super) excess: u64,
    /// Gaps that a process before this one found.
    pub(super) gaps: u32,
    /// Whether the store has said which parts there are. Until then reading begins anew, since a log may be rotated away
    /// before the store answers, and nothing is written.
    pub(super) sure: bool,
}

/// What the name of the next part rests on.
pub(super) struct Next {
    pub(super) before: Option<PartName>,
    pub(super) sequence: u32,
    pub(super) gaps: u32,
}

impl Log {
    /// A log that goes on behind what is known.
    pub(super) async fn behind(known: Vec<Part>, spool: &Path, limits: &Limits) -> std::io::Result<Self> {
        let end = known.last().and_then(|p| chain::end(&p.name));
        let gaps = end.as_ref().map_or(0, |e| e.gaps);
        let bytes = known.iter().map(|p| p.bytes).sum();
        Ok(Self {
            reader: Reader::new(end.map(|e| e.mark)),
            spool: Spool::create(spool, limits.spool).await?,
            bytes,
            parts: known.into_iter().map(|p| p.name).collect(),
            came: bytes,
            excess: 0,
            gaps,
            sure: true,
        })
    }

    pub(super) fn next(&self) -> Next {
        Next {
            before: self.parts.last().cloned(),
            // One before it may be gone: parts are numbered by the last one, and not counted.
            sequence: self
                .parts
                .last()
                .map_or(0, |last| last.sequence().saturating_add(1)),
            gaps: self.gaps + self.reader.gaps(),
        }
    }

    /// A part of so many bytes is in the store.
    pub(super) async fn done(&mut self, (length, name): (u64, PartName)) -> std::io::Result<()> {
        self.parts.push(name);
        self.spool.release(length).await
    }

    pub(super) async fn take(&mut self, stream: &[u8], limits: &Limits) -> std::io::Result<()> {
        self.came += stream.len() as u64;
        let mut text = Vec::new();
        self.reader.feed(stream, &mut text);
        self.keep(&text, limits).await
    }

    pub(super) async fn keep(&mut self, text: &[u8], limits: &Limits) -> std::io::Result<()> {
        let room = usize::try_from(limits.most.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        let kept = &text[..text.len().min(room)];
        self.excess += (text.len() - kept.len()) as u64;
        self.bytes += kept.len() as u64;
        match self.reader.mark().cloned() {
            Some(mark) if !kept.is_empty() => {
                limits.metrics.read(kept.len());
                self.spool.append(kept, &mark).await
            }
            _ => Ok(()),
        }
    }
}
