//! The Indexers of an `IndexerPool` for `make bench`, without Druid: for each pod of the pool that is ready, one answers at
//! the pod's address as Druid's Indexer does, and its tasks succeed after some time, or at once. The pods are on a fake node
//! that gives them addresses of the machine's loopback network.
//!
//! It writes `status.discovery` of the pool as well, in place of the workers' process, which would prove by ZooKeeper and the
//! overlord that they are hidden: there is neither. Not a part of the product: it is in no image.

mod history;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use e2e_drivers::client;
use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use peon_operator::api::LABEL_POOL;
use peon_operator::api::indexer_pool::IndexerDiscovery;
use peon_operator::middle_manager::indexers::decide::pod::{IndexerPod, PoolId};
use peon_operator::middle_manager::indexers::decide::pool_status::{Write, Written};
use peon_operator::middle_manager::indexers::pool_writer::PoolWriter;
use peon_operator::middle_manager::registry::view::PodView;
use tokio::task::JoinHandle;

use self::server::Indexer;

/// Name in the audit log.
const AGENT: &str = "model-indexers/1";

#[derive(Parser)]
struct Cli {
    /// Namespace of the pool.
    namespace: String,
    /// Name of the pool.
    pool: String,
    /// How long each task runs.
    #[arg(long, default_value_t = 0)]
    task_millis: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let client = client(AGENT).await?;
    let mut indexers = Indexers {
        runs_for: Duration::from_millis(cli.task_millis),
        writer: PoolWriter::new(client.clone(), &cli.namespace),
        served: BTreeMap::new(),
    };
    follow(&cli, client, &mut indexers).await
}

/// Those that answer, by the uids of their pods.
struct Indexers {
    runs_for: Duration,
    writer: PoolWriter,
    served: BTreeMap<String, (PoolId, JoinHandle<std::io::Result<()>>)>,
}

async fn follow(cli: &Cli, client: Client, indexers: &mut Indexers) -> anyhow::Result<()> {
    let pods: Api<PodView> = Api::namespaced(client, &cli.namespace);
    let of_pool = watcher::Config::default().labels(&format!("{LABEL_POOL}={}", cli.pool));
    let mut events = watcher(pods, of_pool).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                if let Some(pod) = IndexerPod::of(&pod) {
                    indexers.start(pod).await?;
                }
            }
            Ok(Event::Delete(pod)) => indexers.stop(pod.metadata.uid.as_deref()).await,
            Ok(Event::Init | Event::InitDone) => {}
            // The watch begins again, and reports what it missed.
            Err(error) => eprintln!("the watch broke: {error}"),
        }
    }
    Ok(())
}

impl Indexers {
    async fn start(&mut self, pod: IndexerPod) -> anyhow::Result<()> {
        let Some(endpoint) = pod.ready.filter(|_| !self.served.contains_key(&pod.uid)) else {
            return Ok(());
        };
        let address: SocketAddr = endpoint.address().parse().context("the address of a pod")?;
        ensure!(
            address.ip().is_loopback(),
            "{address} is not of the loopback network"
        );
        let answers = Indexer::new(address, self.runs_for).serve().await?;
        eprintln!("{address} is the Indexer of the pod {}", pod.uid);
        self.served
            .insert(pod.uid, (pod.pool.clone(), tokio::spawn(answers)));
        self.announce(pod.pool).await
    }

    /// Its address may be the next one's as soon as this returns.
    async fn stop(&mut self, uid: Option<&str>) {
        if let Some((_, server)) = uid.and_then(|uid| self.served.remove(uid)) {
            server.abort();
            // That it was aborted.
            let _ = server.await;
        }
    }

    /// Says that no overlord sees them: there is none.
    async fn announce(&self, pool: PoolId) -> anyhow::Result<()> {
        let of_pool = self.served.iter().filter(|(_, (of, _))| *of == pool);
        let discovery = IndexerDiscovery {
            hidden: of_pool.map(|(uid, _)| uid.clone()).collect(),
            ..IndexerDiscovery::default()
        };
        let written = self.writer.write(&Write { pool, discovery }).await;
        ensure!(
            written == Written::Kept,
            "the status of the pool cannot be written: {written:?}"
        );
        Ok(())
    }
}
