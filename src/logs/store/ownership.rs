//! Where log and report of a task are stored: under its Druid id, where an overlord reads them, if the task owns the
//! id; else below `.peon`, by its uid.

use futures::future::BoxFuture;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::archive::ArchiveError;
use super::task_archive::TaskArchive;
use crate::logs::format::claim::{Claim, Judgement, Rival};

/// How often a claim that others replace meanwhile is read again.
const TRIES: usize = 8;

/// Where a task's log and report are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// Under the task's id, where an overlord reads them.
    Druids,
    /// Under the task's uid: another task has the id.
    Aside(Rival),
}

/// Returns whether the task of a claim has ended, so that a later one of its namespace may have the keys.
pub type HasEnded<'a> = &'a (dyn Fn(Claim) -> BoxFuture<'a, bool> + Send + Sync);

/// No claim is taken over.
#[must_use]
pub fn never(_: Claim) -> BoxFuture<'static, bool> {
    Box::pin(std::future::ready(false))
}

impl TaskArchive {
    /// Where this task's log and report belong. The keys of its id are claimed if no task has them, and taken over from
    /// an earlier task of the namespace that has ended: that task's log and report are put aside first, so nothing is
    /// lost.
    ///
    /// Costs one small request if the task owns the claim. For the first task with an id: four reads of keys that do
    /// not exist, and writing a small object.
    ///
    /// # Errors
    /// When the store fails; what was begun is completed by the next call.
    pub async fn place(&self, has_ended: HasEnded<'_>) -> Result<Ownership, ArchiveError> {
        let Some(claimant) = &self.claimant else {
            return Ok(Ownership::Aside(Rival::Unknown));
        };
        let mine = |after| Claim::of(claimant, &self.task_id, after);
        for _ in 0..TRIES {
            let held = self.archive.read_claim(&self.claim).await?;
            let found = held.as_ref().map(|held| &held.claim);
            let claim = match Claim::judge(found, claimant) {
                Judgement::Ours => return Ok(Ownership::Druids),
                Judgement::Theirs(rival) => return Ok(Ownership::Aside(rival)),
                Judgement::Free => mine(self.is_in_the_way().await?.then(|| self.unclaimed())),
                Judgement::OursAfter(before) => {
                    self.put_aside(&before).await?;
                    self.bring_report().await?;
                    mine(None)
                }
                Judgement::Earlier => {
                    let earlier = found.cloned().unwrap_or_default();
                    let rival = Rival::Here(earlier.name.clone());
                    let before = earlier.uid.clone();
                    // A task that has not put aside its predecessor's objects never will: put both aside.
                    let before = earlier.after.clone().unwrap_or(before);
                    if !has_ended(earlier).await {
                        return Ok(Ownership::Aside(rival));
                    }
                    mine(Some(before))
                }
            };
            let settled = claim.after.is_none();
            if self.archive.put_claim(&self.claim, &claim, held.as_ref()).await? && settled {
                return Ok(Ownership::Druids);
            }
        }
        Err(ArchiveError::Contended(self.log_url()))
    }

    /// Whether this task now owns the keys of the id, and they are free to be written.
    pub(crate) async fn has_the_keys(&self) -> Result<bool, ArchiveError> {
        let held = self.archive.read_claim(&self.claim).await?;
        Ok(held.is_some_and(|held| held.claim.uid == self.uid && held.claim.after.is_none()))
    }

    /// Whether the objects under the id were written without a claim: by an older version of the operator, or by one of
    /// Druid's own workers.
    async fn is_in_the_way(&self) -> Result<bool, ArchiveError> {
        if self.is_noted().await? {
            // This task's own log, from before claims.
            return Ok(false);
        }
        Ok(self.archive.size(&self.log).await?.is_some() || self.archive.size(&self.report).await?.is_some())
    }

    /// Whether the marker of this task's log has the size of the log under the id. Before claims existed, the log of
    /// the later of two tasks with one id was there, and each marker has the size of its own log.
    async fn is_noted(&self) -> Result<bool, ArchiveError> {
        let Some(note) = self.archive.get(&self.composed).await? else {
            return Ok(false);
        };
        let noted = std::str::from_utf8(&note)
            .ok()
            .and_then(|n| n.trim().parse().ok());
        Ok(noted.is_some() && self.archive.size(&self.log).await? == noted)
    }

