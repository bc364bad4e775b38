use std::convert::Infallible;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::apiserver::classify::decode::Guarded;
use crate::process::leadership::Leadership;
use crate::task::aggregates::slots::Slot;
use crate::task::cached_task::GuardedTask;
use crate::task::decide::plan::{Action, look_again};
use crate::task::fixtures::{at, noop, with_status};
use crate::task::watch::Writers;

/// What was asked of an API server that answers with what it was asked.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

fn context(plan: Plan) -> (Arc<Context>, Asked) {
    let (context, asked, _) = driven(plan);
    (Arc::new(context), asked)
}

/// With what fills its caches.
fn driven(plan: Plan) -> (Context, Asked, Writers) {
    let asked = Asked::default();
    let log = asked.clone();
    let server = tower::service_fn(move |request: Request<Body>| {
        let log = log.clone();
        async move {
            let what = format!("{} {}", request.method(), request.uri().path());
            assert!(!what.contains("/boom"), "a fault in the middle of a request");
            let body = request.into_body().collect_bytes().await.unwrap_or_default();
            log.lock()
                .push((what, serde_json::from_slice(&body).unwrap_or_default()));
            Ok::<_, Infallible>(Response::new(Body::from(body.to_vec())))
        }
    });
    let client = Client::new(server, "ns");
    let leadership = Leadership::default();
    leadership.extend(Instant::now() + Duration::from_secs(3600));
    let (caches, writers) = Caches::new();
    let reporter = Reporter {
        controller: "peon-operator".into(),
        instance: None,
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let actor = Actor::new(client, recorder, leadership, caches.aggregates.clone());
    let context = Context::new(caches, actor, Arc::default(), Metrics::default());
    (context.under(Clock::default(), plan), asked, writers)
}

#[tokio::test]
#[allow(clippy::panic)]
async fn a_pass_that_panics_fails_by_itself() {
    let (context, _) = context(|_, _| panic!("a fault that one object finds"));
    let task: Arc<CachedTask> = Arc::new((&Guarded(Ok(noop()))).into());
    let failed = reconcile(task.clone(), context.clone()).await.unwrap_err();
    assert!(
        failed.to_string().contains("a fault that one object finds"),
        "{failed}"
    );
    // It is repeated, less and less often.
    let first = context.failed("uid");
    assert!(context.failed("uid") > first);
    assert!(context.metrics.text().unwrap().contains("outcome=\"panicked\""));
}

/// A task that succeeded at this time.
fn succeeded(then: Timestamp) -> PeonTask {
    let status = json!({"phase": "Succeeded", "completionTime": then.to_string(), "conditions": [{
        "type": "Complete", "status": "True", "reason": "Succeeded", "message": "",
        "lastTransitionTime": then.to_string(),
    }]});
    with_status(noop(), serde_json::from_value(status).unwrap())
}

fn who(name: &str) -> Who {
    ("ns".to_owned(), name.to_owned())
}

/// A task stands in line for room; after this pass over its name others must get the room that becomes free.
async fn gives_up_its_place_in_line(context: Arc<Context>, task: GuardedTask) {
    let room = &context.actor.room;
    let held = room.take(&who("large"), 32).unwrap();
    assert!(room.take(&who(&task.name_any()), 32).is_none());
    let _ = reconcile(Arc::new((&task).into()), context.clone()).await;
    drop(held);
    assert!(
        room.take(&who("next"), 32).is_some(),
        "room is set aside for a task that does not want it"
    );
}

#[tokio::test]
async fn an_object_that_cannot_be_read_wants_no_room() {
    for reason in [crate::api::crds::BORN, "Running"] {
        let (context, _) = context(plan);
        let object = json!({
            "metadata": {"name": "odd", "namespace": "ns", "uid": "u", "resourceVersion": "7"},
            "spec": {"suspend": "hunter2"}, "status": {"reason": reason},
        });
        let odd = GuardedTask::read(&object.to_string());
        assert!(odd.0.is_err());
        gives_up_its_place_in_line(context, odd).await;
    }
}

#[tokio::test]
#[allow(clippy::panic)]
async fn a_pass_that_panics_wants_no_room() {
    let (context, _) = context(|_, _| panic!("a fault that one object finds"));
    gives_up_its_place_in_line(context, Guarded(Ok(noop()))).await;
}

#[tokio::test]
async fn a_pass_over_what_cannot_be_read_fails_by_itself() {
    let (context, _) = context(plan);
    let object = json!({
        "metadata": {"name": "boom", "namespace": "ns", "uid": "u", "resourceVersion": "7"},
        "spec": {"suspend": "hunter2"}, "status": {"reason": crate::api::crds::BORN},
    });
    let odd = GuardedTask::read(&object.to_string());
    let failed = reconcile(Arc::new((&odd).into()), context).await.unwrap_err();
    assert!(matches!(failed, ActError::Panicked(_)), "{failed}");
}

#[tokio::test]
async fn a_pass_that_panics_while_it_deletes_finished_tasks_lets_others_do_so() {
    let (context, _, _) = driven(plan);
    context.caches.aggregates.retention.limit(Some(0));
    let context = Arc::new(context);
    let mut finished = succeeded(at(1));
    finished.metadata.name = Some("boom".into());
    context.caches.aggregates.observe(&finished);
    let failed = reconcile(Arc::new((&Guarded(Ok(finished))).into()), context.clone())
        .await
        .unwrap_err();
    assert!(matches!(failed, ActError::Panicked(_)), "{failed}");
    assert!(context.retaining.lock().is_empty());
}

/// Takes a slot, and is content.
fn takes_a_slot(snapshot: &Snapshot, _: Timestamp) -> Step {
    match snapshot.outcomes.slot {
        Some(_) => look_again(None),
        None => Step::Act(Action::TakeSlot {
            template: "t".into(),
            max: 1,
        }),
    }
}

#[tokio::test]
async fn a_pass_that_outlives_its_task_keeps_no_slot() {
    use kube::runtime::watcher::Event;
    let (context, _, mut writers) = driven(takes_a_slot);
    let context = Arc::new(context);
    let mut tell = |event: Event<GuardedTask>| {
        writers.tasks.apply_watcher_event(&event);
        context.caches.task_event(event);
    };
    tell(Event::Init);
    tell(Event::InitDone);
    let known = || Guarded(Ok(noop()));
    tell(Event::Apply(known()));
    let take = || {
        context
            .caches
            .aggregates
            .slots
            .take("ns", "t", 1, "other", at(1), "other")
    };
    reconcile(Arc::new((&known()).into()), context.clone())
        .await
        .unwrap();
    assert!(matches!(take(), Slot::Wait { .. }), "it exists and has a slot");
    // It goes, and another of its name comes, while the pass has yet to ask for a slot.
    tell(Event::Delete(known()));
    assert_eq!(take(), Slot::Taken);
    context.caches.aggregates.slots.forget("other");
    for again in [false, true] {
        if again {
            let mut other = noop();
            other.metadata.uid = Some("of another".into());
            tell(Event::Apply(Guarded(Ok(other))));
        }
        reconcile(Arc::new((&known()).into()), context.clone())
            .await
            .unwrap();
        assert_eq!(take(), Slot::Taken);
        context.caches.aggregates.slots.forget("other");
    }
}

#[tokio::test]
async fn a_finished_task_is_woken_when_it_is_to_be_deleted() {
    use kube::runtime::watcher::Event;
    let (context, _, mut writers) = driven(plan);
    let context = Arc::new(context);
    let now = Timestamp::now();
    let finished = succeeded(now);
    for event in [
        Event::Init,
        Event::InitApply(Guarded(Ok(finished))),
        Event::InitDone,
    ] {
        writers.tasks.apply_watcher_event(&event);
    }
    let mut wakes = Box::pin(context.caches.wakes());
    let mut woken = || wakes.next().now_or_never().flatten().map(|task| task.name);
    assert_eq!(woken().as_deref(), Some("nightly"), "it is looked at first");
    let cached = context.caches.tasks.state().remove(0);
    let requeue = reconcile(cached, context.clone()).await.unwrap();
    assert_eq!(requeue, Requeue::await_change(), "no entry in the schedule");
    for (seconds, due) in [(3500, None), (3700, Some("nightly")), (3800, None)] {
        let later = now.checked_add(Duration::from_secs(seconds)).unwrap();
        context.caches.wake_due(later);
        assert_eq!(woken().as_deref(), due, "{seconds}");
    }
}

#[tokio::test]
async fn a_task_that_cannot_be_read_says_so_once() {
    let (context, asked) = context(plan);
    let read = |reason: &str| {
        let object = json!({
            "metadata": {
                "name": "odd", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"suspend": "hunter2"}, "status": {"reason": reason},
        });
        Arc::new((&GuardedTask::read(&object.to_string())).into())
    };
    reconcile(read(crate::api::crds::BORN), context.clone())
        .await
        .unwrap();
    let (what, body) = asked.lock().pop().unwrap();
    assert_eq!(
        what,
        "PATCH /apis/peon.dev/v1alpha1/namespaces/ns/peontasks/odd/status"
    );
    assert_eq!(
        body["metadata"]["resourceVersion"], "7",
        "no newer one is overwritten"
    );
    assert_eq!(body["status"]["reason"], "InvalidTask");
    let accepted = &body["status"]["conditions"][0];
    assert_eq!(
        (&accepted["type"], &accepted["status"]),
        (&json!("Accepted"), &json!("False"))
    );
    let message = accepted["message"].as_str().unwrap();
    assert!(
        message.contains("invalid type, expected a boolean") && !message.contains("hunter2"),
        "{message}"
    );
    for said in ["InvalidTask", "Running", "Succeeded"] {
        reconcile(read(said), context.clone()).await.unwrap();
    }
    assert_eq!(*asked.lock(), [], "it was said before, or something better is");
}
