//! What the history is told of a task that is gone, and by whom.

use k8s_openapi::jiff::Timestamp;

use super::{Owner, finish};
use crate::logs::record::Entry;

/// Who of the two that may end a job last tells the history of a task that is gone.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    /// What is known of the task, once it is gone.
    pub(super) word: Option<LastWord>,
    /// The follower has done its work.
    pub(super) over: bool,
}

/// What is known of a task when its object is gone.
#[derive(Debug, Clone, Default)]
pub enum LastWord {
    /// Nothing: nobody saw it go.
    #[default]
    None,
    /// It has no verdict.
    NoVerdict,
    /// It has one, and the history is to have this of it.
    Final(Box<Entry>),
    /// The history has it, log and all.
    Recorded,
}

impl LastWord {
    /// The entry of a task whose log was archived before its object went; `None` where the history has it, or is likely
    /// to.
    pub(super) fn entry(self, owner: &Owner) -> Option<Entry> {
        match self {
            Self::None | Self::Recorded => None,
            Self::NoVerdict => Some(finish::deleted(owner, Timestamp::now())),
            Self::Final(entry) => Some(*entry),
        }
    }
}
