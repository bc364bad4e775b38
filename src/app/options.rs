//! Command line of `peon-operator`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use super::announcing_pod::AnnouncingPod;
use super::self_test::SelfTest;
use super::uninstall_check::UninstallCheck;
use crate::logs::server;
use crate::logs::sidecar::Files;
use crate::middle_manager::controller::decide::objects::{PodParts, Role};
use crate::middle_manager::server::options::Options;
use crate::process::telemetry::LogOptions;
use crate::quantity;

/// The command line: the operator, or one of the other programs in the same binary.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "peon-operator",
    version,
    about,
    args_conflicts_with_subcommands = true
)]
pub struct Program {
    /// Another program than the operator.
    #[command(subcommand)]
    pub other: Option<Other>,
    /// The operator.
    #[command(flatten)]
    pub operator: Config,
}

/// The other programs in the binary.
#[derive(Debug, Clone, Subcommand)]
pub enum Other {
    /// Archives the log and the report of a task, in a container beside its peon.
    LogSidecar(Files),
    /// Serves the identities of a VirtualMiddleManager to its overlord.
    MiddleManager(Options),
    /// Is ready while a worker of a VirtualMiddleManager can be reached: its pod carries the worker's announcement.
    AnnouncingPod(AnnouncingPod),
    /// Checks an installation: creates a PeonTask that cannot run, and waits for the operator's reason.
    SelfTest(SelfTest),
    /// Fails while there are VirtualMiddleManagers or IndexerPools, whose pods need an operator.
    UninstallCheck(UninstallCheck),
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

    /// Name of the Lease by which replicas choose a leader.
    #[arg(
        long,
        env = "PEON_LEASE_NAME",
        default_value = "peon-operator",
        value_name = "NAME"
    )]
    pub lease_name: String,

    /// Seconds after which another replica takes over from a leader that no longer renews the Lease, 5 to 300.
    #[arg(long, env = "PEON_LEASE_SECONDS", default_value_t = 15, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(5..=300))]
    pub lease_seconds: u64,

    /// Identity of this replica in the Lease; must be unique. Default: host name and a random part.
    #[arg(long, env = "PEON_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,

    /// Most finished PeonTasks kept in a namespace, at least 1. If there are more, the oldest are deleted with their pods
    /// and their pods' logs, whatever their TTL; also those that never expire (`ttlSecondsAfterFinished: -1`). Default:
    /// no limit.
    #[arg(long, env = "PEON_RETAIN_FINISHED", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub retain_finished: Option<u32>,

    /// File with more Druid properties of the log store, such as a mounted Secret with credentials. Default: only the
    /// runtime properties, with the credentials of the process (environment or workload identity).
    #[arg(long, env = "PEON_LOG_PROPERTIES", value_name = "FILE")]
    pub log_properties: Option<PathBuf>,

    /// Folder for parts of logs that were read and are not archived yet; no file in it outlives the process.
    #[arg(long, env = "PEON_LOG_SPOOL", value_name = "FOLDER", default_value_os_t = std::env::temp_dir())]
    pub log_spool: PathBuf,

    /// Size limit of the volume of the log spool, a Kubernetes quantity: at least 1.25 MiB for each log that is read at
    /// the same time. All logs and reports in it take at most four fifths of it; beyond that, reading pauses.
    #[arg(long, env = "PEON_LOG_SPOOL_SIZE", default_value = "4Gi", value_name = "QUANTITY", value_parser = quantity::parse)]
    pub log_spool_size: u64,

    /// Most logs that are read at the same time, at least 1; the others wait for their turn. If several namespaces are
    /// served, one namespace has no more of them than are free, so at most half.
    #[arg(long, env = "PEON_LOG_FOLLOWERS", default_value_t = 200, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub log_followers: u16,

    /// Seconds after which a part of a log that was read is archived, 1 to 3600.
    #[arg(long, env = "PEON_LOG_FLUSH_SECONDS", default_value_t = 30, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub log_flush_seconds: u64,

    /// Most bytes of a log that are archived, at least 1; the archived log says how many bytes were left out.
    #[arg(long, env = "PEON_LOG_MOST_BYTES", default_value_t = 1 << 30, value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub log_most_bytes: u64,

    /// Address at which the archive is served to users who may forward a port of the pod, if logs are archived. It must
    /// be a loopback address: every client that reaches it can read the logs of all namespaces.
    #[arg(long, env = "PEON_ARCHIVE_LISTEN", default_value_t = SocketAddr::from(([127, 0, 0, 1], server::PORT)),
          value_name = "ADDRESS", value_parser = loopback)]
    pub archive_listen: SocketAddr,

    /// Image of this program, for the sidecars that archive logs and for the pods of VirtualMiddleManagers. Default: none;
    /// templates with `logs.collect: Sidecar` are then refused.
    #[arg(long, env = "PEON_IMAGE", value_name = "IMAGE")]
    pub image: Option<String>,

    /// Who chooses the user of the pods of tasks and Indexers: `druid` (user and group 1000, those of Druid's image) or
    /// `platform` (none is named, as OpenShift requires). A PeonTemplate may name a user in either case.
    #[arg(long, env = "PEON_POD_USER", value_enum, default_value_t, value_name = "WHO")]
    pub pod_user: PodUser,

    /// Role of the pods of VirtualMiddleManagers, as Role/NAME or ClusterRole/NAME; the operator must have the right to
    /// bind it. Default: none; VirtualMiddleManagers are then ignored.
    #[arg(
        long,
        env = "PEON_MIDDLE_MANAGER_ROLE",
        value_name = "ROLE",
        requires = "image"
    )]
    pub middle_manager_role: Option<Role>,

    /// Additional fields of the spec of the pods of VirtualMiddleManagers, as a JSON object. Default: none.
    /// Example: `{"imagePullSecrets": [{"name": "registry"}]}`.
    #[arg(
        long,
        env = "PEON_MIDDLE_MANAGER_POD",
        value_name = "JSON",
        default_value = "{}"
    )]
    pub middle_manager_pod: PodParts,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Who chooses the user of the pods of tasks and Indexers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PodUser {
    /// The operator: the user of Druid's image.
    #[default]
    Druid,
    /// The platform.
    Platform,
}

