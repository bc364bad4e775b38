//! The pod's part of the status of its `VirtualMiddleManager`: the state of its identities (pure).

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::VirtualMiddleManagerStatus;
use crate::api::conditions::{ANNOUNCED, Conditions, OVERLORD_ANSWERS, find};
use crate::api::reason::{Announcement, OverlordAnswers};
use crate::api::virtual_middle_manager::{Drain, IdentityStatus};
use crate::middle_manager::overlord::decide::refusal::Trouble;

/// An overlord polls at least every three minutes. An overlord that has not polled for longer does not see the worker.
const SILENT: Duration = Duration::from_secs(4 * 60);
/// The time of the last poll is written together with other changes, or when the recorded time is this old.
const STALE: SignedDuration = SignedDuration::from_mins(5);

/// What is known of the overlord.
#[derive(Debug, Clone, Default)]
pub struct OverlordSeen {
    /// The leading overlord, if known.
    pub leader: Option<String>,
    /// Why it does not answer.
    pub trouble: Option<Trouble>,
}

/// What is known of one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its ordinal, from 0. Each identity has one entry.
    pub ordinal: u16,
    /// `host:port`, or a placeholder while there is none.
    pub address: String,
    /// Whether it is announced in discovery, by this process or a younger one.
    pub announced: bool,
    /// Where it is announced, or to be announced.
    pub announced_at: Option<String>,
    /// The error of its announcement.
    pub error: Option<String>,
    /// Whether it is disabled.
    pub disabled: bool,
    /// Slots in use.
    pub used: u32,
    /// Its drain state, if it is no longer wanted.
    pub drain: Option<Drain>,
    /// When it was last polled, and how long ago.
    pub polled: Option<(Timestamp, Duration)>,
}

/// How many identities are announced, and how many of these an overlord polls.
#[must_use]
pub fn reached(identities: &[Facts]) -> (usize, usize) {
    let announced = identities.iter().filter(|identity| identity.announced);
    let polled = announced.clone().filter(|identity| is_polled(identity));
    (announced.count(), polled.count())
}

fn is_polled(identity: &Facts) -> bool {
    identity.polled.is_some_and(|(_, ago)| ago < SILENT)
}

/// The next status; `None` if it is unchanged.
#[must_use]
pub fn status(
    before: &VirtualMiddleManagerStatus,
    identities: &[Facts],
    overlord: &OverlordSeen,
    now: Timestamp,
) -> Option<VirtualMiddleManagerStatus> {
    let (is, reason, message) = judge(identities);
    let ours = [ANNOUNCED, OVERLORD_ANSWERS].into_iter();
    let ours: Vec<Condition> = ours
        .filter_map(|t| find(&before.conditions, t).cloned())
        .collect();
    let mut conditions = Conditions::from(&ours, None, now);
    conditions.set(ANNOUNCED, is, &reason, &message);
    let (is, reason, message) = answers(overlord);
    // Details that vary with every try are no change.
    let said =
        find(&ours, OVERLORD_ANSWERS).filter(|c| (c.status == "True") == is && c.reason == reason.as_str());
    let message = said.map_or(message, |c| c.message.clone());
    conditions.set(OVERLORD_ANSWERS, is, &reason, &message);
    let next = VirtualMiddleManagerStatus {
        conditions: conditions.into_list(),
        leader: overlord.leader.clone(),
        used: Some(slots(
            identities.iter().fold(0, |used, i| used.saturating_add(i.used)),
        )),
        identities: identities.iter().map(identity).collect(),
        observed_generation: None,
    };
    let stands = VirtualMiddleManagerStatus {
        conditions: ours,
        observed_generation: None,
        ..before.clone()
    };
    let changed = without_times(&next) != without_times(&stands);
    (changed || is_stale(&stands, &next)).then_some(next)
}

