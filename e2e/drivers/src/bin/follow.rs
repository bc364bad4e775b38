//! Reads logs through the API server, for `make bench-logs`: as a plain client that copies, or as the operator's
//! followers.
//!
//! Not a part of the product: it is in no image. It says on standard output what it read and how much memory it had, as
//! one JSON object; who started it measures the time.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::routing::get;
use clap::{Parser, Subcommand};
use futures::future::try_join_all;
use futures::{AsyncRead, AsyncReadExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use peon_operator::apiserver::client;
use peon_operator::app::operator::{SPOOL, UPLOADS};
use peon_operator::logs::fair_share::Shares;
use peon_operator::logs::follower::collect::Limits;
use peon_operator::logs::follower::source::Source;
use peon_operator::logs::follower::spool::Disk;
use peon_operator::logs::follower::{Followers, Owner};
use peon_operator::logs::format::location::Location;
use peon_operator::logs::format::state::{KeepLog, LogState};
use peon_operator::logs::store::archive::Archive;
use peon_operator::logs::store::client::Identity;
use peon_operator::metrics::Metrics;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{interval, timeout};

/// For everything together.
const LIMIT: Duration = Duration::from_secs(600);
/// How often is looked at what no notice is given of.
const LOOK: Duration = Duration::from_millis(100);
/// As the operator has them by default.
const FLUSH: Duration = Duration::from_secs(30);
const MOST: u64 = 1 << 30;
/// The only container of the pods.
const CONTAINER: &str = "writer";

#[derive(Parser)]
struct Cli {
    /// Namespace of the pods.
    namespace: String,
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    /// Copies the stream that a follower reads, with its times, to a file.
    Copy { pod: String, file: PathBuf },
    /// Archives logs in a folder, with followers that share the pods. The log of the n-th is `<n>.log`.
    Archive(Work),
    /// Reads logs, and has a store that lists nothing and answers no other request: all of it waits in the spool.
    Hang(Work),
}

#[derive(clap::Args)]
struct Work {
    /// For archive and spool.
    folder: PathBuf,
    /// How many at the same time.
    followers: usize,
    /// How many bytes the logs have, of all followers together.
    bytes: u64,
    pods: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let metrics = Metrics::default();
    let client = client::connect(&metrics).await?;
    // What a client needs before its first request is no follower's.
    client.apiserver_version().await?;
    let read = match cli.step {
        Step::Copy { pod, file } => copy(source(client, &cli.namespace, pod), &file).await?,
        Step::Archive(work) => {
            let folder = work.folder.display();
            let store = format!("druid.indexer.logs.type=file\ndruid.indexer.logs.directory={folder}");
            Bench::new(client, metrics, cli.namespace, work, &store)?
                .archived()
                .await?
        }
        Step::Hang(work) => {
            let store = hanging_store().await?;
            Bench::new(client, metrics, cli.namespace, work, &store)?
                .all_read()
                .await?
        }
    };
    println!("{read}");
    Ok(())
}

fn source(client: Client, namespace: &str, pod: String) -> Source {
    Source {
        client,
        namespace: namespace.to_owned(),
        pod,
        // Only followers look whose the name is.
        pod_uid: String::new(),
        owner_uid: String::new(),
        container: CONTAINER.to_owned(),
        started: None,
        lines: None,
    }
}

async fn copy(source: Source, to: &Path) -> anyhow::Result<serde_json::Value> {
    let mut file = std::fs::File::create(to)?;
    let mut stream = source.open(None).await?;
    let copied = timeout(LIMIT, pour(&mut stream, &mut file)).await??;
    Ok(json!({"bytes": copied, "peakKib": memory("VmHWM")?}))
}

async fn pour(stream: &mut (impl AsyncRead + Unpin), file: &mut std::fs::File) -> anyhow::Result<u64> {
    let mut chunk = vec![0; 64 * 1024];
    let mut copied = 0;
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Ok(copied);
        }
        file.write_all(&chunk[..length])?;
        copied += length as u64;
    }
}

/// Properties of a store in this process that takes a list request, and nothing else.
async fn hanging_store() -> anyhow::Result<String> {
    const EMPTY: &str = "<ListBucketResult><Name>b</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let routes = Router::new().fallback(get(async || EMPTY).fallback(std::future::pending::<()>));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(format!(
        "druid.indexer.logs.type=s3\ndruid.indexer.logs.s3Bucket=b\ndruid.indexer.logs.s3Prefix=p\n\
         druid.s3.endpoint.url=http://127.0.0.1:{port}\ndruid.s3.enablePathStyleAccess=true\n\
         druid.s3.endpoint.signingRegion=r\ndruid.s3.accessKey=a\ndruid.s3.secretKey=s\n"
    ))
}

struct Bench {
    client: Client,
    metrics: Metrics,
    namespace: String,
    work: Work,
    followers: Followers,
    /// Those of the pods.
    pod_uids: parking_lot::Mutex<Vec<String>>,
    /// Notified when a log stands differently.
    changed: Arc<Notify>,
    idle: u64,
}

