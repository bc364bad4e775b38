//! What a follower does at the end: the report and the whole log, in their place, and a word for the history.

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
use crate::api::conditions::{self, LOGS_ARCHIVED};
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
    /// Writes report and log; says how it stands with the log then.
    pub(super) async fn archive(&self, mut read: Vec<(u32, Collected)>) -> LogState {
        if let Some(report) = read.last_mut().and_then(|(_, c)| c.report.take()) {
            // It is said where it fails, and the log is not held up by a report that no repetition helps.
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
                // Somebody else composed, or it was removed for its age: what is left is looked at. Others go with it.
                Err(ArchiveError::PartGone(name)) => {
                    tracing::warn!(part = %name, "a part of a log is gone from the store");
                    gone.insert(name);
                    tokio::time::sleep(RETRY.0).await;
                }
                Err(error) => return failing(&error),
            }
        }
    }

    /// Puts a report into the store, with at most as many in memory as there are uploads.
    async fn put_report(&self, report: &Report) -> Result<(), ArchiveError> {
        let _share = self.upload().await;
        match report.read().await {
            Ok(bytes) if bytes.is_empty() => Ok(()),
            Ok(bytes) => {
                let place = self.place().await?;
                self.archive.put_report(bytes, &place).await
            }
            Err(error) => {
                tracing::warn!(%error, "the spool failed, and a report is lost");
                Ok(())
            }
        }
    }

    /// How it stands with a log that is whole.
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

    /// Where this task's log belongs: an earlier one of the namespace that has ended leaves it the keys of the id. Asked
    /// before each try to write, as a later one may take them over between two.
    pub(super) async fn place(&self) -> Result<Ownership, ArchiveError> {
        let ended = |claim: Claim| -> BoxFuture<'_, bool> { self.has_ended(claim).boxed() };
        self.archive.place(&ended).await
    }

    async fn has_ended(&self, claim: Claim) -> bool {
        if self.goal.borrow().abandoned {
            // The one that is there now has more right to them.
            return false;
        }
        if self.shared.writers.contains(&claim.uid) {
            // Its object may be gone, and its log still be written.
            return false;
        }
        // A name is one task's at a time, and this one has it.
        claim.name == self.owner.name || has_ended(&self.shared, &self.owner, &claim).await
    }

    /// Composes the log of what is in the store and of what this process has; says in how many places parts are gone, and
    /// where the log is.
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
        // It has some MiB of the log in memory, and all tasks of a namespace may end at once.
        let _share = self.upload().await;
        let place = self.place().await?;
        let composed = self.archive.compose(&pieces, &place).await?;
        if matches!(composed, Composed::Before(_)) {
            // The log that is there has what was missing here: the parts are being removed after it.
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

/// Whether the task of a claim ended, log and all, before this one was created, or is gone.
///
/// # Access control
/// peontasks: get.
async fn has_ended(shared: &Shared, owner: &Owner, claim: &Claim) -> bool {
    let api: Api<Guarded<PeonTask>> = Api::namespaced(shared.client.clone(), &claim.namespace);
    let found = match request("get peontask", api.get_opt(&claim.name)).await {
        Ok(found) => found,
        // Who has the keys of the id keeps them.
        Err(error) => {
            tracing::debug!(%error, "the PeonTask that has the keys of an id cannot be read");
            return false;
        }
    };
    let Some(found) = found.filter(|task| task.uid().as_ref() == Some(&claim.uid)) else {
        return true;
    };
    let Some(status) = found.0.ok().and_then(|task| task.status) else {
        return false;
    };
    let said = conditions::find(&status.conditions, LOGS_ARCHIVED);
    let settled = said
        .is_none_or(|c| c.status == "True" || LogsArchived::parse(&c.reason) == Some(LogsArchived::GaveUp));
    let ended = status.completion_time.map(|t| t.0);
    settled
        && ended
            .zip(owner.created)
            .is_some_and(|(ended, created)| ended <= created)
}

/// What the history is told of a task that was deleted while its log was being read.
pub(super) fn deleted(owner: &Owner, now: Timestamp) -> Entry {
    // As the API server writes times.
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
            message: Some("the PeonTask was deleted before anybody knew how its task ended".to_owned()),
            creation_time: owner.created.map(Time),
            completion_time: Some(Time(completed)),
            ..Record::default()
        },
    }
}

/// Puts a task whose object is gone into the history. Nobody else knows of it: a store that fails is asked again, for a
/// day.
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
                "a deleted task is not in the history: the store took nothing for a day"
            );
            return;
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(most);
    }
}
