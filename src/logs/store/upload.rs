//! An object that is written piece by piece, with a bounded part of it in memory.

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};

use super::archive::{Archive, ArchiveError};

/// Bytes of one request. S3 takes no less than 5 MiB and at most 10,000 of them, so a log may have 78 GiB.
const CHUNK: usize = 8 * 1024 * 1024;
/// Of the first request so many bytes are kept to know it by.
const KEPT: usize = 64 * 1024;

/// What was uploaded.
pub(crate) enum Whole {
    /// It fits into one request, and nothing was sent yet.
    Small(Bytes),
    /// It is under the key of the upload; so many bytes.
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

/// An upload. Nothing can be seen of it until it is finished; an object that fits into one request is one request.
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

    /// Adds bytes, and sends what makes a whole chunk.
    pub(crate) async fn add(&mut self, mut bytes: Bytes) -> Result<(), ArchiveError> {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.rest.len() == CHUNK {
                // Only now: a whole chunk may be the last one, and all there is.
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

    /// The first bytes, at most so many, and not more than 64 KiB.
    pub(crate) fn beginning(&self, most: usize) -> Bytes {
        let of: &[u8] = if self.begun.is_some() {
            &self.first
        } else {
            &self.rest
        };
        Bytes::copy_from_slice(&of[..of.len().min(most)])
    }

    /// Makes the object visible, where it takes more than one request; what takes only one is the caller's to send.
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

    /// Gives it up. A store that cannot be told keeps what was sent until its own rules remove it.
    pub(crate) async fn abort(&mut self) {
        if let Some(mut begun) = self.begun.take() {
            let _ = begun.abort().await;
        }
    }

    fn failed(&self, error: &object_store::Error) -> ArchiveError {
        self.archive.failed(self.key, error)
    }
}
