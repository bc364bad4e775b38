//! What the announcement of an Indexer says of it: whether it offers a worker (pure).
//!
//! Overlords watch the roles `MIDDLE_MANAGER` and `INDEXER` and take a node for a worker if its services have the key
//! `workerNodeService`. Without the module `IndexerServiceModule` an Indexer announces no services at all.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::indexer_ports::IndexerPorts;

/// Key and type of the service that makes a node a worker.
const WORKER: &str = "workerNodeService";
/// The role, as it stands in an announcement.
const ROLE: &str = "indexer";

/// An Indexer as its announcement describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexerAnnouncement {
    /// When its process began, by the clock of its machine.
    pub started: Timestamp,
    /// Whether it offers a worker: then an overlord assigns tasks to it.
    pub offers_worker: bool,
}

/// An announcement that does not say whether its Indexer offers a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnnouncement {
    /// It is not that of a node of Druid.
    #[error("it is not a DiscoveryDruidNode of Druid (line {line}, column {column})")]
    Json {
        /// Where it cannot be read; the content is not quoted.
        line: usize,
        /// Column there.
        column: usize,
    },
    /// It is that of another role.
    #[error("its nodeType is not indexer")]
    Role,
    /// It is that of another address.
    #[error("its druidNode has another address")]
    Address,
    /// It does not say when its process began, so it may be that of an earlier one.
    #[error("it has no startTime")]
    StartTime,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(rename = "druidNode")]
    at: DruidNode,
    #[serde(rename = "nodeType")]
    role: String,
    services: BTreeMap<String, Value>,
    #[serde(default)]
    start_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DruidNode {
    host: String,
    plaintext_port: i32,
    #[serde(default)]
    tls_port: Option<i32>,
    #[serde(default)]
    enable_tls_port: bool,
}

