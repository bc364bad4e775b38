//! Operations on a store for all tasks; for one task see [`TaskArchive`].

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::OnceCell;

use super::client::{self, Identity, StoreError};
use super::task_archive::TaskArchive;
use crate::apiserver::error::chain;
use crate::logs::format::claim::Claimant;
use crate::logs::format::layout::{self, InvalidKey, Layout};
use crate::logs::format::location::Location;
use crate::logs::format::parts::PartName;

/// Most characters of a store's error message that are repeated in an error.
const SAID: usize = 600;
/// Keys in memory beyond the requested number.
const LISTED: usize = 1000;

/// Why something could not be read or written. In every case the same call may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Id, uid or namespace cannot be part of a key: no retry helps.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// There is nothing to write: an empty object breaks Druid's range reads.
    #[error("nothing was written to {0}: the log has no bytes")]
    Empty(String),
    /// The store does not accept the credentials, or they do not permit the request.
    #[error(
        "the store refused access to {url}: check {properties} and the rights of these credentials ({said})"
    )]
    Refused {
        /// The object.
        url: String,
        /// Where the credentials come from.
        properties: &'static str,
        /// The store's error message.
        said: String,
    },
    /// The bucket, container or directory does not exist.
    #[error("{url} cannot be written: create the bucket or container first ({said})")]
    NoBucket {
        /// The object.
        url: String,
        /// The store's error message.
        said: String,
    },
    /// A part no longer exists: another process composes the log. List the parts again.
    #[error("the part {0} of the log is gone: another process may have composed the log")]
    PartGone(PartName),
    /// The log in the store is not the one that was written.
    #[error("{written} bytes were written to {url}, but the store has {found:?}")]
    Unverified {
        /// The log.
        url: String,
        /// Bytes sent.
        written: u64,
        /// Bytes there.
        found: Option<u64>,
    },
    /// Other processes replace the same claim again and again.
    #[error("{0}: other processes keep changing the claim on the task id: it is tried again later")]
    Contended(String),
    /// The store cannot be reached, or fails.
    #[error("{url}: the store failed; it is tried again later ({said})")]
    Failed {
        /// The object.
        url: String,
        /// What went wrong.
        said: String,
    },
}

/// A finished task in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// When the task was complete, to the millisecond.
    pub completed: Timestamp,
    /// The uid of its `PeonTask`.
    pub uid: String,
    pub(crate) key: Path,
}

/// Reduces `entries` to the newest `limit`, newest first.
fn newest(entries: &mut Vec<HistoryEntry>, limit: usize) {
    entries.sort_by(|a, b| b.key.cmp(&a.key));
    entries.truncate(limit);
}

/// The archive of one location. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Archive {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) location: Arc<Location>,
    pub(crate) layout: Arc<Layout>,
    /// Set once the folders of a directory are kept.
    kept: Arc<OnceCell<()>>,
}

impl Archive {
    /// Opens the archive; no request is sent yet.
    ///
    /// # Errors
    /// As [`client::open`].
    pub fn open(location: Location, identity: Identity) -> Result<Self, StoreError> {
        let store = client::open(&location, identity)?;
        Ok(Self::over(store, location))
    }

    /// An archive over an opened store: for tests, one with faults.
    #[must_use]
    pub fn over(store: Arc<dyn ObjectStore>, location: Location) -> Self {
        let layout = Arc::new(Layout::of(&location));
        Self {
            store,
            location: Arc::new(location),
            layout,
            kept: Arc::default(),
        }
    }

    /// Its location.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The archive of one task, by its Druid id and the uid of its `PeonTask`. For reading: writers have to name the
    /// claimant ([`Self::of_claimant`]).
    ///
    /// # Errors
    /// When the id cannot be in a key of this store, or the uid is none.
    pub fn of_task(&self, task_id: &str, uid: &str) -> Result<TaskArchive, InvalidKey> {
        TaskArchive::new(self.clone(), task_id, uid, None)
    }

    /// The archive of one task, which claims the keys of its id when it writes.
    ///
    /// # Errors
    /// As [`Self::of_task`].
    pub fn of_claimant(&self, task_id: &str, claimant: Claimant) -> Result<TaskArchive, InvalidKey> {
        let uid = claimant.uid.clone();
        TaskArchive::new(self.clone(), task_id, &uid, Some(claimant))
    }

    /// Writes a finished task to the history of its namespace. Idempotent with the same content for the same task.
    ///
    /// # Errors
    /// When it cannot be written, or is empty.
    pub async fn put_history(
        &self,
        namespace: &str,
        completed: Timestamp,
        uid: &str,
        json: Bytes,
    ) -> Result<(), ArchiveError> {
        let key = self.layout.history(namespace, completed, uid)?;
        self.put(&key, json).await?;
        self.renew().await
    }

    /// Writes a success, to be found by its name.
    ///
    /// # Errors
    /// As [`Self::put_history`].
    pub async fn put_success(&self, namespace: &str, success: &str, json: Bytes) -> Result<(), ArchiveError> {
        let key = self.layout.success(namespace, success)?;
        self.put(&key, json).await
    }

