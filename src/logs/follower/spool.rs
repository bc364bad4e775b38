//! What was read of a log and is not in the store yet: a file, so that a slow store neither holds up the stream nor fills
//! the memory. Its last bytes are in memory only, as nobody reads the file after this process.
//!
//! Behind what is the log's stands what may be the report, until it turns out what it is. A file has no name, so nobody
//! else counts it: each takes what it needs of the disk from a [budget](Shares) of the whole process.

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

/// A part ends at one of these, at the latest after so many bytes.
const STEP: u64 = 4 << 20;
/// So much is written to the file at a time: the kubelet sends every line by itself, and a write of each would cost more
/// than all else that is done with it.
const WRITE: usize = 64 * 1024;
/// So much of the budget is taken at a time.
pub const PIECE: u64 = 512 * 1024;
/// A log that is read has no less of the budget than a piece, and no more than two where nothing of it waits.
pub const IDLE: u64 = 2 * PIECE;
/// Room for what one reading of the stream adds at most: what was read, the line that it ends, and a line of our own.
const READING: u64 = 192 * 1024;
/// Only whole blocks of the file system are given back.
const BLOCK: u64 = 4096;

/// Where files are made, and how much they may take.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The folder.
    pub folder: PathBuf,
    /// Most bytes of one file.
    pub most: u64,
    /// Bytes of all files together, for whom.
    pub budget: Shares,
}

/// A file without a name: whatever ends the process, nothing is left behind.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    namespace: String,
    most: u64,
    budget: Shares,
    /// What of the budget it has.
    share: Option<Share>,
    /// The file takes no space before this byte.
    freed: u64,
    can_free: bool,
    /// Bytes before this one are in the store.
    start: u64,
    /// Bytes before this one are the log's; those behind it may be the report.
    log: u64,
    end: u64,
    /// The last bytes before the end, which are not in the file yet.
    tail: Vec<u8>,
    /// Where parts may end: a place in the file and the place in the log.
    stops: VecDeque<(u64, LogMark)>,
}

/// Bytes for a part, and the place in the log behind them.
#[derive(Debug, PartialEq, Eq)]
pub struct Slice {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The place behind them.
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

    /// What it takes of the disk.
    fn used(&self) -> u64 {
        self.end - self.freed
    }

    /// Whether the stream may be read: there is room for what comes.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let has = self.share.as_ref().map_or(0, Share::amount);
        !self.is_full() && has >= self.used() + READING
    }

    /// Whether it takes no more, whatever the budget: reading has to wait for the store.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used() >= self.most
    }

    /// Takes room from the budget, if its namespace may have it now; says whether there is some.
    pub fn try_grow(&mut self) -> bool {
        while !self.has_room() && !self.is_full() {
            match self.budget.try_acquire(&self.namespace, PIECE) {
                Some(more) => self.grow(more),
                None => return false,
            }
        }
        self.has_room()
    }

    /// Waits for room, which is then to be [added](Self::grow).
    pub fn room(&self) -> impl Future<Output = Share> + Send + use<> {
        let (budget, namespace) = (self.budget.clone(), self.namespace.clone());
        async move { budget.acquire(&namespace, PIECE).await }
    }

    /// Has more room.
    pub fn grow(&mut self, more: Share) {
        match &mut self.share {
            Some(share) => share.add(more),
            None => self.share = Some(more),
        }
    }

    /// Adds bytes. They are not the log's before they are [counted](Self::count) to it.
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

    /// So many of the bytes behind the log are the log's, too, and end at this place in it.
    pub fn count(&mut self, bytes: u64, mark: &LogMark) {
        self.log = (self.log + bytes).min(self.end);
        let begun = self.stops.iter().rev().nth(1).map_or(self.start, |(at, _)| *at);
        match self.stops.back_mut() {
            // The last stop moves until it is a step away from the one before.
            Some(last) if last.0 - begun < STEP => *last = (self.log, mark.clone()),
            _ => self.stops.push_back((self.log, mark.clone())),
        }
    }

    /// Forgets the bytes behind the log, but for the first so many.
    pub fn cut(&mut self, held: u64) {
        let end = (self.log + held).min(self.end);
        let written = self.end - self.tail.len() as u64;
        // What is in the file behind the end is written over.
        let left = usize::try_from(end.saturating_sub(written)).unwrap_or(usize::MAX);
        self.tail.truncate(left);
        self.end = end;
    }

    /// Everything is in the file.
    async fn write(&mut self) -> io::Result<()> {
        if self.tail.is_empty() {
            return Ok(());
        }
        // Not kept for the next bytes: most logs are silent most of the time.
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

    /// A part of so many bytes is in the store: its space is given back.
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

    /// Has the file take no space for what is in the store. On a file system that cannot, it does so when all is there.
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
                tracing::debug!(%error, "the space of what is archived cannot be freed here");
                self.can_free = false;
            }
        }
        Ok(())
    }

    /// What is behind the log, if it is a report. Without it, the spool goes on.
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

    /// Ends: what is left of it is this report, whose space is all it holds.
    pub fn end_with(mut self, report: &mut Report) {
        let used = self.used();
        if let Some(share) = &mut self.share {
            share.shrink_to(used);
        }
        report.share = self.share.take();
    }
}

/// A report, as the block that it came in, on disk until it is dropped.
#[derive(Debug)]
pub struct Report {
    block: Section,
    /// What it has of the budget until it is dropped.
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

/// A part of a file.
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