impl IndexerAnnouncement {
    /// Reads the announcement, as JSON, of the Indexer at `host` (an IPv6 address without brackets) with these ports.
    ///
    /// # Errors
    /// When it does not say for certain what is asked here.
    pub fn read(json: &[u8], host: &str, ports: IndexerPorts) -> Result<Self, InvalidAnnouncement> {
        let node: Node = serde_json::from_slice(json).map_err(|error| InvalidAnnouncement::Json {
            line: error.line(),
            column: error.column(),
        })?;
        if node.role != ROLE {
            return Err(InvalidAnnouncement::Role);
        }
        // Druid prefers the port for TLS, and calls the node by that.
        let at = &node.at;
        let called = if at.enable_tls_port {
            at.tls_port
        } else {
            Some(at.plaintext_port)
        };
        let (port, tls) = ports.called();
        if at.host != host || called != Some(port.into()) || at.enable_tls_port != tls {
            return Err(InvalidAnnouncement::Address);
        }
        let started = node.start_time.and_then(|time| time.parse().ok());
        let is_worker = |(key, service): (&String, &Value)| key == WORKER || service["type"] == WORKER;
        Ok(Self {
            started: started.ok_or(InvalidAnnouncement::StartTime)?,
            offers_worker: node.services.iter().any(is_worker),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a real Druid 37 writes, but for the role and its services.
    fn announcement(services: &Value) -> Value {
        json!({
            "druidNode": {
                "service": "druid/indexer", "host": "10.1.2.3", "bindOnHost": true,
                "plaintextPort": 8091, "port": -1, "tlsPort": -1,
                "enablePlaintextPort": true, "enableTlsPort": false,
                "labels": null, "version": "37.0.0", "buildRevision": "..."
            },
            "nodeType": "indexer", "services": services,
            "startTime": "2026-11-21T01:55:03.157Z", "availableProcessors": 4, "totalMemory": 123
        })
    }

    type Change = fn(&mut Value);

    fn read(announcement: &Value) -> Result<IndexerAnnouncement, InvalidAnnouncement> {
        IndexerAnnouncement::read(
            announcement.to_string().as_bytes(),
            "10.1.2.3",
            IndexerPorts::Plain,
        )
    }

    fn worker(key: &str, kind: &str) -> Value {
        json!({key: {"type": kind, "ip": "10.1.2.3", "capacity": 1, "version": "0", "category": "c"}})
    }

    #[test]
    fn says_whether_a_worker_is_offered() {
        let data = json!({"dataNodeService": {"type": "dataNodeService", "tier": "_default_tier"}});
        for (services, offers_worker) in [
            (json!({}), false),
            (data, false),
            (worker(WORKER, WORKER), true),
            // Druid looks at the key alone. In doubt it offers one.
            (worker("other", WORKER), true),
            (json!({WORKER: null}), true),
        ] {
            let read = read(&announcement(&services)).unwrap();
            assert_eq!(read.offers_worker, offers_worker, "{services}");
            assert_eq!(read.started, "2026-11-21T01:55:03.157Z".parse().unwrap());
        }
    }

    #[test]
    fn what_does_not_say_it_for_certain_is_invalid() {
        let with = |change: Change| {
            let mut node = announcement(&json!({}));
            change(&mut node);
            read(&node).unwrap_err()
        };
        let cases: [(InvalidAnnouncement, Change); 6] = [
            (InvalidAnnouncement::Role, |n| n["nodeType"] = json!("peon")),
            (InvalidAnnouncement::Address, |n| {
                n["druidNode"]["host"] = json!("10.1.2.4");
            }),
            (InvalidAnnouncement::Address, |n| {
                n["druidNode"]["plaintextPort"] = json!(8092);
            }),
            (InvalidAnnouncement::Address, |n| {
                n["druidNode"]["enableTlsPort"] = json!(true);
            }),
            (InvalidAnnouncement::StartTime, |n| n["startTime"] = json!(null)),
            (InvalidAnnouncement::StartTime, |n| {
                n["startTime"] = json!("yesterday");
            }),
        ];
        for (error, change) in cases {
            assert_eq!(with(change), error);
        }
        let unreadable: [Change; 4] = [
            |n| *n = json!({}),
            |n| *n = json!("worker"),
            |n| n["services"] = json!(null),
            |n| n["services"] = json!([WORKER]),
        ];
        for change in unreadable {
            let error = with(change);
            assert!(matches!(error, InvalidAnnouncement::Json { .. }), "{error}");
        }
        // The second one counts for Druid.
        let twice = announcement(&json!({}))
            .to_string()
            .replace("{}", r#"{},"services":{"workerNodeService":{}}"#);
        assert!(IndexerAnnouncement::read(twice.as_bytes(), "10.1.2.3", IndexerPorts::Plain).is_err());
        assert!(IndexerAnnouncement::read(b"\x1f\x8b\x00", "10.1.2.3", IndexerPorts::Plain).is_err());
    }

    #[test]
    fn an_address_of_version_6_stands_without_brackets() {
        let mut node = announcement(&json!({}));
        node["druidNode"]["host"] = json!("fd00::1");
        let node = node.to_string();
        assert!(IndexerAnnouncement::read(node.as_bytes(), "fd00::1", IndexerPorts::Plain).is_ok());
    }

    #[test]
    fn the_port_with_tls_is_that_of_the_announcement_where_there_is_one() {
        let node = |plain: bool, tls: bool, tls_port: i32| {
            let mut node = announcement(&json!({}));
            let at = &mut node["druidNode"];
            at["plaintextPort"] = json!(if plain { 8091 } else { -1 });
            at["tlsPort"] = json!(if tls { tls_port } else { -1 });
            at["enablePlaintextPort"] = json!(plain);
            at["enableTlsPort"] = json!(tls);
            node.to_string()
        };
        for (node, ports, expected) in [
            (node(true, false, 8291), IndexerPorts::Plain, true),
            (node(true, false, 8291), IndexerPorts::Tls, false),
            (node(true, false, 8291), IndexerPorts::Both, false),
            (node(false, true, 8291), IndexerPorts::Tls, true),
            (node(true, true, 8291), IndexerPorts::Both, true),
            (node(true, true, 8291), IndexerPorts::Plain, false),
            (node(false, true, 8292), IndexerPorts::Tls, false),
        ] {
            let read = IndexerAnnouncement::read(node.as_bytes(), "10.1.2.3", ports);
            assert_eq!(read.is_ok(), expected, "{node} {ports:?}");
        }
    }
}