fn judge(identities: &[Facts]) -> (bool, Announcement, String) {
    let draining = identities
        .iter()
        .filter(|i| i.drain == Some(Drain::Draining))
        .count();
    // Drained identities are gone for the overlord.
    let identities: Vec<&Facts> = identities
        .iter()
        .filter(|i| i.drain != Some(Drain::Drained))
        .collect();
    if let Some(identity) = identities.iter().find(|i| !i.announced) {
        let why = identity
            .error
            .as_deref()
            .unwrap_or("the announcement is being made");
        let message = format!("{} is not announced: {why}", identity.address);
        return (false, Announcement::NotAnnounced, message);
    }
    if let Some(identity) = identities.iter().find(|i| !is_polled(i)) {
        let message = format!(
            "no overlord polls {}: it has to find it (discovery as Druid's: the same hosts and basePath of ZooKeeper, or the \
             same clusterIdentifier and namespace; and druid.indexer.runner.type=httpRemote), resolve the name (spec.advertise: ClusterIP needs no DNS), and reach \
             the port",
            identity.address
        );
        return (false, Announcement::NotPolled, message);
    }
    let drain = match draining {
        0 => String::new(),
        some => format!("; {some} of them accept no tasks and are removed when theirs have ended"),
    };
    let message = format!(
        "{} workers are announced, and the overlord polls them{drain}",
        identities.len()
    );
    (true, Announcement::Announced, message)
}

fn answers(overlord: &OverlordSeen) -> (bool, OverlordAnswers, String) {
    match overlord {
        OverlordSeen {
            trouble: Some(trouble),
            ..
        } => (false, trouble.reason, trouble.message.clone()),
        OverlordSeen { leader: None, .. } => {
            let message = "the overlord answers that no overlord leads: see its log".to_owned();
            (false, OverlordAnswers::NoLeader, message)
        }
        OverlordSeen { leader: Some(_), .. } => {
            let message = "the overlord answers requests".to_owned();
            (true, OverlordAnswers::Answers, message)
        }
    }
}

/// At most the largest value of a status: the number of slots is read from an annotation.
fn slots(used: u32) -> u32 {
    used.min(i32::MAX.unsigned_abs())
}

fn identity(facts: &Facts) -> IdentityStatus {
    IdentityStatus {
        ordinal: facts.ordinal,
        address: facts.address.clone(),
        announced: facts.announced,
        announced_at: facts.announced_at.clone().filter(|_| facts.announced),
        disabled: facts.disabled,
        used: slots(facts.used),
        drain: facts.drain,
        // Whole seconds, as stored by the API server.
        last_poll_time: facts
            .polled
            .and_then(|(at, _)| Timestamp::from_second(at.as_second()).ok())
            .map(Time),
        error: facts.error.clone(),
    }
}

fn without_times(status: &VirtualMiddleManagerStatus) -> VirtualMiddleManagerStatus {
    let mut status = status.clone();
    for identity in &mut status.identities {
        identity.last_poll_time = None;
    }
    status
}

