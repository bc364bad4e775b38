//! Reads of a pass: the payload in chunks, and the Events of a pod.

use kube::ResourceExt;

use super::{ActError, Actor};
use crate::task::accept;
use crate::task::aggregates::payload_budget;
use crate::task::decide::waiting::Warnings;
use crate::task::snapshot::Snapshot;

impl Actor {
    /// The pass does not wait for memory budget: the task is woken when there is some.
    pub(super) async fn read_payload(
        &self,
        namespace: &str,
        just_created: bool,
        snapshot: &mut Snapshot,
    ) -> Result<(), ActError> {
        let Some(from) = snapshot.task.task_from() else {
            snapshot.outcomes.payload = Some(accept::payload(snapshot));
            return Ok(());
        };
        if let Err(refused) = accept::chunk_list(from) {
            snapshot.outcomes.payload = Some(Err(refused));
            return Ok(());
        }
        let (payloads, uid) = (&self.live.payloads, snapshot.task.metadata.uid.as_deref());
        if let Some(absent) = just_created
            .then(|| payloads.first_look(namespace, uid, from))
            .flatten()
        {
            snapshot.outcomes.payload = Some(accept::chunked(&snapshot.task, from, Err(absent)));
            return Ok(());
        }
        let who = (namespace.to_owned(), snapshot.task.name_any());
        // Held until only the parsed fields of the payload are left.
        let Some(_share) = self.room.take(&who, payload_budget::needed(from)) else {
            snapshot.outcomes.waits_for_room = true;
            return Ok(());
        };
        let parts = payloads.read(namespace, uid, from).await?;
        snapshot.outcomes.payload = Some(accept::chunked(&snapshot.task, from, parts));
        Ok(())
    }

    /// Events are optional: if they cannot be read, a pass does without them.
    pub(super) async fn warnings(&self, namespace: &str, uid: &str) -> Warnings {
        match self.live.read_warnings(namespace, uid).await {
            Ok(Some(warnings)) => Warnings::Read(warnings),
            Ok(None) => Warnings::Later,
            Err(error) => {
                tracing::warn!(
                    namespace,
                    error = crate::apiserver::error::chain(&error),
                    "the Events of the pod cannot be read"
                );
                Warnings::Later
            }
        }
    }
}
