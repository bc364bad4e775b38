//! Runs many tasks in one of the ways that `make bench` compares, and reads meanwhile how much cpu other processes use.
//!
//! Not a part of the product: it is in no image. It prints one JSON object; `e2e/src/bench/tasks` reads it.

mod board;
mod clean;
mod floor;
mod objects;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use e2e_drivers::cpu::{measured, until_idle};
use http::{HeaderValue, header::USER_AGENT};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::board::Board;
use self::objects::Objects;

/// Name in the audit log.
const AGENT: &str = "bench-tasks/1";
/// For everything together.
const LIMIT: Duration = Duration::from_secs(1500);
/// How long cpu is read while nothing is requested.
const IDLE: Duration = Duration::from_secs(3);
/// Requests of this program under way at the same time: as many as the operator has passes.
const CONCURRENCY: usize = 48;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Creates tasks, and waits for their ends.
    Run(Run),
    /// Deletes all tasks, pods and ConfigMaps of a namespace.
    Clean {
        #[arg(value_enum)]
        way: Way,
        namespace: String,
    },
}

#[derive(clap::Args)]
struct Run {
    #[arg(value_enum)]
    way: Way,
    namespace: String,
    count: usize,
    /// What the names of the tasks begin with.
    #[arg(long)]
    prefix: String,
    /// Tasks a second; all at once if it is absent.
    #[arg(long)]
    rate: Option<f64>,
    /// File with the objects of a task.
    #[arg(long)]
    objects: PathBuf,
    /// Done when all tasks run.
    #[arg(long)]
    until_running: bool,
    /// Processes whose cpu is read.
    #[arg(long = "process")]
    processes: Vec<i32>,
}

/// How tasks become pods.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// This program creates trivial objects, ConfigMaps and pods, and patches two statuses for each task.
    Plain,
    /// The same with PeonTasks, and with the statuses that the operator writes.
    Crd,
    /// The Job controller.
    Job,
    /// The operator.
    Operator,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mut config = Config::infer().await?;
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    let client = ClientBuilder::try_from(config)?.build();
    let work = async {
        match cli.action {
            Action::Run(run) => run_tasks(&run, &client).await,
            Action::Clean { way, namespace } => clean::clean(&client, way, &namespace).await,
        }
    };
    println!("{}", timeout(LIMIT, work).await.context("not done in time")??);
    Ok(())
}

async fn run_tasks(run: &Run, client: &Client) -> anyhow::Result<Value> {
    let objects = Arc::new(Objects::read(run, client)?);
    let names: Vec<String> = (0..run.count).map(|n| format!("{}-{n}", run.prefix)).collect();
    let board = Arc::new(Board::new(&names, run.until_running));
    let watches = board::watch_all(client, run, &board).await?;
    let (idle, ()) = if run.processes.is_empty() {
        (Value::Null, ())
    } else {
        until_idle(&run.processes).await?;
        measured(&run.processes, async {
            sleep(IDLE).await;
            Ok(())
        })
        .await?
    };
    let work = all(run, &objects, &board, names.clone());
    let (took, ()) = measured(&run.processes, work).await?;
    drop(watches);
    Ok(json!({"idle": idle, "run": took, "tasks": board.times(&names)}))
}

/// Creates the tasks and waits until all are done.
async fn all(
    run: &Run,
    objects: &Arc<Objects>,
    board: &Arc<Board>,
    names: Vec<String>,
) -> anyhow::Result<()> {
    let permits = Arc::new(Semaphore::new(CONCURRENCY));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (at, name) in (0_u32..).zip(names) {
        if let Some(rate) = run.rate {
            sleep_until(began + Duration::from_secs_f64(f64::from(at) / rate)).await;
        }
        let (objects, board, permits, way) = (objects.clone(), board.clone(), permits.clone(), run.way);
        tasks.spawn(async move {
            match way {
                Way::Plain | Way::Crd => floor::run(&objects, &board, &permits, &name, way).await,
                Way::Job | Way::Operator => {
                    let _permit = permits.acquire().await?;
                    board.created(&name);
                    objects.submit(&name).await
                }
            }
        });
    }
    let created = async {
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        board.until_done().await
    };
    created.await
}
