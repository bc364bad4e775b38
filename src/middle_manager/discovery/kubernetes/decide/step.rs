//! The next write to an announcing pod (pure).

use serde_json::{Map, Value, json};

use super::pods::AnnouncingPod;
use crate::druid::discovery::pod_announcement::{
    CLUSTER_LABEL, ID_HASH_LABEL, PodAnnouncement, WORKER_ANNOTATION, WORKER_LABEL,
};
use crate::druid::discovery::{Judgement, Keeper, Process};

/// What to do about the announcement on a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing: it has what is wanted.
    Stands,
    /// Nothing: no announcement is wanted, and it has none.
    Absent,
    /// Leave it alone: a younger process announces the identity there.
    Yield {
        /// Name of that process.
        to: String,
    },
    /// Write this merge patch, which sets or removes labels and annotation together, and only if the pod is as it was
    /// seen.
    Write(Value),
}

/// The next step. `is_alive` says whether the pod of another process exists: the announcement of one that is gone stays
/// until somebody removes it.
///
/// Druid ignores changes of an announcement, so a different one is removed before the wanted one is written.
#[must_use]
pub fn next(
    pod: &AnnouncingPod,
    wanted: Option<&PodAnnouncement>,
    process: &Process,
    is_alive: impl FnOnce(&str) -> bool,
) -> Step {
    if pod.has_nothing() {
        return wanted.map_or(Step::Absent, |wanted| Step::Write(announce(pod, wanted)));
    }
    if wanted.is_some_and(|wanted| pod.carries(wanted)) {
        return Step::Stands;
    }
    let found = pod.node.as_deref().unwrap_or_default();
    match process.judge(found.as_bytes(), Keeper::OtherSession, &[]) {
        Judgement::Yield { to } if is_alive(pod_of(&to)) => Step::Yield { to },
        _ => Step::Write(withdraw(pod)),
    }
}

/// The pod of a process: its name begins with it.
fn pod_of(process: &str) -> &str {
    process.split('/').next().unwrap_or_default()
}

fn announce(pod: &AnnouncingPod, wanted: &PodAnnouncement) -> Value {
    let labels: Map<String, Value> = wanted
        .labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_str().into()))
        .collect();
    patch(pod, &labels.into(), &wanted.node.as_str().into())
}

fn withdraw(pod: &AnnouncingPod) -> Value {
    let labels = [WORKER_LABEL, ID_HASH_LABEL, CLUSTER_LABEL].map(|key| (key.to_owned(), Value::Null));
    let labels: Map<String, Value> = labels.into_iter().collect();
    patch(pod, &labels.into(), &Value::Null)
}

fn patch(pod: &AnnouncingPod, labels: &Value, node: &Value) -> Value {
    json!({"metadata": {
        "uid": pod.uid,
        "resourceVersion": pod.version,
        "labels": labels,
        "annotations": {WORKER_ANNOTATION: node},
    }})
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
