//! The announcement of a worker to Druid: its content, and its place in ZooKeeper (pure).
//!
//! An announcement is the JSON of Druid's `DiscoveryDruidNode`, and its node is named after the worker's `host:port`,
//! by which Druid identifies a worker everywhere. Druid ignores changes of an announcement: to change a worker's
//! capacity, the announcement has to be removed and created again.

pub mod pod_announcement;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Serialize};

/// What Druid's own workers call their service unless they are told otherwise.
const SERVICE: &str = "druid/middleManager";
/// Label of an announcement: the process that made it. Known to Druid 34 and later, where `sys.servers` shows it, and
/// ignored by 33.
const INSTANCE: &str = "peon.dev/instance";

/// A worker, as an overlord is to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Name or address by which the overlord calls it; an IPv6 address without brackets.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Whether that port speaks TLS, and only that.
    pub tls: bool,
    /// Its address, which Druid only shows.
    pub ip: String,
    /// Tasks that it takes at the same time. Druid adds those of all workers up as an `int`.
    pub capacity: u32,
    /// Its category, by which `selectStrategy` chooses.
    pub category: String,
    /// Its version, which is compared with `druid.indexer.runner.minWorkerVersion`.
    pub version: String,
}

impl Worker {
    /// `host:port`, by which Druid knows it.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The announcement of this worker by that process.
    #[must_use]
    pub fn announcement(&self, process: &Process) -> Announcement {
        let port = i32::from(self.port);
        Announcement {
            druid_node: DruidNode {
                service: SERVICE.to_owned(),
                host: self.host.clone(),
                bind_on_host: false,
                plaintext_port: if self.tls { -1 } else { port },
                port: -1,
                tls_port: if self.tls { port } else { -1 },
                enable_plaintext_port: !self.tls,
                enable_tls_port: self.tls,
                labels: Some(process.labels()),
            },
            node_type: "middleManager".to_owned(),
            services: Services {
                worker_node_service: WorkerNodeService {
                    service_type: "workerNodeService".to_owned(),
                    ip: self.ip.clone(),
                    capacity: self.capacity,
                    version: self.version.clone(),
                    category: self.category.clone(),
                },
            },
            start_time: process.start_time(),
        }
    }
}

/// As Druid writes times: UTC with milliseconds.
fn time(of: Timestamp) -> String {
    let mut text = String::new();
    let printer = DateTimePrinter::new().precision(Some(3));
    // Writing to a string does not fail.
    match printer.print_timestamp(&of, &mut text) {
        Ok(()) => text,
        Err(_) => of.to_string(),
    }
}

/// `DiscoveryDruidNode` of Druid, by default for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announcement<S = Services> {
    /// Where it is.
    pub druid_node: DruidNode,
    /// Its role; must be the one under whose node it is announced.
    pub node_type: String,
    /// What it offers.
    pub services: S,
    /// When its process began, in ISO 8601.
    pub start_time: String,
}

/// `DruidNode` of Druid. A port that is not in use is -1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DruidNode {
    /// Name of the service, not of Kubernetes.
    pub service: String,
    /// Name or address.
    pub host: String,
    /// Of no meaning to others.
    pub bind_on_host: bool,
    /// Port for plain HTTP.
    pub plaintext_port: i32,
    /// What `plaintext_port` was called before Druid had TLS.
    pub port: i32,
    /// Port for TLS.
    pub tls_port: i32,
    /// Whether `plaintext_port` is in use.
    pub enable_plaintext_port: bool,
    /// Whether `tls_port` is in use. Druid prefers it.
    pub enable_tls_port: bool,
    /// `druid.labels`, since Druid 34.
    pub labels: Option<BTreeMap<String, String>>,
}

/// What a worker offers to an overlord.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// Without it an overlord ignores the node.
    pub worker_node_service: WorkerNodeService,
}

/// `WorkerNodeService` of Druid. Nothing here may be null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerNodeService {
    /// Its type, `workerNodeService`.
    #[serde(rename = "type")]
    pub service_type: String,
    /// The worker's address.
    pub ip: String,
    /// Tasks at the same time.
    pub capacity: u32,
    /// See [`Worker::version`].
    pub version: String,
    /// See [`Worker::category`].
    pub category: String,
}

/// A process that announces workers. Of two with the same worker the younger one has it.
///
/// The clocks of two machines may differ. Then the older one may have it as long as it lives, which is no harm: both are
/// called by the same address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Tells it apart from every other, also from an earlier one on the same machine.
    pub instance: String,
    /// When it began; what is below a millisecond does not count.
    pub started: Timestamp,
}