fn is_stale(before: &VirtualMiddleManagerStatus, next: &VirtualMiddleManagerStatus) -> bool {
    next.identities.iter().any(|next| {
        let before = before.identities.iter().find(|b| b.ordinal == next.ordinal);
        match (
            before.and_then(|b| b.last_poll_time.as_ref()),
            &next.last_poll_time,
        ) {
            (Some(before), Some(next)) => next.0.duration_since(before.0) >= STALE,
            (before, next) => before.is_none() && next.is_some(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn facts(polled: i64) -> Facts {
        Facts {
            ordinal: 0,
            address: "a:8091".into(),
            announced: true,
            announced_at: Some("/druid/internal-discovery/MIDDLE_MANAGER/a:8091".into()),
            error: None,
            disabled: false,
            used: 1,
            drain: None,
            polled: Some((at(polled), Duration::from_secs(1))),
        }
    }

    fn overlord() -> OverlordSeen {
        OverlordSeen {
            leader: Some("http://o:8090".into()),
            trouble: None,
        }
    }

    fn reason(identities: &[Facts]) -> (String, String) {
        let status = status(
            &VirtualMiddleManagerStatus::default(),
            identities,
            &overlord(),
            at(100),
        )
        .unwrap();
        let condition = status.conditions[0].clone();
        (condition.status, condition.reason)
    }

    #[test]
    fn the_first_thing_that_is_wrong_is_said() {
        let absent = Facts {
            announced: false,
            error: Some("no ZooKeeper".into()),
            polled: None,
            ..facts(1)
        };
        let silent = Facts {
            polled: Some((at(1), SILENT)),
            ..facts(1)
        };
        let never = Facts {
            polled: None,
            ..facts(1)
        };
        let all = [facts(1), silent.clone(), absent.clone()];
        assert_eq!(reached(&all), (2, 1));
        let cases = [
            (
                vec![facts(1), absent.clone()],
                "False",
                Announcement::NotAnnounced.as_str(),
            ),
            (
                vec![silent.clone(), absent],
                "False",
                Announcement::NotAnnounced.as_str(),
            ),
            (vec![facts(1), silent], "False", Announcement::NotPolled.as_str()),
            (vec![never], "False", Announcement::NotPolled.as_str()),
            (vec![facts(1), facts(1)], "True", Announcement::Announced.as_str()),
        ];
        for (identities, is, expected) in cases {
            assert_eq!(reason(&identities), (is.to_owned(), expected.to_owned()));
        }
    }

    #[test]
    fn an_overlord_that_does_not_answer_is_no_secret() {
        let trouble = Trouble {
            reason: OverlordAnswers::NotAuthorized,
            message: "403".into(),
        };
        let refusing = OverlordSeen {
            trouble: Some(trouble),
            ..overlord()
        };
        let nobody = OverlordSeen::default();
        let mut before = VirtualMiddleManagerStatus::default();
        for (seen, is, expected) in [
            (overlord(), "True", OverlordAnswers::Answers.as_str()),
            (refusing, "False", "NotAuthorized"),
            (nobody, "False", OverlordAnswers::NoLeader.as_str()),
        ] {
            before = status(&before, &[facts(1)], &seen, at(100)).unwrap();
            let condition = find(&before.conditions, OVERLORD_ANSWERS).unwrap();
            assert_eq!(
                (condition.status.as_str(), condition.reason.as_str()),
                (is, expected)
            );
            let announced = find(&before.conditions, ANNOUNCED).unwrap();
            assert_eq!(announced.status, "True", "it is asked for news all the same");
            assert_eq!(status(&before, &[facts(1)], &seen, at(101)), None);
        }
    }

    #[test]
    fn an_identity_that_has_drained_need_not_be_announced() {
        let drained = Facts {
            announced: false,
            drain: Some(Drain::Drained),
            ..facts(1)
        };
        assert_eq!(reason(&[facts(1), drained.clone()]).0, "True");
        let draining = Facts {
            drain: Some(Drain::Draining),
            ..drained
        };
        assert_eq!(
            reason(&[facts(1), draining.clone()]).1,
            Announcement::NotAnnounced.as_str()
        );
        let draining = Facts {
            announced: true,
            ..draining
        };
        let status = status(
            &VirtualMiddleManagerStatus::default(),
            &[draining],
            &overlord(),
            at(100),
        )
        .unwrap();
        assert_eq!(status.identities[0].drain, Some(Drain::Draining));
        assert!(status.conditions[0].message.contains("accept no tasks"));
    }

    #[test]
    fn where_an_identity_is_announced_is_said_while_it_is() {
        let said = |announced| {
            let facts = Facts {
                announced,
                ..facts(1)
            };
            let none = VirtualMiddleManagerStatus::default();
            status(&none, &[facts], &overlord(), at(100)).unwrap().identities[0]
                .announced_at
                .clone()
        };
        let path = "/druid/internal-discovery/MIDDLE_MANAGER/a:8091";
        assert_eq!((said(true).as_deref(), said(false)), (Some(path), None));
    }

    #[test]
    fn polls_alone_are_written_now_and_then() {
        let next = |before: &VirtualMiddleManagerStatus, polled| {
            status(before, &[facts(polled)], &overlord(), at(polled))
        };
        let first = next(&VirtualMiddleManagerStatus::default(), 100).unwrap();
        assert_eq!(first.used, Some(1));
        assert_eq!(next(&first, 100), None);
        assert_eq!(next(&first, 399), None);
        let later = next(&first, 400).unwrap();
        assert_eq!(later.identities[0].last_poll_time.as_ref().unwrap().0, at(400));
        let busier = Facts {
            used: 2,
            ..facts(101)
        };
        assert!(status(&first, &[busier], &overlord(), at(101)).is_some());
    }

    #[test]
    fn the_operators_conditions_are_not_ours_to_write() {
        let none = VirtualMiddleManagerStatus::default();
        let mut before = status(&none, &[facts(1)], &overlord(), at(1)).unwrap();
        let mut ready = before.conditions[0].clone();
        ready.type_ = "Ready".into();
        before.conditions.push(ready);
        before.observed_generation = Some(3);
        assert_eq!(status(&before, &[facts(1)], &overlord(), at(2)), None);
    }
}
