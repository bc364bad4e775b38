//! The one chain from an accepted task to its end, up to where it stands (pure).

use serde::Serialize;

use crate::api::conditions::{self, ACCEPTED, STARTED, accepted, cause, suspended, waiting};
use crate::api::crds::BORN;
use crate::api::{PeonTask, Phase};
use crate::cli::tasks;

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
fn stage(reason: &str) -> Option<Stage> {
    Some(match reason {
        BORN => Stage::Operator,
        accepted::PAYLOAD_INCOMPLETE => Stage::Payload,
        accepted::NO_TEMPLATE | accepted::INVALID_TEMPLATE => Stage::Template,
        accepted::INVALID_TASK
        | accepted::NEEDS_OVERLORD
        | accepted::NOT_ASSIGNED
        | accepted::SUBMISSIONS_DISABLED
        | accepted::TYPE_NOT_LISTED
        | accepted::NOT_AUTHORIZED
        | accepted::SUBMISSION_REFUSED
        | accepted::OVERLORD_UNREACHABLE
        | accepted::ID_CONFLICT
        | accepted::LIMIT_EXCEEDED => Stage::Accepted,
        suspended::SUSPENDED => Stage::Resumed,
        waiting::MAX_RUNNING => Stage::Slot,
        waiting::NAME_CONFLICT => Stage::Name,
        waiting::QUOTA_EXCEEDED => Stage::Quota,
        waiting::NOT_CREATED | cause::POD_REFUSED => Stage::Created,
        waiting::UNSCHEDULABLE | cause::POD_REJECTED => Stage::Node,
        // A wait and a cause have the same name.
        waiting::IMAGE_PULL => Stage::Image,
        waiting::CONTAINER_CONFIG => Stage::Configuration,
        waiting::CONTAINER_START | waiting::STARTING => Stage::Container,
        waiting::RETRYING | waiting::STOPPING | waiting::AWAITING_NODE_PROOF => Stage::Running,
        _ => return None,
    })
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
            let waited = conditions::find(&status.conditions, STARTED).and_then(|c| stage(&c.reason));
            let refused = conditions::find(&status.conditions, ACCEPTED).filter(|c| c.status == "False");
            let stage = refused
                .and_then(|c| stage(&c.reason))
                .or(stage(&reason))
                .or(waited);
            at(stage.unwrap_or(Stage::Created), State::Blocked, &reason, &message)
        }
        None if tasks::phase(task) == Phase::Running => done(task, known, &[("running", State::Underway)]),
        None => {
            let reason = if reason.is_empty() { BORN } else { &reason };
            let eased = [
                waiting::STARTING,
                waiting::RETRYING,
                waiting::STOPPING,
                waiting::MAX_RUNNING,
            ];
            let state = if eased.contains(&reason) {
                State::Underway
            } else {
                State::Blocked
            };
            at(stage(reason).unwrap_or(Stage::Created), state, reason, &message)
        }
    }
}

/// The chain of a task that is on no cluster: refused, or ready to be created.
pub(super) fn offline(
    task: &PeonTask,
    known: Known<'_>,
    refused: Option<(&str, &str)>,
    next: &str,
) -> Vec<Link> {
    match refused {
        Some((reason, message)) => {
            let stage = stage(reason).unwrap_or(Stage::Accepted);
            up_to(task, known, stage, State::Blocked, reason, message)
        }
        None if task.spec.suspend => up_to(
            task,
            known,
            Stage::Resumed,
            State::Blocked,
            suspended::SUSPENDED,
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
        _ => true,
    }
}

fn label(stage: Stage, name: &str, known: Known<'_>) -> String {
    match (stage, known.template) {
        (Stage::Template, Some(template)) => format!("{name} {template}"),
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
    let refused = stage(reason) == Some(Stage::Accepted) && reason != accepted::LIMIT_EXCEEDED;
    let mut links = passed(task, known, |s| s < at && !(refused && s == Stage::Template));
    let name = STAGES.iter().find(|(s, _)| *s == at).map_or("", |(_, name)| name);
    let text = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
    links.push(Link {
        stage: label(at, name, known),
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
        .map(|(s, name)| link(label(*s, name, known), State::Done))
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
