//! Who leads, decided from a Lease (pure).
//!
//! The rules are those of client-go's leader election: a candidate takes a lease over only after *it* saw the lease
//! unchanged for the whole duration, so clocks of different machines are never compared; every write names the resource
//! version that it replaces, so one of two candidates loses.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

/// The lease as observed by a candidate: its version, and since when it has had that version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Resource version of the Lease.
    pub version: String,
    /// When this candidate first saw it.
    pub since: Instant,
}

/// What a candidate does.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Write this Lease; the process whose write succeeds leads.
    Write(Box<LeaseSpec>),
    /// Another process leads: check again.
    Wait,
}

/// Decides for the candidate `me`.
#[must_use]
pub fn decide(
    current: Option<&LeaseSpec>,
    me: &str,
    observed: Option<&Observed>,
    duration: Duration,
    now: Instant,
    wall: Timestamp,
) -> Decision {
    let holder = current
        .and_then(|l| l.holder_identity.as_deref())
        .filter(|h| !h.is_empty());
    let theirs = current
        .and_then(|l| l.lease_duration_seconds)
        .and_then(|s| u64::try_from(s).ok());
    let their_duration = theirs.map_or(duration, Duration::from_secs);
    let expired = observed.is_some_and(|o| now.saturating_duration_since(o.since) > their_duration);
    let transitions = current.and_then(|l| l.lease_transitions).unwrap_or_default();
    let mine = holder == Some(me);
    if !mine && holder.is_some() && !expired {
        return Decision::Wait;
    }
    let acquired = current.and_then(|l| l.acquire_time.clone()).filter(|_| mine);
    Decision::Write(Box::new(LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: acquired.or(Some(MicroTime(wall))),
        renew_time: Some(MicroTime(wall)),
        lease_transitions: Some(if mine {
            transitions
        } else {
            transitions.saturating_add(1)
        }),
        ..LeaseSpec::default()
    }))
}

/// How long a lease written at `began` proves leadership: a fifth less than its duration, since other candidates count
/// from when they saw it.
#[must_use]
pub fn proven_until(began: Instant, duration: Duration) -> Instant {
    began + duration * 4 / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        }
    }

    fn decision(current: Option<&LeaseSpec>, seen_for: Option<u64>) -> Decision {
        let since = Instant::now();
        let now = since + Duration::from_secs(seen_for.unwrap_or_default());
        let observed = seen_for.map(|_| Observed {
            version: "1".into(),
            since,
        });
        decide(
            current,
            "me",
            observed.as_ref(),
            DURATION,
            now,
            Timestamp::UNIX_EPOCH,
        )
    }

    fn written(decision: Decision) -> LeaseSpec {
        match decision {
            Decision::Write(spec) => *spec,
            Decision::Wait => panic!("waits"),
        }
    }

    #[test]
    fn a_free_lease_is_taken() {
        assert_eq!(written(decision(None, None)).lease_transitions, Some(1));
        assert_eq!(
            written(decision(Some(&held_by("")), Some(0))).lease_transitions,
            Some(4)
        );
    }

    #[test]
    fn the_own_lease_is_renewed_without_a_transition() {
        let renewed = written(decision(Some(&held_by("me")), Some(0)));
        assert_eq!(renewed.lease_transitions, Some(3));
        assert_eq!(renewed.acquire_time, Some(MicroTime(Timestamp::UNIX_EPOCH)));
    }

    #[test]
    fn anothers_lease_is_taken_only_after_it_was_seen_unchanged_for_its_duration() {
        assert_eq!(decision(Some(&held_by("other")), None), Decision::Wait);
        assert_eq!(decision(Some(&held_by("other")), Some(15)), Decision::Wait);
        assert_eq!(
            written(decision(Some(&held_by("other")), Some(16)))
                .holder_identity
                .as_deref(),
            Some("me")
        );
    }

    #[test]
    fn leadership_is_proven_for_less_than_the_lease_lasts() {
        let began = Instant::now();
        assert!(proven_until(began, DURATION) < began + DURATION);
    }
}
