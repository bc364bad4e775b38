//! The announcement of an Indexer that answers queries on what its tasks have not published (pure).
//!
//! An Indexer that is hidden from the overlord announces no services, so brokers and coordinators do not ask it for its
//! segments. Announced in the role `PEON`, it is to them what a peon is that runs a streaming task
//! (`org.apache.druid.cli.CliPeon`), and overlords do not look for workers in that role (`HttpRemoteTaskRunner`).

use serde::{Deserialize, Serialize};

use super::discovery::{Announcement, DruidNode, Process};
use super::indexer_ports::IndexerPorts;

/// What an Indexer calls its service.
const SERVICE: &str = "druid/indexer";
/// The tier of a process that loads no segments (`DruidServer.DEFAULT_TIER`).
const TIER: &str = "_default_tier";
/// The tier of lookups of a process that sets none (`LookupModule`).
const LOOKUP_TIER: &str = "__default";

/// An Indexer whose tasks are queried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryServer {
    /// Address of its pod.
    pub ip: String,
    /// Its ports.
    pub ports: IndexerPorts,
}

impl QueryServer {
    /// `host:port`, by which Druid knows it.
    #[must_use]
    pub fn address(&self) -> String {
        self.ports.address(&self.ip)
    }

    /// The announcement of this Indexer by that process.
    #[must_use]
    pub fn announcement(&self, process: &Process) -> Announcement<QueryServices> {
        let port = |port: Option<u16>| port.map_or(-1, i32::from);
        Announcement {
            druid_node: DruidNode {
                service: SERVICE.to_owned(),
                host: self.ip.clone(),
                bind_on_host: false,
                plaintext_port: port(self.ports.plain()),
                port: -1,
                tls_port: port(self.ports.tls()),
                enable_plaintext_port: self.ports.plain().is_some(),
                enable_tls_port: self.ports.tls().is_some(),
                labels: Some(process.labels()),
            },
            node_type: "peon".to_owned(),
            services: QueryServices {
                data_node_service: DataNodeService {
                    service_type: "dataNodeService".to_owned(),
                    tier: TIER.to_owned(),
                    max_size: 0,
                    server_type: "indexer-executor".to_owned(),
                    priority: 0,
                },
                lookup_node_service: LookupNodeService {
                    service_type: "lookupNodeService".to_owned(),
                    lookup_tier: LOOKUP_TIER.to_owned(),
                },
            },
            start_time: process.start_time(),
        }
    }
}

/// What such an Indexer offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryServices {
    /// Without it brokers and coordinators ignore the node.
    pub data_node_service: DataNodeService,
    /// Without it the coordinator does not send it lookups.
    pub lookup_node_service: LookupNodeService,
}

/// `DataNodeService` of Druid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataNodeService {
    /// Its type, `dataNodeService`.
    #[serde(rename = "type")]
    pub service_type: String,
    /// Tier of the segments.
    pub tier: String,
    /// Bytes of segments that it may be told to load: none.
    pub max_size: u64,
    /// `ServerType`: queries go to one of this type before segments are handed over.
    pub server_type: String,
    /// Of several servers with a segment, that with the highest is queried.
    pub priority: i32,
}

/// `LookupNodeService` of Druid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookupNodeService {
    /// Its type, `lookupNodeService`.
    #[serde(rename = "type")]
    pub service_type: String,
    /// Its tier of lookups.
    pub lookup_tier: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn announced(ports: IndexerPorts) -> serde_json::Value {
        let process = Process {
            instance: "ours".into(),
            started: "2026-11-21T01:55:03.157Z".parse().unwrap(),
        };
        let server = QueryServer {
            ip: "10.1.2.3".into(),
            ports,
        };
        serde_json::to_value(server.announcement(&process)).unwrap()
    }

    /// With these services a broker of Druid 33 queried the tasks of an Indexer.
    #[test]
    fn is_what_a_peon_with_a_streaming_task_announces() {
        let expected = json!({
            "druidNode": {
                "service": "druid/indexer", "host": "10.1.2.3", "bindOnHost": false,
                "plaintextPort": 8091, "port": -1, "tlsPort": -1,
                "enablePlaintextPort": true, "enableTlsPort": false,
                "labels": {"peon.dev/instance": "ours"},
            },
            "nodeType": "peon",
            "services": {
                "dataNodeService": {
                    "type": "dataNodeService", "tier": "_default_tier", "maxSize": 0,
                    "serverType": "indexer-executor", "priority": 0,
                },
                "lookupNodeService": {"type": "lookupNodeService", "lookupTier": "__default"},
            },
            "startTime": "2026-11-21T01:55:03.157Z",
        });
        assert_eq!(announced(IndexerPorts::Plain), expected);
    }

    #[test]
    fn has_the_ports_of_its_indexer() {
        let node = &announced(IndexerPorts::Both)["druidNode"];
        let ports = [&node["plaintextPort"], &node["tlsPort"], &node["enableTlsPort"]];
        assert_eq!(ports, [&json!(8091), &json!(8291), &json!(true)]);
        let node = &announced(IndexerPorts::Tls)["druidNode"];
        let ports = [
            &node["plaintextPort"],
            &node["tlsPort"],
            &node["enablePlaintextPort"],
        ];
        assert_eq!(ports, [&json!(-1), &json!(8291), &json!(false)]);
    }
}
