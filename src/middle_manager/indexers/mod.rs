//! Proves that the Indexers of IndexerPools are hidden from the overlord, and says so in `status.discovery` of their pools.
//!
//! Nothing is placed on an Indexer that is not in that list. Only the process of a VirtualMiddleManager has a session with
//! ZooKeeper and a connection to the overlord, so it checks the Indexers of all pools with that VirtualMiddleManager. One
//! loop does that, beside everything else: announcements of workers, polls and assignments never wait for it.
//!
//! Indexers that are proven hidden, and whose pool serves queries, it announces to brokers and coordinators.

pub mod decide;
pub mod pods;
pub mod pool_writer;

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use tokio::sync::watch;

use self::decide::checks::{Checks, Read};
use self::decide::finding::Finding;
use self::decide::pool_status::{PoolStatuses, Write, Written};
use self::decide::query_servers::QueryServers;
use self::pods::IndexerPods;
use self::pool_writer::PoolWriter;
use super::discovery::announce::{Announcer, Presence, States, Wanted};
use super::discovery::service::Reader;
use super::discovery::zookeeper::reader::NotRead;
use super::overlord::Overlord;
use crate::druid::query_server::QueryServer;

/// Announcements that are read at the same time. The next ones are read in the next turn: those that are not answered do
/// not delay a turn by more than one time limit.
const READS: usize = 16;
/// Pools whose status is written at the same time, likewise.
const WRITES: usize = 8;

/// What the check reads and writes.
pub trait Surroundings: Send + Sync + 'static {
    /// What is announced where the Indexer of a pod would announce itself.
    fn finding(&self, read: &Read) -> impl Future<Output = Finding> + Send;

    /// `host:port` of the overlord's workers, or why they are not known.
    fn workers(&self) -> impl Future<Output = Result<BTreeSet<String>, String>> + Send;

    /// Writes the status of a pool.
    fn write(&self, write: &Write) -> impl Future<Output = Written> + Send;

    /// Announces these to brokers and coordinators, and no others.
    fn announce(&self, servers: Wanted<QueryServer>);
}

/// Discovery, the overlord and the API server.
pub struct Connections {
    /// Reads announcements.
    pub reader: Reader,
    /// The overlord.
    pub overlord: Overlord,
    /// Writes the status.
    pub pools: PoolWriter,
    /// Announces to brokers and coordinators. Never dropped: what it announced stays when the process exits, until the
    /// session ends or the next process has taken it over, so that rows do not disappear from queries meanwhile. None
    /// where workers are announced on pods: the pods of Indexers may not be patched.
    pub queries: Option<ManuallyDrop<Announcer<QueryServer>>>,
}

impl Surroundings for Connections {
    async fn finding(&self, read: &Read) -> Finding {
        match self.reader.indexer(&read.endpoint.address()).await {
            Ok(announcement) => Finding::of(announcement.as_deref(), &read.endpoint),
            Err(NotRead::NoSession) => Finding::NoSession,
            Err(NotRead::Failed(why)) => Finding::Failed(why),
        }
    }

    async fn workers(&self) -> Result<BTreeSet<String>, String> {
        self.overlord.workers().await.map_err(|error| error.to_string())
    }

    async fn write(&self, write: &Write) -> Written {
        self.pools.write(write).await
    }

    fn announce(&self, servers: Wanted<QueryServer>) {
        if let Some(queries) = &self.queries {
            queries.announce_only(servers);
        }
    }
}

/// Checks the Indexers of `pods`, for as long as this process has its identities: with `states` that are superseded a
/// younger process checks them. Never returns.
///
/// # Access control
/// indexerpools/status: patch.
pub async fn run(
    surroundings: impl Surroundings,
    pods: Arc<IndexerPods>,
    mut states: watch::Receiver<States>,
) {
    let mut servers = QueryServers::default();
    loop {
        let checking = check(&surroundings, &pods, &mut servers);
        let superseded = until(&mut states, true);
        tokio::select! {
            () = checking => {}
            () = superseded => {}
        }
        // What the other process writes meanwhile is not known here: all begins anew.
        let (waiting, back) = (
            withdraw(&surroundings, &pods, &mut servers),
            until(&mut states, false),
        );
        tokio::select! {
            () = waiting => {}
            () = back => {}
        }
    }
}

/// Withdraws the Indexers whose pods end, while a younger process checks: it announces those of which it has the proof.
/// Never returns.
async fn withdraw(surroundings: &impl Surroundings, pods: &IndexerPods, servers: &mut QueryServers) {
    loop {
        surroundings.announce(servers.see(&pods.all(), &Checks::default()));
        pods.changed().await;
    }
}

/// Waits until an identity is announced by a younger process, or none is.
async fn until(states: &mut watch::Receiver<States>, is_superseded: bool) {
    let superseded = |states: &States| {
        let mut states = states.values();
        states.any(|state| matches!(state.presence, Presence::Superseded { .. }))
    };
    let waited = states.wait_for(|states| superseded(states) == is_superseded);
    if waited.await.is_err() {
        // The process is about to end.
        std::future::pending::<()>().await;
    }
}

/// Never returns.
async fn check(surroundings: &impl Surroundings, pods: &IndexerPods, servers: &mut QueryServers) {
    let (mut checks, mut statuses) = (Checks::default(), PoolStatuses::default());
    loop {
        checks.see(&pods.all(), now());
        read(surroundings, &mut checks).await;
        ask(surroundings, &mut checks).await;
        surroundings.announce(servers.see(&pods.all(), &checks));
        statuses.see(&checks, now());
        write(surroundings, &checks, &mut statuses).await;

        let next = [checks.next(), statuses.next(&checks, now())];
        match next.into_iter().flatten().min() {
            Some(at) => tokio::select! {
                () = pods.changed() => {}
                () = tokio::time::sleep_until(at.into()) => {}
            },
            None => pods.changed().await,
        }
    }
}

async fn read(surroundings: &impl Surroundings, checks: &mut Checks) {
    let reads = futures::stream::iter(checks.reads(now()).into_iter().take(READS)).map(|read| async move {
        let finding = surroundings.finding(&read).await;
        (read, finding)
    });
    let mut reads = std::pin::pin!(reads.buffer_unordered(READS));
    while let Some((read, finding)) = reads.next().await {
        if let Finding::OffersWorker = finding {
            tracing::warn!(
                address = read.endpoint.address(),
                pod_uid = read.uid,
                "an Indexer announces workerNodeService: the overlord assigns tasks to it"
            );
        }
        checks.read(&read, finding, now());
    }
}

async fn ask(surroundings: &impl Surroundings, checks: &mut Checks) {
    if checks.list_due().is_none_or(|at| at > now()) {
        return;
    }
    let asked = checks.ask(now());
    let workers = surroundings.workers().await;
    checks.listed(asked, workers.as_ref().map_err(String::clone), now());
}

async fn write(surroundings: &impl Surroundings, checks: &Checks, statuses: &mut PoolStatuses) {
    let writes = futures::stream::iter(statuses.writes(checks, now()).into_iter().take(WRITES)).map(
        |write| async move {
            let written = surroundings.write(&write).await;
            (write, written)
        },
    );
    let mut writes = std::pin::pin!(writes.buffer_unordered(WRITES));
    while let Some((write, written)) = writes.next().await {
        statuses.written(&write, written, now());
    }
}

/// The clock of the runtime, which a test can set.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
