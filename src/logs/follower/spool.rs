//! Bytes of a log that were read and are not in the store yet: a file, so that a slow store neither blocks the stream
//! nor fills the memory. The last bytes are in memory only, as no other process reads the file.
//!
//! Behind the log's bytes are those that may be the report, until this is decided. The files have no name, so nothing
//! else accounts for their size: each takes its share of the disk from a [budget](Shares) of the whole process.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate};
use tokio::task::spawn_blocking;

use super::decide::log_mark::LogMark;
use crate::logs::fair_share::{Share, Shares};
use crate::logs::format::report;

/// A part ends at one of these positions, which are at most this many bytes apart.
const STEP: u64 = 4 << 20;
/// Bytes written to the file at a time: the kubelet sends every line separately, and a write for each would cost more
/// than all other work on it.
const WRITE: usize = 64 * 1024;
/// Bytes taken from the budget at a time.
pub const PIECE: u64 = 512 * 1024;
/// A log that is being read holds at least one piece of the budget, and at most two if none of its bytes wait.
pub const IDLE: u64 = 2 * PIECE;
/// Most bytes that one read of the stream adds: the bytes read, the line that they end, and a line of our own.
const READING: u64 = 192 * 1024;
/// Only whole blocks of the file system can be freed.
const BLOCK: u64 = 4096;

/// Where files are created, and their limits.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The folder.
    pub folder: PathBuf,
    /// Most bytes of one file.
    pub most: u64,
    /// Budget of all files together, shared by namespaces.
    pub budget: Shares,
}

/// A file without a name: nothing is left behind, however the process ends.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    namespace: String,
    most: u64,
    budget: Shares,
    /// Share of the budget.
    share: Option<Share>,
    /// The file takes no space before this offset.
    freed: u64,
    can_free: bool,
    /// Bytes before this offset are in the store.
    start: u64,
    /// Bytes before this offset belong to the log; those behind it may be the report.
    log: u64,
    end: u64,
    /// The last bytes, which are not in the file yet.
    tail: Vec<u8>,
    /// Where parts may end: offset in the file and position in the log.
    stops: VecDeque<(u64, LogMark)>,
}

/// Bytes for a part, and the position in the log behind them.
#[derive(Debug, PartialEq, Eq)]
pub struct Slice {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The position behind them.
    pub mark: LogMark,
}

impl Spool {
    /// An empty spool for the log of a pod of this namespace.
    ///
    /// # Errors
    /// When no file can be made there.
    pub async fn create(disk: &Disk, namespace: &str) -> io::Result<Self> {
        let folder = disk.folder.clone();
        let file = spawn_blocking(move || tempfile::tempfile_in(folder)).await??;
        Ok(Self {
            file: Arc::new(file),
            namespace: namespace.to_owned(),
            most: disk.most,
            budget: disk.budget.clone(),
            share: None,
            freed: 0,
            can_free: true,
            start: 0,
            log: 0,
            end: 0,
            tail: Vec::new(),
            stops: VecDeque::new(),
        })
    }

