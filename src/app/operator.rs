//! The process of `peon-operator`, from start to end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kube::api::ListParams;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Resource};

use super::options::{Config, PodUser};
use crate::api::{IndexerPool, OPERATOR, PeonTask, PeonTemplate, VirtualMiddleManager};
use crate::apiserver::classify::decode::{Guarded, Readable};
use crate::apiserver::request::request;
use crate::apiserver::watch::in_scope;
use crate::clock::Clock;
use crate::druid::properties::RuntimeProperties;
use crate::indexer::client::connect;
use crate::indexer::polls::Polls;
use crate::logs::fair_share::Shares;
use crate::logs::follower::Followers;
use crate::logs::follower::collect::Limits;
use crate::logs::follower::spool::{Disk, IDLE};
use crate::logs::format::location::Location;
use crate::logs::server;
use crate::logs::store::archive::Archive;
use crate::logs::store::client::Identity;
use crate::metrics::Metrics;
use crate::middle_manager;
use crate::middle_manager::controller::decide::objects::Surroundings;
use crate::pool;
use crate::pool::pods::IndexerPods;
use crate::pool::work::Work;
use crate::process::background::Background;
use crate::process::election::Candidate;
use crate::process::health::Health;
use crate::process::http_server;
use crate::process::leadership::Leadership;
use crate::process::shutdown::Shutdown;
use crate::task::controller::{self, Context};
use crate::task::effects::act::Actor;
use crate::task::template_status::TemplateStatusWriter;
use crate::task::watch::Caches;

/// How often to look for custom resources that do not exist yet.
const CRD_INTERVAL: Duration = Duration::from_secs(3);
/// Most bytes of one log that wait on disk for a store.
pub const SPOOL: u64 = 256 << 20;
/// Parts of logs, logs that are put together, and reports in memory at the same time: up to 16 MiB each.
pub const UPLOADS: u64 = 4;
/// How long passes that have begun may take to end after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs the operator until it is asked to stop.
///
/// Order of the end: no new passes, those that have begun end, the lease is released. A process that loses its
/// lease ends with an error: whatever it held in memory is not the truth any more.
///
/// # Errors
/// When the process cannot start, or lost its lease.
#[allow(clippy::too_many_lines)] // The order of the start and of the end, in one place.
pub async fn run(config: Config) -> anyhow::Result<()> {
    crate::process::telemetry::start(&config.log)?;
    let shutdown = Shutdown::on_signals()?;
    let mut operator = read_properties(&config)?;
    operator.sidecar_image.clone_from(&config.image);
    operator.platform_user = config.pod_user == PodUser::Platform;
    operator.log_flush_seconds = u32::try_from(config.log_flush_seconds).ok();
    operator.log_most_bytes = Some(config.log_most_bytes);
    let operator = Arc::new(operator);
    let archive = open_archive(&config, &operator).context("logs cannot be archived")?;
    let namespace = config
        .namespace
        .clone()
        .or_else(|| operator.namespace.clone())
        .filter(|n| !n.is_empty());
    let metrics = Metrics::default();
    let health = Health::new(metrics.clone());
    let mut background = Background::default();
    serve_probes(&config, &health, &mut background).await?;

    let client = crate::apiserver::client::connect(&metrics)
        .await
        .context("there is no usable cluster configuration (service account or kubeconfig)")?;
    if let Some(archive) = &archive {
        let served = server::serve(config.archive_listen, archive.clone()).await?;
        background.spawn("the archive's server", served);
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = namespace.as_deref().unwrap_or("(all)"),
        "starting"
    );
    tokio::select! {
        () = await_resources(&config, &client, namespace.as_deref(), &health) => {}
        ended = background.ended() => return Err(ended.into()),
        () = shutdown.clone().requested() => return Ok(()),
    }
    let pods = Arc::new(IndexerPods::default());
    let (caches, watches) = Caches::start(&client, namespace.as_deref(), &metrics, pods.clone());
    health.caches(caches.clone());
    let retain = config.retain_finished.and_then(|n| usize::try_from(n).ok());
    caches.aggregates.retention.limit(retain);
    background.spawn("the watches", watches);

    let lease_namespace = config
        .lease_namespace
        .clone()
        .unwrap_or_else(|| client.default_namespace().to_owned());
    let identity = config.identity.clone().unwrap_or_else(identity);
    let mut candidate = Candidate::new(
        client.clone(),
        &lease_namespace,
        &config.lease_name,
        &identity,
        config.lease_duration(),
    );
    let followed = tokio::select! {
        followed = candidate.win() => followed,
        ended = background.ended() => return Err(ended.into()),
        () = shutdown.clone().requested() => return Ok(()),
    };
    // The last writes of the process that led before may not have been seen yet.
    let settled = Instant::now()
        + if followed {
            config.lease_duration()
        } else {
            Duration::ZERO
        };
    caches.aggregates.indexers.opens(settled);
    tracing::info!(lease = config.lease_name, identity, "leading");
    metrics.leader(true);

    let recorder = Recorder::new(
        client.clone(),
        Reporter {
            controller: OPERATOR.into(),
            instance: Some(identity),
        },
    );
    if let Some(archive) = archive {
        keep_logs(&config, archive, namespace.as_deref(), &client, &caches, &metrics);
    }
    let manager_client = client.clone();
    let templates = TemplateStatusWriter::new(
        client.clone(),
        caches.clone(),
        operator.clone(),
        candidate.leadership(),
    );
    background.spawn("the status of PeonTemplates", templates.run());
    let actor = Actor::new(
        client,
        recorder.clone(),
        candidate.leadership(),
        caches.aggregates.clone(),
    )
    .with_logs(caches.logs.clone());
    let work = Work::new(caches.clone(), Polls::new(Clock::default()), connect());
    let actor = actor.with_indexers(Arc::new(work.clone()));
    background.spawn("the polls of Indexers", work.clone().wake(pods.clone()));
    let pools = pool::controller::Surroundings {
        caches: caches.clone(),
        pods,
        work,
        operator: operator.clone(),
        leadership: candidate.leadership(),
        recorder: recorder.clone(),
        // Without an archive nobody else reads them.
        streams: caches.logs.get().map(Followers::streams).unwrap_or_default(),
    };
    let context = Arc::new(Context::new(caches, actor, operator, metrics.clone()));
    let mut passes = tokio::spawn(controller::run(context, shutdown.clone().requested()));
    if let Some(managers) = manage(
        &config,
        &manager_client,
        namespace.clone(),
        candidate.leadership(),
        &metrics,
        &shutdown,
    ) {
        background.spawn("the controller of VirtualMiddleManagers", managers);
        let pools = run_pools(manager_client, namespace, pools, &metrics, &shutdown);
        background.spawn("the controller of IndexerPools", pools);
    }
    let lost = tokio::select! {
        // Asked first: both controllers end by themselves when it is requested.
        biased;
        () = shutdown.requested() => false,
        () = candidate.hold() => true,
        ended = &mut passes => {
            ended.context("the controller of PeonTasks ended, so the process exits")?;
            bail!("the controller of PeonTasks ended, so the process exits");
        }
        ended = background.ended() => return Err(ended.into()),
    };
    metrics.leader(false);
    if lost {
        bail!("the lease was lost, so the process exits: another process may lead now");
    }
    drain(passes, &mut candidate).await;
    drop(background);
    candidate.release().await;
    tracing::info!("stopped");
    Ok(())
}

