//! The archive of one task: parts while its log grows, then the log, and its report.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode};

use super::archive::{Archive, ArchiveError};
use super::ownership::Ownership;
use super::upload::{Upload, Whole};
use crate::logs::format::claim::Claimant;
use crate::logs::format::layout::InvalidKey;
use crate::logs::format::own_lines::Escaper;
use crate::logs::format::parts::{Composed, LogRange, Part, PartName, Piece};
use crate::logs::format::sidecar_parts::Chain;

/// How often writing a log is tried while others write under the same key.
const TRIES: usize = 3;
/// How often a reader looks for a log that is being moved.
const LOOKS: usize = 3;
/// Number of bytes at the beginning by which logs are distinguished.
const BEGINNING: usize = 4096;

/// The archive of one task. Cheap to clone.
///
/// A log grows as parts ([`put_part`](Self::put_part)), which only peon-operator reads. At the end they are composed
/// into the log ([`compose`](Self::compose)), which a stock overlord reads.
#[derive(Debug, Clone)]
pub struct TaskArchive {
    pub(crate) archive: Archive,
    pub(crate) task_id: String,
    pub(crate) uid: String,
    /// The task for which the keys of the id are claimed.
    pub(crate) claimant: Option<Claimant>,
    pub(crate) claim: Path,
    pub(crate) log: Path,
    pub(crate) report: Path,
    pub(crate) log_aside: Path,
    pub(crate) report_aside: Path,
    parts: Path,
    pub(crate) composed: Path,
    staged_log: Path,
    staged_report: Path,
}

/// A stream of some bytes of a log.
pub struct LogContent {
    /// The size of the whole log in bytes.
    pub size: u64,
    /// The range of these bytes.
    pub range: Range<u64>,
    /// The bytes, in order.
    pub bytes: BoxStream<'static, Result<Bytes, ArchiveError>>,
}

impl TaskArchive {
    pub(crate) fn new(
        archive: Archive,
        task_id: &str,
        uid: &str,
        claimant: Option<Claimant>,
    ) -> Result<Self, InvalidKey> {
        let layout = archive.layout.clone();
        Ok(Self {
            task_id: task_id.to_owned(),
            uid: uid.to_owned(),
            claimant,
            claim: layout.claim(task_id)?,
            log: layout.log(task_id)?,
            report: layout.report(task_id)?,
            log_aside: layout.aside(uid, "log")?,
            report_aside: layout.aside(uid, "report.json")?,
            parts: layout.parts(uid)?,
            composed: layout.composed(uid)?,
            staged_log: layout.staged(uid, "log")?,
            staged_report: layout.staged(uid, "report.json")?,
            archive,
        })
    }

    /// URL of the log, now or later, if the task owns its id.
    #[must_use]
    pub fn log_url(&self) -> String {
        self.archive.location.url(&self.log)
    }

    /// URL of the report, now or later, if the task owns its id.
    #[must_use]
    pub fn report_url(&self) -> String {
        self.archive.location.url(&self.report)
    }

    /// URL of the log if another task owns the id.
    #[must_use]
    pub fn log_url_aside(&self) -> String {
        self.archive.location.url(&self.log_aside)
    }

    /// URL of the report if another task owns the id.
    #[must_use]
    pub fn report_url_aside(&self) -> String {
        self.archive.location.url(&self.report_aside)
    }

    /// The existing parts, in order. Other objects in their folder are ignored.
    ///
    /// Two processes that both believed to follow the task may have written two parts with the same attempt and
    /// sequence, and different cursors: the caller decides which of them to use.
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

    /// Writes a part. Idempotent with the same bytes and name. The caller controls the memory: a few MiB are a good
    /// size, and each part costs a request at the end.
    ///
    /// # Errors
    /// When it cannot be written, or is empty.
    pub async fn put_part(&self, name: &PartName, bytes: Bytes) -> Result<(), ArchiveError> {
        let key = self.archive.layout.part(&self.uid, name)?;
        self.archive.put(&key, bytes).await?;
        self.archive.renew().await
    }

