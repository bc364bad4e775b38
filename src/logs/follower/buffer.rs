//! Bytes of a log that were read and are not in the store yet.

use std::time::Instant;

use super::collect::Limits;
use super::decide::reader::Reader;
use super::source::Source;
use super::spool::{Disk, Report, Spool};
use crate::logs::format::attempt_parts;
use crate::logs::format::parts::{Part, PartName};

/// The log that is read, between stream and store.
pub(super) struct Log {
    pub(super) reader: Reader,
    pub(super) spool: Spool,
    pub(super) parts: Vec<PartName>,
    pub(super) bytes: u64,
    /// Bytes received in all streams, or more: bytes that an earlier process read of the log count.
    pub(super) came: u64,
    /// Bytes omitted because the log is too long.
    pub(super) excess: u64,
    /// Gaps found by an earlier process.
    pub(super) gaps: u32,
    /// Whether the store has answered which parts exist. Until then reading starts from the beginning, since a log may
    /// be rotated away before the store answers, and nothing is written.
    pub(super) sure: bool,
    /// When the last part was begun: streams may break more often than parts are due.
    pub(super) flushed: Instant,
}

/// What the name of the next part is made from.
pub(super) struct Next {
    pub(super) before: Option<PartName>,
    pub(super) sequence: u32,
    pub(super) gaps: u32,
    pub(super) published: bool,
}

impl Log {
    /// A log that continues behind the parts that are known.
    pub(super) async fn behind(known: Vec<Part>, disk: &Disk, source: &Source) -> std::io::Result<Self> {
        let end = known.last().and_then(|p| attempt_parts::end(&p.name));
        let gaps = end.as_ref().map_or(0, |e| e.gaps);
        let bytes = known.iter().map(|p| p.bytes).sum();
        let mut reader = Reader::new(end.as_ref().map(|e| e.mark.clone()));
        if end.is_some_and(|e| e.published) {
            reader.was_published();
        }
        if let Some(lines) = &source.lines {
            reader.only(lines.clone());
        }
        if let Some(started) = source.started {
            reader.started(started);
        }
        Ok(Self {
            reader,
            spool: Spool::create(disk, &source.namespace).await?,
            bytes,
            parts: known.into_iter().map(|p| p.name).collect(),
            // A log that is not read from its beginning on may be of any size.
            came: if source.lines.is_some() {
                u64::MAX / 2
            } else {
                bytes
            },
            excess: 0,
            gaps,
            sure: true,
            flushed: Instant::now(),
        })
    }

    pub(super) fn next(&self) -> Next {
        Next {
            before: self.parts.last().cloned(),
            // An earlier part may be gone: the next number follows from the last part, not from their count.
            sequence: self
                .parts
                .last()
                .map_or(0, |last| last.sequence().saturating_add(1)),
            gaps: self.gaps + self.reader.gaps(),
            published: self.reader.published(),
        }
    }

    /// A part of `length` bytes is in the store.
    pub(super) async fn done(&mut self, (length, name): (u64, PartName)) -> std::io::Result<()> {
        self.parts.push(name);
        self.spool.release(length).await
    }

    /// Adds bytes received in a stream.
    pub(super) async fn take(&mut self, stream: &[u8], limits: &Limits) -> std::io::Result<()> {
        self.came += stream.len() as u64;
        let mut text = Vec::new();
        self.reader.feed(stream, &mut text);
        self.keep(&text, limits).await
    }

    /// Stores the reader's output: the log's bytes, and behind them those that may be the report.
    async fn keep(&mut self, text: &[u8], limits: &Limits) -> std::io::Result<()> {
        let (before, held) = (self.spool.held(), self.reader.held());
        let came = text.len() as u64;
        // Bytes that now belong to the log: some that were held, and the beginning of the text.
        let log = (before + came).saturating_sub(held);
        let kept = log.min(limits.most.saturating_sub(self.bytes));
        let of_text = usize::try_from(kept.saturating_sub(before)).unwrap_or(usize::MAX);
        self.spool.append(&text[..of_text.min(text.len())]).await?;
        if log > 0 {
            if kept < log {
                self.spool.cut(kept);
            }
            self.excess += log - kept;
            self.bytes += kept;
            limits.metrics.read(kept);
            match self.reader.mark() {
                Some(mark) if kept > 0 => self.spool.count(kept, mark),
                _ => {}
            }
        }
        let behind = usize::try_from(held.min(came)).unwrap_or(usize::MAX);
        let behind = text.len().saturating_sub(behind).max(of_text);
        self.spool.append(&text[behind..]).await
    }

    /// The held bytes, which may be the report, become part of the log: there is no room to wait until this is decided.
    pub(super) async fn let_go(&mut self, limits: &Limits) -> std::io::Result<()> {
        self.reader.let_go();
        self.keep(&[], limits).await
    }

    /// The log ended for good: its rest, and the report.
    pub(super) async fn end(&mut self, limits: &Limits) -> std::io::Result<Option<Report>> {
        let mut text = Vec::new();
        let whole = self.reader.finish(&mut text);
        self.keep(&text, limits).await?;
        let report = if whole { self.spool.report().await? } else { None };
        if report.is_none() {
            self.let_go(limits).await?;
        }
        Ok(report)
    }
}
