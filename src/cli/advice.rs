//! What to do about a reason (pure): the tables of `docs/reasons.md` themselves, so that there is one text.

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
    use crate::api::conditions::{RUNS_ELSEWHERE, accepted, cause, suspended, waiting};
    use crate::api::crds::BORN;

    #[test]
    fn every_reason_has_its_advice() {
        let not_running = [
            BORN,
            accepted::NO_TEMPLATE,
            accepted::INVALID_TEMPLATE,
            accepted::LIMIT_EXCEEDED,
            accepted::PAYLOAD_INCOMPLETE,
            accepted::NOT_ASSIGNED,
            accepted::SUBMISSIONS_DISABLED,
            accepted::TYPE_NOT_LISTED,
            accepted::NOT_AUTHORIZED,
            accepted::OVERLORD_UNREACHABLE,
            RUNS_ELSEWHERE,
            waiting::STARTING,
            waiting::UNSCHEDULABLE,
            waiting::QUOTA_EXCEEDED,
            waiting::IMAGE_PULL,
            waiting::CONTAINER_CONFIG,
            waiting::CONTAINER_START,
            waiting::NAME_CONFLICT,
            waiting::NOT_CREATED,
            waiting::RETRYING,
            waiting::MAX_RUNNING,
            waiting::STOPPING,
            waiting::AWAITING_NODE_PROOF,
            suspended::SUSPENDED,
            suspended::NOT_RESTARTABLE,
        ];
        for reason in not_running {
            assert!(
                about(reason, false).is_some_and(|a| !a.action.is_empty()),
                "{reason}"
            );
        }
        let failed = [
            accepted::INVALID_TASK,
            accepted::NEEDS_OVERLORD,
            accepted::SUBMISSION_REFUSED,
            accepted::PAYLOAD_INCOMPLETE,
            accepted::ID_CONFLICT,
            cause::POD_REFUSED,
            cause::START_DEADLINE,
            cause::CANCELLED,
            cause::DEADLINE,
            cause::IMAGE_PULL,
        ];
        for reason in failed.into_iter().chain(cause::RETRIED) {
            assert!(
                about(reason, true).is_some_and(|a| !a.action.is_empty()),
                "{reason}"
            );
        }
        assert_eq!(about("Nonsense", true), None);
    }

    #[test]
    fn the_same_reason_means_other_things_before_and_after_the_end() {
        let (waiting, failed) = (about(waiting::IMAGE_PULL, false), about(cause::IMAGE_PULL, true));
        assert!(waiting.is_some() && failed.is_some() && waiting != failed);
        assert_eq!(
            about(waiting::QUOTA_EXCEEDED, false).unwrap().meaning,
            "a ResourceQuota has nothing left"
        );
    }
}
