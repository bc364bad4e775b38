//! A PeonTask that this version cannot read: its status says so.

use std::time::Duration;

use serde_json::json;

use super::Context;
use crate::api::Phase;
use crate::api::reason::Acceptance;
use crate::apiserver::classify::decode::Unreadable;
use crate::task::effects::act::ActError;

impl Context {
    /// An object that the API server accepted and that cannot be read: the CRD in the cluster is of another version, or
    /// the object exceeds the operator's limits.
    pub(super) async fn undecodable(
        &self,
        unreadable: &Unreadable,
    ) -> Result<(bool, Option<Duration>), ActError> {
        if unreadable.reason.as_deref() != Some(crate::api::crds::BORN) {
            // The task has a verdict or a running pod from a version that could read it; or this was reported before.
            return Ok((false, None));
        }
        let message = format!(
            "this version of the operator cannot decode the PeonTask: {}",
            unreadable.error
        );
        // Deterministic, so that writing it again changes nothing.
        let since = unreadable.metadata.creation_timestamp.as_ref();
        let condition = |type_: &str, status: &str| {
            json!({
                "type": type_, "status": status, "reason": Acceptance::InvalidTask,
                "message": crate::api::conditions::cut(&message, 1024), "lastTransitionTime": since,
            })
        };
        let status = json!({
            "phase": Phase::Pending,
            "reason": Acceptance::InvalidTask,
            "observedGeneration": unreadable.metadata.generation,
            "conditions": [condition("Accepted", "False"), condition("Ready", "False"), condition("Stalled", "True")],
        });
        self.actor.write_raw_status(&unreadable.metadata, &status).await?;
        Ok((true, None))
    }
}
