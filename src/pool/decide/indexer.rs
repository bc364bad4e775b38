//! One Indexer of a pool, as its pod shows it (pure).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::api::indexer_pool::{IndexerDiscovery, IndexerState};
use crate::api::{LABEL_REVISION, conditions};
use crate::task::run::pod::evidence::{Container, Evidence};

/// An Indexer.
#[derive(Debug, Clone, PartialEq)]
pub struct Indexer {
    /// What its pod shows of it.
    pub evidence: Evidence,
    /// The revision that it was made from.
    pub revision: String,
    /// When its pod was created.
    pub created: Timestamp,
    /// Whether its pod is ready: it is announced, and answers.
    pub ready: bool,
}

impl Indexer {
    /// Reads a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let labels = pod.metadata.labels.iter();
        let revision = labels.flatten().find(|(name, _)| *name == LABEL_REVISION);
        let status = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        Self {
            evidence: Evidence::of(pod),
            revision: revision.map(|(_, hash)| hash.clone()).unwrap_or_default(),
            created: pod
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            ready: status
                .filter(|c| c.type_ == conditions::READY)
                .any(|c| c.status == "True"),
        }
    }

    /// Name of its pod.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.evidence.pod_name
    }

    /// Its state, and details where there are any.
    #[must_use]
    pub fn state(&self, revision: Option<&str>, seen: &Seen) -> (IndexerState, Option<String>) {
        let evidence = &self.evidence;
        if evidence.deletion_requested.is_some() {
            return (IndexerState::Terminating, None);
        }
        if !evidence.may_live() {
            return (IndexerState::Failed, Some(self.how_it_ended()));
        }
        if revision.is_some_and(|revision| revision != self.revision) {
            return (IndexerState::Outdated, None);
        }
        if !self.ready {
            return (IndexerState::Starting, self.what_it_waits_for());
        }
        match seen.of(&evidence.pod_uid) {
            Visibility::Hidden => (IndexerState::Ready, None),
            Visibility::Visible => {
                let details = "the overlord sees the Indexer as a worker".to_owned();
                (IndexerState::Starting, Some(details))
            }
            Visibility::Unknown => {
                let details =
                    "the VirtualMiddleManager has not checked yet that the overlord does not see it";
                (IndexerState::Starting, Some(details.to_owned()))
            }
        }
    }

    /// Whether it can take a task, also if it is to be replaced.
    #[must_use]
    pub fn is_warm(&self, seen: &Seen) -> bool {
        let evidence = &self.evidence;
        self.ready
            && evidence.may_live()
            && evidence.deletion_requested.is_none()
            && seen.of(&evidence.pod_uid) == Visibility::Hidden
    }

    fn what_it_waits_for(&self) -> Option<String> {
        let evidence = &self.evidence;
        if let Some(message) = &evidence.unschedulable {
            return Some(message.clone());
        }
        let waits = |container: &Container| match container {
            Container::Waiting { reason, message } if reason != "PodInitializing" => Some(
                format!("{reason}: {message}")
                    .trim_end_matches([':', ' '])
                    .to_owned(),
            ),
            _ => None,
        };
        let init = evidence.init.as_ref().and_then(|(_, container)| waits(container));
        init.or_else(|| waits(&evidence.peon))
    }

    /// How it ended, in one line.
    #[must_use]
    pub fn how_it_ended(&self) -> String {
        let evidence = &self.evidence;
        if let Container::Terminated(ended) = &evidence.peon {
            let (code, reason) = (ended.exit_code, &ended.reason);
            return match ended.message.trim() {
                "" => format!("exit code {code}, {reason}"),
                message => format!("exit code {code}, {reason}: {message}"),
            };
        }
        let reason = evidence.reason.as_deref().unwrap_or("its pod ended");
        format!("{reason}: {}", evidence.message)
            .trim_end_matches([':', ' '])
            .to_owned()
    }
}

/// Whether the overlord sees an Indexer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// It was not checked yet.
    Unknown,
    /// It does not.
    Hidden,
    /// It does.
    Visible,
}

/// What the VirtualMiddleManager found of all Indexers of a pool, by uid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    hidden: BTreeSet<String>,
    visible: BTreeSet<String>,
    /// Its message.
    pub message: Option<String>,
}

impl Seen {
    /// Reads the status.
    #[must_use]
    pub fn from(discovery: Option<&IndexerDiscovery>) -> Self {
        discovery.map_or_else(Self::default, |found| Self {
            hidden: found.hidden.iter().cloned().collect(),
            visible: found.visible.iter().cloned().collect(),
            message: found.message.clone(),
        })
    }

    /// Whether the overlord sees the Indexer with this pod. One that is in both lists is visible.
    #[must_use]
    pub fn of(&self, uid: &str) -> Visibility {
        if self.visible.contains(uid) {
            Visibility::Visible
        } else if self.hidden.contains(uid) {
            Visibility::Hidden
        } else {
            Visibility::Unknown
        }
    }
}
