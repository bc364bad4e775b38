//! The process of a `VirtualMiddleManager`, from start to end.

use std::mem::ManuallyDrop;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::VirtualMiddleManager;
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::request::{PROMPT, request_within};
use crate::clock::Clock;
use crate::druid::query_server::QueryServer;
use crate::metrics::Metrics;
use crate::middle_manager::assign::Assigner;
use crate::middle_manager::controller::decide::objects::FIRST_POD_PORT;
use crate::middle_manager::controller::decide::ready_condition;
use crate::middle_manager::discovery::announce::{Announcer, this_process};
use crate::middle_manager::discovery::kubernetes::Kubernetes;
use crate::middle_manager::discovery::service::Service;
use crate::middle_manager::discovery::zookeeper::ZooKeeper;
use crate::middle_manager::http::body_budget::BodyBudget;
use crate::middle_manager::http::routes::{Served, routes};
use crate::middle_manager::indexers::pool_writer::PoolWriter;
use crate::middle_manager::indexers::{self, Connections};
use crate::middle_manager::overlord::Overlord;
use crate::middle_manager::registry::identity::Ordinal;
use crate::middle_manager::server::listener::{Port, bind};
use crate::middle_manager::server::mounted_config::DiscoverySettings;
use crate::middle_manager::server::options::Options;
use crate::middle_manager::server::secret_watch::SecretWatch;
use crate::middle_manager::server::status_writer::StatusWriter;
use crate::middle_manager::server::{background, mounted_config};
use crate::middle_manager::submit::Submitter;
use crate::middle_manager::submit::decide::submission::Policy;
use crate::middle_manager::submit::task_queue::Queue;
use crate::middle_manager::sync::forget;
use crate::middle_manager::sync::long_poll::LongPoll;
use crate::middle_manager::sync::tasks::Tasks;
use crate::process::background::Background;
use crate::process::health::Health;
use crate::process::shutdown::Shutdown;
use crate::process::{http_server, telemetry};

/// How long the overlord has to hear that no more tasks are taken.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long answers that have begun may take when the process ends.
const GRACE: Duration = Duration::from_secs(5);
/// Between attempts to see what there is before anything is served.
const AGAIN: Duration = Duration::from_secs(2);

/// What looks after the tasks that users apply.
type OfUsers = Submitter<Arc<LongPoll>, Queue>;

