use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::decide::ensure::PAUSES;
use super::*;
use crate::api::virtual_middle_manager::PayloadPlace;
use crate::druid::worker::TaskState;
use crate::middle_manager::model_api::{Bench, FIRST, Fault, assigned};
use crate::middle_manager::object_fixtures::{pod, running, succeeded};
use crate::middle_manager::registry::{DELETED, SHUT_DOWN};
use crate::simulation::model_api::Kind;
use kube::runtime::watcher::Event;

fn runs() -> Vec<(TaskState, Option<String>)> {
    vec![(TaskState::Running, None)]
}

fn is_send<T: Send>(future: T) -> T {
    future
}

async fn assign(bench: &Bench, id: &str) -> Result<(), Refused> {
    is_send(bench.assigner.assign(FIRST, assigned(id))).await
}

/// What the chunks of the only PeonTask hold.
fn payload(bench: &Bench) -> Vec<u8> {
    let server = bench.server.lock();
    let task: crate::api::PeonTask = serde_json::from_value(server.task()).unwrap();
    let from = task.spec.task_from.unwrap();
    let part = |chunk: &crate::api::Chunk| {
        let secret = server.api.get(Kind::Secret, &chunk.name).unwrap();
        assert_eq!(
            secret["metadata"]["ownerReferences"][0]["uid"],
            json!(task.metadata.uid)
        );
        let bytes: k8s_openapi::ByteString =
            serde_json::from_value(secret["data"][&chunk.key].clone()).unwrap();
        bytes.0
    };
    let parts: Vec<_> = from.secrets.iter().map(part).collect();
    crate::payload::chunks::assemble(&from, &parts).unwrap()
}

#[tokio::test]
async fn an_assignment_is_durable_and_announced_when_it_is_acknowledged() {
    let bench = Bench::new();
    assign(&bench, "a").await.unwrap();
    assert_eq!(payload(&bench), assigned("a").json.into_bytes());
    let task = bench.server.lock().task();
    assert_eq!(task["metadata"]["labels"]["peon.dev/identity"], "0");
    assert_eq!(bench.lines[0].of("a"), runs());
    let said = bench.lines[0].said.lock()[0].clone();
    assert_eq!(
        (said.task_type.as_str(), said.task_data_source.as_str()),
        ("index_kafka", "wiki")
    );
    // The same again costs nothing, and neither does the watch.
    let before = bench.server.lock().requests.len();
    assign(&bench, "a").await.unwrap();
    bench.watch();
    assert_eq!(bench.server.lock().requests.len(), before);
    assert_eq!(before, 2, "a PeonTask and a Secret");
    assert_eq!(bench.lines[0].of("a"), runs());
    assert!(bench.lines[1].said.lock().is_empty());
    assert_eq!(bench.assigner.tasks().used(FIRST), 1);
}

#[tokio::test(start_paused = true)]
async fn an_assignment_is_kept_once_whatever_is_lost_on_the_way() {
    for (path, fault) in [
        ("peontasks", Fault::Lost),
        ("peontasks", Fault::AnswerLost),
        ("peontasks", Fault::Refused(503)),
        ("peontasks", Fault::Refused(500)),
        ("peontasks", Fault::Refused(429)),
        ("peontasks", Fault::Refused(403)),
        ("secrets", Fault::Lost),
        ("secrets", Fault::AnswerLost),
        ("secrets", Fault::Refused(503)),
    ] {
        let bench = Bench::new();
        bench.server.lock().faults.push_back(("POST", path, fault));
        assign(&bench, "a").await.unwrap();
        assert_eq!(
            payload(&bench),
            assigned("a").json.into_bytes(),
            "{path} {fault:?}"
        );
        assert_eq!(bench.lines[0].of("a"), runs(), "{path} {fault:?}");
    }
}

