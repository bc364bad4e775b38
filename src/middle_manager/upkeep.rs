//! What is done now and then, whoever asks for what.

use std::sync::Arc;
use std::time::Duration;

use super::backend::Announce;
use super::bind::Binder;
use super::reachability::Gate;

/// How often it is looked for what is due.
const TICK: Duration = Duration::from_secs(1);
/// How often tasks that could not be cancelled are tried again.
const CANCELS: Duration = Duration::from_secs(5);
/// How often the API server is asked whether it is there.
const PROBE: Duration = Duration::from_secs(2);
/// No answer within this time is none.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Says ends that were held back for a log that does not come, cancels what could not be cancelled before, lists anew
/// what a watch leaves in doubt, and takes no tasks while the API server is silent. For ever.
///
/// # Access control
/// peontasks: list, patch; of the paths that are no resources `/readyz`: get, though a refusal is an answer too.
pub async fn run<L: Announce>(binder: Arc<Binder<L>>) {
    let binder = &*binder;
    let ends = every(TICK, async || binder.tasks().tell(|known, now| known.due(now)));
    let cancels = every(CANCELS, async || binder.cancel_all().await);
    let probes = every(PROBE, async || probe(binder).await);
    let lists = async {
        loop {
            binder.tasks().in_doubt().await;
            if let Err(error) = binder.list().await {
                tracing::warn!(%error, "it is tried again");
                tokio::time::sleep(CANCELS).await;
                binder.tasks().list_anew();
            }
        }
    };
    futures::join!(ends, cancels, probes, lists);
}

async fn every(period: Duration, mut act: impl AsyncFnMut()) {
    loop {
        tokio::time::sleep(period).await;
        act().await;
    }
}

/// Asks the API server whether it is there. What its watches did not tell meanwhile is asked for when it is back.
pub(super) async fn probe<L: Announce>(binder: &Binder<L>) {
    let answers = answers(binder.client()).await;
    let tasks = binder.tasks();
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
    match tokio::time::timeout(TIMEOUT, client.request_text(request)).await {
        Ok(Ok(_)) => true,
        // Who refuses is there.
        Ok(Err(kube::Error::Api(status))) => status.code < 500,
        Ok(Err(_)) | Err(_) => false,
    }
}