    /// How many bytes of the log wait for the store.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.log - self.start
    }

    /// How many bytes at the end may be the report.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.end - self.log
    }

    /// Bytes of the disk that it takes.
    fn used(&self) -> u64 {
        self.end - self.freed
    }

    /// Whether the stream may be read: there is room for its bytes.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let has = self.share.as_ref().map_or(0, Share::amount);
        !self.is_full() && has >= self.used() + READING
    }

    /// Whether it accepts nothing more, whatever the budget: reading has to wait for the store.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used() >= self.most
    }

    /// Takes room from the budget if the namespace may have it now; returns whether there is room.
    pub fn try_grow(&mut self) -> bool {
        while !self.has_room() && !self.is_full() {
            match self.budget.try_acquire(&self.namespace, PIECE) {
                Some(more) => self.grow(more),
                None => return false,
            }
        }
        self.has_room()
    }

    /// Waits for room, which the caller then [adds](Self::grow).
    pub fn room(&self) -> impl Future<Output = Share> + Send + use<> {
        let (budget, namespace) = (self.budget.clone(), self.namespace.clone());
        async move { budget.acquire(&namespace, PIECE).await }
    }

    /// Adds room.
    pub fn grow(&mut self, more: Share) {
        match &mut self.share {
            Some(share) => share.add(more),
            None => self.share = Some(more),
        }
    }

    /// Adds bytes. They belong to the log only once they are [counted](Self::count).
    ///
    /// # Errors
    /// When the disk is full or broken: the spool is of no use then.
    pub async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tail.extend_from_slice(bytes);
        self.end += bytes.len() as u64;
        if self.tail.len() < WRITE {
            return Ok(());
        }
        self.write().await
    }

    /// The next `bytes` behind the log belong to the log, too, and end at the position `mark`.
    pub fn count(&mut self, bytes: u64, mark: &LogMark) {
        self.log = (self.log + bytes).min(self.end);
        let begun = self.stops.iter().rev().nth(1).map_or(self.start, |(at, _)| *at);
        match self.stops.back_mut() {
            // The last stop moves until it is one step away from the previous one.
            Some(last) if last.0 - begun < STEP => *last = (self.log, mark.clone()),
            _ => self.stops.push_back((self.log, mark.clone())),
        }
    }

    /// Drops the bytes behind the log, except for the first `held`.
    pub fn cut(&mut self, held: u64) {
        let end = (self.log + held).min(self.end);
        let written = self.end - self.tail.len() as u64;
        // Bytes in the file behind the end are overwritten.
        let left = usize::try_from(end.saturating_sub(written)).unwrap_or(usize::MAX);
        self.tail.truncate(left);
        self.end = end;
    }

    /// Writes all bytes to the file.
    async fn write(&mut self) -> io::Result<()> {
        if self.tail.is_empty() {
            return Ok(());
        }
        // The buffer is not retained: most logs are silent most of the time.
        let tail = std::mem::take(&mut self.tail);
        let (file, at) = (self.file.clone(), self.end - tail.len() as u64);
        spawn_blocking(move || file.write_all_at(&tail, at)).await?
    }

    /// The bytes of the next part.
    ///
    /// # Errors
    /// When the file cannot be written or read.
    pub async fn next(&mut self) -> io::Result<Option<Slice>> {
        let Some((end, mark)) = self.stops.front().cloned() else {
            return Ok(None);
        };
        self.write().await?;
        let length = usize::try_from(end - self.start).map_err(io::Error::other)?;
        let (file, at) = (self.file.clone(), self.start);
        let read = move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at).map(|()| bytes)
        };
        let bytes = spawn_blocking(read).await??;
        Ok(Some(Slice { bytes, mark }))
    }

    /// A part of `length` bytes is in the store: its space is freed.
    ///
    /// # Errors
    /// When the file cannot be shortened.
    pub async fn release(&mut self, length: u64) -> io::Result<()> {
        self.start += length;
        while self.stops.front().is_some_and(|(at, _)| *at <= self.start) {
            self.stops.pop_front();
        }
        if self.start == self.end {
            let file = self.file.clone();
            spawn_blocking(move || file.set_len(0)).await??;
            self.tail.clear();
            (self.freed, self.start, self.log, self.end) = (0, 0, 0, 0);
        } else {
            self.free().await?;
        }
        if let Some(share) = &mut self.share {
            let used = self.end - self.freed;
            share.shrink_to(if used == 0 { 0 } else { used + READING + PIECE });
        }
        Ok(())
    }

    /// Frees the file's space for bytes that are in the store. On a file system that cannot do this, space is freed
    /// once all bytes are in the store.
    async fn free(&mut self) -> io::Result<()> {
        let until = self.start / BLOCK * BLOCK;
        if !self.can_free || until <= self.freed {
            return Ok(());
        }
        let (file, from, length) = (self.file.clone(), self.freed, until - self.freed);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match spawn_blocking(move || fallocate(&*file, hole, from, length)).await? {
            Ok(()) => self.freed = until,
            Err(error) => {
                tracing::debug!(%error, "the file system cannot free the space of archived parts");
                self.can_free = false;
            }
        }
        Ok(())
    }

    /// The bytes behind the log, if they are a report. Otherwise the spool continues.
    ///
    /// # Errors
    /// When the file cannot be written or read.
    pub async fn report(&mut self) -> io::Result<Option<Report>> {
        if self.held() == 0 {
            return Ok(None);
        }
        self.write().await?;
        let section = Section {
            file: self.file.clone(),
            at: self.log,
            end: self.end,
        };
        let block = section.clone();
        let check = move || report::decode(BufReader::new(block), io::sink());
        Ok(spawn_blocking(check).await??.then_some(Report {
            block: section,
            share: None,
        }))
    }

    /// Ends the spool; only the space of this report is retained.
    pub fn end_with(mut self, report: &mut Report) {
        let used = self.used();
        if let Some(share) = &mut self.share {
            share.shrink_to(used);
        }
        report.share = self.share.take();
    }
}

/// A report, as the block that it was received in, on disk until it is dropped.
#[derive(Debug)]
pub struct Report {
    block: Section,
    /// Share of the budget until it is dropped.
    share: Option<Share>,
}

impl Report {
    /// The report: up to [`report::MAX_REPORT`] bytes of memory.
    ///
    /// # Errors
    /// When the disk is broken.
    pub async fn read(&self) -> io::Result<Bytes> {
        let block = self.block.clone();
        let read = move || {
            let mut report = Vec::new();
            report::decode(BufReader::new(block), &mut report).map(|_| report)
        };
        Ok(spawn_blocking(read).await??.into())
    }
}

/// A section of a file.
#[derive(Debug, Clone)]
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = left.min(into.len());
        let length = self.file.read_at(&mut into[..most], self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
