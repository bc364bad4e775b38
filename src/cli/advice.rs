//! What to do about a reason (pure): read from the tables of `docs/reasons.md`, so that there is only one text.

use serde::Serialize;

const REASONS: &str = include_str!("../../docs/reasons.md");
/// Heading of the tables about tasks that have failed.
const FAILED: &str = "## The task has failed";

/// What a reason means and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Advice {
    /// What it means.
    pub(super) meaning: &'static str,
    /// What to do.
    pub(super) action: &'static str,
}

/// The advice about a reason of a task that has failed, or has not.
pub(super) fn about(reason: &str, failed: bool) -> Option<Advice> {
    let (before, after) = REASONS.split_once(FAILED)?;
    let text = if failed { after } else { before };
    text.lines().find_map(|line| {
        let cells: Vec<&str> = line
            .strip_prefix("| `")?
            .trim_end()
            .strip_suffix('|')?
            .split(" | ")
            .collect();
        let [first, .., meaning, action] = cells.as_slice() else {
            return None;
        };
        (first.trim_end_matches('`') == reason).then(|| Advice {
            meaning: meaning.trim(),
            action: action.trim(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::reason::{Acceptance, Cause, Follows, Readiness, Suspension, Waiting};

    #[test]
    fn every_reason_has_its_advice() {
        let is_said = |reason: &str, failed: bool| {
            let advice = about(reason, failed);
            assert!(advice.is_some_and(|a| !a.action.is_empty()), "{reason}");
        };
        for reason in Acceptance::ALL {
            if !reason.is_final() {
                is_said(reason.as_str(), false);
            }
            if reason.is_final() || reason.follows() == Follows::ChangeOrEnd {
                is_said(reason.as_str(), true);
            }
        }
        for reason in Waiting::ALL {
            is_said(reason.as_str(), false);
        }
        for reason in Readiness::ALL {
            is_said(reason.as_str(), false);
        }
        for reason in Suspension::ALL {
            is_said(reason.as_str(), false);
        }
        for cause in Cause::ALL {
            if cause.follows() != Follows::Resume {
                is_said(cause.as_str(), true);
            }
        }
        assert_eq!(about("Nonsense", true), None);
    }

    #[test]
    fn the_same_reason_means_other_things_before_and_after_the_end() {
        let (waiting, failed) = (
            about(Waiting::ImagePull.as_str(), false),
            about(Cause::ImagePull.as_str(), true),
        );
        assert!(waiting.is_some() && failed.is_some() && waiting != failed);
        assert_eq!(
            about(Waiting::QuotaExceeded.as_str(), false).unwrap().meaning,
            "a ResourceQuota has nothing left"
        );
    }
}
