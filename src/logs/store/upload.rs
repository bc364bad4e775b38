//! Uploads an object in chunks, with a bounded part of it in memory.

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};

use super::archive::{Archive, ArchiveError};

/// Bytes of one request. S3 requires at least 5 MiB and allows at most 10,000 requests, so a log may have 78 GiB.
const CHUNK: usize = 8 * 1024 * 1024;
/// Bytes of the first request that are retained to identify the object.
const KEPT: usize = 64 * 1024;

/// An uploaded object.
pub(crate) enum Whole {
    /// The object fits into one request, and nothing was sent yet.
    Small(Bytes),
    /// The object is under the key of the upload; its size in bytes.
    Staged(u64),
}

impl Whole {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Small(bytes) => bytes.len() as u64,
            Self::Staged(bytes) => *bytes,
        }
    }
}

/// An upload. Nothing is visible until it is finished; an object that fits into one request takes one request.
pub(crate) struct Upload<'a> {
    archive: &'a Archive,
    key: &'a Path,
    begun: Option<Box<dyn MultipartUpload>>,
    rest: BytesMut,
    bytes: u64,
    /// The first chunk, once it was sent.
    first: Bytes,
}

impl<'a> Upload<'a> {
    pub(crate) fn new(archive: &'a Archive, key: &'a Path) -> Self {
        Self {
            archive,
            key,
            begun: None,
            rest: BytesMut::new(),
            bytes: 0,
            first: Bytes::new(),
        }
    }

    /// Adds bytes, and sends whole chunks.
    pub(crate) async fn add(&mut self, mut bytes: Bytes) -> Result<(), ArchiveError> {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.rest.len() == CHUNK {
                // Sent only now: a whole chunk may be the last one, and the only one.
                let chunk = self.rest.split().freeze();
                self.send(chunk).await?;
            }
            let room = CHUNK - self.rest.len();
            self.rest
                .extend_from_slice(&bytes.split_to(room.min(bytes.len())));
        }
        Ok(())
    }

    async fn send(&mut self, chunk: Bytes) -> Result<(), ArchiveError> {
        let mut begun = if let Some(begun) = self.begun.take() {
            begun
        } else {
            self.first = Bytes::copy_from_slice(&chunk[..chunk.len().min(KEPT)]);
            let begun = self.archive.store.put_multipart(self.key).await;
            begun.map_err(|e| self.failed(&e))?
        };
        let sent = begun.put_part(PutPayload::from(chunk)).await;
        self.begun = Some(begun);
        sent.map_err(|e| self.failed(&e))
    }

    /// The first bytes, at most `most`, and at most 64 KiB.
    pub(crate) fn beginning(&self, most: usize) -> Bytes {
        let of: &[u8] = if self.begun.is_some() {
            &self.first
        } else {
            &self.rest
        };
        Bytes::copy_from_slice(&of[..of.len().min(most)])
    }

    /// Makes the object visible if it takes more than one request; the caller sends an object of one request.
    pub(crate) async fn finish(mut self) -> Result<Whole, ArchiveError> {
        let rest = self.rest.split().freeze();
        if self.begun.is_none() {
            return Ok(Whole::Small(rest));
        }
        if let Err(error) = self.send(rest).await {
            self.abort().await;
            return Err(error);
        }
        if let Some(mut begun) = self.begun.take()
            && let Err(error) = begun.complete().await
        {
            let _ = begun.abort().await;
            return Err(self.failed(&error));
        }
        Ok(Whole::Staged(self.bytes))
    }

    /// Aborts the upload. If that fails, the store keeps the chunks until its own rules remove them.
    pub(crate) async fn abort(&mut self) {
        if let Some(mut begun) = self.begun.take() {
            let _ = begun.abort().await;
        }
    }

    fn failed(&self, error: &object_store::Error) -> ArchiveError {
        self.archive.failed(self.key, error)
    }
}
