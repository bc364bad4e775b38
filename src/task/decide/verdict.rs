//! The verdict on an attempt (pure): one table, taken when the peon's container ends or its pod is gone.
//!
//! | evidence | verdict |
//! |---|---|
//! | `TaskStatus` SUCCESS with our id | Complete, whatever exit code and pod reason say: the data is published |
//! | `TaskStatus` FAILED, and before it the operator stopped it | why it did: Druid writes FAILED on SIGTERM |
//! | `TaskStatus` FAILED, and before it the pod was disrupted | the disruption, likewise |
//! | `TaskStatus` FAILED that says that memory ran out | `JavaOutOfMemory`, with Druid's message |
//! | `TaskStatus` FAILED otherwise | `TaskFailed`, with Druid's message |
//! | none | the pod's evidence |
//!
//! The exit code alone never is a verdict: a peon exits with 0 when its task failed, too.

use k8s_openapi::jiff::Timestamp;

use crate::api::Stop;
use crate::api::reason::Cause;
use crate::druid::out_of_memory;
use crate::druid::task_status::{self, Report};
use crate::druid::worker::{TaskState, TaskStatus};
use crate::task::accept::properties_file;
use crate::task::run::pod::evidence::{Container, Evidence, NEVER_RAN, STOPPED_BY_KUEUE, Terminated};
use crate::task::run::pod::payload_volume;

/// Added to the message whenever the peon ran and did not report its task's result.
const MAYBE_PUBLISHED: &str = "segments may already be published";

/// How the attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Success, or the cause of the failure.
    pub outcome: Outcome,
    /// How the peon's container ended, if it ran.
    pub terminated: Option<Terminated>,
}

/// Success or failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Druid reported SUCCESS.
    Succeeded,
    /// The task failed.
    Failed {
        /// One of [`Cause`].
        cause: Cause,
        /// Details in words.
        message: String,
    },
}

/// Decides on a pod whose peon is dead, or whose node was written off. `stop` is why the operator itself stopped it.
#[must_use]
pub fn judge(evidence: &Evidence, task_id: &str, stop: Option<&Stop>) -> Verdict {
    let end = End { evidence, stop };
    let (outcome, terminated) = match &evidence.peon {
        Container::Terminated(ended) => (end.of_peon(ended, task_id), Some(ended.clone())),
        _ if evidence.pod_ended() => (end.of_pod(), None),
        _ => (end.unseen(), None),
    };
    Verdict { outcome, terminated }
}

/// Decides on a run in an Indexer. `announced` is the end of the task that the Indexer announced, and `stop` why the
/// operator stopped it, which was recorded first: that also has what was known when the operator deleted the pod.
///
/// | known | verdict |
/// |---|---|
/// | SUCCESS was announced | Complete, whatever became of the pod: the data is published |
/// | the operator stopped it | why it did |
/// | FAILED was announced, and the pod was disrupted | the disruption |
/// | FAILED was announced, with a message that memory ran out | `JavaOutOfMemory`, with Druid's message |
/// | FAILED was announced otherwise | `TaskFailed`, with Druid's message |
/// | none | the pod's evidence, as for a pod of its own |
#[must_use]
pub fn judge_worker(
    announced: Option<&TaskStatus>,
    evidence: &Evidence,
    task_id: &str,
    stop: Option<&Stop>,
) -> Verdict {
    let of = |outcome| Verdict {
        outcome,
        terminated: None,
    };
    if announced.is_some_and(|status| status.status == TaskState::Success) {
        return of(Outcome::Succeeded);
    }
    let said = announced.and_then(|status| status.error_msg.as_deref());
    let druid = said.map(|m| format!("; Druid said: {m}")).unwrap_or_default();
    // A pod that had ended before was not stopped.
    let finished = match &evidence.peon {
        Container::Terminated(ended) if announced.is_none() => ended.finished,
        _ => None,
    };
    let stop = stop.filter(|stop| finished.is_none_or(|finished| stop.time.0 <= finished));
    if let Some((stop, cause)) = stop.and_then(|stop| Some((stop, Cause::parse(&stop.cause)?))) {
        let unknown = match announced {
            // The message of a failure that was recorded is Druid's.
            _ if matches!(cause, Cause::TaskFailed | Cause::JavaOutOfMemory) => String::new(),
            Some(_) => druid,
            None => format!("; its end was not announced; {MAYBE_PUBLISHED}"),
        };
        return of(failed(cause, format!("{}{unknown}", stop.message)));
    }
    if announced.is_none() {
        let verdict = judge(evidence, task_id, None);
        return Verdict {
            outcome: of_indexer(verdict.outcome),
            ..verdict
        };
    }
    let end = End { evidence, stop: None };
    of(match end.disruption(None) {
        Some((cause, message)) => of_indexer(failed(cause, format!("{message}{druid}"))),
        None => failed_by_druid(said),
    })
}

