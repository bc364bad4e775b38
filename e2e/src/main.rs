//! Command line of the test cluster.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use e2e::{
    bench, demo, suite,
    testbed::{
        cache::Cache,
        cluster::{self, Cluster},
        druid::Druid,
        exec,
        images::{self, Image},
        interrupt,
        lock::Busy,
        progress::Progress,
        target::Target,
        tools,
    },
};

#[derive(Parser)]
#[command(about = "Test cluster, images and real Druid of peon-operator", version)]
struct Cli {
    /// When another run uses the cluster, wait for it instead of failing.
    #[arg(long, global = true)]
    wait: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Install Debian packages and build the Kubernetes programs that are missing; prints the programs' folder.
    Tools,
    /// Print the oldest and the newest version of Kubernetes that the cluster can have: see the variable KUBERNETES.
    Versions,
    /// Build the container images that are missing (pause, operator, Druid, Kafka).
    Images {
        /// Only these; all when none is named.
        #[arg(value_enum)]
        only: Vec<Image>,
    },
    /// Start the cluster, of one node, and leave it running.
    Up,
    /// Stop the cluster and remove everything it made.
    Down,
    /// A second node inside the running cluster, for faults of nodes.
    Node {
        #[command(subcommand)]
        change: Node,
    },
    /// Say what runs.
    Status,
    /// List what a cluster left behind; fails when there is anything.
    Leftovers,
    /// Start the cluster, run a command with its KUBECONFIG, stop the cluster.
    Run {
        /// The command.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// Deploy a real Druid into the cluster, starting that when none is up, and leave both running.
    Druid {
        /// The namespace to deploy into.
        #[arg(default_value = "druid")]
        namespace: String,
    },
    /// Run the end-to-end cases.
    Test {
        /// Only cases whose names contain this, or one of several parts with commas between them.
        filter: Option<String>,
    },
    /// Show an ingestion from nothing to its segments.
    Demo {
        /// Leave everything running afterwards.
        #[arg(long)]
        keep: bool,
    },
    /// Measure what a task costs: this operator, the Job controller and bare clients in turns, on fake nodes.
    Bench(bench::tasks::Plan),
    /// Measure what the operator's log followers cost; wants `CONTAINER_LOG_MAX_SIZE=1Gi`.
    BenchLogs,
    /// Measure how soon tasks run and end, beside a stock MiddleManager.
    BenchMiddleManager(bench::middle_manager::Plan),
    /// Measure how many small tasks run in a pool, in pods of their own, and behind stock workers, and what they cost.
    BenchPool(bench::pool::Plan),
    /// Measure how soon a task ends in a warm Indexer, in a pod of its own, and behind a stock MiddleManager.
    BenchPoolStart(bench::pool::start::Plan),
    /// Measure what the CRD of PeonTask costs the API server.
    BenchSchema(bench::schema::Plan),
    /// Measure how many assignments a second a VirtualMiddleManager acknowledges.
    BenchAssign {
        /// Workers of each VirtualMiddleManager.
        #[arg(long, default_value_t = 5)]
        identities: usize,
        /// Tasks in each round.
        #[arg(long, default_value_t = 200)]
        tasks: usize,
        /// Rounds, after one that does not count.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Collect component logs, objects, events and pod logs of the running cluster.
    Logs {
        /// The folder to write to.
        folder: PathBuf,
    },
}

#[derive(Subcommand)]
enum Node {
    /// Bring it up and leave it running.
    Up,
    /// End it and remove everything it made.
    Down,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match act(&cli) {
        // The failure of whatever was interrupted tells nothing.
        _ if interrupt::came() => ExitCode::from(interrupt::INTERRUPTED_STATUS),
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(cli: &Cli) -> Result<ExitCode> {
    let progress = Progress::default();
    let busy = if cli.wait { Busy::Wait } else { Busy::Fail };
    let cache = Cache::open()?;
    interrupt::watch()?;
    match &cli.action {
        Action::Tools => println!("{}", tools::install(&cache, &progress)?.display()),
        Action::Versions => println!("{}", tools::kubernetes_versions().join("\n")),
        Action::Images { only } => {
            let archives = images::build(&cache, only, &progress)?;
            if let Some(cluster) = Cluster::attach(&cache, busy, &progress)? {
                archives.iter().try_for_each(|archive| cluster.import(archive))?;
                cluster.keep();
            }
            for archive in &archives {
                println!("{} {}", archive.reference, archive.path.display());
            }
        }
        Action::Up => {
            let cluster = Cluster::attach_or_up(&cache, busy, &progress)?;
            println!("export KUBECONFIG={}", cluster.kubeconfig().display());
            println!("export PATH={}:$PATH", cluster.bin_dir().display());
            cluster.keep();
        }
        Action::Down => cluster::down(&cache, busy, &progress)?,
        Action::Node { change } => {
            let cluster = Cluster::attach(&cache, busy, &progress)?.context("no cluster is up")?;
            match change {
                Node::Up => cluster.second_node()?.keep(),
                Node::Down => cluster.remove_second_node()?,
            }
            cluster.keep();
        }
        Action::Status => {
            let components = cluster::status(&cache)?;
            for component in &components {
                println!("{component}");
            }
        }
        Action::Leftovers => {
            let left = cluster::leftovers(&cache)?;
            for thing in &left {
                println!("{thing}");
            }
            if !left.is_empty() {
                bail!(
                    "{} things are left of a cluster; `e2e down` removes them",
                    left.len()
                );
            }
            progress.say("nothing is left of a cluster");
        }
        Action::Run { command } => {
            let cluster = Cluster::up(&cache, busy, &progress)?;
            let (program, args) = command.split_first().context("no command")?;
            let mut command = Command::new(program);
            let status = exec::foreground(command.args(args).env("KUBECONFIG", cluster.kubeconfig()))?;
            cluster.down()?;
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        }
        Action::Druid { namespace } => {
            let target = Target::choose_running(&cache, busy, &progress)?;
            let image = target.image(Image::Druid, &cache, &progress)?;
            let druid = Druid::deploy(&target, namespace, &image, &progress)?;
            println!("ZooKeeper is at {}", druid.zookeeper());
            target.keep();
        }
        Action::Test { filter } => {
            if !suite::run(&cache, busy, filter.as_deref(), &progress)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Action::Demo { keep } => demo::run(&cache, busy, *keep, &progress)?,
        Action::Bench(plan) => bench::tasks::run(&cache, busy, plan, &progress)?,
        Action::BenchLogs => bench::logs::run(&cache, busy, &progress)?,
        Action::BenchMiddleManager(plan) => bench::middle_manager::run(&cache, busy, plan, &progress)?,
        Action::BenchPool(plan) => bench::pool::run(&cache, busy, plan, &progress)?,
        Action::BenchPoolStart(plan) => bench::pool::start::run(&cache, busy, plan, &progress)?,
        Action::BenchSchema(plan) => bench::schema::run(&cache, busy, plan, &progress)?,
        Action::BenchAssign {
            identities,
            tasks,
            rounds,
        } => {
            let size = bench::assign::Size {
                identities: *identities,
                tasks: *tasks,
                rounds: *rounds,
            };
            bench::assign::run(&cache, busy, size, &progress)?;
        }
        Action::Logs { folder } => {
            let cluster = Cluster::attach(&cache, busy, &progress)?.context("no cluster is up")?;
            cluster.collect_logs(folder)?;
            progress.say(format_args!("logs are in {}", folder.display()));
            cluster.keep();
        }
    }
    Ok(ExitCode::SUCCESS)
}