fn log_properties(
    config: &Config,
    operator: &RuntimeProperties,
) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
    let mut all = operator.logs.0.clone();
    if let Some(path) = &config.log_properties {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--log-properties {} cannot be read", path.display()))?;
        let more = RuntimeProperties::parse(&text).with_context(|| format!("in {}", path.display()))?;
        all.extend(more.logs.0);
    }
    Ok(all)
}

/// Where logs are archived, where the operator's properties say where. Nothing is sent to a store yet: one that does not
/// answer keeps no operator from starting.
fn open_archive(config: &Config, operator: &RuntimeProperties) -> anyhow::Result<Option<Archive>> {
    let location = Location::from_properties(&log_properties(config, operator)?)?;
    let least = u64::from(config.log_followers) * IDLE;
    if location.is_some() && config.log_spool_budget() < least {
        bail!(
            "--log-spool-size is too small for --log-followers {}: set it to at least {} MiB",
            config.log_followers,
            (least / 4 * 5).div_ceil(1 << 20)
        );
    }
    let open = |location| Archive::open(location, Identity::Ambient);
    Ok(location.map(open).transpose()?)
}

fn keep_logs(
    config: &Config,
    archive: Archive,
    namespace: Option<&str>,
    client: &Client,
    caches: &Caches,
    metrics: &Metrics,
) {
    tracing::info!(to = %archive.location(), "logs are archived");
    // Where there is one namespace only, nobody is to be protected from it.
    let shared = match namespace {
        Some(_) => Shares::of_one,
        None => Shares::fair,
    };
    let limits = Limits {
        flush: Duration::from_secs(config.log_flush_seconds),
        most: config.log_most_bytes,
        disk: Disk {
            folder: config.log_spool.clone(),
            most: SPOOL,
            budget: shared(config.log_spool_budget()),
        },
        uploads: shared(UPLOADS),
        metrics: metrics.logs(),
    };
    let waker = caches.clone();
    let wake = Box::new(move |namespace: &str, name: &str| waker.wake_named(namespace, name));
    let places = shared(config.log_followers.into());
    let followers = Followers::new(client.clone(), archive, limits, places, wake);
    // It is set once: here.
    let _ = caches.logs.set(followers);
}