/// Serves until it is asked to stop, or a mounted Secret has changed: the kubelet starts it anew.
///
/// Order of the start: what there is is listed, the ports are served, the workers are announced. Of the end: no tasks are
/// taken, the overlord hears that, the workers are withdrawn, the ports are closed.
///
/// # Access control
/// virtualmiddlemanagers: get, list, watch. virtualmiddlemanagers/status: patch.
///
/// # Errors
/// When the object, a Secret or a port is not as it should be.
#[allow(clippy::too_many_lines)] // The order of the start and of the end, in one place.
pub async fn run(options: Options) -> anyhow::Result<()> {
    telemetry::start(&options.log)?;
    // More than one library would choose a provider of TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let shutdown = Shutdown::on_signals()?;
    let metrics = Metrics::default();
    let health = Health::new(metrics.clone());
    let mut background = Background::default();
    probes(options.listen, &health, &mut background).await?;
    let client = crate::apiserver::client::connect(&metrics)
        .await
        .context("there is no usable cluster configuration (service account or kubeconfig)")?;
    let mounted = SecretWatch::now();
    let manager = tokio::select! {
        manager = object(&client, &options, &health) => manager?,
        ended = background.ended() => return Err(ended.into()),
        () = shutdown.clone().requested() => return Ok(()),
    };
    let lines: Vec<Arc<LongPoll>> = options
        .hosts
        .iter()
        .map(|_| Arc::new(LongPoll::new(hash())))
        .collect();
    let tasks = Arc::new(Tasks::new(lines.clone(), Clock::default()));
    tasks.want(manager.spec.identities);
    let maker = mounted_config::maker(&manager, &options.namespace);
    let selector = maker.selector();
    let assigner = Arc::new(Assigner::new(client.clone(), maker, tasks.clone()));
    let overlord = Overlord::new(&mounted_config::overlord(&manager.spec)?)?;
    let (discovery, queries) = discovery(&client, &options, &manager)?;
    let indexers = Connections {
        reader: discovery.reader(),
        overlord: overlord.clone(),
        pools: PoolWriter::new(client.clone(), &options.namespace),
        queries,
    };
    let (policy, submitter) = submitter(&assigner, &manager, &overlord)?;
    let status_writer = StatusWriter::new(
        client.clone(),
        &options,
        &manager,
        lines.clone(),
        tasks.clone(),
        overlord.clone(),
        policy,
        &metrics,
    );
    let (watched, watching, namespace) = (tasks.clone(), client.clone(), options.namespace.clone());
    let counted = metrics.clone();
    background.spawn("the watches", async move {
        watched.watch(&watching, &namespace, &selector, &counted).await;
    });
    background.spawn(
        "the check for tasks that the overlord has forgotten",
        forget::run(assigner.clone(), overlord),
    );
    tracing::info!(name = options.name, identities = lines.len(), "starting");
    tokio::select! {
        () = listed(&assigner, &health) => {}
        ended = background.ended() => return Err(ended.into()),
        () = shutdown.clone().requested() => return Ok(()),
    }

    let discovered: Vec<Arc<AtomicBool>> = lines.iter().map(|_| Arc::default()).collect();
    let (ending, ended) = tokio::sync::watch::channel(false);
    let room = Arc::new(BodyBudget::new(options.body_limit));
    let mut ports = JoinSet::new();
    for (ordinal, line) in (0_u16..).zip(&lines) {
        let index = usize::from(ordinal);
        let host = options.hosts.get(index).map(String::as_str).unwrap_or_default();
        let served = Served {
            identity: Ordinal(ordinal),
            address: mounted_config::worker(&manager.spec, host).address(),
            line: line.clone(),
            backend: assigner.clone(),
            credentials: mounted_config::auth(&manager.spec)?,
            room: room.clone(),
            discovered: discovered.get(index).cloned().unwrap_or_default(),
        };
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, FIRST_POD_PORT + ordinal));
        let port = Port::bind(address, mounted_config::tls(&manager.spec)?).await?;
        let mut ended = ended.clone();
        let stop = async move {
            // Nobody drops the sender before the end.
            let _ = ended.wait_for(|ended| *ended).await;
        };
        ports.spawn(port.serve(routes(served), stop, GRACE));
    }
    background.spawn("the submission of tasks", submitter.run(metrics.clone()));
    health.missing(Vec::new());
    let announcer = Announcer::start(discovery);
    let mut states = announcer.states();
    background.spawn(
        "the check that Indexers are hidden",
        indexers::run(indexers, tasks.indexers().clone(), announcer.states()),
    );
    tokio::select! {
        () = background::run(assigner.clone()) => bail!("the upkeep of tasks ended, so the process exits"),
        () = status_writer.keep(&announcer, &discovered) => bail!("the watch of the VirtualMiddleManager \
            ended, so the process exits"),
        Some(port) = ports.join_next() => bail!("a port is no longer served, so the process exits: {port:?}"),
        ended = background.ended() => return Err(ended.into()),
        () = async { while states.changed().await.is_ok() {} } => bail!("the announcement of the workers \
            ended, so the process exits"),
        () = shutdown.requested() => {}
        () = mounted.changed(|| mounted_config::check(&manager.spec)) => tracing::info!("a mounted Secret \
            has changed: the process exits, to be started again with it"),
    }

    tasks.drain();
    let heard = futures::future::join_all(lines.iter().map(|line| line.delivered_all()));
    if tokio::time::timeout(FAREWELL, heard).await.is_err() {
        tracing::info!("no overlord polled in time to learn that no more tasks are accepted");
    }
    for flag in &discovered {
        flag.store(false, Ordering::Relaxed);
    }
    if let Err(error) = announcer.stop().await {
        tracing::warn!(%error, "stopping");
    }
    for line in &lines {
        line.close();
    }
    let _ = ending.send(true);
    while ports.join_next().await.is_some() {}
    tracing::info!("stopped");
    Ok(())
}

