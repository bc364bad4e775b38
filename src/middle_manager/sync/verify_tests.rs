use std::sync::atomic::Ordering;

use crate::apiserver::classify::decode::Guarded;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::druid::worker::TaskState;
use crate::middle_manager::http::backend::Backend;
use crate::middle_manager::model_api::{Bench, FIRST, Fault, assigned};
use crate::middle_manager::registry::DELETED;
use crate::simulation::model_api::Kind;

const RUNS: (TaskState, Option<String>) = (TaskState::Running, None);

fn failed() -> (TaskState, Option<String>) {
    (TaskState::Failed, Some(DELETED.to_owned()))
}

async fn one() -> (Bench, String) {
    let bench = Bench::new();
    bench.assigner.assign(FIRST, assigned("a")).await.unwrap();
    let name = bench.server.lock().task()["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    (bench, name)
}

/// Somebody changes the marks, and the watch tells of it as an API server would.
fn change(bench: &Bench, name: &str, change: impl FnOnce(&mut Value)) {
    let before = bench.server.lock().task();
    bench.server.lock().api.update(Kind::Task, name, change);
    let after = bench.server.lock().task();
    let is_selected = after["metadata"]["labels"]["peon.dev/middle-manager"] == "vmm";
    let read = |task: Value| serde_json::from_value::<Guarded<TaskView>>(task).unwrap();
    bench.assigner.tasks().task_event(if is_selected {
        Event::Apply(read(after))
    } else {
        Event::Delete(read(before))
    });
}

fn remove(task: &mut Value, kind: &str, key: &str) {
    task["metadata"][kind].as_object_mut().unwrap().remove(key);
}

#[tokio::test]
async fn a_label_that_is_taken_away_is_put_back_and_the_task_runs_on() {
    for (kind, key) in [
        ("labels", "peon.dev/middle-manager"),
        ("labels", "peon.dev/identity"),
        ("annotations", "peon.dev/task-id"),
    ] {
        let (bench, name) = one().await;
        let before = bench.server.lock().task()["metadata"].clone();
        change(&bench, &name, |task| remove(task, kind, key));
        assert_eq!(bench.lines[0].of("a"), [RUNS], "{key}");
        bench.assigner.verify().await.unwrap();
        let after = bench.server.lock().task()["metadata"].clone();
        assert_eq!(after["labels"], before["labels"], "{key}");
        assert_eq!(after["annotations"], before["annotations"], "{key}");
        assert_eq!(bench.lines[0].of("a"), [RUNS], "{key}");
        assert!(
            !bench.assigner.tasks().ask(|known, _| known.is_in_doubt()),
            "{key}"
        );
    }
}

#[tokio::test]
async fn a_task_stays_where_it_was_assigned() {
    let (bench, name) = one().await;
    change(&bench, &name, |task| {
        task["metadata"]["labels"]["peon.dev/identity"] = json!("1");
    });
    bench.assigner.verify().await.unwrap();
    let after = bench.server.lock().task();
    assert_eq!(after["metadata"]["labels"]["peon.dev/identity"], "0");
    assert_eq!(bench.lines[0].of("a"), [RUNS]);
    assert!(bench.lines[1].said.lock().is_empty());
}

#[tokio::test]
async fn what_is_gone_fails_when_that_was_seen() {
    let (bench, name) = one().await;
    bench.server.lock().api.remove(Kind::Task, &name);
    bench.watch();
    assert_eq!(bench.lines[0].of("a"), [RUNS]);
    bench.server.lock().outage = Some(Fault::Refused(503));
    assert!(bench.assigner.verify().await.is_err());
    assert_eq!(bench.lines[0].of("a"), [RUNS], "nobody knows");
    bench.server.lock().outage = None;
    bench.seconds.fetch_add(2, Ordering::Relaxed);
    bench.assigner.verify().await.unwrap();
    assert_eq!(bench.lines[0].of("a"), [RUNS, failed()]);
    assert_eq!(bench.server.lock().count("GET /apis/peon.dev"), 2);
}

#[tokio::test]
async fn one_whose_patch_is_refused_keeps_no_other_from_being_looked_at() {
    let bench = Bench::new();
    let mut names = Vec::new();
    for id in ["a", "b", "c"] {
        bench.assigner.assign(FIRST, assigned(id)).await.unwrap();
        let target = bench.assigner.tasks().ask(|known, _| known.target(id)).unwrap();
        names.push(target.name);
    }
    // Whichever comes first: a webhook refuses one of them, and it alone, for ever.
    for refused in 0..names.len() {
        for name in &names {
            let mut server = bench.server.lock();
            server.api.update(Kind::Task, name, |task| {
                remove(task, "labels", "peon.dev/identity");
            });
        }
        bench
            .server
            .lock()
            .refused
            .clone_from(&Some(("PATCH", names[refused].clone())));
        bench.watch();
        bench.seconds.fetch_add(120, Ordering::Relaxed);
        assert!(bench.assigner.verify().await.is_err(), "one is left");
        for (at, name) in names.iter().enumerate() {
            let server = bench.server.lock();
            let task = server.api.get(Kind::Task, name).unwrap();
            let identity = task["metadata"]["labels"]["peon.dev/identity"].as_str();
            assert_eq!(identity, (at != refused).then_some("0"), "{name}");
        }
        // It is held back, and the API server is not asked again at once.
        let asked = bench.server.lock().requests.len();
        assert!(bench.assigner.verify().await.is_err());
        assert_eq!(bench.server.lock().requests.len(), asked);
        bench.server.lock().refused = None;
        bench.seconds.fetch_add(120, Ordering::Relaxed);
        bench.assigner.verify().await.unwrap();
    }
    for id in ["a", "b", "c"] {
        assert_eq!(bench.lines[0].of(id), [RUNS]);
    }
}

#[tokio::test]
async fn another_of_the_same_name_is_not_the_one() {
    let (bench, name) = one().await;
    bench.server.lock().api.remove(Kind::Task, &name);
    // Its chunk goes with it.
    let chunk = format!("{name}.payload.0");
    bench.server.lock().api.remove(Kind::Secret, &chunk);
    let other = Bench::of(
        bench.server.clone(),
        crate::api::virtual_middle_manager::PayloadPlace::Secret,
    );
    other.assigner.assign(FIRST, assigned("a")).await.unwrap();
    bench.assigner.list().await.unwrap();
    bench.assigner.verify().await.unwrap();
    assert_eq!(bench.lines[0].of("a"), [RUNS, failed()]);
}

/// The answer to its creation comes after a watch that told of its end.
#[tokio::test]
async fn one_that_nobody_knew_is_looked_for_too() {
    let (bench, name) = one().await;
    let next = Bench::of(
        bench.server.clone(),
        crate::api::virtual_middle_manager::PayloadPlace::Secret,
    );
    let task = bench.server.lock().task();
    let read = || serde_json::from_value::<Guarded<TaskView>>(task.clone()).unwrap();
    next.assigner.tasks().task_event(Event::Delete(read()));
    let seen = Seen::guarded(&read()).unwrap();
    next.assigner
        .tasks()
        .tell(|known, now| known.acknowledge(seen, now));
    assert!(next.assigner.tasks().ask(|known, _| known.is_in_doubt()));
    next.assigner.verify().await.unwrap();
    assert_eq!(next.lines[0].of("a"), [RUNS]);
    bench.server.lock().api.remove(Kind::Task, &name);
    next.watch();
    next.assigner.verify().await.unwrap();
    assert_eq!(next.lines[0].of("a"), [RUNS, failed()]);
}
