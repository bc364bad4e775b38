//! Writes the history: finished tasks, one small object each, and successes a second time, by which they are found.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::api::reason::LogsArchived;
use crate::logs::store::archive::{Archive, ArchiveError};

use crate::logs::format::record::{Entry, Record, Recorded};

/// How long a store may take to write an entry: a verdict waits for it.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a store that failed is not tried again, for any task.
const REST: Duration = Duration::from_secs(30);

/// Writes finished tasks to the history of an archive.
#[derive(Debug)]
pub struct HistoryWriter {
    archive: Archive,
    /// Until when the store is not tried, and its error.
    resting: Mutex<Option<(Instant, String)>>,
}

impl HistoryWriter {
    /// The history writer of this archive.
    #[must_use]
    pub fn new(archive: Archive) -> Self {
        Self {
            archive,
            resting: Mutex::default(),
        }
    }

    /// Writes a task to the history, replacing its earlier entry. A store that does not answer has failed after 3 s;
    /// after a failure all writes fail at once with that error, without a request to the store, for 30 s.
    pub async fn put(&self, entry: Entry) -> Recorded {
        let completed = entry.completed;
        let outcome = match self.rest() {
            Some(said) => Err(said),
            None => self.write(entry).await,
        };
        Recorded { completed, outcome }
    }

    fn rest(&self) -> Option<String> {
        let mut resting = self.resting.lock();
        if resting
            .as_ref()
            .is_some_and(|(until, _)| *until <= Instant::now())
        {
            *resting = None;
        }
        resting.as_ref().map(|(_, said)| said.clone())
    }

    async fn write(&self, entry: Entry) -> Result<(), String> {
        let Entry {
            completed,
            record,
            success,
        } = entry;
        let record = self.placed(record);
        let json = serde_json::to_vec(&record)
            .map_err(|e| format!("the history entry cannot be written as JSON: {e}"))?;
        let json = Bytes::from(json);
        let put = async {
            // First: who sees the task in the history finds its success.
            if let Some(success) = success {
                let put = self
                    .archive
                    .put_success(&record.namespace, &success, json.clone());
                put.await?;
            }
            self.archive
                .put_history(&record.namespace, completed, &record.uid, json)
                .await
        };
        let said = match timeout(PATIENCE, put).await {
            Ok(Ok(())) => return Ok(()),
            // The task is at fault, not the store.
            Ok(Err(error @ ArchiveError::Key(_))) => return Err(error.to_string()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!(
                "{}: the store did not answer within {PATIENCE:?}",
                self.archive.location()
            ),
        };
        tracing::warn!(
            said,
            "the store does not accept the history entry; it is tried again"
        );
        *self.resting.lock() = Some((Instant::now() + REST, said.clone()));
        Err(said)
    }

    /// The last success of this name; the error says what the store said.
    ///
    /// # Errors
    /// When the store fails, does not answer within 3 s, or has something else there.
    pub async fn success(&self, namespace: &str, success: &str) -> Result<Option<Record>, String> {
        let read = timeout(PATIENCE, self.archive.read_success(namespace, success)).await;
        let json = match read {
            Ok(read) => read.map_err(|error| error.to_string())?,
            Err(_) => {
                return Err(format!(
                    "{}: the store did not answer within {PATIENCE:?}",
                    self.archive.location()
                ));
            }
        };
        let record = json.map(|json| serde_json::from_slice(&json)).transpose();
        record.map_err(|e| format!("the record of an earlier success cannot be decoded: {e}"))
    }

    /// Adds the URLs of log and report.
    fn placed(&self, mut record: Record) -> Record {
        let id = record.task_id.as_deref();
        let task = id.and_then(|id| self.archive.of_task(id, &record.uid).ok());
        if let (Some(task), Some(log)) = (task, &mut record.log)
            && log.archived
        {
            let (url, report) = if LogsArchived::parse(&log.reason) == Some(LogsArchived::IdConflict) {
                (task.log_url_aside(), task.report_url_aside())
            } else {
                (task.log_url(), task.report_url())
            };
            log.url = Some(url);
            record.report_url = Some(report);
        }
        record
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
