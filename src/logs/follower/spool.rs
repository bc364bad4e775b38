//! What was read of a log and is not in the store yet: a file, so that a slow store neither holds up the stream nor fills
//! the memory. Its last bytes are in memory only, as nobody reads the file after this process.

use std::collections::VecDeque;
use std::io::{self, SeekFrom};
use std::path::Path;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::mark::Mark;

/// A part ends at one of these, at the latest after so many bytes.
const STEP: u64 = 4 << 20;
/// So much is written to the file at a time: the kubelet sends every line by itself, and a write of each would cost more
/// than all else that is done with it.
const WRITE: usize = 64 * 1024;

/// A file without a name: whatever ends the process, nothing is left behind.
#[derive(Debug)]
pub struct Spool {
    file: File,
    /// Bytes before this one are in the store.
    start: u64,
    end: u64,
    /// The last bytes before the end, which are not in the file yet.
    tail: Vec<u8>,
    /// Where parts may end: a place in the file and the place in the log.
    stops: VecDeque<(u64, Mark)>,
    most: u64,
}

/// Bytes for a part, and the place in the log behind them.
#[derive(Debug, PartialEq, Eq)]
pub struct Slice {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The place behind them.
    pub mark: Mark,
}

impl Spool {
    /// An empty spool in this folder, for at most so many bytes.
    ///
    /// # Errors
    /// When no file can be made there.
    pub async fn create(folder: &Path, most: u64) -> io::Result<Self> {
        let folder = folder.to_owned();
        let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(folder)).await??;
        Ok(Self {
            file: File::from_std(file),
            start: 0,
            end: 0,
            tail: Vec::new(),
            stops: VecDeque::new(),
            most,
        })
    }

    /// How many bytes wait for the store.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it takes no more: reading has to wait for the store.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pending() >= self.most
    }

    /// Adds bytes, which end at this place in the log.
    ///
    /// # Errors
    /// When the disk is full or broken: the spool is of no use then.
    pub async fn append(&mut self, bytes: &[u8], mark: &Mark) -> io::Result<()> {
        self.tail.extend_from_slice(bytes);
        self.end += bytes.len() as u64;
        let begun = self.stops.iter().rev().nth(1).map_or(self.start, |(at, _)| *at);
        match self.stops.back_mut() {
            // The last stop moves until it is a step away from the one before.
            Some(last) if last.0 - begun < STEP => *last = (self.end, mark.clone()),
            _ => self.stops.push_back((self.end, mark.clone())),
        }
        if self.tail.len() < WRITE {
            return Ok(());
        }
        self.write().await
    }

    /// Everything is in the file.
    async fn write(&mut self) -> io::Result<()> {
        // Not kept for the next bytes: most logs are silent most of the time.
        let tail = std::mem::take(&mut self.tail);
        self.file
            .seek(SeekFrom::Start(self.end - tail.len() as u64))
            .await?;
        self.file.write_all(&tail).await?;
        // tokio's file holds what was written until it is flushed.
        self.file.flush().await
    }

    /// The bytes of the next part.
    ///
    /// # Errors
    /// When the file cannot be written or read.
    pub async fn next(&mut self) -> io::Result<Option<Slice>> {
        let Some((end, mark)) = self.stops.front().cloned() else {
            return Ok(None);
        };
        if !self.tail.is_empty() {
            self.write().await?;
        }
        let length = usize::try_from(end - self.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.seek(SeekFrom::Start(self.start)).await?;
        self.file.read_exact(&mut bytes).await?;
        Ok(Some(Slice { bytes, mark }))
    }

    /// A part that ends at this place is in the store.
    ///
    /// # Errors
    /// When the file cannot be shortened.
    pub async fn release(&mut self, length: u64) -> io::Result<()> {
        self.start += length;
        while self.stops.front().is_some_and(|(at, _)| *at <= self.start) {
            self.stops.pop_front();
        }
        if self.start == self.end {
            self.file.set_len(0).await?;
            (self.start, self.end) = (0, 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::follower::mark::Hash;

    fn mark(read: u64) -> Mark {
        Mark {
            time: "2026-11-21T09:55:37.100000000Z".into(),
            nth: 1,
            read,
            whole: true,
            hash: Hash::default().0,
        }
    }

    async fn spool(most: u64) -> Spool {
        Spool::create(&std::env::temp_dir(), most).await.unwrap()
    }

    #[tokio::test]
    async fn what_comes_while_a_part_is_written_is_the_next_parts() {
        let mut spool = spool(1 << 30).await;
        assert_eq!(spool.next().await.unwrap(), None);
        spool.append(b"one", &mark(3)).await.unwrap();
        spool.append(b"two", &mark(6)).await.unwrap();
        let first = spool.next().await.unwrap().unwrap();
        assert_eq!((first.bytes.as_slice(), &first.mark), (&b"onetwo"[..], &mark(6)));
        spool.append(b"three", &mark(11)).await.unwrap();
        spool.release(6).await.unwrap();
        assert_eq!(spool.pending(), 5);
        let second = spool.next().await.unwrap().unwrap();
        assert_eq!(
            (second.bytes.as_slice(), &second.mark),
            (&b"three"[..], &mark(11))
        );
        spool.release(5).await.unwrap();
        // The file is empty again and is filled from its beginning.
        spool.append(b"four", &mark(15)).await.unwrap();
        assert_eq!(spool.next().await.unwrap().unwrap().bytes, b"four");
    }

    #[tokio::test]
    async fn parts_have_a_bound_however_much_waits() {
        let mut spool = spool(20 << 20).await;
        let piece = vec![b'x'; 1 << 20];
        let mut all = 0;
        while !spool.is_full() {
            all += piece.len() as u64;
            spool.append(&piece, &mark(all)).await.unwrap();
        }
        let mut read = 0;
        while let Some(slice) = spool.next().await.unwrap() {
            assert!(slice.bytes.len() as u64 <= STEP + (1 << 20));
            read += slice.bytes.len() as u64;
            assert_eq!(slice.mark, mark(read));
            spool.release(slice.bytes.len() as u64).await.unwrap();
        }
        assert_eq!((read, spool.pending()), (all, 0));
    }
}
