//! Verifies PeonTasks that seem to be gone, before their tasks are failed.
//!
//! If a label is removed from an object, the object disappears for watches that select by it. Its pod runs on, and so
//! does the task: the labels are restored.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use kube::ResourceExt;

use crate::api::LABEL_MIDDLE_MANAGER;
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::request::{PROMPT, request_within};
use crate::middle_manager::assign::Assigner;
use crate::middle_manager::http::backend::{Announce, Unavailable};
use crate::middle_manager::registry::history_items::Suspect;
use crate::middle_manager::registry::view::{Seen, TaskView};

/// PeonTasks verified at the same time.
const LOOKS: usize = 8;

/// Some PeonTasks could not be verified, or are delayed after a failure.
#[derive(Debug, thiserror::Error)]
#[error("{0} PeonTasks are still to be read again")]
pub(crate) struct StillInDoubt(usize);

impl<L: Announce> Assigner<L> {
    /// Verifies all suspects past all caches. One that fails is delayed separately, for up to a minute, and does not
    /// delay the others.
    ///
    /// # Access control
    /// peontasks: get, patch.
    ///
    /// # Errors
    /// When something is left to be looked at: it is to be repeated, soon.
    pub(crate) async fn verify(&self) -> Result<(), StillInDoubt> {
        let now = self.tasks().clock().instant();
        let mut doubts = self.tasks().ask(|known, _| known.doubts());
        let all = doubts.len();
        doubts.retain(|doubt| self.suspects().held(&doubt.target.uid, now).is_none());
        let held = all - doubts.len();
        let failed = AtomicUsize::new(held);
        futures::stream::iter(doubts)
            .for_each_concurrent(LOOKS, |doubt| {
                let failed = &failed;
                async move {
                    let uid = &doubt.target.uid;
                    match self.look_at(&doubt).await {
                        Ok(()) => self.suspects().clear(uid),
                        Err(error) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            self.suspects().failed(uid, self.tasks().clock().instant());
                            tracing::warn!(%error, "it is unknown whether the PeonTask was deleted; it is \
                                read again");
                        }
                    }
                }
            })
            .await;
        match failed.into_inner() {
            0 => Ok(()),
            left => Err(StillInDoubt(left)),
        }
    }

    async fn look_at(&self, doubt: &Suspect) -> Result<(), Unavailable> {
        let Suspect { target, facts, .. } = doubt;
        let api = self.api();
        let found = request_within(PROMPT, "get peontask", api.get_opt(&target.name)).await;
        let found = found.map_err(|e| Unavailable(format!("PeonTask {}: {}", target.name, e.why())))?;
        let Some(found) = found.filter(|t| t.uid().as_ref() == Some(&target.uid)) else {
            self.tasks().tell(|known, now| known.gone(&target.uid, None, now));
            return Ok(());
        };
        if self.is_marked(&found, doubt) {
            self.tasks().tell(|known, now| {
                known.refute(doubt);
                Seen::guarded(&found).map_or_else(Vec::new, |seen| known.see(seen, now))
            });
            return Ok(());
        }
        tracing::warn!(
            task = target.name,
            task_id = facts.id,
            "the labels or annotations of an assigned task were removed from the PeonTask: they are \
             restored, and the task continues"
        );
        let patch = self.maker().label(Some(&target.uid), doubt.identity, facts);
        // The resulting state is recorded, or the PeonTask is gone.
        self.patch(target, patch).await?;
        self.tasks().tell(|known, _| {
            known.refute(doubt);
            Vec::new()
        });
        Ok(())
    }

    fn is_marked(&self, found: &Guarded<TaskView>, doubt: &Suspect) -> bool {
        let marks = self.maker().marks();
        let ours = marks.get(LABEL_MIDDLE_MANAGER);
        found.labels().get(LABEL_MIDDLE_MANAGER) == ours
            && Seen::guarded(found).is_some_and(|s| s.identity == doubt.identity && s.facts == doubt.facts)
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