/// Reads an address that only this machine or pod can reach.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|e| format!("{e}: give an address and a port such as 127.0.0.1:8081"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(
            "it must be a loopback address such as 127.0.0.1:8081, since clients are not authenticated"
                .to_owned(),
        )
    }
}

impl Config {
    /// Duration of the lease.
    #[must_use]
    pub fn lease_duration(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }

    /// Most bytes that all logs and reports together take in [`Self::log_spool`]. The rest of the volume is for what a
    /// file takes beside its bytes, and for what one reading may add before it is counted.
    #[must_use]
    pub fn log_spool_budget(&self) -> u64 {
        self.log_spool_size / 5 * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_served_on_loopback_only() {
        for (address, fits) in [
            ("127.0.0.1:1", true),
            ("127.1.2.3:1", true),
            ("[::1]:8081", true),
            ("0.0.0.0:8081", false),
            ("[::]:8081", false),
            ("10.0.0.1:8081", false),
            ("localhost:8081", false),
        ] {
            let flag = format!("--archive-listen={address}");
            let parsed = Config::try_parse_from(["peon-operator", &flag]);
            assert_eq!(parsed.is_ok(), fits, "{address}");
        }
        let default = Config::try_parse_from(["peon-operator"]).unwrap();
        assert!(default.archive_listen.ip().is_loopback());
    }

    #[test]
    fn the_spool_stays_below_the_size_of_its_volume() {
        let budget = |size: &str| {
            let flag = format!("--log-spool-size={size}");
            let config = Config::try_parse_from(["peon-operator", &flag]);
            config.ok().map(|config| config.log_spool_budget())
        };
        assert_eq!(budget("10Gi"), Some(8 << 30));
        assert_eq!(budget("5e9"), Some(4_000_000_000));
        for wrong in ["-1Gi", "much", ""] {
            assert_eq!(budget(wrong), None, "{wrong}");
        }
    }
}
