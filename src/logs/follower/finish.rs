//! The end of a follower's work: stores the report and the whole log, and writes the history.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::collect::Collected;
use super::spool::Report;
use super::store_retry::{GIVE_UP, RETRY};
use super::{Follower, Owner, Shared};
use crate::api::PeonTask;
use crate::api::conditions;
use crate::api::reason::{DELETED, LogsArchived};
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::request::request;
use crate::logs::format::claim::Claim;
use crate::logs::format::parts::{Composed, PartName, Piece};
use crate::logs::format::rebuild::Rebuilt;
use crate::logs::format::record::{Entry, LogRecord, Record, VERSION};
use crate::logs::format::state::LogState;
use crate::logs::store::archive::ArchiveError;
use crate::logs::store::ownership::Ownership;

impl Follower {
    /// Writes report and log; returns the log's state.
    pub(super) async fn archive(&self, mut read: Vec<(u32, Collected)>) -> LogState {
        if let Some(report) = read.last_mut().and_then(|(_, c)| c.report.take()) {
            // A failure is reported where it happens. A report that no retry can save does not hold up the log.
            let _ = self.retry(|| self.put_report(&report)).await;
        }
        let mut gone = BTreeSet::new();
        loop {
            match self.retry(|| self.compose(&read, &gone)).await {
                Ok((Composed::Nothing, ..)) => return LogState::Nothing,
                Ok((Composed::Written(_) | Composed::Before(_), missing, place)) => {
                    let read: u32 = read.iter().map(|(_, c)| c.gaps).sum();
                    return self.archived(read + missing, &place);
                }
                // Another process composed the log, or the log was removed by age: continue with the parts that are
                // left.
                Err(ArchiveError::PartGone(name)) => {
                    tracing::warn!(part = %name, "a part of the log is no longer in the store: the log is \
                        composed without it");
                    gone.insert(name);
                    tokio::time::sleep(RETRY.0).await;
                }
                Err(error) => return failing(&error),
            }
        }
    }

    /// Stores a report; at most as many are in memory as there are uploads.
    async fn put_report(&self, report: &Report) -> Result<(), ArchiveError> {
        let _share = self.upload().await;
        match report.read().await {
            Ok(bytes) if bytes.is_empty() => Ok(()),
            Ok(bytes) => {
                let place = self.place().await?;
                self.archive.put_report(bytes, &place).await
            }
            Err(error) => {
                tracing::warn!(%error, "the spool failed: the report is lost");
                Ok(())
            }
        }
    }

    /// State of a log that is complete.
    pub(super) fn archived(&self, gaps: u32, place: &Ownership) -> LogState {
        LogState::Archived {
            url: self.archive.log_url_in(place),
            gaps,
            conflict: match place {
                Ownership::Druids => None,
                Ownership::Aside(rival) => Some(rival.why(&self.owner.task_id)),
            },
        }
    }

    /// Where this task's log belongs: an earlier task of the namespace that has ended gives up the keys of the id.
    /// Determined before each attempt to write, as a later task may take the keys over in between.
    pub(super) async fn place(&self) -> Result<Ownership, ArchiveError> {
        let ended = |claim: Claim| -> BoxFuture<'_, bool> { self.has_ended(claim).boxed() };
        self.archive.place(&ended).await
    }

    async fn has_ended(&self, claim: Claim) -> bool {
        if self.goal.borrow().abandoned {
            // The task that is there now has precedence.
            return false;
        }
        if self.shared.writers.contains(&claim.uid) {
            // Its object may be gone while its log is still being written.
            return false;
        }
        // Only one task at a time has a name, and this one has it.
        claim.name == self.owner.name || has_ended(&self.shared, &self.owner, &claim).await
    }

