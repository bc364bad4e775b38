//! Whether the overlord answers the periodic requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::api::reason::OverlordAnswers;

use super::decide::refusal::{OverlordError, Trouble};

/// A failed request is repeated within half a minute, unless there is nothing to ask any more: then its failure is
/// outdated.
const NEWS: Duration = Duration::from_secs(120);

/// The last result of each kind of request; shared by all clones.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers(Arc<Mutex<BTreeMap<&'static str, (Trouble, Instant)>>>);

impl Answers {
    /// Records the result of a request.
    pub(super) fn note(&self, question: &'static str, error: Option<&OverlordError>) {
        let mut troubles = self.0.lock();
        match error {
            Some(error) => {
                let trouble = Trouble {
                    reason: reason(error),
                    message: error.to_string(),
                };
                troubles.insert(question, (trouble, Instant::now()));
            }
            None => drop(troubles.remove(question)),
        }
    }

    /// The first problem.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.lately(Instant::now())
    }

    fn lately(&self, now: Instant) -> Option<Trouble> {
        let troubles = self.0.lock();
        let mut news = troubles.values().filter(|(_, at)| now.duration_since(*at) < NEWS);
        news.next().map(|(trouble, _)| trouble.clone())
    }
}

fn reason(error: &OverlordError) -> OverlordAnswers {
    match error {
        OverlordError::Unavailable { .. } => OverlordAnswers::Unavailable,
        OverlordError::NotAuthorized { .. } => OverlordAnswers::NotAuthorized,
        OverlordError::Unexpected { .. } => OverlordAnswers::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_any_more_is_forgotten() {
        let answers = Answers::default();
        let error = OverlordError::Unavailable {
            url: "http://o:8090".into(),
            why: "no route".into(),
        };
        answers.note("taskStatus", Some(&error));
        let now = Instant::now();
        assert_eq!(answers.lately(now).unwrap().reason, OverlordAnswers::Unavailable);
        assert_eq!(answers.lately(now + NEWS), None);
    }
}
