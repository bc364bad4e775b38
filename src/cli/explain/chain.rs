//! The chain of steps from an accepted task to its end, up to the current one (pure).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use crate::api::conditions::{self, ACCEPTED, STARTED};
use crate::api::reason::{Acceptance, Cause, Completion, Readiness, Suspension, TaskReason, Waiting};
use crate::api::{PeonTask, Phase};
use crate::cli::tasks;
use crate::task::decide::status::RUNS;

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    /// What has to be so.
    pub(super) stage: String,
    pub(super) state: State,
    /// Why it is not so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

/// How far a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum State {
    /// It is so.
    Done,
    /// It is being done, without anybody's help.
    Underway,
    /// Somebody has to act, or it is final.
    Blocked,
}

/// The stages, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Operator,
    Payload,
    Template,
    Accepted,
    Resumed,
    Slot,
    Name,
    Quota,
    Created,
    Node,
    Image,
    Configuration,
    Container,
    Running,
}

const STAGES: [(Stage, &str); 14] = [
    (Stage::Operator, "operator"),
    (Stage::Payload, "payload"),
    (Stage::Template, "template"),
    (Stage::Accepted, "accepted"),
    (Stage::Resumed, "not suspended"),
    (Stage::Slot, "slot"),
    (Stage::Name, "name"),
    (Stage::Quota, "quota"),
    (Stage::Created, "pod"),
    (Stage::Node, "node"),
    (Stage::Image, "image"),
    (Stage::Configuration, "configuration"),
    (Stage::Container, "container"),
    (Stage::Running, "running"),
];

/// The stage at which a task with this reason stands.
fn stage(reason: TaskReason) -> Option<Stage> {
    match reason {
        TaskReason::Accepted(reason) => of_acceptance(reason),
        TaskReason::Waits(reason) => Some(match reason {
            Waiting::MaxRunning | Waiting::PoolFull | Waiting::NoPool => Stage::Slot,
            Waiting::NameConflict => Stage::Name,
            Waiting::QuotaExceeded => Stage::Quota,
            Waiting::NotCreated => Stage::Created,
            Waiting::Unschedulable | Waiting::SchedulingGated => Stage::Node,
            Waiting::ImagePull => Stage::Image,
            Waiting::ContainerConfig => Stage::Configuration,
            Waiting::ContainerStart | Waiting::Starting => Stage::Container,
            Waiting::Retrying => Stage::Running,
        }),
        TaskReason::Ready(reason) => match reason {
            Readiness::WaitingForOperator => Some(Stage::Operator),
            Readiness::Stopping | Readiness::AwaitingNodeProof => Some(Stage::Running),
            Readiness::Running | Readiness::RunsElsewhere => None,
        },
        TaskReason::Suspended(reason) => match reason {
            Suspension::Suspended => Some(Stage::Resumed),
            Suspension::NotRestartable | Suspension::Resumed => None,
        },
        TaskReason::Complete(Completion::Succeeded) => None,
        TaskReason::Failed(cause) => of_cause(cause),
    }
}

fn of_acceptance(reason: Acceptance) -> Option<Stage> {
    match reason {
        Acceptance::PayloadIncomplete => Some(Stage::Payload),
        Acceptance::NoTemplate | Acceptance::InvalidTemplate => Some(Stage::Template),
        Acceptance::InvalidTask
        | Acceptance::NeedsOverlord
        | Acceptance::NotAssigned
        | Acceptance::SubmissionsDisabled
        | Acceptance::TypeNotListed
        | Acceptance::NotAuthorized
        | Acceptance::SubmissionRefused
        | Acceptance::OverlordUnreachable
        | Acceptance::IdConflict
        | Acceptance::LimitExceeded => Some(Stage::Accepted),
        Acceptance::Valid => None,
    }
}

