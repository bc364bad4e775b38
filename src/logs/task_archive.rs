//! What is kept for one task: parts while its log grows, then the log, and its report.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

use super::archive::{Archive, ArchiveError};
use super::layout::InvalidKey;
use super::parts::{Composed, LogRange, Part, PartName, Piece};
use super::upload::Upload;

/// The archive of one task. Cheap to clone.
///
/// A log grows as parts ([`put_part`](Self::put_part)), which nobody else reads. At the end they are composed into the
/// log ([`compose`](Self::compose)), which a stock overlord reads.
#[derive(Debug, Clone)]
pub struct TaskArchive {
    archive: Archive,
    uid: String,
    log: Path,
    report: Path,
    parts: Path,
    composed: Path,
    staged_log: Option<Path>,
    staged_report: Option<Path>,
}

/// Some bytes of a log, on their way.
pub struct LogContent {
    /// The size of the whole log in bytes.
    pub size: u64,
    /// Which bytes of it these are.
    pub range: Range<u64>,
    /// The bytes, in order.
    pub bytes: BoxStream<'static, Result<Bytes, ArchiveError>>,
}

impl TaskArchive {
    pub(super) fn new(archive: Archive, task_id: &str, uid: &str) -> Result<Self, InvalidKey> {
        let layout = archive.layout.clone();
        Ok(Self {
            uid: uid.to_owned(),
            log: layout.log(task_id)?,
            report: layout.report(task_id)?,
            parts: layout.parts(uid)?,
            composed: layout.composed(uid)?,
            staged_log: layout.staged(uid, "log")?,
            staged_report: layout.staged(uid, "report.json")?,
            archive,
        })
    }

    /// Where the log is or will be, for people.
    #[must_use]
    pub fn log_url(&self) -> String {
        self.archive.location.url(&self.log)
    }

    /// Where the report is or will be, for people.
    #[must_use]
    pub fn report_url(&self) -> String {
        self.archive.location.url(&self.report)
    }

