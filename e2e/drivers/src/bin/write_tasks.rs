//! Creates PeonTasks as a VirtualMiddleManager does and patches their statuses as the operator does, for
//! `make bench-schema`, and reads meanwhile how much cpu other processes use.
//!
//! Not a part of the product: it is in no image. It prints one JSON object; `e2e/src/bench/schema` reads it.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use e2e_drivers::cpu::{measured, until_idle};
use e2e_drivers::statuses::{running, settings, starting, succeeded};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use peon_operator::api::status_patch::replacing;
use peon_operator::api::virtual_middle_manager::PayloadPlace;
use peon_operator::api::{PeonTask, Phase};
use peon_operator::apiserver::{client, status::patch_status};
use peon_operator::druid::payload::Payload;
use peon_operator::metrics::Metrics;
use peon_operator::middle_manager::assign::decide::assignment::Maker;
use peon_operator::middle_manager::registry::announcement::facts;
use peon_operator::middle_manager::registry::identity::Ordinal;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// For everything together.
const LIMIT: Duration = Duration::from_secs(600);
/// Requests under way at the same time.
const CONCURRENCY: usize = 4;
/// How long cpu is read while nothing is requested.
const IDLE: Duration = Duration::from_secs(3);
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
            let patch = replacing(task.status.as_ref(), &status)?;
            let (verb, name) = ("patch peontasks/status", task.name_any());
            let version = task.resource_version();
            let now = patch_status(verb, api, &name, version.as_deref(), &patch).await?;
            let mut task = task;
            task.metadata.resource_version = now.resource_version;
            task.status = Some(status);
            anyhow::Ok((nth, task))
        });
        tasks = patched.buffer_unordered(CONCURRENCY).try_collect().await?;
    }
    for (_, task) in tasks {
        let phase = api
            .get_status(&task.name_any())
            .await?
            .status
            .and_then(|s| s.phase);
        ensure!(phase == Some(Phase::Succeeded), "the task is {phase:?}");
    }
    Ok(count * PATCHES)
}