/// The process died after it had created the PeonTask.
#[tokio::test]
async fn another_process_completes_what_is_missing() {
    let bench = Bench::new();
    assign(&bench, "a").await.unwrap();
    let name = bench.server.lock().task()["metadata"]["name"].clone();
    let secret = format!("{}.payload.0", name.as_str().unwrap());
    bench.server.lock().api.remove(Kind::Secret, &secret);
    let next = Bench::of(bench.server.clone(), PayloadPlace::Inline);
    next.watch();
    assert_eq!(next.lines[0].of("a"), runs(), "it was seen");
    assign(&next, "a").await.unwrap();
    assert_eq!(payload(&next), assigned("a").json.into_bytes());
    assert_eq!(next.lines[0].of("a"), runs());
    // The identities may differ: it runs where it was assigned first.
    next.assigner.assign(Ordinal(1), assigned("a")).await.unwrap();
    assert!(next.lines[1].said.lock().is_empty());
    let third = Bench::of(bench.server.clone(), PayloadPlace::Secret);
    third.assigner.assign(Ordinal(1), assigned("a")).await.unwrap();
    assert_eq!(third.lines[0].of("a"), runs());
    assert!(third.lines[1].said.lock().is_empty());
    assert_eq!(bench.server.lock().api.all(Kind::Task).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_assignment_that_cannot_be_kept_is_given_back_in_time_and_no_more_are_taken() {
    let bench = Bench::new();
    bench.server.lock().outage = Some(Fault::Refused(503));
    let began = Instant::now();
    let trying = assign(&bench, "a");
    tokio::pin!(trying);
    let mut seconds = 0;
    let refused = loop {
        tokio::select! {
            refused = &mut trying => break refused,
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                seconds += 1;
                bench.seconds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                assert!(seconds < 60);
            }
        }
    };
    assert!(matches!(refused, Err(Refused::Unavailable(_))));
    assert!(began.elapsed() <= ASSIGNMENT, "{:?}", began.elapsed());
    assert!(began.elapsed() + PAUSES.1 >= ASSIGNMENT, "{:?}", began.elapsed());
    assert!(bench.lines[0].said.lock().is_empty());
    for line in &bench.lines {
        assert_eq!(line.disabled.lock().last(), Some(&true), "no more are taken");
    }
    bench.server.lock().outage = None;
    assign(&bench, "a").await.unwrap();
    assert_eq!(bench.lines[0].of("a"), runs());
    assert_eq!(bench.lines[0].disabled.lock().last(), Some(&false));
}

/// A quota refuses the Secret for longer than the overlord waits; nobody sends the task again.
#[tokio::test(start_paused = true)]
async fn what_stands_is_completed_though_the_overlord_waits_no_more() {
    let bench = Bench::new();
    let refuse = || ("POST", "secrets", Fault::Refused(403));
    bench.server.lock().faults = std::iter::repeat_with(refuse).take(1000).collect();
    assert!(matches!(assign(&bench, "a").await, Err(Refused::Unavailable(_))));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(bench.server.lock().api.all(Kind::Secret).count(), 0);
    bench.server.lock().faults.clear();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(payload(&bench), assigned("a").json.into_bytes());
    assert_eq!(bench.server.lock().api.all(Kind::Task).count(), 1);
    // One that is gone is not made again.
    let name = bench.server.lock().task()["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = Bench::of(Arc::default(), PayloadPlace::Secret);
    other.server.lock().faults = std::iter::repeat_with(refuse).take(1000).collect();
    assert!(assign(&other, "a").await.is_err());
    other.server.lock().api.remove(Kind::Task, &name);
    other.server.lock().faults.clear();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(other.server.lock().api.all(Kind::Secret).count(), 0);
    assert_eq!(other.server.lock().api.all(Kind::Task).count(), 0);
}

#[tokio::test]
async fn a_task_that_can_never_be_kept_is_taken_and_fails() {
    let bench = Bench::new();
    for (number, code) in [400, 422, 413].into_iter().enumerate() {
        let id = format!("task {number}");
        bench
            .server
            .lock()
            .faults
            .push_back(("POST", "peontasks", Fault::Refused(code)));
        assign(&bench, &id).await.unwrap();
        let failed = [(TaskState::Failed, Some("a fault".to_owned()))];
        assert_eq!(bench.lines[0].of(&id), failed, "{code}");
    }
    let odd = Assigned {
        id: "odd".into(),
        json: r#"{"type":"noop","id":"odd","context":7}"#.into(),
    };
    bench.assigner.assign(FIRST, odd).await.unwrap();
    let said = bench.lines[0].of("odd");
    assert!(
        said[0].1.as_ref().unwrap().contains("context is not an object"),
        "{said:?}"
    );
    assert_eq!(bench.server.lock().api.all(Kind::Task).count(), 0);
    // They are told to whoever asks for the complete state.
    bench.assigner.refresh(FIRST).await.unwrap();
    assert_eq!(
        bench.assigner.tasks().ask(|known, _| known.said(FIRST).count()),
        4
    );
}

#[tokio::test]
async fn a_squatter_gets_nothing_and_is_left_alone() {
    let bench = Bench::new();
    assign(&bench, "a").await.unwrap();
    let mut squatter = bench.server.lock().task();
    let name = squatter["metadata"]["name"].as_str().unwrap().to_owned();
    squatter["spec"]["taskFrom"]["sha256"] = json!("0".repeat(64));
    let squatters = [
        squatter.clone(),
        json!({"metadata": {"name": name}, "spec": {"task": {"type": "noop"}}}),
    ];
    for squatter in squatters {
        let bench = Bench::new();
        let mut second = squatter.clone();
        second["metadata"]["name"] = json!(format!("{name}-1"));
        bench.server.lock().api.create(Kind::Task, squatter.clone());
        bench.server.lock().api.create(Kind::Task, second);
        bench.watch();
        assign(&bench, "a").await.unwrap();
        let server = bench.server.lock();
        let ours = server.api.get(Kind::Task, &format!("{name}-2")).unwrap().clone();
        assert_eq!(
            server.api.get(Kind::Task, &name).unwrap()["spec"],
            squatter["spec"]
        );
        drop(server);
        let target = bench.assigner.tasks().ask(|known, _| known.target("a")).unwrap();
        assert_eq!(json!(target.uid), ours["metadata"]["uid"]);
        assert_eq!(bench.lines[0].of("a"), runs());
        // What becomes of the squatter is nothing to us.
        bench.server.lock().api.remove(Kind::Task, &name);
        bench.watch();
        assert_eq!(bench.lines[0].of("a"), runs());
    }
}

/// Their garbage collection takes a moment.
#[tokio::test(start_paused = true)]
async fn the_chunks_of_a_former_task_of_the_name_are_waited_out() {
    let bench = Bench::new();
    assign(&bench, "a").await.unwrap();
    let task = bench.server.lock().task();
    let name = task["metadata"]["name"].as_str().unwrap().to_owned();
    let secret = format!("{name}.payload.0");
    bench.server.lock().api.remove(Kind::Task, &name);
    let next = Bench::of(bench.server.clone(), PayloadPlace::Secret);
    let trying = assign(&next, "a");
    tokio::pin!(trying);
    tokio::select! {
        _ = &mut trying => panic!("the payload is the former task's"),
        () = tokio::time::sleep(Duration::from_secs(10)) => {}
    }
    bench.server.lock().api.remove(Kind::Secret, &secret);
    trying.await.unwrap();
    assert_eq!(payload(&next), assigned("a").json.into_bytes());
}

#[tokio::test]
async fn a_complete_state_holds_what_the_api_server_has_and_what_was_acknowledged() {
    let bench = Bench::new();
    for n in 0..600 {
        assign(&bench, &format!("task {n}")).await.unwrap();
    }
    let next = Bench::of(bench.server.clone(), PayloadPlace::Secret);
    is_send(next.assigner.refresh(FIRST)).await.unwrap();
    assert_eq!(next.lines[0].said.lock().len(), 600);
    let lists: Vec<_> = {
        let server = bench.server.lock();
        let is_list =
            |(asked, _): &&(String, String)| asked.starts_with("GET") && asked.ends_with("peontasks");
        server
            .requests
            .iter()
            .filter(is_list)
            .map(|(_, query)| query.clone())
            .collect()
    };
    assert_eq!(lists.len(), 600_usize.div_ceil(decode::PAGE as usize), "pages");
    for query in lists {
        assert!(!query.contains("resourceVersion"), "the most recent: {query}");
        assert!(
            query.contains("labelSelector=peon.dev%2Fmiddle-manager%3Dvmm"),
            "{query}"
        );
    }
    // What was deleted while nobody watched.
    let name = bench.server.lock().api.all(Kind::Task).next().unwrap()["metadata"]["name"].clone();
    bench.server.lock().api.remove(Kind::Task, name.as_str().unwrap());
    next.assigner.refresh(Ordinal(1)).await.unwrap();
    next.assigner.verify().await.unwrap();
    let last = next.lines[0].said.lock().last().cloned().unwrap();
    assert_eq!(last.task_status.error_msg.as_deref(), Some(DELETED));
}

#[tokio::test(start_paused = true)]
async fn no_complete_state_comes_from_a_cluster_that_does_not_answer() {
    let bench = Bench::new();
    bench.server.lock().outage = Some(Fault::Lost);
    let unavailable = bench.assigner.refresh(FIRST).await.unwrap_err();
    assert!(unavailable.0.contains("cannot be listed"), "{unavailable}");
    // Nor before anybody knows where tasks are.
    let bench = Bench::new();
    let lines = bench.lines.to_vec();
    let tasks = Arc::new(Tasks::new(lines, Clock::default()));
    let assigner = Assigner::new(bench.assigner.client.clone(), bench.assigner.maker.clone(), tasks);
    let unavailable = assigner.refresh(FIRST).await.unwrap_err();
    assert!(unavailable.0.contains("pods"), "{unavailable}");
    assert!(bench.server.lock().requests.is_empty());
}

#[tokio::test]
async fn a_task_is_where_its_pod_is_and_ends_with_its_verdict() {
    let bench = Bench::new();
    assign(&bench, "a").await.unwrap();
    bench.status(running());
    bench.watch();
    let task = bench.server.lock().task();
    let (name, uid) = (
        task["metadata"]["name"].as_str().unwrap(),
        task["metadata"]["uid"].as_str().unwrap(),
    );
    let mut ready = pod(uid, 1, true, 120);
    ready["metadata"]["name"] = json!(format!("{name}-1"));
    bench
        .assigner
        .tasks()
        .pod_event(Event::Apply(serde_json::from_value(ready).unwrap()));
    bench.status(succeeded());
    bench.watch();
    let said = bench.lines[0].said.lock().clone();
    let hosts: Vec<_> = said.iter().map(|a| a.task_location.host.as_deref()).collect();
    assert_eq!(hosts, [None, Some("10.0.0.1"), Some("10.0.0.1")]);
    assert_eq!(said[2].status, TaskState::Success);
    assert_eq!(bench.assigner.tasks().used(FIRST), 0);
}

#[tokio::test]
async fn a_shutdown_cancels_the_task_once() {
    let bench = Bench::new();
    assign(&bench, "a").await.unwrap();
    bench
        .server
        .lock()
        .faults
        .push_back(("PATCH", "", Fault::Refused(503)));
    assert!(
        is_send(bench.assigner.shutdown(FIRST, "a")).await.is_err(),
        "the overlord repeats it"
    );
    bench.assigner.cancel_all().await;
    assert_eq!(bench.server.lock().task()["spec"]["cancel"], true);
    for _ in 0..3 {
        bench.assigner.shutdown(FIRST, "a").await.unwrap();
        bench.assigner.cancel_all().await;
    }
    assert_eq!(bench.server.lock().count("PATCH"), 2);
    assert_eq!(bench.lines[0].of("a"), runs(), "its end is its PeonTask's");
    // One that is gone has failed.
    assign(&bench, "b").await.unwrap();
    let name = |id: &str| {
        bench
            .assigner
            .tasks()
            .ask(|known, _| known.target(id))
            .unwrap()
            .name
    };
    bench.server.lock().api.remove(Kind::Task, &name("b"));
    bench.assigner.shutdown(FIRST, "b").await.unwrap();
    assert_eq!(
        bench.lines[0].of("b").last(),
        Some(&(TaskState::Failed, Some(DELETED.to_owned())))
    );
}

#[tokio::test]
async fn a_shutdown_finds_what_was_not_seen_yet_and_outlasts_what_is_not_there() {
    let bench = Bench::new();
    assign(&bench, "a").await.unwrap();
    let next = Bench::of(bench.server.clone(), PayloadPlace::Secret);
    next.assigner.shutdown(FIRST, "a").await.unwrap();
    assert_eq!(bench.server.lock().task()["spec"]["cancel"], true);

    let bench = Bench::new();
    bench.assigner.shutdown(FIRST, "a").await.unwrap();
    assign(&bench, "a").await.unwrap();
    assert_eq!(
        bench.lines[0].of("a"),
        [(TaskState::Failed, Some(SHUT_DOWN.to_owned()))]
    );
    assert_eq!(bench.server.lock().api.all(Kind::Task).count(), 0);

    // While the assignment is on its way.
    let bench = Bench::new();
    bench.server.lock().outage = Some(Fault::Lost);
    assert!(bench.assigner.shutdown(FIRST, "b").await.is_err(), "nobody knows");
    bench.server.lock().outage = None;
    let other = Bench::of(bench.server.clone(), PayloadPlace::Secret);
    assign(&other, "b").await.unwrap();
    bench.watch();
    bench.assigner.cancel_all().await;
    assert_eq!(bench.server.lock().task()["spec"]["cancel"], true);
}

#[tokio::test]
async fn the_watch_can_be_a_task_of_its_own() {
    let bench = Bench::new();
    let tasks = bench.assigner.tasks().clone();
    let selector = bench.assigner.maker.selector();
    let metrics = crate::metrics::Metrics::default();
    drop(is_send(tasks.watch(
        &bench.assigner.client,
        "ns",
        &selector,
        &metrics,
    )));
}

#[tokio::test]
async fn an_identity_is_disabled_by_hand() {
    let bench = Bench::new();
    bench.assigner.enable(FIRST, false).await.unwrap();
    bench.assigner.enable(FIRST, false).await.unwrap();
    assert_eq!(*bench.lines[0].disabled.lock(), [true]);
    assert_eq!(*bench.lines[1].disabled.lock(), [false]);
    assert!(bench.assigner.tasks().is_disabled(FIRST));
    bench.assigner.enable(FIRST, true).await.unwrap();
    assert_eq!(*bench.lines[0].disabled.lock(), [true, false]);
    bench.assigner.tasks().drain();
    assert_eq!(*bench.lines[1].disabled.lock(), [false, true]);
}

#[tokio::test]
async fn a_log_is_read_while_the_task_runs() {
    let bench = Bench::new();
    assert!(bench.assigner.log(FIRST, "a", 0).await.is_none());
    assign(&bench, "a").await.unwrap();
    let read = async |offset| {
        let body = is_send(bench.assigner.log(FIRST, "a", offset)).await?;
        Some(body.collect().await.unwrap().to_bytes())
    };
    assert_eq!(read(0).await.unwrap(), "", "nothing was written yet");
    let task: Value = bench.server.lock().task();
    let (name, uid) = (
        task["metadata"]["name"].as_str().unwrap(),
        task["metadata"]["uid"].as_str().unwrap(),
    );
    let pod_name = format!("{name}-1");
    let mut begun = pod(uid, 1, false, 109);
    begun["metadata"]["name"] = json!(pod_name);
    bench
        .assigner
        .tasks()
        .pod_event(Event::Apply(serde_json::from_value(begun).unwrap()));
    bench
        .server
        .lock()
        .logs
        .insert(pod_name, "one\ntwo\nthree\n".into());
    assert_eq!(read(0).await.unwrap(), "one\ntwo\nthree\n");
    assert_eq!(read(5).await.unwrap(), "wo\nthree\n");
    assert_eq!(read(-4).await.unwrap(), "ree\n");
    bench.status(succeeded());
    bench.watch();
    assert!(read(0).await.is_none(), "the archive has it");
}
