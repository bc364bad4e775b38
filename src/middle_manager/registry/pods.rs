//! The known pods of PeonTasks and IndexerPools (pure).

use std::collections::{HashMap, HashSet};

use super::view::{Owner, PodSeen};

/// The pods of attempts and of Indexers.
#[derive(Debug, Default)]
pub struct Pods {
    /// Those of attempts by the uid of their PeonTask and their name.
    by_owner: HashMap<String, HashMap<String, PodSeen>>,
    /// Those of Indexers by their uid.
    indexers: HashMap<String, PodSeen>,
    /// Uids of a watch's initial list, while it is received.
    listing: Option<HashSet<String>>,
}

impl Pods {
    /// A pod was seen.
    pub(crate) fn see(&mut self, pod: PodSeen) {
        if let Some(listing) = &mut self.listing {
            listing.insert(pod.uid.clone());
        }
        match &pod.owner {
            Owner::Task(owner) => {
                let of = self.by_owner.entry(owner.clone()).or_default();
                of.insert(pod.name.clone(), pod);
            }
            Owner::Pool => {
                self.indexers.insert(pod.uid.clone(), pod);
            }
        }
    }

    /// A pod is gone.
    pub fn gone(&mut self, owner: &Owner, uid: &str) {
        let owner = match owner {
            Owner::Task(owner) => owner,
            Owner::Pool => {
                self.indexers.remove(uid);
                return;
            }
        };
        if let Some(pods) = self.by_owner.get_mut(owner) {
            pods.retain(|_, pod| pod.uid != uid);
            if pods.is_empty() {
                self.by_owner.remove(owner);
            }
        }
    }

    /// The watch of pods begins with a list.
    pub fn list_begins(&mut self) {
        self.listing = Some(HashSet::new());
    }

    /// That list is complete: pods that are not in it are gone.
    pub fn list_ends(&mut self) {
        let Some(listing) = self.listing.take() else {
            return;
        };
        self.by_owner.retain(|_, pods| {
            pods.retain(|_, pod| listing.contains(&pod.uid));
            !pods.is_empty()
        });
        self.indexers.retain(|uid, _| listing.contains(uid));
    }

    /// Removes the pods of a PeonTask that is gone.
    pub(crate) fn forget(&mut self, owner: &str) {
        self.by_owner.remove(owner);
    }

    /// A pod of a PeonTask by its name.
    pub(crate) fn of(&self, owner: &str, name: &str) -> Option<&PodSeen> {
        self.by_owner.get(owner)?.get(name)
    }

    /// The pod of an Indexer by its uid.
    pub(crate) fn indexer(&self, uid: &str) -> Option<&PodSeen> {
        self.indexers.get(uid)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_owner.is_empty() && self.indexers.is_empty()
    }
}