/// From now on, until the process ends.
async fn serve_probes(config: &Config, health: &Health, background: &mut Background) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("--listen {} cannot be bound", config.listen))?;
    background.spawn("the heartbeat", health.clone().beat());
    let probes = http_server::serve(listener, health.clone().routes(), http_server::PROBES);
    background.spawn("the probes", probes);
    Ok(())
}

/// Looks after VirtualMiddleManagers, where the operator may.
fn manage(
    config: &Config,
    client: &Client,
    namespace: Option<String>,
    leadership: Leadership,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let surroundings = Surroundings {
        image: config.image.clone()?,
        role: config.middle_manager_role.clone()?,
        pod: config.middle_manager_pod.clone(),
    };
    let (client, metrics, stop) = (client.clone(), metrics.clone(), shutdown.clone());
    Some(async move {
        let (namespace, stop) = (namespace.as_deref(), stop.requested());
        middle_manager::controller::run(client, namespace, leadership, surroundings, metrics, stop).await;
    })
}

/// Looks after IndexerPools, whose tasks come from VirtualMiddleManagers.
fn run_pools(
    client: Client,
    namespace: Option<String>,
    surroundings: pool::controller::Surroundings,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + Send + 'static {
    let (metrics, stop) = (metrics.clone(), shutdown.clone());
    async move {
        let (namespace, stop) = (namespace.as_deref(), stop.requested());
        pool::controller::run(client, namespace, surroundings, metrics, stop).await;
    }
}

/// Lets passes end, under a lease that is still renewed.
async fn drain(passes: tokio::task::JoinHandle<()>, candidate: &mut Candidate) {
    if passes.is_finished() {
        return;
    }
    tokio::select! {
        ended = tokio::time::timeout(DRAIN, passes) => {
            if ended.is_err() {
                tracing::warn!("a pass did not end in time and is aborted");
            }
        }
        () = candidate.hold() => tracing::warn!("the lease was lost during shutdown"),
    }
}

fn read_properties(config: &Config) -> anyhow::Result<RuntimeProperties> {
    let Some(path) = &config.runtime_properties else {
        return Ok(RuntimeProperties::default());
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--runtime-properties {} cannot be read", path.display()))?;
    let properties = RuntimeProperties::parse(&text).with_context(|| format!("in {}", path.display()))?;
    for name in &properties.unknown {
        tracing::warn!(
            name,
            "the operator does not use this property; to set it for peons, prefix it with \
             druid.indexer.fork.property."
        );
    }
    Ok(properties)
}

/// Unique for the life of the process: a restarted one must not take its predecessor's lease for its own.
fn identity() -> String {
    use std::hash::{BuildHasher, RandomState};
    let host = std::env::var("HOSTNAME")
        .ok()
        .filter(|h| !h.is_empty())
        .unwrap_or_else(|| OPERATOR.into());
    // RandomState is seeded by the operating system.
    format!("{host}_{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// Waits for the custom resources: an operator that is installed before them waits, it does not crash.
async fn await_resources(config: &Config, client: &Client, namespace: Option<&str>, health: &Health) {
    loop {
        let mut missing = Vec::new();
        missing.extend(probe::<PeonTask>(client, namespace).await);
        missing.extend(probe::<PeonTemplate>(client, namespace).await);
        if config.middle_manager_role.is_some() {
            missing.extend(probe::<VirtualMiddleManager>(client, namespace).await);
            missing.extend(probe::<IndexerPool>(client, namespace).await);
        }
        if missing.is_empty() {
            return;
        }
        tracing::warn!(missing = missing.join("; "), "waiting");
        health.missing(missing);
        tokio::time::sleep(CRD_INTERVAL).await;
    }
}

async fn probe<K>(client: &Client, namespace: Option<&str>) -> Option<String>
where
    K: Readable + Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug,
{
    // Not only the metadata: its `managedFields` are as deep as the object, and nothing guards them.
    let api = in_scope::<Guarded<K>>(client, namespace);
    let plural = K::plural(&());
    let params = ListParams::default().limit(1);
    let why = match request("list custom resources", api.list(&params)).await {
        Ok(_) => return None,
        Err(error) if error.code() == Some(404) => "the custom resource is not installed".to_owned(),
        Err(error) => error.why(),
    };
    Some(format!("{plural}.{}: {why}", crate::api::GROUP))
}
