//! Completes the payload of a task that the overlord has been told to have, or that it sends no more.
//!
//! Its PeonTask stands and is RUNNING to the overlord, and a chunk was refused for as long as the overlord waited: by a
//! quota, by a webhook that was down. Nobody sends the task again, and only this process has its payload.

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

/// For so long it is tried: the operator fails the task then.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(5);
/// Payloads that are held for it at the same time, each of up to 16 MiB.
const PLACES: usize = 4;

/// Completes payloads behind everybody's back.
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

    /// Goes on with a PeonTask that stands, as `new` says it, and its chunks.
    ///
    /// # Access control
    /// peontasks: get. secrets, configmaps: create.
    pub(crate) fn start(&self, new: New) {
        let name = new.task.name_any();
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            tracing::warn!(
                task = name,
                "its payload is not completed: {PLACES} others are on their way"
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
                        tracing::info!(task = name, done, "its payload");
                        break;
                    }
                    Err(error) => {
                        tracing::debug!(task = name, error = error.why(), "its payload is not complete");
                    }
                }
            }
            drop(place);
        });
    }
}

/// One try; says why there is nothing left to do.
async fn go_on(client: &Client, namespace: &str, new: &New) -> kube::Result<&'static str> {
    let Some((_, kind)) = new.chunks else {
        return Ok("has no chunks");
    };
    let tasks: Api<PeonTask> = Api::namespaced(client.clone(), namespace);
    let found = tasks.get_opt(&new.task.name_any()).await?;
    if let Some(why) = not_wanted(found.as_ref(), new) {
        return Ok(why);
    }
    for chunk in new.objects(&new.task) {
        create::create(client, namespace, kind, chunk).await?;
    }
    Ok("is complete")
}
