//! Reconciles the objects of every `VirtualMiddleManager` and writes in its status whether it is served.
//!
//! A pass begins with a [`Snapshot`]. [`plan`] returns the next step, `Effects` performs it and puts its outcome into
//! the snapshot, until the plan settles; then the status is written if it differs. The pod writes what the overlord
//! sees of it in other fields of the same status.

pub mod decide;

mod effects;
mod observe;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::{Action, Controller, Error as Unreconciled};
use kube::{Client, ResourceExt};

use crate::api::VirtualMiddleManager;
use crate::apiserver::classify::decode::{Guarded, Unreadable};
use crate::apiserver::error;
use crate::metrics::Metrics;
use crate::process::leadership::Leadership;
use decide::objects::Surroundings;
use decide::plan::{Step, plan, settle};
use decide::ready_condition::{self, Seen};
use decide::snapshot::Snapshot;
use effects::{EffectError, Effects};

/// Delay before an effect that failed is retried.
const RETRY: Duration = Duration::from_secs(10);

/// A pass failed and is repeated.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error("{0}")]
    Effect(#[from] EffectError),
    #[error("a bug in the operator ended the pass: {0}; please report it")]
    Panicked(String),
}

type GuardedManager = Guarded<VirtualMiddleManager>;

struct Context {
    effects: Effects,
    surroundings: Surroundings,
}

/// Runs until it is asked to stop.
///
/// # Access control
/// virtualmiddlemanagers: list, watch; virtualmiddlemanagers/status: patch; deployments: get, list, watch, create, patch;
/// services: get, list, create, patch, delete; serviceaccounts, rolebindings: get, create, patch; clusterroles: bind;
/// statefulsets, roles: get, create, patch.
pub async fn run(
    client: Client,
    namespace: Option<&str>,
    leadership: Leadership,
    surroundings: Surroundings,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (reader, changes) = observe::managers(&client, namespace, metrics.clone());
    let deployments = observe::deployments(&client, namespace, metrics);
    let context = Context {
        effects: Effects { client, leadership },
        surroundings,
    };
    Controller::for_stream(changes, reader)
        .owns_stream(deployments)
        .graceful_shutdown_on(stop)
        .run(reconcile, on_error, Arc::new(context))
        .for_each(|ended| async move {
            match ended {
                // A failure is logged where it occurs: `on_error`.
                Ok(_) | Err(Unreconciled::ObjectNotFound(_) | Unreconciled::ReconcilerFailed(..)) => {}
                Err(broken) => tracing::warn!(
                    error = error::chain(&broken),
                    "the watch of VirtualMiddleManagers or of their Deployments failed and is repeated"
                ),
            }
        })
        .await;
}

#[allow(clippy::needless_pass_by_value)] // As the controller calls it.
fn on_error(manager: Arc<GuardedManager>, error: &ReconcileError, _: Arc<Context>) -> Action {
    tracing::warn!(
        namespace = manager.namespace(),
        name = manager.name_any(),
        %error,
        "the pass over the VirtualMiddleManager failed and is repeated"
    );
    Action::requeue(RETRY)
}

async fn reconcile(manager: Arc<GuardedManager>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    match &manager.0 {
        // A fault triggered by one object must not end the process for all.
        Ok(manager) => match AssertUnwindSafe(context.pass(manager)).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => Err(ReconcileError::Panicked(error::panicked(&*panic))),
        },
        Err(unreadable) => context.report_unreadable(unreadable).await,
    }
}

impl Context {
    async fn pass(&self, manager: &VirtualMiddleManager) -> Result<Action, ReconcileError> {
        let mut snapshot = Snapshot::new(manager, &self.surroundings);
        let (seen, failure) = loop {
            match plan(&snapshot) {
                Step::Leave => return Ok(Action::await_change()),
                Step::Settle(seen) => break (seen, None),
                step => {
                    if let Err(error) = self.effects.act(step, &mut snapshot).await {
                        break (Seen::Failed(error.to_string()), Some(error));
                    }
                }
            }
        };
        let settlement = settle(manager, &seen, Timestamp::now());
        if let Some(conditions) = &settlement.conditions {
            self.effects.write_status(&manager.metadata, conditions).await?;
        }
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(Action::requeue(settlement.requeue)),
        }
    }

    /// Reports an object that cannot be read in its status. The objects that it owns are not changed.
    async fn report_unreadable(&self, unreadable: &Unreadable) -> Result<Action, ReconcileError> {
        let meta = &unreadable.metadata;
        if meta.name.is_some() && meta.deletion_timestamp.is_none() {
            let conditions = ready_condition::unreadable(unreadable, meta.creation_timestamp.as_ref());
            self.effects.write_status(meta, &conditions).await?;
        }
        Ok(Action::await_change())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