/// Whose session keeps an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// The one that asks.
    ThisSession,
    /// Another one, which may be over without ZooKeeper knowing it yet.
    OtherSession,
    /// None: it stays for ever.
    Nobody,
}

/// What to do about an announcement that stands where ours is to stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing: it is ours.
    Stands,
    /// Take it away and announce again: it is outdated, or of an older process, which has died or is superseded.
    Replace,
    /// Leave it alone until it goes: a younger process has the worker.
    Yield {
        /// How that process is called.
        to: String,
    },
}

impl Process {
    /// The labels of its announcements.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(INSTANCE.to_owned(), self.instance.clone())])
    }

    /// When it began, as its announcements say it.
    pub(super) fn start_time(&self) -> String {
        time(self.started)
    }

    /// Judges an announcement that stands where `ours` is to stand.
    #[must_use]
    pub fn judge(&self, standing: &[u8], keeper: Keeper, ours: &[u8]) -> Judgement {
        match keeper {
            Keeper::ThisSession if standing == ours => Judgement::Stands,
            Keeper::ThisSession | Keeper::Nobody => Judgement::Replace,
            Keeper::OtherSession => {
                let maker = Maker::of(standing);
                match maker.instance {
                    // A session of ours that is over.
                    Some(instance) if instance == self.instance => Judgement::Replace,
                    instance
                        if maker
                            .started
                            .is_some_and(|its| self.is_older(its, instance.as_deref())) =>
                    {
                        let to = instance.unwrap_or_else(|| "a process that is not ours".to_owned());
                        Judgement::Yield { to }
                    }
                    _ => Judgement::Replace,
                }
            }
        }
    }

    /// Whether a process that began `then` is younger than this one. Names decide between those of the same moment.
    fn is_older(&self, then: Timestamp, instance: Option<&str>) -> bool {
        match self.started.as_millisecond().cmp(&then.as_millisecond()) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => Some(self.instance.as_str()) < instance,
        }
    }
}

/// Who made an announcement, as far as it says so.
#[derive(Debug, Default, PartialEq, Eq)]
struct Maker {
    started: Option<Timestamp>,
    instance: Option<String>,
}

impl Maker {
    fn of(announcement: &[u8]) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Said {
            start_time: Option<String>,
            druid_node: Option<Node>,
        }
        #[derive(Deserialize)]
        struct Node {
            labels: Option<BTreeMap<String, String>>,
        }
        // What cannot be read was made by nobody who could have the worker.
        let Ok(said) = serde_json::from_slice::<Said>(announcement) else {
            return Self::default();
        };
        let labels = said.druid_node.and_then(|node| node.labels);
        Self {
            started: said.start_time.and_then(|time| time.parse().ok()),
            instance: labels.and_then(|mut labels| labels.remove(INSTANCE)),
        }
    }
}

/// `druid.zk.paths.base`, as the path of a node: empty for the root, else with a slash before and none after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePath(String);

/// A path that no node can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path:?} is not a ZooKeeper path: give the value of Druid's `druid.zk.paths.base`, for example `/druid`"
)]
pub struct InvalidPath {
    path: String,
}

impl BasePath {
    /// Reads it as Druid does: `druid` is `/druid`, and so is `/druid/`.
    ///
    /// # Errors
    /// When a part of it is empty, `.`, `..`, or has control characters.
    pub fn new(text: &str) -> Result<Self, InvalidPath> {
        if matches!(text, "" | "/") {
            return Ok(Self(String::new()));
        }
        let inner = text.strip_prefix('/').unwrap_or(text);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let possible = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
        if !inner.split('/').all(possible) {
            return Err(InvalidPath {
                path: text.to_owned(),
            });
        }
        Ok(Self(format!("/{inner}")))
    }

    /// The node under which all MiddleManagers are announced.
    #[must_use]
    pub fn workers(&self) -> String {
        format!("{}/internal-discovery/MIDDLE_MANAGER", self.0)
    }

    /// The node of the Indexer with that `host:port`.
    #[must_use]
    pub fn indexer(&self, address: &str) -> String {
        format!("{}/internal-discovery/INDEXER/{address}", self.0)
    }

    /// The node under which processes are announced that run tasks and answer queries, and that are no workers
    /// (`NodeRole.PEON`): brokers and coordinators look there, overlords do not.
    #[must_use]
    pub fn query_servers(&self) -> String {
        format!("{}/internal-discovery/PEON", self.0)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
