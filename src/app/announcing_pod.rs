//! The process of an announcing pod: its probe says whether the worker that is announced there can be reached.
//!
//! An announcement on a pod stays when the process that wrote it dies, but Druid counts only pods whose containers are
//! ready. So this is to Druid's Kubernetes discovery what the end of a session is to ZooKeeper. It has no rights in the
//! API server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::metrics::Metrics;
use crate::process::background::Background;
use crate::process::health::Health;
use crate::process::http_server;
use crate::process::shutdown::Shutdown;
use crate::process::telemetry::{self, LogOptions};

/// How often the worker is tried.
const TRY: Duration = Duration::from_secs(2);
/// How long the worker may take to accept a connection.
const LIMIT: Duration = Duration::from_secs(5);
/// A worker that could not be reached for so long is missing: the default of ZooKeeper's sessions. A process that restarts
/// takes less, and its workers stay.
const MISSING: Duration = Duration::from_secs(30);

/// Is ready while a worker of a VirtualMiddleManager can be reached: its pod carries the worker's announcement. The
/// operator starts it.
#[derive(Debug, Clone, Args)]
pub struct AnnouncingPod {
    /// Host and port of the worker; if there are several, that with the ordinal at the end of the pod's name.
    #[arg(long, value_delimiter = ',', required = true, value_name = "HOST:PORT")]
    pub workers: Vec<String>,

    /// Name of the pod.
    #[arg(long, value_name = "NAME")]
    pub pod: String,

    /// Address of /livez and /readyz.
    #[arg(long, default_value = "[::]:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Tries the worker until it is asked to stop.
///
/// # Errors
/// When no worker belongs to the pod, or the address of the probes cannot be bound.
pub async fn run(options: AnnouncingPod) -> anyhow::Result<()> {
    telemetry::start(&options.log)?;
    let worker = worker_of(&options.pod, &options.workers)?;
    let shutdown = Shutdown::on_signals()?;
    let health = Health::new(Metrics::default());
    let mut background = Background::default();
    let listen = options.listen;
    let port = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("--listen {listen} cannot be bound"))?;
    background.spawn("the heartbeat", health.clone().beat());
    background.spawn(
        "the probes",
        http_server::serve(port, health.clone().routes(), http_server::PROBES),
    );
    tracing::info!(worker, "carrying the announcement of a worker");
    tokio::select! {
        () = watch(worker, &health) => Ok(()),
        ended = background.ended() => Err(ended.into()),
        () = shutdown.requested() => Ok(()),
    }
}

/// The worker whose announcement the pod carries.
fn worker_of<'w>(pod: &str, workers: &'w [String]) -> anyhow::Result<&'w str> {
    let ordinal = pod
        .rsplit('-')
        .next()
        .and_then(|ordinal| ordinal.parse::<usize>().ok());
    let worker = match workers {
        [only] => Some(only),
        several => ordinal.and_then(|ordinal| several.get(ordinal)),
    };
    worker
        .map(String::as_str)
        .with_context(|| format!("--workers has none for the pod {pod}: the operator replaces the pod"))
}

/// Never returns.
async fn watch(worker: &str, health: &Health) {
    let mut reached: Option<Instant> = None;
    let mut was_missing = true;
    let mut ticks = interval(TRY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let error = reach(worker).await.err();
        let now = Instant::now();
        if error.is_none() {
            reached = Some(now);
        }
        let is_missing = is_missing(reached, now);
        if is_missing != was_missing {
            let error = error.as_deref().unwrap_or("it is reached");
            tracing::info!(worker, is_missing, "the worker: {error}");
            was_missing = is_missing;
        }
        let error = error.unwrap_or_default();
        let missing = is_missing.then(|| format!("the worker {worker} cannot be reached: {error}"));
        health.missing(missing.into_iter().collect());
    }
}

/// Whether the worker is missing, given when it was last reached.
fn is_missing(reached: Option<Instant>, now: Instant) -> bool {
    reached.is_none_or(|reached| now.saturating_duration_since(reached) >= MISSING)
}

/// A connection is enough: the Service leads to a pod that is ready, and what is sent there is for overlords.
async fn reach(worker: &str) -> Result<(), String> {
    match timeout(LIMIT, TcpStream::connect(worker)).await {
        Ok(connected) => connected.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no connection within {} s", LIMIT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_missing_until_it_was_reached_and_when_it_was_not_for_long() {
        let start = Instant::now();
        assert!(is_missing(None, start));
        assert!(!is_missing(Some(start), start));
        assert!(!is_missing(Some(start), start + MISSING / 2));
        assert!(is_missing(Some(start), start + MISSING));
    }

    #[test]
    fn a_pod_knows_its_worker_by_its_ordinal() {
        let two = ["a:8091".to_owned(), "b:8091".to_owned()];
        assert_eq!(worker_of("ingestion-vmm-1", &two).unwrap(), "b:8091");
        assert_eq!(worker_of("ingestion-vmm-7", &two[..1]).unwrap(), "a:8091");
        assert!(worker_of("ingestion-vmm-2", &two).is_err());
        assert!(worker_of("ingestion", &two).is_err());
    }

    #[tokio::test]
    async fn a_worker_is_reached_while_its_port_is_open() {
        let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = port.local_addr().unwrap().to_string();
        assert_eq!(reach(&address).await, Ok(()));
        drop(port);
        assert!(reach(&address).await.is_err());
    }
}