/// How an attempt ended.
#[derive(Clone, Copy)]
struct End<'a> {
    evidence: &'a Evidence,
    stop: Option<&'a Stop>,
}

fn failed(cause: Cause, message: impl Into<String>) -> Outcome {
    Outcome::Failed {
        cause,
        message: message.into(),
    }
}

/// Druid reported FAILED, and nothing else explains it.
fn failed_by_druid(said: Option<&str>) -> Outcome {
    let cause = match said {
        Some(message) if out_of_memory::is_said_by(message) => Cause::JavaOutOfMemory,
        _ => Cause::TaskFailed,
    };
    failed(cause, said.unwrap_or("Druid reported FAILED without a message"))
}

impl End<'_> {
    fn of_peon(self, ended: &Terminated, task_id: &str) -> Outcome {
        let disruption = self.disruption(ended.finished);
        match (task_status::read(&ended.message, task_id), disruption) {
            (Report::Success, _) => Outcome::Succeeded,
            (Report::Failed { error_msg }, Some((cause, message))) => {
                let druid = error_msg
                    .map(|m| format!("; Druid said: {m}"))
                    .unwrap_or_default();
                failed(cause, format!("{message}{druid}"))
            }
            (Report::Failed { error_msg }, None) => failed_by_druid(error_msg.as_deref()),
            (Report::OtherTask { id }, _) => failed(
                Cause::NoVerdict,
                format!("the peon reported the status of another task, {id:?}; {MAYBE_PUBLISHED}"),
            ),
            (Report::None, disruption) => self.without_report(ended, disruption),
        }
    }

    /// The peon ended and did not report its task's result.
    fn without_report(self, ended: &Terminated, disruption: Option<(Cause, String)>) -> Outcome {
        if let (Some(_), Some((cause, message))) = (self.stop, &disruption)
            && cause.is_stop()
        {
            return failed(
                *cause,
                format!("{message}; the peon wrote no status; {MAYBE_PUBLISHED}"),
            );
        }
        if ended.reason == "OOMKilled" {
            let message =
                format!("a process of the peon exceeded the memory limit and was killed; {MAYBE_PUBLISHED}");
            return failed(Cause::OomKilled, message);
        }
        if ended.exit_code == 3 {
            let message = format!("the JVM ran out of memory and exited with code 3; {MAYBE_PUBLISHED}");
            return failed(Cause::JavaOutOfMemory, message);
        }
        if let Some((cause, message)) = disruption {
            return failed(
                cause,
                format!("{message}; the peon wrote no status; {MAYBE_PUBLISHED}"),
            );
        }
        let refusals = [payload_volume::REFUSED, properties_file::REFUSED];
        if ended.exit_code == payload_volume::REFUSED_CODE
            && let Some(at) = refusals.iter().find_map(|refused| ended.message.find(refused))
        {
            return failed(Cause::ContainerStart, ended.message[at..].trim());
        }
        if NEVER_RAN.contains(&ended.reason.as_str()) {
            return failed(
                Cause::ContainerStart,
                format!("the container could not be started: {}", ended.message.trim()),
            );
        }
        if ended.exit_code == 1 && ended.lasted_a_second() {
            return failed(
                Cause::NoVerdict,
                "the peon exited with code 1 within a second: Java did not start, and its log says why",
            );
        }
        let how = match ended.exit_code {
            0 => "the peon exited with code 0 and wrote no status".to_owned(),
            code @ 129..=192 => format!(
                "the peon was ended by signal {} before it wrote a status",
                code - 128
            ),
            code => format!("the peon exited with code {code} before it wrote a status: see its log"),
        };
        failed(Cause::NoVerdict, format!("{how}; {MAYBE_PUBLISHED}"))
    }

    /// The pod ended and nothing is known of the peon's container.
    fn of_pod(self) -> Outcome {
        let evidence = self.evidence;
        let reason = evidence.reason.as_deref().unwrap_or_default();
        if let Some((cause, message)) = self.disruption(None) {
            return failed(cause, self.perhaps_published(&message));
        }
        if let Some((name, Container::Terminated(init))) = &evidence.init {
            let said = init.message.trim();
            let said = if said.is_empty() {
                String::new()
            } else {
                format!(": {said}")
            };
            let message = format!(
                "the init container {name} exited with code {}{said}",
                init.exit_code
            );
            return failed(Cause::ContainerStart, message);
        }
        // A pod refused by the kubelet never had containers: there is neither a start time nor a status.
        if !reason.is_empty() {
            let message = match evidence.message.trim() {
                "" => format!("the kubelet refused the pod: {reason}"),
                said => format!("the kubelet refused the pod: {reason}: {said}"),
            };
            return failed(Cause::PodRejected, message);
        }
        failed(
            Cause::NoVerdict,
            format!("the pod ended without a reason; {MAYBE_PUBLISHED}"),
        )
    }

    /// The pod is gone and the end of its peon was not seen.
    fn unseen(self) -> Outcome {
        let (cause, message) = self.disruption(None).unwrap_or_else(deleted);
        let unseen = if self.evidence.may_have_begun() {
            ", and the end of its peon was not observed"
        } else {
            ""
        };
        failed(cause, self.perhaps_published(&format!("{message}{unseen}")))
    }

    fn perhaps_published(self, message: &str) -> String {
        if self.evidence.may_have_begun() {
            format!("{message}; {MAYBE_PUBLISHED}")
        } else {
            format!("{message}; its peon had not started")
        }
    }

    /// The disruption of the pod, if it was requested no later than the peon ended.
    fn disruption(self, finished: Option<Timestamp>) -> Option<(Cause, String)> {
        let Self { evidence, stop } = self;
        let in_time = |since: &Timestamp| finished.is_none_or(|finished| *since <= finished);
        let detail = |text: &str, message: &str| match message.trim() {
            "" => text.to_owned(),
            message => format!("{text}: {message}"),
        };
        if let Some(stop) = stop.filter(|s| in_time(&s.time.0))
            && let Some(cause) = Cause::parse(&stop.cause).filter(|cause| cause.is_stop())
        {
            return Some((cause, stop.message.clone()));
        }
        if let Some(d) = evidence.disruption.as_ref().filter(|d| in_time(&d.since)) {
            let by_reason = match d.reason.as_str() {
                "EvictionByEvictionAPI" => {
                    Some((Cause::Drained, "the pod was evicted through the eviction API"))
                }
                "PreemptionByScheduler" => Some((
                    Cause::Preempted,
                    "the scheduler preempted the pod for a pod of higher priority",
                )),
                STOPPED_BY_KUEUE if d.message.starts_with("Preempted") => {
                    Some((Cause::Preempted, "Kueue preempted the pod"))
                }
                STOPPED_BY_KUEUE => Some((Cause::PodDeleted, "Kueue stopped the pod")),
                "DeletionByTaintManager" | "DeletionByPodGC" => {
                    Some((Cause::NodeLost, "the pod's node was lost"))
                }
                _ => None,
            };
            if let Some((cause, text)) = by_reason {
                return Some((cause, detail(text, &d.message)));
            }
        }
        // The kubelet's reason has no time; the condition that comes with it has one.
        let late = evidence.disruption.as_ref().is_some_and(|d| !in_time(&d.since));
        let by_pod = match evidence.reason.as_deref().filter(|_| !late) {
            Some("Evicted") => Some((Cause::Evicted, "the kubelet evicted the pod")),
            Some("Preempting") => Some((
                Cause::Preempted,
                "the kubelet preempted the pod for a critical pod",
            )),
            Some("Terminated" | "NodeShutdown" | "Shutdown") => {
                Some((Cause::NodeShutdown, "the node shut down"))
            }
            Some("NodeLost") => Some((Cause::NodeLost, "the pod's node was lost")),
            Some("DeadlineExceeded") => Some((Cause::Deadline, "the pod's activeDeadlineSeconds passed")),
            _ => None,
        };
        if let Some((cause, text)) = by_pod {
            return Some((cause, detail(text, &evidence.message)));
        }
        // The kubelet sets the condition some time before it sets the pod's reason.
        if let Some(d) = evidence.disruption.as_ref().filter(|d| in_time(&d.since)) {
            return Some((Cause::Evicted, detail("the kubelet ended the pod", &d.message)));
        }
        evidence
            .deletion_requested
            .as_ref()
            .filter(|since| in_time(since))
            .map(|_| deleted())
    }
}

/// Of a pod of its own.
const DELETED: &str = "the pod was deleted by another client";
/// Of an Indexer, which has no record of who deleted it.
const INDEXER_DELETED: &str = "the pod of the Indexer was deleted, by another client or by the operator because it had not \
                               answered for five minutes";

fn deleted() -> (Cause, String) {
    (Cause::PodDeleted, DELETED.to_owned())
}

/// What the evidence of a pod says, as it is said of an Indexer.
fn of_indexer(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed { cause, message } => Outcome::Failed {
            cause,
            message: message.replacen(DELETED, INDEXER_DELETED, 1),
        },
        Outcome::Succeeded => Outcome::Succeeded,
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
