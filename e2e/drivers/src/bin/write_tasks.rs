//! Creates PeonTasks as a VirtualMiddleManager does and patches their statuses as the operator does, for
//! `make bench-schema`, and reads meanwhile how much cpu other processes use.
//!
//! Not a part of the product: it is in no image. It prints one JSON object; `e2e/src/bench/schema` reads it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use peon_operator::api::status_patch::replacing;
use peon_operator::api::virtual_middle_manager::PayloadPlace;
use peon_operator::api::{PeonEndpoint, PeonTask, PeonTaskStatus, Phase};
use peon_operator::apiserver::{client, status::patch_status};
use peon_operator::druid::payload::Payload;
use peon_operator::metrics::Metrics;
use peon_operator::middle_manager::assign::decide::assignment::Maker;
use peon_operator::middle_manager::registry::announcement::facts;
use peon_operator::middle_manager::registry::identity::Ordinal;
use peon_operator::task::accept::ladder::Growth;
use peon_operator::task::accept::properties_file::PropertiesFile;
use peon_operator::task::accept::settings::{Settings, Source};
use peon_operator::task::decide::status::Draft;
use peon_operator::task::decide::verdict::{Outcome, Verdict};
use peon_operator::task::run::pod::evidence::Terminated;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// For everything together.
const LIMIT: Duration = Duration::from_secs(600);
/// Requests under way at the same time.
const CONCURRENCY: usize = 4;
/// How long cpu is read while nothing is requested.
const IDLE: Duration = Duration::from_secs(3);
/// Below this share of a core the processes count as idle, for instance after they have read a new CRD.
const IDLE_SHARE: f64 = 0.15;
/// Most seconds that idle processes are waited for; then they are read as they are.
const MOST_WAITS: usize = 20;
/// Clock ticks of `/proc/PID/stat` in a second: `USER_HZ` of every Linux.
const TICKS: f64 = 100.0;
/// Status patches that a task gets: `Starting`, `Running`, `Succeeded`.
const PATCHES: usize = 3;

#[derive(Parser)]
struct Cli {
    /// Namespace of the PeonTasks.
    namespace: String,
    /// Title of a column by which the CRD to wait for is recognised.
    column: String,
    /// How many PeonTasks are created, and how many status patches are sent.
    count: usize,
    /// Processes whose cpu is read.
    processes: Vec<i32>,
}

/// Seconds of cpu of a process since its start.
#[derive(Clone, Copy)]
struct Cpu {
    user: f64,
    system: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let client = client::connect(&Metrics::default()).await?;
    let said = timeout(LIMIT, run(&cli, &client)).await;
    println!("{}", said.context("not done in time")??);
    Ok(())
}

async fn run(cli: &Cli, client: &Client) -> anyhow::Result<Value> {
    until_served(client, &cli.column).await?;
    let api: Api<PeonTask> = Api::namespaced(client.clone(), &cli.namespace);
    // The first object of a new schema is no creation like the others.
    api.create(&PostParams::default(), &new_task(cli, cli.count)?)
        .await?;
    until_idle(&cli.processes).await?;
    let idle = measured(&cli.processes, async {
        sleep(IDLE).await;
        Ok(())
    });
    let (idle, ()) = idle.await?;
    let (create, tasks) = measured(&cli.processes, create(cli, &api)).await?;
    let (patch, patches) = measured(&cli.processes, patch(cli, &api, tasks)).await?;
    // The requests return when the objects are gone: none has dependents.
    api.delete_collection(&DeleteParams::background(), &ListParams::default())
        .await?;
    Ok(json!({
        "idle": idle, "create": create, "patch": patch, "creations": cli.count, "patches": patches,
    }))
}

