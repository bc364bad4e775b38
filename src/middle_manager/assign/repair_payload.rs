//! Completes the payload of a task that was acknowledged to the overlord, or that the overlord no longer sends.
//!
//! Its PeonTask exists and is RUNNING for the overlord, but a chunk was refused for as long as the overlord waited: by
//! a quota, or by a webhook that was down. The overlord does not send the task again, and only this process has its
//! payload.

use std::sync::Arc;
use std::time::Duration;

use kube::{Api, Client, ResourceExt};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::decide::ensure::not_wanted;
use crate::api::PeonTask;
use crate::apiserver::request::{PROMPT, request_within};
use crate::payload::chunks::new_task::New;
use crate::payload::create;

/// How long it is tried: then the operator fails the task.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Delay between two tries.
const PAUSE: Duration = Duration::from_secs(5);
/// Payloads held for repair at the same time, each of up to 16 MiB.
const PLACES: usize = 4;

/// Completes payloads in the background.
pub(crate) struct PayloadRepair {
    client: Client,
    namespace: String,
    places: Arc<Semaphore>,
}

impl PayloadRepair {
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            places: Arc::new(Semaphore::new(PLACES)),
        }
    }

    /// Continues with an existing PeonTask, which `new` describes, and its chunks.
    ///
    /// # Access control
    /// peontasks: get. secrets, configmaps: create.
    pub(crate) fn start(&self, new: New) {
        let name = new.task.name_any();
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            tracing::warn!(
                task = name,
                "the payload of the PeonTask is not completed: {PLACES} others are being completed, which \
                 is the limit"
            );
            return;
        };
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        tokio::spawn(async move {
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline {
                tokio::time::sleep(PAUSE).await;
                let attempt = go_on(&client, &namespace, &new);
                match request_within(PROMPT, "create the chunks", attempt).await {
                    Ok(done) => {
                        tracing::info!(
                            task = name,
                            done,
                            "the payload of the PeonTask needs no more repair"
                        );
                        break;
                    }
                    Err(error) => {
                        tracing::debug!(
                            task = name,
                            error = error.why(),
                            "the payload of the PeonTask is not complete yet; it is tried again"
                        );
                    }
                }
            }
            drop(place);
        });
    }
}

/// One try; returns why there is nothing left to do.
async fn go_on(client: &Client, namespace: &str, new: &New) -> kube::Result<&'static str> {
    let Some((_, kind)) = new.chunks else {
        return Ok("no chunks");
    };
    let tasks: Api<PeonTask> = Api::namespaced(client.clone(), namespace);
    let found = tasks.get_opt(&new.task.name_any()).await?;
    if let Some(why) = not_wanted(found.as_ref(), new) {
        return Ok(why);
    }
    for chunk in new.objects(&new.task) {
        create::create(client, namespace, kind, chunk).await?;
    }
    Ok("all chunks exist")
}