/// Where the cause of a failure alone says it; else what the task waited for does.
fn of_cause(cause: Cause) -> Option<Stage> {
    match cause {
        Cause::Suspended => Some(Stage::Resumed),
        Cause::PodRefused => Some(Stage::Created),
        Cause::PodRejected => Some(Stage::Node),
        Cause::ImagePull => Some(Stage::Image),
        Cause::ContainerStart => Some(Stage::Container),
        Cause::TaskFailed
        | Cause::OomKilled
        | Cause::JavaOutOfMemory
        | Cause::Evicted
        | Cause::Drained
        | Cause::Preempted
        | Cause::NodeShutdown
        | Cause::NodeLost
        | Cause::StartDeadline
        | Cause::Cancelled
        | Cause::Deadline
        | Cause::PodDeleted
        | Cause::NoVerdict => None,
    }
}

/// Whether a task that is not complete goes on without help; one with a reason of a newer version does not.
fn goes_on(reason: TaskReason) -> bool {
    match reason {
        TaskReason::Waits(reason) => match reason {
            Waiting::Starting | Waiting::Retrying | Waiting::MaxRunning | Waiting::PoolFull => true,
            Waiting::Unschedulable
            | Waiting::SchedulingGated
            | Waiting::QuotaExceeded
            | Waiting::ImagePull
            | Waiting::ContainerConfig
            | Waiting::ContainerStart
            | Waiting::NameConflict
            | Waiting::NotCreated
            | Waiting::NoPool => false,
        },
        TaskReason::Ready(reason) => match reason {
            Readiness::Stopping => true,
            Readiness::WaitingForOperator
            | Readiness::Running
            | Readiness::RunsElsewhere
            | Readiness::AwaitingNodeProof => false,
        },
        TaskReason::Accepted(_)
        | TaskReason::Suspended(_)
        | TaskReason::Complete(_)
        | TaskReason::Failed(_) => false,
    }
}

/// What the chain tells of a task beside its conditions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known<'a> {
    /// Name of its template.
    pub(super) template: Option<&'a str>,
    /// Whether that bounds the tasks that run at the same time.
    pub(super) bounded: bool,
}

/// The chain of a task on a cluster, from its conditions.
pub(super) fn live(task: &PeonTask, known: Known<'_>) -> Vec<Link> {
    let status = tasks::status(task);
    let (reason, message) = tasks::standing(&status);
    let started = conditions::is_true(&status.conditions, STARTED);
    let at = |stage, state, reason: &str, message: &str| up_to(task, known, stage, state, reason, message);
    match tasks::verdict(task) {
        // It succeeded before, as another PeonTask of its name.
        Some(Phase::Succeeded) if !started => {
            let mut links = passed(task, known, |s| s <= Stage::Accepted);
            links.push(Link {
                message: Some(message).filter(|m| !m.is_empty()),
                ..link("succeeded".to_owned(), State::Done)
            });
            links
        }
        Some(Phase::Succeeded) => done(
            task,
            known,
            &[("running", State::Done), ("succeeded", State::Done)],
        ),
        Some(_) if started => {
            let mut links = done(task, known, &[("running", State::Done)]);
            links.push(blocked("succeeded", &reason, &message));
            links
        }
        Some(_) => {
            let of = |c: &Condition| TaskReason::parse(&c.reason, false).and_then(stage);
            let waited = conditions::find(&status.conditions, STARTED).and_then(of);
            let refused = conditions::find(&status.conditions, ACCEPTED).filter(|c| c.status == "False");
            let stage = refused
                .and_then(of)
                .or_else(|| TaskReason::parse(&reason, true).and_then(stage))
                .or(waited);
            at(stage.unwrap_or(Stage::Created), State::Blocked, &reason, &message)
        }
        None if tasks::phase(task) == Phase::Running => {
            let mut links = done(task, known, &[("running", State::Underway)]);
            // What is known of a peon that runs, beside that it does.
            if let Some(link) = links.last_mut().filter(|_| message != RUNS) {
                link.message = Some(message).filter(|m| !m.is_empty());
            }
            links
        }
        None => {
            let name = if reason.is_empty() {
                Readiness::WaitingForOperator.as_str()
            } else {
                &reason
            };
            let reason = TaskReason::parse(name, false);
            let state = if reason.is_some_and(goes_on) {
                State::Underway
            } else {
                State::Blocked
            };
            let reached = reason.and_then(stage).unwrap_or(Stage::Created);
            at(reached, state, name, &message)
        }
    }
}

