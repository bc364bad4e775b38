//! Remaining work on pods that must not run, and on tasks that have their verdict (pure).

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::plan::{Action, Step, lags, look_again, look_live};
use super::{deadlines, history_record, log_collection};
use crate::api::conditions;
use crate::task::run::pod::evidence::{Container, Evidence};
use crate::task::run::pod::run::StopPod;
use crate::task::run::worker::claim::WorkerClaim;
use crate::task::snapshot::Snapshot;

/// A pod that is not of the current attempt, or whose task has a verdict, must not run: it was created from outdated
/// knowledge. If its peon has ended and only sidecars run, it is ended without being deleted. The cache may lag behind
/// the task: the API server is asked first.
pub(crate) fn end_strays(snapshot: &Snapshot) -> Option<Step> {
    let is_final = snapshot.task.is_final();
    // An attempt that is claimed on an Indexer has no pod of its own.
    let elsewhere = WorkerClaim::recorded(&snapshot.task).is_some();
    let current = snapshot.cached.iter().filter(|_| is_final || elsewhere);
    let stray = current.chain(&snapshot.others).find(|e| {
        is_ours(snapshot, e)
            && e.deletion_requested.is_none()
            && !snapshot.outcomes.ended.contains(&e.pod_name)
            && (e.may_live() || sidecars_run_on(e))
    })?;
    if stray.may_live() {
        let Some(live) = &snapshot.outcomes.live else {
            return Some(look_live(snapshot));
        };
        if lags(snapshot) {
            return (is_final || elsewhere).then(|| look_again(None));
        }
        // It may have ended meanwhile, and its log must not be lost.
        let is_current = snapshot.cached.as_ref() == Some(stray);
        let lives =
            |p: &Evidence| p.pod_uid == stray.pod_uid && p.may_live() && p.deletion_requested.is_none();
        if is_current && !live.pod.as_ref().is_some_and(lives) {
            return Some(look_again(None));
        }
    }
    let stop = stray.stop();
    Some(Step::Act(if stray.may_live() {
        Action::DeletePod(stop)
    } else {
        let StopPod { pod, uid, .. } = stop;
        Action::EndPod { pod, uid }
    }))
}

fn is_ours(snapshot: &Snapshot, evidence: &Evidence) -> bool {
    evidence.owner_uid.is_some() && evidence.owner_uid == snapshot.task.uid()
}

/// The kubelet ends native sidecars; ordinary ones may run for ever.
fn sidecars_run_on(evidence: &Evidence) -> bool {
    matches!(evidence.peon, Container::Terminated(_))
        && evidence.sidecars
        && !evidence.pod_ended()
        // The operator has ended it before.
        && evidence.active_deadline != Some(1)
}

/// Pods of a task with a verdict that nothing reads any more: they have ended, and no log is pending.
pub(crate) fn pods_no_longer_read(snapshot: &Snapshot) -> impl Iterator<Item = &Evidence> {
    let status = snapshot.task.status.as_ref();
    let no_log = status.is_some_and(|status| conditions::log_is_settled(&status.conditions));
    let all = no_log && snapshot.task.is_final();
    let pods = snapshot.cached.iter().chain(&snapshot.others);
    pods.filter(move |pod| all && is_ours(snapshot, pod) && !pod.may_live() && !sidecars_run_on(pod))
}

/// A task with a verdict is retained for a while.
pub(crate) fn after_verdict(snapshot: &Snapshot, now: Timestamp) -> Step {
    if let Some(step) = log_collection::after_verdict(snapshot, now) {
        return step;
    }
    if let Some(step) = history_record::after_verdict(snapshot, now) {
        return step;
    }
    let Some(then) = deadlines::deletion(snapshot) else {
        return look_again(None);
    };
    match deadlines::until(then, now) {
        Some(left) => look_again(Some(left)),
        None if snapshot.outcomes.ended.contains(&snapshot.task.name_any()) => look_again(None),
        None => match snapshot.task.meta().uid.clone() {
            Some(uid) => Step::Act(Action::DeleteTask { uid }),
            None => look_again(None),
        },
    }
}
