//! The next step for a `VirtualMiddleManager` (pure).

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::objects::{self, Objects};
use super::ready_condition::{self, Seen};
use super::snapshot::{OwnedService, Snapshot};
use crate::api::VirtualMiddleManager;

/// Objects that others changed are applied again after this time at the latest.
const AGAIN: Duration = Duration::from_secs(300);
/// After this time a needed name that belongs to another object is checked again: the object's deletion is not watched.
const CONFLICT: Duration = Duration::from_secs(15);

/// The next step of a pass.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing to do: the garbage collector deletes the objects that it owns.
    Leave,
    /// Apply an object.
    Apply(Part, Value),
    /// List the Services that the object owns.
    ListServices,
    /// Delete the Service of an identity that has drained.
    DeleteService(OwnedService),
    /// The pass is over, with this result.
    Settle(Seen),
}

/// The kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The Service of the next identity.
    Service,
    /// The `ServiceAccount`, a role of its own, or a role binding.
    Account,
    /// The `StatefulSet` of the announcing pods.
    AnnouncingPods,
    /// The Deployment.
    Deployment,
}

/// The end of a pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The operator's conditions, where they changed.
    pub conditions: Option<Vec<Condition>>,
    /// After how long the next pass runs.
    pub requeue: Duration,
}

/// The next step, given the outcomes of the earlier ones.
#[must_use]
pub fn plan(snapshot: &Snapshot<'_>) -> Step {
    let Snapshot { manager, .. } = snapshot;
    if manager.metadata.deletion_timestamp.is_some() {
        return Step::Leave;
    }
    if let Some(why) = &snapshot.name_conflict {
        return Step::Settle(Seen::Conflict(why.clone()));
    }
    if let Some(missing) = ready_condition::lacks_authentication(&manager.spec) {
        return Step::Settle(Seen::NoAuthentication(missing.to_owned()));
    }
    if let Some(wrong) = objects::invalid_label(&manager.spec.task_labels) {
        // With such a label every task would be refused, and so every assignment fail.
        return Step::Settle(Seen::Failed(wrong));
    }
    let objects = Objects::of(manager, snapshot.surroundings);
    let hosts = (0..).zip(&snapshot.services);
    let hosts = hosts.map(|(ordinal, service)| objects.host(ordinal, service));
    let Some(hosts) = hosts.collect::<Option<Vec<String>>>() else {
        return Step::Settle(Seen::NoAddress);
    };
    if let Some(service) = objects.services().into_iter().nth(hosts.len()) {
        return Step::Apply(Part::Service, service);
    }
    let mut account = objects.account().into_iter().chain(objects.announcing_account());
    if let Some(object) = account.nth(snapshot.account.len()) {
        return Step::Apply(Part::Account, object);
    }
    if let (Some(pods), None) = (objects.announcing_pods(&hosts), &snapshot.announcing_pods) {
        return Step::Apply(Part::AnnouncingPods, pods);
    }
    let Some(deployment) = &snapshot.deployment else {
        return Step::Apply(Part::Deployment, objects.deployment(&hosts));
    };
    let Some(owned) = &snapshot.owned_services else {
        return Step::ListServices;
    };
    let wanted: Vec<String> = (0..objects.identities())
        .map(|ordinal| objects.service_name(ordinal))
        .collect();
    match owned.iter().find(|service| !wanted.contains(&service.name)) {
        Some(drained) => Step::DeleteService(drained.clone()),
        None => Step::Settle(Seen::of(deployment)),
    }
}

/// What to write and when the next pass runs, once a pass has ended with `seen`.
#[must_use]
pub fn settle(manager: &VirtualMiddleManager, seen: &Seen, now: Timestamp) -> Settlement {
    Settlement {
        conditions: ready_condition::conditions(manager, seen, now),
        requeue: match seen {
            Seen::Conflict(_) => CONFLICT,
            _ => AGAIN,
        },
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
