//! Runs of a task (pure): where its current attempt runs, what is known of it there, and how it is stopped.
//!
//! Each kind of run answers the same questions: what was seen of it, whether it is dead ([`death`]), what stops it, and
//! where its log is read. The decisions ask a [`Run`].

pub mod death;
pub mod elsewhere;
pub mod pod;

use k8s_openapi::jiff::Timestamp;

use self::death::{Death, Known};
use self::pod::run::{LogSource, PodRun, StopPod};

/// Where the current attempt of a task runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Run {
    /// In its own pod.
    Pod(Box<PodRun>),
    /// On another worker of its overlord. The overlord stops it, decides how it ended and serves its log.
    Elsewhere,
}

impl Run {
    /// Whether the attempt is dead. One that runs elsewhere lives until the overlord reports its end.
    #[must_use]
    pub fn death(&self, known: &Known<'_>, now: Timestamp) -> Death {
        match self {
            Self::Pod(run) => run.death(known, now),
            Self::Elsewhere => Death::No,
        }
    }

    /// What stops it; `None` if only the overlord can.
    #[must_use]
    pub fn stop(&self) -> Option<StopPod> {
        match self {
            Self::Pod(run) => Some(run.evidence.stop()),
            Self::Elsewhere => None,
        }
    }

    /// Where its log is read; `None` if only the overlord has it.
    #[must_use]
    pub fn log(&self) -> Option<LogSource> {
        match self {
            Self::Pod(run) => Some(run.log()),
            Self::Elsewhere => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AfterNodeLoss;

    #[test]
    fn only_the_overlord_ends_what_runs_elsewhere() {
        let known = Known {
            node: None,
            noticed: None,
            after_node_loss: AfterNodeLoss::Rerun,
        };
        assert_eq!(Run::Elsewhere.death(&known, Timestamp::MAX), Death::No);
        assert_eq!(Run::Elsewhere.stop(), None);
        assert_eq!(Run::Elsewhere.log(), None);
    }
}
