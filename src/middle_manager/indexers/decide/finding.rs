//! What was found when the announcement of an Indexer was read (pure).

use super::pod::Endpoint;
use crate::druid::indexer_announcement::IndexerAnnouncement;

/// What was found where the Indexer of a pod announces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing.
    Absent,
    /// The announcement of a process that began before the pod: one that had its address before it, and whose session
    /// has not ended yet.
    Earlier,
    /// Its own announcement, which offers no worker.
    Hidden,
    /// Its own announcement, which offers a worker.
    OffersWorker,
    /// Something that does not say whether a worker is offered, and why.
    Invalid(String),
    /// Nothing was read: there is no session with ZooKeeper.
    NoSession,
    /// Nothing was read, and why.
    Failed(String),
}

impl Finding {
    /// What an announcement says of the process at `endpoint`.
    #[must_use]
    pub fn of(announcement: Option<&[u8]>, endpoint: &Endpoint) -> Self {
        let Some(json) = announcement else {
            return Self::Absent;
        };
        match IndexerAnnouncement::read(json, &endpoint.ip, endpoint.ports) {
            Err(invalid) => Self::Invalid(invalid.to_string()),
            // Both times are those of the pod's machine.
            Ok(read) if read.started < endpoint.started => Self::Earlier,
            Ok(read) if read.offers_worker => Self::OffersWorker,
            Ok(_) => Self::Hidden,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::druid::indexer_ports::IndexerPorts;
    use crate::middle_manager::object_fixtures::{at, indexer_announcement};

    #[test]
    fn only_what_the_process_of_the_pod_announces_counts() {
        let endpoint = Endpoint {
            ip: "10.1.2.3".into(),
            ports: IndexerPorts::Plain,
            started: at(110),
        };
        let worker = json!({"workerNodeService": {"type": "workerNodeService"}});
        let invalid = Finding::Invalid("its druidNode has another address".into());
        for (ip, second, services, finding) in [
            ("10.1.2.3", 115, json!({}), Finding::Hidden),
            // In the second in which the container started.
            ("10.1.2.3", 110, json!({}), Finding::Hidden),
            ("10.1.2.3", 109, json!({}), Finding::Earlier),
            ("10.1.2.3", 115, worker.clone(), Finding::OffersWorker),
            ("10.1.2.3", 109, worker, Finding::Earlier),
            ("10.1.2.4", 115, json!({}), invalid),
        ] {
            let announcement = indexer_announcement(ip, second, services);
            assert_eq!(Finding::of(Some(&announcement), &endpoint), finding);
        }
        assert_eq!(Finding::of(None, &endpoint), Finding::Absent);
        assert!(matches!(Finding::of(Some(b"{"), &endpoint), Finding::Invalid(_)));
    }
}
