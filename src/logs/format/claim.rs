//! Which task owns the log and the report stored under a Druid id (pure).
//!
//! The layout is Druid's and uses only ids, and two PeonTasks may have the same id: in two namespaces, or one after the
//! other in one namespace, or both at once. So a claim beside the log names the owner. All other tasks with the id
//! write below `.peon`, by uid.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Version of the format written. Later versions only add fields.
pub const VERSION: u32 = 1;

/// A task that requests the keys of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// Namespace of the `PeonTask`.
    pub namespace: String,
    /// Name of the `PeonTask`.
    pub name: String,
    /// Uid of the `PeonTask`.
    pub uid: String,
    /// When the `PeonTask` was created. Without it the claimant takes no claim over.
    pub created: Option<Timestamp>,
}

/// A claim as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Claim {
    /// Version of the format.
    pub version: u32,
    /// Namespace of the owner's `PeonTask`.
    pub namespace: String,
    /// Name of the owner's `PeonTask`.
    pub name: String,
    /// Uid of the owner's `PeonTask`.
    pub uid: String,
    /// Druid id of the owner.
    pub task_id: String,
    /// When the owner was created, if the claimant knew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The objects under the id still belong to this uid: the owner puts them aside before it writes anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What to do about the claim of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// There is no claim: create one.
    Free,
    /// The claim is the claimant's.
    Ours,
    /// The claim is the claimant's, once the objects under the id are put aside for this uid.
    OursAfter(String),
    /// The claim belongs to an earlier task of the namespace: it may be taken over when that task has ended.
    Earlier,
    /// The claim belongs to another task.
    Theirs(Rival),
}

/// The owner of an id's keys, as shown to a task that does not get them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rival {
    /// This `PeonTask` of the same namespace.
    Here(String),
    /// A task of another namespace, which is not named here.
    Elsewhere,
    /// Unknown.
    Unknown,
}

impl Claim {
    /// The claim for this task.
    #[must_use]
    pub fn of(claimant: &Claimant, task_id: &str, after: Option<String>) -> Self {
        Self {
            version: VERSION,
            namespace: claimant.namespace.clone(),
            name: claimant.name.clone(),
            uid: claimant.uid.clone(),
            task_id: task_id.to_owned(),
            created: claimant.created,
            after,
        }
    }

    /// Decides what to do about the claim that was found.
    ///
    /// Only a later task takes a claim over, and only one of the same namespace: a process that still believes in a task
    /// that was deleted must not take it back, and no tenant takes the log of another one away.
    #[must_use]
    pub fn judge(found: Option<&Self>, claimant: &Claimant) -> Judgement {
        let Some(claim) = found else {
            return Judgement::Free;
        };
        if claim.uid == claimant.uid {
            return claim.after.clone().map_or(Judgement::Ours, Judgement::OursAfter);
        }
        if claim.namespace != claimant.namespace {
            return Judgement::Theirs(Rival::Elsewhere);
        }
        let later = claimant
            .created
            .is_some_and(|mine| claim.created.is_none_or(|theirs| mine >= theirs));
        if later {
            Judgement::Earlier
        } else {
            Judgement::Theirs(Rival::Here(claim.name.clone()))
        }
    }

    /// Whether the objects under the id belong to the task with this uid.
    #[must_use]
    pub fn covers(&self, uid: &str) -> bool {
        match &self.after {
            Some(before) => before == uid,
            None => self.uid == uid,
        }
    }
}

impl Rival {
    /// Why log and report are not under the id, and what to do.
    #[must_use]
    pub fn why(&self, task_id: &str) -> String {
        match self {
            Self::Here(name) => format!(
                "the PeonTask {name} has claimed the id {task_id:?} in this store: give each task an id of \
                 its own"
            ),
            Self::Elsewhere => format!(
                "a task of another namespace has claimed the id {task_id:?} in this store: give each task \
                 an id of its own"
            ),
            Self::Unknown => {
                format!("the sidecar's configuration has no PeonTask that could claim the id {task_id:?}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(namespace: &str, uid: &str, created: Option<i64>) -> Claimant {
        Claimant {
            namespace: namespace.into(),
            name: "nightly".into(),
            uid: uid.into(),
            created: created.map(|s| Timestamp::from_second(s).unwrap()),
        }
    }

    #[test]
    fn who_has_it_keeps_it_unless_a_later_task_of_the_namespace_comes() {
        let first = Claim::of(&claimant("a", "1", Some(10)), "id", None);
        let judge = |claimant: &Claimant| Claim::judge(Some(&first), claimant);
        let here = || Judgement::Theirs(Rival::Here("nightly".into()));
        for (claimant, expected) in [
            (claimant("a", "1", Some(10)), Judgement::Ours),
            (claimant("a", "2", Some(11)), Judgement::Earlier),
            (claimant("a", "2", Some(10)), Judgement::Earlier),
            (claimant("a", "2", Some(9)), here()),
            (claimant("a", "2", None), here()),
            (claimant("b", "2", Some(11)), Judgement::Theirs(Rival::Elsewhere)),
        ] {
            assert_eq!(judge(&claimant), expected, "{claimant:?}");
        }
        assert_eq!(Claim::judge(None, &claimant("b", "2", None)), Judgement::Free);
    }

    #[test]
    fn until_it_is_put_aside_what_stands_there_is_the_former_owners() {
        let me = claimant("a", "2", Some(11));
        let claim = Claim::of(&me, "id", Some("1".into()));
        assert_eq!(Claim::judge(Some(&claim), &me), Judgement::OursAfter("1".into()));
        assert!(claim.covers("1") && !claim.covers("2"));
        let settled = Claim::of(&me, "id", None);
        assert!(settled.covers("2") && !settled.covers("1"));
    }

    #[test]
    fn no_task_learns_the_name_of_another_namespaces() {
        let said = Rival::Elsewhere.why("id");
        assert!(
            said.contains("another namespace") && !said.contains("nightly"),
            "{said}"
        );
        assert!(Rival::Here("nightly".into()).why("id").contains("nightly"));
    }

    #[test]
    fn a_claim_of_a_later_version_is_read() {
        let json = r#"{"version": 9, "namespace": "a", "uid": "1", "more": 1}"#;
        let claim: Claim = serde_json::from_str(json).unwrap();
        assert_eq!((claim.namespace.as_str(), claim.uid.as_str()), ("a", "1"));
        // A claim that cannot be read belongs to another task, whatever the claimant.
        let none = Claim::default();
        let judged = Claim::judge(Some(&none), &claimant("a", "1", Some(1)));
        assert_eq!(judged, Judgement::Theirs(Rival::Elsewhere));
    }
}
