//! `status.run`: where the current attempt runs (pure).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Draft;
use crate::api::conditions::cut;
use crate::api::{PeonEndpoint, RunKind, RunStatus};
use crate::druid::worker::TaskLocation;
use crate::task::aggregates::durations::Expected;
use crate::task::aggregates::idle_indexers::{Given, Idle, PoolOffer};

impl Draft {
    /// This attempt of the task has this pod.
    pub fn pod(&mut self, attempt: u32, name: &str, uid: &str, node: Option<&str>) {
        self.status.attempt = Some(attempt);
        if self.status.pod_uid() != Some(uid) {
            let before = self.status.run.take();
            let decided = before.filter(|run| run.kind == RunKind::Pod && run.pod.as_deref() == Some(name));
            self.status.run = Some(RunStatus {
                reason: decided.and_then(|run| run.reason),
                ..RunStatus::in_pod(name, uid)
            });
        }
        if let Some(node) = node {
            self.status.node_name = Some(node.to_owned());
        }
    }

    /// The attempt is to run in its own pod, of this name.
    pub fn to_be_in_pod(&mut self, attempt: u32, name: &str, why: &str) {
        self.status.attempt = Some(attempt);
        self.status.run = Some(RunStatus::to_be_in_pod(name, why));
    }

    /// The attempt is to run in this Indexer, whose size is the pool's.
    pub fn in_indexer(
        &mut self,
        attempt: u32,
        given: &Given,
        offer: Option<&PoolOffer>,
        expected: Option<Expected>,
    ) {
        let Idle {
            pod,
            pod_uid,
            host,
            ports,
            node,
            slots: _,
        } = &given.indexer;
        self.status.attempt = Some(attempt);
        self.status.node_name.clone_from(node);
        let had = if given.slot.is_some() {
            "had a free slot"
        } else {
            "was idle"
        };
        let expected = expected.filter(|_| given.slot.is_some());
        let expected = expected.map_or_else(String::new, |expected| format!("; {expected}"));
        let reason = format!("an Indexer of the pool {} {had}{expected}", given.pool);
        let slot = given.slot.as_ref();
        self.status.run = Some(RunStatus {
            reason: Some(cut(&reason, 256)),
            slot: slot.map(|slot| slot.kind),
            estimated_bytes: slot.and_then(|slot| i64::try_from(slot.bytes).ok()),
            availability_group: slot.and_then(|slot| slot.group.clone()),
            slot_time: slot.map(|_| Time(self.now)),
            port: ports.plain().map(Into::into),
            tls_port: ports.tls().map(Into::into),
            ..RunStatus::in_indexer(&given.pool, pod, pod_uid, (host, ports.called().0))
        });
        // Of a shared one, no part is the task's own.
        if let Some(offer) = offer.filter(|_| given.slot.is_none()) {
            self.status.memory = Some(offer.memory.1.clone());
            self.status.cpu = Some(offer.cpu_milli.1.clone());
        }
    }

    /// The peon runs in a pod with this address, and is called at this endpoint.
    pub fn location(&mut self, address: Option<&str>, endpoint: &PeonEndpoint) {
        if let (Some(run), Some(address)) = (&mut self.status.run, address) {
            run.host = Some(endpoint.host(address));
            run.port = endpoint.port().map(Into::into);
            run.tls_port = endpoint.tls_port().map(Into::into);
        }
    }

    /// The task runs in an Indexer, which announces this location; an unknown one changes nothing.
    pub fn worker_location(&mut self, location: &TaskLocation) {
        if let (Some(run), Some(host)) = (&mut self.status.run, &location.host) {
            let port = |port: i32| Some(port).filter(|port| *port > 0);
            run.host = Some(host.clone());
            run.port = port(location.port);
            run.tls_port = port(location.tls_port);
        }
    }
}
