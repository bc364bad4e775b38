//! The announcing pods of a VirtualMiddleManager, as the watch sees them (pure).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use crate::apiserver::classify::decode::{Guarded, Readable};
use crate::druid::discovery::pod_announcement::{
    CLUSTER_LABEL, ID_HASH_LABEL, PodAnnouncement, WORKER_ANNOTATION, WORKER_LABEL,
};
use crate::middle_manager::registry::view::PodStatusView;

/// The fields of an announcing pod that are read.
#[derive(Debug, Clone, Serialize, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub struct AnnouncingPodView {
    /// Name, labels, annotations.
    pub metadata: ObjectMeta,
    /// Whether its containers are ready.
    #[serde(default)]
    pub status: Option<PodStatusView>,
}

impl Readable for AnnouncingPodView {
    /// Labels and annotations are what is read here.
    fn prune(metadata: &mut ObjectMeta) {
        metadata.managed_fields = None;
        metadata.owner_references = None;
    }
}

/// The pod that carries the announcement of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncingPod {
    /// Uid of the pod.
    pub uid: String,
    /// Its resource version.
    pub version: String,
    /// Values of the labels of an announcement, in the order of [`PodAnnouncement::labels`].
    pub labels: [Option<String>; 3],
    /// The announcement itself.
    pub node: Option<String>,
    /// Whether all of its containers are ready: Druid ignores the announcement on another pod.
    pub is_ready: bool,
}

impl AnnouncingPod {
    /// Reads a pod; `None` for one that the API server did not return.
    #[must_use]
    pub fn of(pod: &AnnouncingPodView) -> Option<Self> {
        let label = |key: &str| pod.labels().get(key).cloned();
        let containers = pod.status.as_ref().map(|status| &status.container_statuses);
        Some(Self {
            uid: pod.metadata.uid.clone()?,
            version: pod.metadata.resource_version.clone()?,
            labels: [WORKER_LABEL, ID_HASH_LABEL, CLUSTER_LABEL].map(label),
            node: pod.annotations().get(WORKER_ANNOTATION).cloned(),
            is_ready: containers.is_some_and(|all| !all.is_empty() && all.iter().all(|c| c.ready)),
        })
    }

    /// Whether it has no part of an announcement.
    #[must_use]
    pub fn has_nothing(&self) -> bool {
        self.node.is_none() && self.labels.iter().all(Option::is_none)
    }

    /// Whether it has exactly this announcement.
    #[must_use]
    pub fn carries(&self, wanted: &PodAnnouncement) -> bool {
        let labels = self.labels.iter().zip(&wanted.labels);
        self.node.as_deref() == Some(wanted.node.as_str())
            && labels
                .into_iter()
                .all(|(has, (_, wanted))| has.as_ref() == Some(wanted))
    }

    /// Whether this is an earlier state of the same pod than `other`. Resource versions are compared as numbers.
    fn is_before(&self, other: &Self) -> bool {
        let number = |pod: &Self| pod.version.parse::<u64>().ok();
        let versions = number(self).zip(number(other));
        self.uid == other.uid && versions.is_some_and(|(this, other)| this < other)
    }
}

/// The announcing pods by name, of those that may be one.
#[derive(Debug, Default)]
pub struct AnnouncingPods {
    known: BTreeMap<String, AnnouncingPod>,
    /// The pods of a list, while it is received.
    listing: Option<BTreeMap<String, AnnouncingPod>>,
    is_listed: bool,
}

impl AnnouncingPods {
    /// A list begins.
    pub fn list_begins(&mut self) {
        self.listing = Some(BTreeMap::new());
    }

    /// A pod of the list, or one that changed. One that cannot be decoded is left out of the list, or stays as it was.
    pub fn see(&mut self, pod: &Guarded<AnnouncingPodView>) {
        put(self.listing.as_mut().unwrap_or(&mut self.known), pod);
    }

    /// A pod as it is after a write, which a list that is being received may not have.
    pub fn written(&mut self, pod: &Guarded<AnnouncingPodView>) {
        put(&mut self.known, pod);
        if let Some(listing) = &mut self.listing {
            put(listing, pod);
        }
    }

    /// The pod is gone.
    pub fn gone(&mut self, pod: &Guarded<AnnouncingPodView>) {
        let name = pod.name_any();
        if self.known.get(&name).map(|pod| pod.uid.as_str()) == pod.uid().as_deref() {
            self.known.remove(&name);
        }
    }

    /// The list is complete.
    pub fn list_ends(&mut self) {
        if let Some(listed) = self.listing.take() {
            self.known = listed;
            self.is_listed = true;
        }
    }

    /// Whether there was a complete list.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// The pod of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&AnnouncingPod> {
        self.known.get(name)
    }
}

fn put(pods: &mut BTreeMap<String, AnnouncingPod>, pod: &Guarded<AnnouncingPodView>) {
    let (Ok(view), name) = (&pod.0, pod.name_any()) else {
        return;
    };
    let Some(seen) = AnnouncingPod::of(view) else {
        return;
    };
    // A watch or a list may be behind the answer to a patch.
    if !pods.get(&name).is_some_and(|newer| seen.is_before(newer)) {
        pods.insert(name, seen);
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