impl Bench {
    fn new(
        client: Client,
        metrics: Metrics,
        namespace: String,
        work: Work,
        store: &str,
    ) -> anyhow::Result<Self> {
        ensure!(!work.pods.is_empty(), "no pods");
        let properties = java_properties::read(store.as_bytes())?.into_iter().collect();
        let location = Location::from_properties(&properties)?.context("nothing is archived")?;
        let archive = Archive::open(location, Identity::Explicit)?;
        let changed = Arc::new(Notify::new());
        let waker = changed.clone();
        let limits = Limits {
            flush: FLUSH,
            most: MOST,
            disk: Disk {
                folder: work.folder.clone(),
                most: SPOOL,
                budget: Shares::of_one(u64::MAX),
            },
            uploads: Shares::of_one(UPLOADS),
            metrics: metrics.logs(),
        };
        let wake = Box::new(move |_: &str, _: &str| waker.notify_one());
        let places = Shares::of_one(work.followers.try_into()?);
        let followers = Followers::new(client.clone(), archive, limits, places, wake);
        Ok(Self {
            client,
            metrics,
            namespace,
            work,
            followers,
            pod_uids: parking_lot::Mutex::default(),
            changed,
            idle: memory("VmRSS")?,
        })
    }

    /// Says of the n-th log what the operator's controller would say.
    fn ask(&self, n: usize, ended: bool) -> LogState {
        let owner = Owner {
            namespace: self.namespace.clone(),
            name: n.to_string(),
            uid: format!("bench-{n}"),
            task_id: n.to_string(),
            created: None,
        };
        let ask = KeepLog {
            last_line: None,
            lines: None,
            attempt: 1,
            pod: self.work.pods[n % self.work.pods.len()].clone(),
            pod_uid: self.pod_uids.lock()[n % self.work.pods.len()].clone(),
            seen: true,
            container: CONTAINER.to_owned(),
            started: None,
            sidecar: false,
            ended,
            complete: false,
            last: ended,
        };
        self.followers.keep(&owner, &ask).state
    }

    /// Begins all of them, and says of each when its pod has ended.
    async fn follow(&self) -> anyhow::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        for pod in &self.work.pods {
            let uid = api.get_metadata(pod).await?.uid().unwrap_or_default();
            self.pod_uids.lock().push(uid);
        }
        for n in 0..self.work.followers {
            self.ask(n, false);
        }
        let pods = &self.work.pods;
        try_join_all((0..pods.len()).map(async |at| {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
            await_condition(api, &pods[at], has_ended).await?;
            for n in (at..self.work.followers).step_by(pods.len()) {
                self.ask(n, true);
            }
            anyhow::Ok(())
        }))
        .await?;
        Ok(())
    }

    async fn archived(self) -> anyhow::Result<serde_json::Value> {
        let all = async {
            self.follow().await?;
            let mut gaps = 0;
            for n in 0..self.work.followers {
                gaps += self.archived_one(n).await?;
            }
            anyhow::Ok(gaps)
        };
        let gaps = timeout(LIMIT, all).await.context("not archived in time")??;
        self.said(gaps)
    }

    async fn archived_one(&self, n: usize) -> anyhow::Result<u32> {
        loop {
            match self.ask(n, true) {
                LogState::Archived { gaps, .. } => return Ok(gaps),
                LogState::Nothing => return Ok(0),
                LogState::Failing { message } => anyhow::bail!("{message}"),
                LogState::Queued | LogState::Collecting => self.changed.notified().await,
            }
        }
    }

    async fn all_read(self) -> anyhow::Result<serde_json::Value> {
        let all = async {
            let mut look = interval(LOOK);
            let read = async {
                while self.count("log_read_bytes_total")? < self.work.bytes {
                    look.tick().await;
                }
                anyhow::Ok(())
            };
            let (followed, read) = futures::join!(self.follow(), read);
            followed.and(read)
        };
        timeout(LIMIT, all).await.context("not read in time")??;
        self.said(0)
    }

    fn count(&self, metric: &str) -> anyhow::Result<u64> {
        let text = self.metrics.text()?;
        let name = format!("peon_operator_{metric} ");
        let found = text.lines().find_map(|l| l.strip_prefix(&name));
        Ok(found.context("no such metric")?.parse()?)
    }

    fn said(&self, gaps: u32) -> anyhow::Result<serde_json::Value> {
        Ok(json!({
            "bytes": self.count("log_read_bytes_total")?,
            "gaps": gaps,
            "waiting": self.count("log_waiting_bytes")?,
            "idleKib": self.idle,
            "peakKib": memory("VmHWM")?,
        }))
    }
}

fn has_ended(pod: Option<&Pod>) -> bool {
    let phase = pod.and_then(|p| p.status.as_ref()?.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Memory of this process in KiB, by its name in `/proc/self/status`.
fn memory(name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    let number = line.and_then(|l| l.trim_start_matches(':').trim().strip_suffix(" kB"));
    Ok(number.context("no such line")?.trim().parse()?)
}