    /// Composes the log from the parts in the store and the bytes in this process. Returns in how many places parts are
    /// gone, and where the log is.
    async fn compose(
        &self,
        read: &[(u32, Collected)],
        gone: &BTreeSet<PartName>,
    ) -> Result<(Composed, u32, Ownership), ArchiveError> {
        let mut parts = self.archive.parts().await?;
        parts.retain(|part| !gone.contains(&part.name));
        let known: BTreeMap<u32, &Collected> = read.iter().map(|(n, c)| (*n, c)).collect();
        let mut attempts: BTreeSet<u32> = parts.iter().map(|p| p.name.attempt()).collect();
        attempts.extend(known.keys());
        let (mut pieces, mut missing) = (Vec::new(), 0);
        for attempt in attempts {
            let collected = known.get(&attempt);
            let names = collected.map_or(&[][..], |c| c.parts.as_slice());
            let rest = collected.map_or(&[][..], |c| c.rest.as_slice());
            let rebuilt = Rebuilt::of(&parts, attempt, names);
            if rebuilt.pieces.is_empty() && rest.is_empty() {
                continue;
            }
            if attempt > 1 {
                let text = format!("\n[peon-operator] attempt {attempt} of the task begins here\n");
                pieces.push(Piece::Text(text.into()));
            }
            missing += rebuilt.missing;
            pieces.extend(rebuilt.pieces);
            if !rest.is_empty() {
                pieces.push(Piece::Text(Bytes::copy_from_slice(rest)));
            }
        }
        // Composing holds some MiB of the log in memory, and all tasks of a namespace may end at once.
        let _share = self.upload().await;
        let place = self.place().await?;
        let composed = self.archive.compose(&pieces, &place).await?;
        if matches!(composed, Composed::Before(_)) {
            // The log that is there contains what was missing here: its parts are being removed.
            missing = 0;
        }
        Ok((composed, missing, place))
    }
}

fn failing(error: &ArchiveError) -> LogState {
    LogState::Failing {
        message: error.to_string(),
    }
}

/// Whether the task of a claim ended, including its log, before this one was created, or is gone.
///
/// # Access control
/// peontasks: get.
async fn has_ended(shared: &Shared, owner: &Owner, claim: &Claim) -> bool {
    let api: Api<Guarded<PeonTask>> = Api::namespaced(shared.client.clone(), &claim.namespace);
    let found = match request("get peontask", api.get_opt(&claim.name)).await {
        Ok(found) => found,
        // The task that has the keys of the id keeps them.
        Err(error) => {
            tracing::debug!(%error, "the PeonTask that has claimed the task id cannot be read: its claim \
                remains");
            return false;
        }
    };
    let Some(found) = found.filter(|task| task.uid().as_ref() == Some(&claim.uid)) else {
        return true;
    };
    let Some(status) = found.0.ok().and_then(|task| task.status) else {
        return false;
    };
    let ended = status.completion_time.map(|t| t.0);
    conditions::log_is_settled(&status.conditions)
        && ended
            .zip(owner.created)
            .is_some_and(|(ended, created)| ended <= created)
}

/// History entry of a task that was deleted while its log was being read.
pub(super) fn deleted(owner: &Owner, now: Timestamp) -> Entry {
    // In the format of the API server.
    let completed = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Entry {
        completed,
        record: Record {
            version: VERSION,
            namespace: owner.namespace.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            task_id: Some(owner.task_id.clone()),
            reason: Some(DELETED.to_owned()),
            message: Some("the PeonTask was deleted before its task had a verdict".to_owned()),
            creation_time: owner.created.map(Time),
            completion_time: Some(Time(completed)),
            ..Record::default()
        },
        success: None,
    }
}

/// Writes a task whose object is gone to the history. Only this process knows the task: a store that fails is tried
/// again for a day.
pub(super) async fn record_gone(shared: &Shared, mut entry: Entry, log: &LogState) {
    let archived = matches!(log, LogState::Archived { .. } | LogState::Nothing);
    let reason = match log {
        LogState::Archived {
            conflict: Some(_), ..
        } => LogsArchived::IdConflict,
        LogState::Archived { gaps: 0, .. } => LogsArchived::Archived,
        LogState::Archived { .. } => LogsArchived::Gap,
        LogState::Nothing => LogsArchived::NoLog,
        LogState::Queued | LogState::Collecting | LogState::Failing { .. } => LogsArchived::GaveUp,
    };
    entry.record.log = Some(LogRecord {
        archived,
        reason: reason.to_string(),
        url: None,
    });
    let began = tokio::time::Instant::now();
    let (mut delay, most) = RETRY;
    while let Err(said) = shared.journal.put(entry.clone()).await.outcome {
        shared.limits.metrics.failure();
        if began.elapsed() > GIVE_UP {
            tracing::warn!(
                said,
                "the deleted task is not recorded in the history: the store accepted nothing for a day"
            );
            return;
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(most);
    }
}
