//! What the history is told of a task that is gone, and by whom.

use k8s_openapi::jiff::Timestamp;

use super::{Owner, finish};
use crate::logs::record::Entry;

/// Who of the two that may end a job last tells the history of a task that is gone.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    /// What is known of the task, once it is gone.
    pub(super) word: Option<LastWord>,
    /// What the history was given of the task, without its log or with it.
    pub(super) recorded: Option<Entry>,
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

impl Farewell {
    /// What the history is to have of a task that is gone when its log is archived; `None` where it has it, or the task is
    /// not gone.
    pub(super) fn entry(&self, owner: &Owner) -> Option<Entry> {
        let deleted = || finish::deleted(owner, Timestamp::now());
        match self.word.clone()? {
            LastWord::Recorded => None,
            LastWord::NoVerdict => Some(deleted()),
            LastWord::Final(entry) => Some(*entry),
            // Its verdict may be known all the same: the history is not told another one.
            LastWord::None => Some(self.recorded.clone().unwrap_or_else(deleted)),
        }
    }
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