    /// The parts that are there, in order. Whatever else is in their folder is passed over.
    ///
    /// Two processes that both believed to be the one that follows the task may have written two parts of the same
    /// attempt and sequence, with different cursors: which of them to take is the caller's to decide.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn parts(&self) -> Result<Vec<Part>, ArchiveError> {
        let found = self
            .archive
            .store
            .list(Some(&self.parts))
            .try_collect::<Vec<_>>()
            .await;
        let found = found
            .map_err(|e| self.archive.failed(&self.parts, &e))?
            .into_iter();
        let part = |meta: object_store::ObjectMeta| {
            let name = meta.location.prefix_match(&self.parts)?.collect::<Vec<_>>();
            let [name] = name.as_slice() else { return None };
            Some(Part {
                name: name.as_ref().parse().ok()?,
                bytes: meta.size,
            })
        };
        let mut parts: Vec<_> = found.filter_map(part).collect();
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(parts)
    }

    /// Writes a part; again, with the same bytes, under the same name. Memory is the caller's: a few MiB are a good
    /// size, and many small parts cost a request each at the end.
    ///
    /// # Errors
    /// When it cannot be written, or is empty.
    pub async fn put_part(&self, name: &PartName, bytes: Bytes) -> Result<(), ArchiveError> {
        let key = self.archive.layout.part(&self.uid, name)?;
        self.archive.put(&key, bytes).await?;
        self.archive.renew().await
    }

    /// The bytes of a part; `None` when it is gone.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read_part(&self, name: &PartName) -> Result<Option<Bytes>, ArchiveError> {
        let key = self.archive.layout.part(&self.uid, name)?;
        self.archive.get(&key).await
    }

    /// Composes the log of these pieces, in their order, and removes all parts.
    ///
    /// The pieces are streamed, with at most about 16 MiB in memory. Nobody sees the log before it is whole. It is then
    /// verified, a note is left that it is whole, and only then are the parts removed. Whoever finds that note writes
    /// nothing any more: so it may be called again after a crash at any point, and with any pieces, and never puts a
    /// shorter log in the place of a whole one.
    ///
    /// # Errors
    /// When the store fails, or a part is gone because somebody else composes: call it again, with the parts that are
    /// there then. After an error the parts are all there, unless the note was left.
    pub async fn compose(&self, pieces: &[Piece]) -> Result<Composed, ArchiveError> {
        if let Some(composed) = self.before().await? {
            return Ok(composed);
        }
        let target = self.staged_log.as_ref().unwrap_or(&self.log);
        let mut upload = Upload::new(&self.archive, target);
        let filled = self.fill(&mut upload, pieces).await;
        // Somebody else may have been faster; what they composed may be more than what we know of.
        let filled = match filled {
            Ok(()) => self.archive.size(&self.composed).await,
            Err(error) => Err(error),
        };
        match filled {
            Ok(None) => {}
            Ok(Some(_)) => {
                upload.abort().await;
                return self
                    .before()
                    .await
                    .map(|composed| composed.unwrap_or(Composed::Nothing));
            }
            Err(error) => {
                upload.abort().await;
                return Err(error);
            }
        }
        let written = upload.finish().await?;
        if written == 0 {
            return Ok(Composed::Nothing);
        }
        self.publish(self.staged_log.as_ref(), &self.log).await?;
        let found = self.archive.size(&self.log).await?;
        if found != Some(written) {
            return Err(ArchiveError::Unverified {
                url: self.log_url(),
                written,
                found,
            });
        }
        self.archive
            .put(&self.composed, written.to_string().into())
            .await?;
        self.remove_parts().await?;
        Ok(Composed::Written(written))
    }

    /// Removes what is kept for the task beside log, report and history: parts, and the note that its log is whole. For
    /// when its `PeonTask` is deleted; nothing may be composed for it afterwards.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget(&self) -> Result<(), ArchiveError> {
        self.remove_parts().await?;
        self.archive.remove(vec![self.composed.clone()]).await
    }

    /// Writes the report, as the peon wrote it; the last one stays.
    ///
    /// # Errors
    /// When it cannot be written, or is empty.
    pub async fn put_report(&self, bytes: Bytes) -> Result<(), ArchiveError> {
        let target = self.staged_report.as_ref().unwrap_or(&self.report);
        self.archive.put(target, bytes).await?;
        self.publish(self.staged_report.as_ref(), &self.report).await
    }

    /// The report; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read_report(&self) -> Result<Option<Bytes>, ArchiveError> {
        self.archive.get(&self.report).await
    }

    /// Bytes of the log; `None` when there is none yet. Parts are not looked at.
    ///
    /// # Errors
    /// When it cannot be read; also in the stream, when the store fails later.
    pub async fn read_log(&self, range: LogRange) -> Result<Option<LogContent>, ArchiveError> {
        let Some(size) = self.archive.size(&self.log).await? else {
            return Ok(None);
        };
        let range = range.within(size);
        if range.is_empty() {
            // No store answers a request for no bytes.
            let bytes = futures::stream::empty().boxed();
            return Ok(Some(LogContent { size, range, bytes }));
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        let got = self.archive.store.get_opts(&self.log, options).await;
        let got = got.map_err(|e| self.archive.failed(&self.log, &e))?;
        let (archive, log) = (self.archive.clone(), self.log.clone());
        let bytes = got
            .into_stream()
            .map_err(move |e| archive.failed(&log, &e))
            .boxed();
        Ok(Some(LogContent { size, range, bytes }))
    }

    /// What remains to be done when the log was composed before.
    async fn before(&self) -> Result<Option<Composed>, ArchiveError> {
        if self.archive.size(&self.composed).await?.is_none() {
            return Ok(None);
        }
        self.remove_parts().await?;
        let size = self.archive.size(&self.log).await?;
        Ok(Some(Composed::Before(size.unwrap_or_default())))
    }

    async fn fill(&self, upload: &mut Upload<'_>, pieces: &[Piece]) -> Result<(), ArchiveError> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => upload.add(text.clone()).await?,
                Piece::Part(name) => self.add_part(upload, name).await?,
            }
        }
        Ok(())
    }

    async fn add_part(&self, upload: &mut Upload<'_>, name: &PartName) -> Result<(), ArchiveError> {
        let key = self.archive.layout.part(&self.uid, name)?;
        let failed = |error: object_store::Error| match error {
            object_store::Error::NotFound { .. } => ArchiveError::PartGone(name.clone()),
            error => self.archive.failed(&key, &error),
        };
        let part = self.archive.store.get(&key).await.map_err(failed)?;
        let (size, mut read) = (part.meta.size, 0);
        let mut bytes = part.into_stream();
        while let Some(some) = bytes.try_next().await.map_err(failed)? {
            read += some.len() as u64;
            upload.add(some).await?;
        }
        if read == size {
            return Ok(());
        }
        let said = format!("{read} of {size} bytes came");
        Err(ArchiveError::Failed {
            url: self.archive.location.url(&key),
            said,
        })
    }

    async fn publish(&self, staged: Option<&Path>, to: &Path) -> Result<(), ArchiveError> {
        let Some(staged) = staged else {
            return Ok(());
        };
        let renamed = self.archive.store.rename(staged, to).await;
        renamed.map_err(|e| self.archive.failed(to, &e))
    }

    async fn remove_parts(&self) -> Result<(), ArchiveError> {
        let parts = self.parts().await?;
        let keys = parts
            .iter()
            .map(|part| self.archive.layout.part(&self.uid, &part.name));
        self.archive.remove(keys.collect::<Result<_, _>>()?).await
    }
}

#[cfg(test)]
#[path = "task_archive_tests.rs"]
mod tests;