    /// Where such objects are put.
    fn unclaimed(&self) -> String {
        format!("before-{}", self.uid)
    }

    /// Moves log and report from under the id to the keys of this uid. Only the owner of the claim may do so.
    /// Idempotent: also if two processes do it at once, of which one may have finished, and written its own log there,
    /// before the other.
    async fn put_aside(&self, uid: &str) -> Result<(), ArchiveError> {
        for (what, key) in [("log", &self.log), ("report.json", &self.report)] {
            let aside = self.archive.layout.aside(uid, what)?;
            if !self.copy_once(key, &aside).await? {
                continue;
            }
            let held = self.archive.read_claim(&self.claim).await?;
            let is_due = held
                .is_some_and(|held| held.claim.uid == self.uid && held.claim.after.as_deref() == Some(uid));
            if !is_due {
                return Ok(());
            }
            self.archive.remove(vec![key.clone()]).await?;
        }
        Ok(())
    }

    /// A sidecar cannot take the keys over, and may have written its report before the operator took them over.
    async fn bring_report(&self) -> Result<(), ArchiveError> {
        self.copy(&self.report_aside, &self.report).await.map(drop)
    }

    /// Copies an object within the store. `false` if the source does not exist.
    async fn copy(&self, from: &Path, to: &Path) -> Result<bool, ArchiveError> {
        // Not every store distinguishes a missing object from other errors.
        if self.archive.size(from).await?.is_none() {
            return Ok(false);
        }
        let copied = self.archive.store.copy(from, to).await;
        copied.map(|()| true).map_err(|e| self.archive.failed(to, &e))
    }

    /// Copies an object within the store, unless the target exists. `false` if the source does not exist.
    async fn copy_once(&self, from: &Path, to: &Path) -> Result<bool, ArchiveError> {
        if self.archive.size(from).await?.is_none() {
            return Ok(false);
        }
        if self.archive.size(to).await?.is_some() {
            return Ok(true);
        }
        match self.archive.store.copy_if_not_exists(from, to).await {
            Ok(())
            | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(true)
            }
            Err(object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. }) => {
                self.copy(from, to).await
            }
            Err(error) => Err(self.archive.failed(to, &error)),
        }
    }

    /// Moves an object under a key of this task away if this task did not write it.
    pub(crate) async fn displace(&self, key: &Path, size: u64) -> Result<(), ArchiveError> {
        let aside = format!("{}-{size}", self.unclaimed());
        let aside = self.archive.layout.aside(&aside, "log")?;
        tracing::warn!(
            found = self.archive.location.url(key),
            moved = self.archive.location.url(&aside),
            "the log of another task was under the key of this task: it is moved"
        );
        if self.copy(key, &aside).await? {
            self.archive.remove(vec![key.clone()]).await?;
        }
        Ok(())
    }

    /// URL of the log, now or later.
    #[must_use]
    pub fn log_url_in(&self, place: &Ownership) -> String {
        self.archive.location.url(self.log_key(place))
    }

    pub(crate) fn log_key(&self, place: &Ownership) -> &Path {
        match place {
            Ownership::Druids => &self.log,
            Ownership::Aside(_) => &self.log_aside,
        }
    }

    pub(crate) fn report_key(&self, place: &Ownership) -> &Path {
        match place {
            Ownership::Druids => &self.report,
            Ownership::Aside(_) => &self.report_aside,
        }
    }

    /// Whether log and report of this task are under its id, for a reader.
    pub(crate) async fn is_under_its_id(&self) -> Result<bool, ArchiveError> {
        if let Some(held) = self.archive.read_claim(&self.claim).await? {
            return Ok(held.claim.covers(&self.uid));
        }
        // Written before claims existed, or owner unknown.
        self.is_noted().await
    }
}

#[cfg(test)]
#[path = "ownership_tests.rs"]
mod tests;
