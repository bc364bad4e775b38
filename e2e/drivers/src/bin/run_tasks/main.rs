//! Runs many tasks in one of the ways that `make bench` compares, and reads meanwhile how much cpu other processes use.
//!
//! Not a part of the product: it is in no image. It prints one JSON object; `e2e/src/bench/tasks` reads it.

mod board;
mod clean;
mod floor;
mod objects;
mod pool;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use e2e_drivers::client;
use e2e_drivers::cpu::{measured, until_idle};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::board::Board;
use self::objects::Objects;
use self::pool::Assignments;

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
    /// Deletes all tasks of a namespace, and what belongs to them.
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
    /// Most tasks that have not ended at the same time; all of them if it is absent.
    #[arg(long)]
    in_flight: Option<usize>,
    /// File with the objects of a task.
    #[arg(long)]
    objects: PathBuf,
    /// The VirtualMiddleManager whose workers' tasks those for a pool are.
    #[arg(long, default_value = "workers")]
    middle_manager: String,
    /// Payloads of tasks for a pool, and of those without pods, are in the PeonTasks, not in Secrets.
    #[arg(long)]
    inline: bool,
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
    /// The same without ConfigMaps and pods.
    CrdOnly,
    /// The Job controller.
    Job,
    /// The operator.
    Operator,
    /// The operator, with tasks that an overlord assigned, in Indexers of a pool.
    Pool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let client = client(AGENT).await?;
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
    let objects = Objects::read(run, client)?;
    let source = Arc::new(if run.way == Way::Pool {
        Source::Overlord(Assignments::make(run, client, &objects)?)
    } else {
        Source::Client(Box::new(objects))
    });
    let names = match &*source {
        Source::Client(_) => (0..run.count).map(|n| format!("{}-{n}", run.prefix)).collect(),
        Source::Overlord(assignments) => assignments.names(),
    };
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
    let work = async {
        // The first failure ends both.
        tokio::try_join!(begin_all(run, &source, &board, &names), board.until_done()).map(drop)
    };
    let (took, ()) = measured(&run.processes, work).await?;
    drop(watches);
    Ok(json!({"idle": idle, "run": took, "tasks": board.times(&names)}))
}

/// Where the tasks come from.
enum Source {
    Client(Box<Objects>),
    Overlord(Assignments),
}

/// Begins all tasks, each when there is room for it.
async fn begin_all(
    run: &Run,
    source: &Arc<Source>,
    board: &Arc<Board>,
    names: &[String],
) -> anyhow::Result<()> {
    let permits = Arc::new(Semaphore::new(CONCURRENCY));
    let room = Arc::new(Semaphore::new(run.in_flight.unwrap_or(Semaphore::MAX_PERMITS)));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (at, name) in (0_u32..).zip(names.iter().cloned()) {
        if let Some(rate) = run.rate {
            sleep_until(began + Duration::from_secs_f64(f64::from(at) / rate)).await;
        }
        let place = room.clone().acquire_owned().await?;
        let (source, board, permits, way) = (source.clone(), board.clone(), permits.clone(), run.way);
        let waits = run.in_flight.is_some();
        tasks.spawn(async move {
            begin(&source, &board, &permits, &name, way).await?;
            if waits {
                board.until_verdict(&name).await?;
            }
            drop(place);
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn begin(
    source: &Source,
    board: &Board,
    permits: &Arc<Semaphore>,
    name: &str,
    way: Way,
) -> anyhow::Result<()> {
    match source {
        Source::Client(objects) if matches!(way, Way::Plain | Way::Crd | Way::CrdOnly) => {
            floor::run(objects, board, permits, name, way).await
        }
        Source::Client(objects) => {
            let _permit = permits.acquire().await?;
            board.created(name);
            objects.submit(name).await
        }
        Source::Overlord(assignments) => {
            let _permit = permits.acquire().await?;
            board.created(name);
            assignments.assign(name).await
        }
    }
}
