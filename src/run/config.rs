//! Command line of `peon-operator`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::logs::sidecar::Files;

/// What the program is started for: the operator, unless it is told something else.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "peon-operator",
    version,
    about,
    args_conflicts_with_subcommands = true
)]
pub struct Program {
    /// Something else than the operator.
    #[command(subcommand)]
    pub other: Option<Other>,
    /// The operator.
    #[command(flatten)]
    pub operator: Config,
}

/// What the program can be besides the operator.
#[derive(Debug, Clone, Subcommand)]
pub enum Other {
    /// Keeps the log and the report of a task, in a container beside its peon.
    LogSidecar(Files),
}

/// Runs Apache Druid ingestion tasks as Kubernetes pods.
#[derive(Debug, Clone, Parser)]
#[command(name = "peon-operator", version, about)]
pub struct Config {
    /// File of Druid properties with the operator's defaults; see config/runtime.properties.
    #[arg(long, env = "PEON_RUNTIME_PROPERTIES", value_name = "FILE")]
    pub runtime_properties: Option<PathBuf>,

    /// Namespace whose PeonTasks are run; overrides druid.indexer.namespace. Default: all namespaces.
    #[arg(long, env = "PEON_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// Address of /livez, /readyz and /metrics.
    #[arg(
        long,
        env = "PEON_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,

    /// Namespace of the Lease by which replicas choose a leader. Default: the namespace of the process.
    #[arg(long, env = "PEON_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Name of that Lease.
    #[arg(
        long,
        env = "PEON_LEASE_NAME",
        default_value = "peon-operator",
        value_name = "NAME"
    )]
    pub lease_name: String,

    /// Seconds after which another replica takes over from a leader that went silent, 5 to 300.
    #[arg(long, env = "PEON_LEASE_SECONDS", default_value_t = 15, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(5..=300))]
    pub lease_seconds: u64,

    /// Identity of this replica in the Lease; must be unique. Default: host name and a random part.
    #[arg(long, env = "PEON_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,

    /// Most finished PeonTasks kept in a namespace, at least 1; of more the oldest are deleted, with their pods and
    /// logs, whatever their TTL. Default: no limit.
    #[arg(long, env = "PEON_RETAIN_FINISHED", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub retain_finished: Option<u32>,

    /// Image of this program, for the sidecars that keep the log of a task. Default: none, and templates that ask for
    /// sidecars are refused.
    #[arg(long, env = "PEON_IMAGE", value_name = "IMAGE")]
    pub image: Option<String>,

    /// Format of the log.
    #[arg(long, env = "PEON_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// What to log, as a tracing filter such as `info,peon_operator=debug`.
    #[arg(
        long,
        env = "PEON_LOG",
        default_value = "info,kube_runtime=warn",
        value_name = "FILTER"
    )]
    pub log: String,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Duration of the lease.
    #[must_use]
    pub fn lease_duration(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }
}