    /// The bytes of a part; `None` if it is gone.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read_part(&self, name: &PartName) -> Result<Option<Bytes>, ArchiveError> {
        let key = self.archive.layout.part(&self.uid, name)?;
        self.archive.get(&key).await
    }

    /// Composes the log of these pieces, in their order, and removes all parts.
    ///
    /// The pieces are streamed, with at most about 16 MiB in memory. The log is not visible before it is complete. It
    /// gets its name on condition that no object has it, is verified, a marker is written that it is complete, and only
    /// then are the parts removed. A process that finds the marker writes nothing. So it may be called again after a
    /// crash at any point, and with any pieces, and never replaces a complete log by a shorter one. An object under the
    /// name that is another log is put aside first.
    ///
    /// # Errors
    /// When the store fails, or a part is gone because somebody else composes, or for its age: call it again, with the
    /// parts that are there then. After an error the parts are all there, unless the note was left.
    pub async fn compose(&self, pieces: &[Piece], place: &Ownership) -> Result<Composed, ArchiveError> {
        if let Some(composed) = self.before(place).await? {
            return Ok(composed);
        }
        self.archive.keep_folders().await?;
        let mut upload = Upload::new(&self.archive, &self.staged_log);
        let filled = self.fill(&mut upload, pieces).await;
        // Another process may have been faster, and may have composed more parts than are known here.
        let filled = match filled {
            Ok(()) => self.archive.size(&self.composed).await,
            Err(error) => Err(error),
        };
        match filled {
            Ok(None) => {}
            Ok(Some(_)) => {
                upload.abort().await;
                return self
                    .before(place)
                    .await
                    .map(|composed| composed.unwrap_or(Composed::Nothing));
            }
            Err(error) => {
                upload.abort().await;
                return Err(error);
            }
        }
        let beginning = upload.beginning(BEGINNING);
        let whole = upload.finish().await?;
        let written = self.publish_log(&whole, &beginning, place).await?;
        if written == 0 {
            return Ok(Composed::Nothing);
        }
        let found = self.archive.size(self.log_key(place)).await?;
        if found != Some(written) {
            return Err(ArchiveError::Unverified {
                url: self.log_url_in(place),
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

    /// Gives the log its name, unless an object has it; returns the number of bytes there.
    ///
    /// A later task may have taken over the keys of the id meanwhile. The object there is then that task's and is not
    /// changed; that task puts aside what was written there too late.
    async fn publish_log(
        &self,
        whole: &Whole,
        beginning: &[u8],
        place: &Ownership,
    ) -> Result<u64, ArchiveError> {
        let (bytes, key) = (whole.bytes(), self.log_key(place));
        if bytes == 0 {
            return Ok(0);
        }
        for _ in 0..TRIES {
            let created = self.create(whole, key).await?;
            if *place == Ownership::Druids && !self.has_the_keys().await? {
                break;
            }
            if created {
                return Ok(bytes);
            }
            let Some(size) = self.archive.size(key).await? else {
                continue;
            };
            // This task's log, written by an earlier process or a concurrent one: both begin alike. The longer one is
            // more complete.
            if size >= bytes && self.begins_with(key, beginning).await? {
                self.archive.remove(vec![self.staged_log.clone()]).await?;
                return Ok(size);
            }
            self.displace(key, size).await?;
        }
        Err(ArchiveError::Contended(self.archive.location.url(key)))
    }

    /// Writes an object under this key if it does not exist. `false` if it does.
    async fn create(&self, whole: &Whole, key: &Path) -> Result<bool, ArchiveError> {
        let store = &self.archive.store;
        let staged = &self.staged_log;
        let created = match whole {
            Whole::Small(bytes) if !self.archive.layout.stages_all() => {
                let put = store.put_opts(key, bytes.clone().into(), PutMode::Create.into());
                put.await.map(drop)
            }
            Whole::Small(bytes) => {
                self.archive.put(staged, bytes.clone()).await?;
                store.rename_if_not_exists(staged, key).await
            }
            Whole::Staged(_) => store.rename_if_not_exists(staged, key).await,
        };
        match created {
            Ok(()) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(false)
            }
            Err(error) => Err(self.archive.failed(key, &error)),
        }
    }

    async fn begins_with(&self, key: &Path, beginning: &[u8]) -> Result<bool, ArchiveError> {
        let range = 0..beginning.len() as u64;
        match self.archive.store.get_range(key, range).await {
            Ok(bytes) => Ok(*bytes == *beginning),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.archive.failed(key, &error)),
        }
    }

    /// Removes the task's objects other than log, report and history: the parts, and the marker that its log is
    /// complete. For when its `PeonTask` is deleted; the log must not be composed afterwards.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget(&self) -> Result<(), ArchiveError> {
        self.remove_parts().await?;
        self.archive.remove(vec![self.composed.clone()]).await
    }

    /// Writes the report, as the peon wrote it; the last one replaces earlier ones.
    ///
    /// # Errors
    /// When it cannot be written, or is empty.
    pub async fn put_report(&self, bytes: Bytes, place: &Ownership) -> Result<(), ArchiveError> {
        let key = self.report_key(place);
        if !self.archive.layout.stages_all() {
            return self.archive.put(key, bytes).await;
        }
        self.archive.put(&self.staged_report, bytes).await?;
        let renamed = self.archive.store.rename(&self.staged_report, key).await;
        renamed.map_err(|e| self.archive.failed(key, &e))
    }

    /// The report; `None` if there is none of this task.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read_report(&self) -> Result<Option<Bytes>, ArchiveError> {
        for _ in 0..LOOKS {
            if self.is_under_its_id().await? {
                let report = self.archive.get(&self.report).await?;
                // It may have been moved meanwhile, and another task's report be there.
                if report.is_some() && self.is_under_its_id().await? {
                    return Ok(report);
                }
            }
            let report = self.archive.get(&self.report_aside).await?;
            if report.is_some() || !self.is_under_its_id().await? {
                return Ok(report);
            }
        }
        Ok(None)
    }

    /// Bytes of the log; `None` if there is none of this task yet. Parts are not read.
    ///
    /// # Errors
    /// When it cannot be read; also in the stream, when the store fails later.
    pub async fn read_log(&self, range: LogRange) -> Result<Option<LogContent>, ArchiveError> {
        for _ in 0..LOOKS {
            if self.is_under_its_id().await? {
                let log = self.open_log(&self.log, range).await?;
                // It may have been moved meanwhile, and another task's log be there.
                if log.is_some() && self.is_under_its_id().await? {
                    return Ok(log);
                }
            }
            let log = self.open_log(&self.log_aside, range).await?;
            if log.is_some() || !self.is_under_its_id().await? {
                return Ok(log);
            }
        }
        Ok(None)
    }

    async fn open_log(&self, key: &Path, range: LogRange) -> Result<Option<LogContent>, ArchiveError> {
        let Some(size) = self.archive.size(key).await? else {
            return Ok(None);
        };
        let range = range.within(size);
        if range.is_empty() {
            // No store answers a request for zero bytes.
            let bytes = futures::stream::empty().boxed();
            return Ok(Some(LogContent { size, range, bytes }));
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        let got = match self.archive.store.get_opts(key, options).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.archive.failed(key, &error)),
        };
        let (archive, key) = (self.archive.clone(), key.clone());
        let bytes = got
            .into_stream()
            .map_err(move |e| archive.failed(&key, &e))
            .boxed();
        Ok(Some(LogContent { size, range, bytes }))
    }

    /// Whether the log was composed before: nothing more is written.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn is_composed(&self) -> Result<bool, ArchiveError> {
        Ok(self.archive.size(&self.composed).await?.is_some())
    }

    /// Finishes what remains to be done if the log was composed before.
    async fn before(&self, place: &Ownership) -> Result<Option<Composed>, ArchiveError> {
        if !self.is_composed().await? {
            return Ok(None);
        }
        self.remove_parts().await?;
        let size = self.archive.size(self.log_key(place)).await?;
        Ok(Some(Composed::Before(size.unwrap_or_default())))
    }

    async fn fill(&self, upload: &mut Upload<'_>, pieces: &[Piece]) -> Result<(), ArchiveError> {
        let mut escaper = Escaper::default();
        for piece in pieces {
            match piece {
                Piece::Part(name) if Chain::is_raw(name) => {
                    self.add_part(upload, name, Some(&mut escaper)).await?;
                    continue;
                }
                // One of our own lines follows a task's line without an end.
                _ => upload.add(escaper.end()).await?,
            }
            match piece {
                Piece::Text(text) => upload.add(text.clone()).await?,
                Piece::Part(name) => self.add_part(upload, name, None).await?,
            }
        }
        upload.add(escaper.end()).await
    }

    async fn add_part(
        &self,
        upload: &mut Upload<'_>,
        name: &PartName,
        mut escaper: Option<&mut Escaper>,
    ) -> Result<(), ArchiveError> {
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
            match escaper.as_deref_mut() {
                None => upload.add(some).await?,
                Some(escaper) => {
                    let mut pieces = Vec::new();
                    escaper.push(&some, &mut pieces);
                    for some in pieces {
                        upload.add(some).await?;
                    }
                }
            }
        }
        if read == size {
            return Ok(());
        }
        let said = format!("only {read} of {size} bytes were read");
        Err(ArchiveError::Failed {
            url: self.archive.location.url(&key),
            said,
        })
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