/// The chain of a task that is on no cluster: refused, or ready to be created.
pub(super) fn offline(
    task: &PeonTask,
    known: Known<'_>,
    refused: Option<(Acceptance, &str)>,
    next: &str,
) -> Vec<Link> {
    match refused {
        Some((reason, message)) => {
            let stage = of_acceptance(reason).unwrap_or(Stage::Accepted);
            up_to(task, known, stage, State::Blocked, reason.as_str(), message)
        }
        None if task.spec.suspend => up_to(
            task,
            known,
            Stage::Resumed,
            State::Blocked,
            Suspension::Suspended.as_str(),
            "spec.suspend is true",
        ),
        None => up_to(task, known, Stage::Quota, State::Underway, "", next),
    }
}

fn blocked(stage: &str, reason: &str, message: &str) -> Link {
    Link {
        stage: stage.into(),
        state: State::Blocked,
        reason: Some(reason.into()),
        message: Some(message.into()).filter(|m: &String| !m.is_empty()),
    }
}

/// Whether a stage that is passed is worth a word.
fn is_shown(stage: Stage, task: &PeonTask, known: Known<'_>) -> bool {
    match stage {
        Stage::Operator | Stage::Name | Stage::Resumed => false,
        Stage::Payload => task.task_from().is_some(),
        Stage::Template => known.template.is_some(),
        Stage::Slot => known.bounded,
        Stage::Quota | Stage::Node | Stage::Image | Stage::Configuration | Stage::Container => {
            !tasks::is_in_indexer(task)
        }
        _ => true,
    }
}

fn label(stage: Stage, name: &str, task: &PeonTask, known: Known<'_>) -> String {
    match (stage, known.template) {
        (Stage::Template, Some(template)) => format!("{name} {template}"),
        (Stage::Created, _) if tasks::is_in_indexer(task) => "Indexer".to_owned(),
        (Stage::Container, _) if tasks::is_in_indexer(task) => "start".to_owned(),
        _ => name.to_owned(),
    }
}

/// All stages before this one are done, and it is not.
fn up_to(
    task: &PeonTask,
    known: Known<'_>,
    at: Stage,
    state: State,
    reason: &str,
    message: &str,
) -> Vec<Link> {
    // A task that is refused for itself was not asked for its template; a limit is the template's.
    let refused = Acceptance::parse(reason).is_some_and(|reason| {
        of_acceptance(reason) == Some(Stage::Accepted) && reason != Acceptance::LimitExceeded
    });
    let mut links = passed(task, known, |s| s < at && !(refused && s == Stage::Template));
    let name = STAGES.iter().find(|(s, _)| *s == at).map_or("", |(_, name)| name);
    let text = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
    links.push(Link {
        stage: label(at, name, task, known),
        state,
        reason: text(reason),
        message: text(message),
    });
    links
}

fn passed(task: &PeonTask, known: Known<'_>, is_passed: impl Fn(Stage) -> bool) -> Vec<Link> {
    let stages = STAGES
        .iter()
        .filter(|(s, _)| is_passed(*s) && is_shown(*s, task, known));
    stages
        .map(|(s, name)| link(label(*s, name, task, known), State::Done))
        .collect()
}

fn done(task: &PeonTask, known: Known<'_>, more: &[(&str, State)]) -> Vec<Link> {
    let mut links = passed(task, known, |s| s < Stage::Running);
    links.extend(
        more.iter()
            .map(|(stage, state)| link((*stage).to_owned(), *state)),
    );
    links
}

fn link(label: String, state: State) -> Link {
    Link {
        stage: label,
        state,
        reason: None,
        message: None,
    }
}

/// The chain in one line.
pub(super) fn line(links: &[Link]) -> String {
    let words = links.iter().map(|link| {
        let mark = match link.state {
            State::Done => "✓",
            State::Underway => "…",
            State::Blocked => "✗",
        };
        let reason = link.reason.as_ref().map_or_else(String::new, |r| format!(" {r}"));
        let message = link
            .message
            .as_ref()
            .map_or_else(String::new, |m| format!(": {m}"));
        format!("{} {mark}{reason}{message}", link.stage)
    });
    words.collect::<Vec<_>>().join(" → ")
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
