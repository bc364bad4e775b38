//! Whether the overlord answers what it is asked again and again.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::OverlordError;

/// What is wrong with the overlord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A word for it.
    pub reason: &'static str,
    /// What happened, and what to do.
    pub message: String,
}

/// What the last of each kind of question came to; all clones know the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers(Arc<Mutex<BTreeMap<&'static str, Trouble>>>);

impl Answers {
    /// A question was answered, or was not.
    pub(super) fn note(&self, question: &'static str, error: Option<&OverlordError>) {
        let mut troubles = self.0.lock();
        match error {
            Some(error) => {
                let trouble = Trouble {
                    reason: reason(error),
                    message: error.to_string(),
                };
                troubles.insert(question, trouble);
            }
            None => drop(troubles.remove(question)),
        }
    }

    /// The first of what is wrong.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.0.lock().values().next().cloned()
    }
}

fn reason(error: &OverlordError) -> &'static str {
    match error {
        OverlordError::Unavailable { .. } => "Unavailable",
        OverlordError::NotAuthorized { .. } => "NotAuthorized",
        OverlordError::Unexpected { .. } => "Unexpected",
    }
}
