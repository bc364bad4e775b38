//! The API server's audit log: who asked for what.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::testbed::cluster::Cluster;

/// How the operator calls itself.
const AGENT: &str = "peon-operator/";

/// A request, when it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `create`, `patch`, `get` and so on.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural, with the subresource after a slash.
    pub resource: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object. A create request may carry none; then the name is what the answer says.
    pub name: String,
    /// User name.
    pub user: String,
    /// User agent.
    pub agent: String,
    /// Status code of the answer.
    pub code: u64,
    /// Whether authorization forbade it.
    pub forbidden: bool,
    /// When the API server received it.
    pub received: Option<Timestamp>,
    /// When it was answered.
    pub answered: Option<Timestamp>,
}

impl Request {
    /// Whether it changes something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
    }
}

/// All requests of the operator so far, in the order of their answers; watches count when they begin, streams of logs
/// when they end, which is all that the API server logs of them.
///
/// # Errors
/// When the log cannot be read.
pub fn of_operator(cluster: &Cluster) -> Result<Vec<Request>> {
    of_operator_from(cluster, 0)
}

/// Where the log ends now, in bytes.
///
/// # Errors
/// When there is none.
pub fn end(cluster: &Cluster) -> Result<u64> {
    let path = cluster.audit_log();
    let found = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(found.len())
}

/// As [`of_operator`], without what is before this position of the log.
///
/// # Errors
/// When the log cannot be read.
pub fn of_operator_from(cluster: &Cluster, position: u64) -> Result<Vec<Request>> {
    of_agents_from(cluster, position, &[AGENT])
}

/// The requests of those whose user agent has one of `agents` in it, after this position of the log.
///
/// # Errors
/// When the log cannot be read.
pub fn of_agents_from(cluster: &Cluster, position: u64, agents: &[&str]) -> Result<Vec<Request>> {
    let path = cluster.audit_log();
    let cannot_read = || format!("cannot read {}", path.display());
    let mut file = File::open(&path).with_context(cannot_read)?;
    file.seek(SeekFrom::Start(position)).with_context(cannot_read)?;
    let mut requests = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line?;
        // The log grows to hundreds of megabytes, and most of it is others'.
        if !agents.iter().any(|agent| line.contains(agent)) {
            continue;
        }
        // The last line may be half written.
        let Ok(entry) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let time = |value: &Value| value.as_str()?.parse().ok();
        let agent = text(&entry["userAgent"]);
        let ends = entry["verb"] == "watch" && entry["stage"] == "ResponseComplete";
        if ends || !agents.iter().any(|of| agent.contains(of)) {
            continue;
        }
        let object = &entry["objectRef"];
        let subresource = text(&object["subresource"]);
        let slash = if subresource.is_empty() { "" } else { "/" };
        requests.push(Request {
            verb: text(&entry["verb"]),
            group: text(&object["apiGroup"]),
            resource: format!("{}{slash}{subresource}", text(&object["resource"])),
            namespace: text(&object["namespace"]),
            name: text(&object["name"]),
            user: text(&entry["user"]["username"]),
            agent,
            code: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
            forbidden: entry["annotations"]["authorization.k8s.io/decision"] == "forbid",
            received: time(&entry["requestReceivedTimestamp"]),
            answered: time(&entry["stageTimestamp"]),
        });
    }
    Ok(requests)
}
