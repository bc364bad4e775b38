//! Periodic work of the process.

use std::sync::Arc;
use std::time::Duration;

use crate::apiserver::request::request_within;
use crate::middle_manager::assign::Assigner;
use crate::middle_manager::http::backend::Announce;
use crate::middle_manager::registry::Registry;
use crate::middle_manager::registry::reachability::Gate;

/// How often due work is looked for.
const TICK: Duration = Duration::from_secs(1);
/// How often cancelling tasks is retried.
const CANCELS: Duration = Duration::from_secs(5);
/// How often the API server is probed.
const PROBE: Duration = Duration::from_secs(2);
/// Time limit of that probe: tasks must be refused soon after the API server has become silent.
const SILENCE: Duration = Duration::from_secs(3);

/// Announces ends whose log did not arrive in time, retries cancellations, lists again when a watch is inconclusive,
/// verifies PeonTasks that seem to be gone, and disables the identities while the API server is silent. Never returns.
///
/// # Access control
/// peontasks: get, list, patch.
///
/// `/readyz` is asked for, too; a refusal is an answer as good as any.
pub async fn run<L: Announce>(assigner: Arc<Assigner<L>>) {
    futures::join!(
        say_what_is_due(&assigner),
        cancel(&assigner),
        probe_for_ever(&assigner),
        list_in_doubt(&assigner),
        verify_what_is_in_doubt(&assigner),
    );
}

async fn say_what_is_due<L: Announce>(assigner: &Assigner<L>) {
    loop {
        tokio::time::sleep(TICK).await;
        assigner.tasks().tell(Registry::due);
        // A silence may have become too long, or a refusal old enough.
        assigner.tasks().gate(|_, _| ());
    }
}

async fn cancel<L: Announce>(assigner: &Assigner<L>) {
    loop {
        tokio::time::sleep(CANCELS).await;
        assigner.cancel_all().await;
    }
}

async fn probe_for_ever<L: Announce>(assigner: &Assigner<L>) {
    loop {
        tokio::time::sleep(PROBE).await;
        probe(assigner).await;
    }
}

async fn list_in_doubt<L: Announce>(assigner: &Assigner<L>) {
    loop {
        assigner.tasks().in_doubt().await;
        while let Err(error) = assigner.list().await {
            tracing::warn!(%error, "the list of PeonTasks failed; it is tried again");
            tokio::time::sleep(CANCELS).await;
        }
    }
}

async fn verify_what_is_in_doubt<L: Announce>(assigner: &Assigner<L>) {
    loop {
        assigner.tasks().to_be_looked_at().await;
        // Each is delayed separately: new suspects are verified without waiting for those that failed.
        while assigner.verify().await.is_err() {
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Probes the API server. When it is back, requests a list of what the watches missed.
async fn probe<L: Announce>(assigner: &Assigner<L>) {
    let answers = answers(assigner.client()).await;
    let tasks = assigner.tasks();
    if !answers {
        tasks.gate(|gate, _| gate.silent());
    } else if tasks.gate(Gate::answered) {
        tracing::info!("the API server answers again");
        tasks.list_anew();
    }
}

async fn answers(client: &kube::Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else {
        return false;
    };
    match request_within(SILENCE, "get readyz", client.request_text(request)).await {
        Ok(_) => true,
        // An API server that refuses a request has answered.
        Err(error) => error.code().is_some_and(|code| code < 500),
    }
}

#[cfg(test)]
#[path = "background_tests.rs"]
mod tests;
