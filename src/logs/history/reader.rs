//! Reads the history, newest first.

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use jiff::Timestamp;

use crate::logs::format::record::Record;
use crate::logs::store::archive::{Archive, ArchiveError};

/// Most tasks in one answer.
pub const MOST: usize = 1000;
/// Most entries searched for a name, which is in the entries and not in their keys.
pub const MOST_SEARCHED: usize = 5000;
/// Entries read at the same time.
const AT_ONCE: usize = 16;

/// Selects finished tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Namespace of the tasks.
    pub namespace: String,
    /// Tasks complete at this time or later.
    pub since: Timestamp,
    /// At most this many tasks, and at most [`MOST`].
    pub limit: usize,
    /// Only tasks with this name or Druid id.
    pub name: Option<String>,
}

/// Result of a query.
pub struct Found {
    /// The records as written, newest first.
    pub records: BoxStream<'static, Result<Bytes, ArchiveError>>,
    /// Whether there are so many entries that the oldest were not searched for the name.
    pub cut: bool,
}

impl Archive {
    /// Finished tasks. Memory is bounded: it holds the keys of the entries, and 16 entries.
    ///
    /// # Errors
    /// When the namespace is none, or the store fails; also in the stream.
    pub async fn history(&self, query: Query) -> Result<Found, ArchiveError> {
        let limit = query.limit.min(MOST);
        let listed = if query.name.is_some() {
            MOST_SEARCHED
        } else {
            limit
        };
        let entries = self.list_history(&query.namespace, query.since, listed).await?;
        let cut = query.name.is_some() && entries.len() == listed;
        let archive = self.clone();
        let read = move |entry| {
            let archive = archive.clone();
            async move { archive.read_history(&entry).await.transpose() }
        };
        let records = futures::stream::iter(entries)
            .map(read)
            .buffered(AT_ONCE)
            .filter_map(std::future::ready)
            .filter(move |read| std::future::ready(is_wanted(read, query.name.as_deref())))
            .take(limit)
            .boxed();
        Ok(Found { records, cut })
    }
}

fn is_wanted(read: &Result<Bytes, ArchiveError>, name: Option<&str>) -> bool {
    let (Ok(json), Some(name)) = (read, name) else {
        return true;
    };
    serde_json::from_slice::<Record>(json).is_ok_and(|record| record.is_called(name))
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