    /// The last success of this name; `None` if there was none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read_success(&self, namespace: &str, success: &str) -> Result<Option<Bytes>, ArchiveError> {
        self.get(&self.layout.success(namespace, success)?).await
    }

    /// The finished tasks of a namespace, newest first: those complete at or after `since`, at most `limit` of them.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn list_history(
        &self,
        namespace: &str,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, ArchiveError> {
        let folder = self.layout.history_of(namespace)?;
        let days = self.store.list_with_delimiter(Some(&folder)).await;
        let mut days = days.map_err(|e| self.failed(&folder, &e))?.common_prefixes;
        let first = layout::day(since);
        days.retain(|day| day.filename().is_some_and(|day| *day >= *first));
        days.sort();
        let mut entries = Vec::new();
        // One day at a time: of a long history only the end is listed.
        for day in days.into_iter().rev() {
            let mut of_day = Vec::new();
            let mut found = self.store.list(Some(&day));
            while let Some(meta) = found.next().await {
                let meta = meta.map_err(|e| self.failed(&day, &e))?;
                let Some((completed, uid)) = layout::read_history_key(&meta.location) else {
                    continue;
                };
                if completed >= since {
                    let key = meta.location;
                    of_day.push(HistoryEntry { completed, uid, key });
                }
                // Stores list the oldest first: very many keys may precede those that are wanted.
                if of_day.len() >= limit.saturating_mul(2).saturating_add(LISTED) {
                    newest(&mut of_day, limit);
                }
            }
            newest(&mut of_day, limit);
            entries.extend(of_day);
            if entries.len() >= limit {
                break;
            }
        }
        entries.truncate(limit);
        Ok(entries)
    }

    /// The content of a history entry; `None` if it is gone.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read_history(&self, entry: &HistoryEntry) -> Result<Option<Bytes>, ArchiveError> {
        self.get(&entry.key).await
    }

    /// Prevents a stock overlord from removing our folder by its age.
    pub(crate) async fn renew(&self) -> Result<(), ArchiveError> {
        match self.layout.in_use() {
            Some(key) => self.put(&key, Bytes::from_static(b"peon-operator\n")).await,
            None => Ok(()),
        }
    }

    /// Keeps the folders of a directory in which many tasks write and remove. Its client removes each folder that becomes
    /// empty, and reports an error for what another task was writing there at that moment, even if that was done.
    pub(crate) async fn keep_folders(&self) -> Result<(), ArchiveError> {
        let keep = async || {
            for key in self.layout.keeps() {
                let put = self
                    .store
                    .put(&key, Bytes::from_static(b"peon-operator\n").into())
                    .await;
                put.map_err(|e| self.failed(&key, &e))?;
            }
            Ok(())
        };
        self.kept.get_or_try_init(keep).await.map(drop)
    }

    /// Writes a small object.
    pub(crate) async fn put(&self, key: &Path, bytes: Bytes) -> Result<(), ArchiveError> {
        if bytes.is_empty() {
            return Err(ArchiveError::Empty(self.location.url(key)));
        }
        self.keep_folders().await?;
        let put = self.store.put(key, bytes.into()).await;
        put.map(drop).map_err(|e| self.failed(key, &e))
    }

    /// Reads a small object.
    pub(crate) async fn get(&self, key: &Path) -> Result<Option<Bytes>, ArchiveError> {
        let bytes = match self.store.get(key).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        self.unless_missing(key, bytes)
    }

    /// The size of an object in bytes.
    pub(crate) async fn size(&self, key: &Path) -> Result<Option<u64>, ArchiveError> {
        let size = self.store.head(key).await.map(|meta| meta.size);
        self.unless_missing(key, size)
    }

    /// Removes objects; objects that do not exist are no error.
    pub(crate) async fn remove(&self, keys: Vec<Path>) -> Result<(), ArchiveError> {
        let Some(first) = keys.first().cloned() else {
            return Ok(());
        };
        let keys = futures::stream::iter(keys.into_iter().map(Ok)).boxed();
        let mut removed = self.store.delete_stream(keys);
        while let Some(removed) = removed.next().await {
            self.unless_missing(&first, removed)?;
        }
        Ok(())
    }

    fn unless_missing<T>(&self, key: &Path, got: object_store::Result<T>) -> Result<Option<T>, ArchiveError> {
        match got {
            Ok(got) => Ok(Some(got)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(key, &error)),
        }
    }

    /// Classifies an error of the store.
    pub(crate) fn failed(&self, key: &Path, error: &object_store::Error) -> ArchiveError {
        let url = self.location.url(key);
        // The cause stands behind the request: a certificate, a name that is unknown.
        let text = chain(error);
        let mut said: String = text.chars().take(SAID).collect();
        if said.len() < text.len() {
            said.push('…');
        }
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                ArchiveError::Refused {
                    url,
                    properties: self.location.credential_properties(),
                    said,
                }
            }
            object_store::Error::NotFound { .. } => ArchiveError::NoBucket { url, said },
            _ => ArchiveError::Failed { url, said },
        }
    }
}