/// Where the workers are announced, and what announces Indexers to brokers and coordinators.
fn discovery(
    client: &Client,
    options: &Options,
    manager: &VirtualMiddleManager,
) -> anyhow::Result<(Service, Option<ManuallyDrop<Announcer<QueryServer>>>)> {
    let process = this_process(&host_name());
    match mounted_config::discovery(&manager.spec)? {
        DiscoverySettings::ZooKeeper(zookeeper) => {
            // With a session of its own, which outlives the announcements of the workers.
            let queries = Announcer::start(ZooKeeper::new(&zookeeper, process.clone())?);
            let workers = Service::ZooKeeper(ZooKeeper::new(&zookeeper, process)?);
            Ok((workers, Some(ManuallyDrop::new(queries))))
        }
        DiscoverySettings::Kubernetes(cluster) => {
            let (namespace, name) = (&options.namespace, &options.name);
            let workers = Kubernetes::new(client.clone(), namespace, name, &cluster, process);
            Ok((Service::Kubernetes(workers), None))
        }
    }
}

/// What looks after the tasks that users apply, and how it is told which they may be.
fn submitter(
    assigner: &Arc<Assigner<Arc<LongPoll>>>,
    manager: &VirtualMiddleManager,
    overlord: &Overlord,
) -> anyhow::Result<(watch::Sender<Policy>, OfUsers)> {
    let (policy, policies) = watch::channel(Policy::of(manager.spec.submissions.as_ref()));
    let queue = Queue {
        submitter: Overlord::new(&mounted_config::submitter(&manager.spec)?)?,
        observer: overlord.clone(),
    };
    Ok((policy, Submitter::new(assigner.clone(), queue, policies)))
}

async fn probes(listen: SocketAddr, health: &Health, background: &mut Background) -> anyhow::Result<()> {
    let port = bind(listen)
        .await
        .with_context(|| format!("--listen {listen} cannot be bound"))?;
    background.spawn("the heartbeat", health.clone().beat());
    let probes = http_server::serve(port, health.clone().routes(), http_server::PROBES);
    background.spawn("the probes", probes);
    Ok(())
}

/// The object. While the API server does not answer it is waited for: a container that ends for it is started again less
/// and less often, and would come minutes after the API server.
async fn object(client: &Client, options: &Options, health: &Health) -> anyhow::Result<VirtualMiddleManager> {
    let api: Api<Guarded<VirtualMiddleManager>> = Api::namespaced(client.clone(), &options.namespace);
    loop {
        let found = request_within(PROMPT, "get virtualmiddlemanager", api.get(&options.name)).await;
        let why = match found {
            Ok(Guarded(Ok(manager))) => {
                return match ready_condition::lacks_authentication(&manager.spec) {
                    Some(missing) => bail!("the VirtualMiddleManager {}: {missing}", options.name),
                    None => Ok(manager),
                };
            }
            Ok(Guarded(Err(unreadable))) => unreadable.error,
            Err(error) if error.code() == Some(404) => {
                bail!("the VirtualMiddleManager {} does not exist", options.name)
            }
            Err(error) => error.why(),
        };
        let why = format!("the VirtualMiddleManager {} cannot be read: {why}", options.name);
        tracing::warn!(why, "waiting");
        health.missing(vec![why]);
        tokio::time::sleep(AGAIN).await;
    }
}

/// Nothing is served before it is known what there is: an overlord takes what is missing for lost.
async fn listed(assigner: &Assigner<Arc<LongPoll>>, health: &Health) {
    while let Err(error) = assigner.list().await {
        tracing::warn!(%error, "waiting");
        health.missing(vec![error.to_string()]);
        tokio::time::sleep(AGAIN).await;
    }
}

/// The hash by which overlords tell the histories of two processes apart.
fn hash() -> i64 {
    use std::hash::{BuildHasher, RandomState};
    // RandomState is seeded by the operating system. As positive as Druid's own, which are times.
    i64::try_from(RandomState::new().hash_one(std::process::id()) >> 1).unwrap_or(i64::MAX)
}

fn host_name() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "middle-manager".to_owned())
}
