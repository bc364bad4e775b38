//! `kubectl peon pool`: the IndexerPools of a namespace, or one with its Indexers and their tasks.

mod describe;
mod size;

use clap::{Args, Subcommand, ValueEnum};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use self::describe::{Details, IndexerTask, Overview, PodOf};
use super::complaint::is_forbidden;
use super::connection::{Cluster, Flags};
use super::outcome::Outcome;
use super::output::{self, Format, Style, note};
use crate::api::{IndexerPool, LABEL_POOL, PeonTask, names};
use crate::apiserver::classify::decode::Guarded;

/// Objects in one answer of the API server.
const PAGE: u32 = 100;
/// Selects the tasks that have no verdict.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// List IndexerPools, or show one with its Indexers and their tasks.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Pool {
    #[command(subcommand)]
    command: Option<PoolCommand>,

    /// Name of the IndexerPool; default: all of them, without their Indexers.
    name: Option<String>,

    /// IndexerPools of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "name")]
    all_namespaces: bool,

    /// Print the same as data in this format.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<PoolFormat>,
}

#[derive(Debug, Subcommand)]
enum PoolCommand {
    Size(size::Size),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PoolFormat {
    Json,
    Yaml,
}

impl From<PoolFormat> for Format {
    fn from(format: PoolFormat) -> Self {
        match format {
            PoolFormat::Json => Self::Json,
            PoolFormat::Yaml => Self::Yaml,
        }
    }
}

impl Pool {
    /// Lists the pools, or shows one.
    ///
    /// # Access control
    /// indexerpools: list, or with a name get; peontasks: list; with a name where allowed pods: list. With
    /// `--all-namespaces` in the whole cluster. `size`: none.
    pub(super) async fn run(&self, flags: &Flags) -> anyhow::Result<Outcome> {
        if let Some(PoolCommand::Size(size)) = &self.command {
            return size.run();
        }
        let (cluster, now) = (flags.connect().await?, Timestamp::now());
        match &self.name {
            Some(name) => self.one(&cluster, name, now).await?,
            None => self.all(&cluster, now).await?,
        }
        Ok(Outcome::Done)
    }

    async fn all(&self, cluster: &Cluster, now: Timestamp) -> anyhow::Result<()> {
        let (pools, tasks) = if self.all_namespaces {
            (Api::all(cluster.client.clone()), Api::all(cluster.client.clone()))
        } else {
            let (client, namespace) = (cluster.client.clone(), &cluster.namespace);
            (
                Api::namespaced(client.clone(), namespace),
                Api::namespaced(client, namespace),
            )
        };
        let pools = list_pools(cluster, &pools).await?;
        // Who has no pools need not have the right to list tasks.
        let tasks = if pools.is_empty() {
            Vec::new()
        } else {
            list_tasks(cluster, &tasks, Some(UNFINISHED)).await?
        };
        let overviews: Vec<Overview> = pools.iter().map(|pool| Overview::of(pool, &tasks, now)).collect();
        if overviews.is_empty() {
            let scope = if self.all_namespaces {
                "in any namespace".to_owned()
            } else {
                format!("in the namespace {}", cluster.namespace)
            };
            note(&format!("no IndexerPools {scope}"));
        }
        match self.output {
            Some(format) => {
                let items = serde_json::json!({ "items": overviews });
                output::print(&output::structured(format.into(), &items)?)?;
            }
            None if overviews.is_empty() => {}
            None => output::print(&describe::table(&overviews, self.all_namespaces))?,
        }
        Ok(())
    }

    async fn one(&self, cluster: &Cluster, name: &str, now: Timestamp) -> anyhow::Result<()> {
        let (client, namespace) = (cluster.client.clone(), &cluster.namespace);
        let pools: Api<IndexerPool> = Api::namespaced(client.clone(), namespace);
        let pool = pools.get(name).await;
        let pool = pool.map_err(|e| cluster.doing("get", "indexerpools", name).failed(e))?;
        // Those with a verdict, too: an Indexer stays until the log of its task is archived.
        let tasks = list_tasks(cluster, &Api::namespaced(client.clone(), namespace), None).await?;
        let pods = list_pods(cluster, &Api::namespaced(client, namespace), &pool).await?;
        if pods.is_none() {
            let right = cluster.doing("list", "pods", "").right();
            note(&format!(
                "you may not {right}: only the Indexers in the status of the pool are shown"
            ));
        }
        let details = Details::of(&pool, pods.as_deref(), &tasks, now);
        match self.output {
            Some(format) => output::print(&output::structured(format.into(), &details)?)?,
            None => output::print_styled(&details.text(Style::of_stdout()))?,
        }
        Ok(())
    }
}

/// The pools. One that cannot be decoded does not hide the others.
async fn list_pools(cluster: &Cluster, api: &Api<Guarded<IndexerPool>>) -> anyhow::Result<Vec<IndexerPool>> {
    let mut params = ListParams::default().limit(PAGE);
    let mut pools = Vec::new();
    loop {
        let page = api.list(&params).await;
        let page = page.map_err(|e| cluster.doing("list", "indexerpools", "").failed(e))?;
        for pool in page.items {
            let name = pool.name_any();
            match pool.0 {
                Ok(pool) => pools.push(pool),
                Err(unreadable) => undecoded("IndexerPool", &name, &unreadable.error),
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(pools),
        }
    }
}

/// Says that an object is left out.
fn undecoded(kind: &str, name: &str, error: &str) {
    note(&format!(
        "the {kind} {name} cannot be decoded ({error}): do kubectl peon and the cluster's CRDs have the same version?"
    ));
}

/// The tasks that run in a pool, or did. Of the others nothing is kept.
async fn list_tasks(
    cluster: &Cluster,
    api: &Api<Guarded<PeonTask>>,
    fields: Option<&str>,
) -> anyhow::Result<Vec<IndexerTask>> {
    let mut params = ListParams::default().limit(PAGE);
    params.field_selector = fields.map(str::to_owned);
    let mut tasks = Vec::new();
    loop {
        let page = api.list(&params).await;
        let page = page.map_err(|e| cluster.doing("list", "peontasks", "").failed(e))?;
        for task in page.items {
            let name = task.name_any();
            match task.0 {
                Ok(task) => tasks.extend(IndexerTask::of(&task)),
                Err(unreadable) => undecoded("PeonTask", &name, &unreadable.error),
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(tasks),
        }
    }
}

/// The pods of a pool; `None` without the right to list pods.
async fn list_pods(
    cluster: &Cluster,
    api: &Api<Pod>,
    pool: &IndexerPool,
) -> anyhow::Result<Option<Vec<PodOf>>> {
    let label = format!("{LABEL_POOL}={}", names::label_value(&pool.name_any()));
    match api.list(&ListParams::default().labels(&label)).await {
        Ok(list) => Ok(Some(
            list.items.iter().filter_map(|pod| PodOf::of(pod, pool)).collect(),
        )),
        Err(error) if is_forbidden(&error) => Ok(None),
        Err(error) => Err(cluster.doing("list", "pods", "").failed(error)),
    }
}
