use futures::{FutureExt, StreamExt};
use serde_json::json;

use super::*;
use crate::task::fixtures::{self, TASK_UID, ended, noop, running, with_status};

fn guarded(task: PeonTask) -> GuardedTask {
    Guarded(Ok(task))
}

fn named(name: &str) -> GuardedTask {
    let mut task = noop();
    task.metadata.name = Some(name.into());
    guarded(task)
}

fn finished() -> GuardedTask {
    let status = json!({"conditions": [{
        "type": "Complete", "status": "True", "reason": "Succeeded", "message": "",
        "lastTransitionTime": fixtures::at(1).to_string(),
    }]});
    guarded(with_status(noop(), serde_json::from_value(status).unwrap()))
}

/// Caches with a writer, as the watches drive them.
struct Driven {
    caches: Caches,
    writers: Writers,
}

impl Driven {
    fn new() -> Self {
        let (caches, writers) = Caches::new();
        Self { caches, writers }
    }

    fn task(&mut self, event: Event<GuardedTask>) {
        self.writers.tasks.apply_watcher_event(&event);
        self.caches.task_event(event);
    }

    fn pod(&mut self, event: Event<WatchedPod>) {
        self.writers.pods.apply_watcher_event(&event);
        self.caches.pod_event(event);
    }

    fn list(&mut self, tasks: Vec<GuardedTask>) {
        self.task(Event::Init);
        for task in tasks {
            self.task(Event::InitApply(task));
        }
        self.task(Event::InitDone);
    }
}

/// The names that were woken since the last look.
fn woken(wakes: &mut (impl Stream<Item = ObjectRef<CachedTask>> + Unpin)) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(Some(task)) = wakes.next().now_or_never() {
        names.push(task.name);
    }
    names.sort();
    names.dedup();
    names
}

#[test]
fn a_task_that_came_during_a_break_is_woken_when_the_cache_has_it() {
    let mut driven = Driven::new();
    driven.list(vec![named("old")]);
    let mut wakes = Box::pin(driven.caches.wakes());
    assert_eq!(woken(&mut wakes), ["old"]);
    driven.task(Event::Init);
    driven.task(Event::InitApply(named("old")));
    driven.task(Event::InitApply(named("new")));
    // The cache does not have it yet: a pass now would not find it, and nobody would come again.
    assert_eq!(woken(&mut wakes), [""; 0]);
    driven.task(Event::InitDone);
    assert_eq!(woken(&mut wakes), ["new", "old"]);
}

#[test]
fn a_pod_that_went_during_a_break_wakes_its_task() {
    let mut driven = Driven::new();
    driven.list(vec![guarded(noop())]);
    driven.pod(Event::Apply(fixtures::pod(running())));
    let mut wakes = Box::pin(driven.caches.wakes());
    assert_eq!(woken(&mut wakes), ["nightly"]);
    driven.pod(Event::Init);
    driven.pod(Event::InitDone);
    assert_eq!(woken(&mut wakes), ["nightly"]);
    assert_eq!(driven.caches.departed.get("ns", fixtures::POD), None);
}

/// The cache knew how it ended; the new list does not.
#[test]
fn a_pod_that_had_ended_and_went_during_a_break_leaves_its_last_state() {
    let mut driven = Driven::new();
    driven.list(vec![guarded(noop())]);
    driven.pod(Event::Apply(fixtures::pod(ended(0, "Completed", "status"))));
    driven.pod(Event::Init);
    driven.pod(Event::InitDone);
    let last = driven.caches.departed.get("ns", fixtures::POD).unwrap();
    assert!(!last.may_live());
}

#[test]
fn a_pod_that_goes_leaves_its_last_state() {
    let mut driven = Driven::new();
    driven.list(vec![guarded(noop())]);
    let mut wakes = Box::pin(driven.caches.wakes());
    woken(&mut wakes);
    driven.pod(Event::Delete(fixtures::pod(ended(137, "OOMKilled", ""))));
    assert_eq!(woken(&mut wakes), ["nightly"]);
    let last = driven.caches.departed.get("ns", fixtures::POD).unwrap();
    assert_eq!(last.owner_uid.as_deref(), Some(TASK_UID));
    assert!(!last.may_live());
}

#[test]
fn a_new_leader_wakes_every_task() {
    let mut driven = Driven::new();
    driven.list(vec![named("waiting"), finished()]);
    let mut wakes = Box::pin(driven.caches.wakes());
    assert_eq!(woken(&mut wakes), ["nightly", "waiting"]);
}

#[test]
fn a_template_wakes_the_tasks_that_it_may_be_for_and_that_have_no_pod() {
    let mut driven = Driven::new();
    let status = json!({"run": {"kind": "Pod", "podUID": "x"}});
    let mut started = with_status(noop(), serde_json::from_value(status).unwrap());
    started.metadata.name = Some("started".into());
    let mut other = noop();
    other.metadata.name = Some("other".into());
    other.spec.template_ref = Some(crate::api::TemplateRef { name: "large".into() });
    driven.list(vec![named("waiting"), guarded(started), guarded(other)]);
    let mut wakes = Box::pin(driven.caches.wakes());
    woken(&mut wakes);
    let mut template = fixtures::template(json!({}));
    driven
        .caches
        .template_event(Event::Apply(Guarded(Ok(template.clone()))));
    assert_eq!(woken(&mut wakes), ["waiting"], "which names none: any may match");
    template.metadata.name = Some("large".into());
    driven
        .caches
        .template_event(Event::Delete(Guarded(Ok(template.clone()))));
    assert_eq!(woken(&mut wakes), ["other", "waiting"]);
    template.metadata.namespace = Some("elsewhere".into());
    driven.caches.template_event(Event::Apply(Guarded(Ok(template))));
    assert_eq!(woken(&mut wakes), [""; 0]);
}

/// Something may be set aside for its name, which nobody would give back.
#[test]
fn a_task_that_goes_is_looked_for() {
    let mut driven = Driven::new();
    driven.list(vec![named("old")]);
    let mut wakes = Box::pin(driven.caches.wakes());
    woken(&mut wakes);
    driven.task(Event::Delete(named("old")));
    assert_eq!(woken(&mut wakes), ["old"]);
}

#[tokio::test(start_paused = true)]
async fn everybody_who_waits_for_the_caches_hears_that_they_are_complete() {
    let mut driven = Driven::new();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let caches = driven.caches.clone();
        waiting.spawn(async move { caches.complete().await });
    }
    tokio::task::yield_now().await;
    driven.writers.tasks.apply_watcher_event(&Event::Init);
    driven.writers.tasks.apply_watcher_event(&Event::InitDone);
    driven.writers.templates.apply_watcher_event(&Event::Init);
    driven.writers.templates.apply_watcher_event(&Event::InitDone);
    driven.writers.pods.apply_watcher_event(&Event::Init);
    driven.writers.pods.apply_watcher_event(&Event::InitDone);
    let all = tokio::time::timeout(std::time::Duration::from_secs(60), waiting.join_all());
    assert!(all.await.is_ok(), "a task that waits was not woken");
}