/// Waits until the API server serves the CRD that has this column.
async fn until_served(client: &Client, column: &str) -> anyhow::Result<()> {
    loop {
        let request = http_table("/apis/peon.dev/v1alpha1/peontasks?limit=1")?;
        // Without a CRD there is no such path.
        let table = client.request::<Value>(request).await.unwrap_or_default();
        let columns = table["columnDefinitions"].as_array().into_iter().flatten();
        if columns.into_iter().any(|c| c["name"] == column) {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn http_table(path: &str) -> anyhow::Result<http::Request<Vec<u8>>> {
    let request = http::Request::get(path);
    let request = request.header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    Ok(request.body(Vec::new())?)
}

async fn until_idle(processes: &[i32]) -> anyhow::Result<()> {
    for _ in 0..MOST_WAITS {
        let before = read_all(processes)?;
        sleep(Duration::from_secs(1)).await;
        let used: f64 = differences(&before, &read_all(processes)?)
            .map(|c| c.user + c.system)
            .sum();
        if used < IDLE_SHARE {
            return Ok(());
        }
    }
    Ok(())
}

/// Runs `work`; with the seconds it took, and the cpu that each of the processes used meanwhile.
async fn measured<T>(
    processes: &[i32],
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(Value, T)> {
    let (before, began) = (read_all(processes)?, Instant::now());
    let done = work.await?;
    let seconds = began.elapsed().as_secs_f64();
    let used: Vec<Value> = differences(&before, &read_all(processes)?)
        .map(|cpu| json!({"user": cpu.user, "system": cpu.system}))
        .collect();
    Ok((json!({"seconds": seconds, "cpu": used}), done))
}

fn read_all(processes: &[i32]) -> anyhow::Result<Vec<Cpu>> {
    processes.iter().map(|id| read(*id)).collect()
}

fn read(process: i32) -> anyhow::Result<Cpu> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The program's name, in parentheses, may itself have blanks.
    let fields = stat.rsplit_once(')').context("no program")?.1;
    let mut fields = fields.split_whitespace().skip(11);
    let mut seconds = || -> anyhow::Result<f64> {
        let ticks: u32 = fields.next().context("no such field")?.parse()?;
        Ok(f64::from(ticks) / TICKS)
    };
    Ok(Cpu {
        user: seconds()?,
        system: seconds()?,
    })
}

fn differences<'a>(before: &'a [Cpu], after: &'a [Cpu]) -> impl Iterator<Item = Cpu> + 'a {
    before.iter().zip(after).map(|(before, after)| Cpu {
        user: after.user - before.user,
        system: after.system - before.system,
    })
}

fn payload(nth: usize) -> (String, String) {
    let id = format!("index_parallel_wikipedia_bdpkgnoi_2026-11-21T01:31:{nth:06}Z");
    let task = json!({
        "type": "index_parallel", "id": id, "dataSource": "wikipedia",
        "spec": {"dataSchema": {"dataSource": "wikipedia"}},
    });
    (id, task.to_string())
}

/// The PeonTask of an assignment. Its payload is in a Secret, as by default; the Secret itself is not created.
fn new_task(cli: &Cli, nth: usize) -> anyhow::Result<PeonTask> {
    let maker = Maker {
        middle_manager: "ingestion".to_owned(),
        uid: "6a4e1c0e-6c0e-4a55-9d3d-2f1f7c1f0a11".to_owned(),
        namespace: cli.namespace.clone(),
        labels: [].into(),
        payload: PayloadPlace::Secret,
    };
    let (id, json) = payload(nth);
    let facts = facts(&id, "index_parallel", Some("wikipedia"));
    Ok(maker.task(Ordinal(0), &facts, &json, 0)?.task)
}

async fn create(cli: &Cli, api: &Api<PeonTask>) -> anyhow::Result<Vec<(usize, PeonTask)>> {
    stream::iter(0..cli.count)
        .map(async |nth| {
            let task = new_task(cli, nth)?;
            anyhow::Ok((nth, api.create(&PostParams::default(), &task).await?))
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

/// Patches the statuses of as many tasks as needed; returns the number of patches.
///
/// The tasks get their first patch one after the other, then the second and the third, and not all three in a row: the
/// API server's cache would not have the last patch yet, and the API server would evaluate the next one twice.
async fn patch(cli: &Cli, api: &Api<PeonTask>, tasks: Vec<(usize, PeonTask)>) -> anyhow::Result<usize> {
    let settings = settings()?;
    let mut tasks: Vec<_> = tasks.into_iter().take(cli.count.div_ceil(PATCHES)).collect();
    let count = tasks.len();
    for next in [starting, running, succeeded] {
        let patched = stream::iter(tasks).map(async |(nth, task)| {
            let (_, json) = payload(nth);
            let payload = Payload::parse_chunked(json.as_bytes(), "")?;
            let status = next(&task, &payload, &settings);
            let status = replacing(task.status.as_ref(), &status)?;
            let (verb, name) = ("patch peontasks/status", task.name_any());
            let version = task.resource_version();
            let task: PeonTask = patch_status(verb, api, &name, version.as_deref(), &status).await?;
            anyhow::Ok((nth, task))
        });
        tasks = patched.buffer_unordered(CONCURRENCY).try_collect().await?;
    }
    for (_, task) in tasks {
        let phase = task.status.and_then(|s| s.phase);
        ensure!(phase == Some(Phase::Succeeded), "the task is {phase:?}");
    }
    Ok(count * PATCHES)
}

fn settings() -> anyhow::Result<Settings> {
    Ok(Settings {
        platform_user: false,
        image: "apache/druid:33.0.0".to_owned(),
        resources: k8s_openapi::api::core::v1::ResourceRequirements::default(),
        memory: ("2G".to_owned(), Source::Operator),
        cpu: ("1".to_owned(), Source::Operator),
        first_memory: "2G".to_owned(),
        growth: Growth::between("2G", "2G").map_err(anyhow::Error::msg)?,
        enforce: true,
        active_deadline_seconds: None,
        class_path: String::new(),
        host: "{address}".to_owned(),
        omitted: Vec::new(),
        properties_file: PropertiesFile::default(),
        java_opts: Vec::new(),
    })
}

/// What every status says once the task is accepted.
fn accepted(task: &PeonTask, payload: &Payload, settings: &Settings) -> Draft {
    let mut draft = Draft::of(task, Timestamp::now());
    draft.describe(payload);
    draft.template("default");
    draft.accept(settings);
    let name = task.name_any();
    let uid = "8f3c2a52-6c0e-4a55-9d3d-2f1f7c1f0a11";
    draft.pod(1, &format!("{name}-1"), uid, Some("node-1"));
    draft
}

fn starting(task: &PeonTask, payload: &Payload, settings: &Settings) -> PeonTaskStatus {
    let waiting = peon_operator::api::reason::Waiting::Starting;
    accepted(task, payload, settings).wait(Phase::Starting, waiting, "the pod was created")
}

fn running(task: &PeonTask, payload: &Payload, settings: &Settings) -> PeonTaskStatus {
    let mut draft = accepted(task, payload, settings);
    draft.location(Some("10.200.0.17"), &PeonEndpoint::default());
    draft.run(Some(Timestamp::now()))
}

fn succeeded(task: &PeonTask, payload: &Payload, settings: &Settings) -> PeonTaskStatus {
    let now = Timestamp::now();
    accepted(task, payload, settings).judge(&Verdict {
        outcome: Outcome::Succeeded,
        terminated: Some(Terminated {
            reason: "Completed".to_owned(),
            started: Some(now - SignedDuration::from_secs(10)),
            finished: Some(now),
            ..Terminated::default()
        }),
    })
}
