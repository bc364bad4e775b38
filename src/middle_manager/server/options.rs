//! The command line of the process.

use std::net::SocketAddr;

use clap::Args;

use crate::middle_manager::http::routes::BODY_LIMIT;
use crate::process::telemetry::LogOptions;

/// Serves the identities of a VirtualMiddleManager to its overlord. The operator starts it.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Name of the VirtualMiddleManager.
    #[arg(long, value_name = "NAME")]
    pub name: String,

    /// Namespace of the VirtualMiddleManager and of its PeonTasks.
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: String,

    /// Host names of the identities, in the order of their ordinals, as announced to the overlord.
    #[arg(long, value_delimiter = ',', required = true, value_name = "HOSTS")]
    pub hosts: Vec<String>,

    /// Address of /livez, /readyz and /metrics.
    #[arg(long, default_value = "[::]:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Largest body of an assignment, in bytes.
    #[arg(long, default_value_t = BODY_LIMIT, value_name = "BYTES")]
    pub body_limit: usize,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,
}
