use std::time::Duration;

use kube::runtime::watcher::Event;
use serde_json::json;

use super::decide::submission::Policy;
use super::world::{At, Held, Trouble, World, assigned_text, enabled, until_killed};
use crate::api::SubmissionState;
use crate::druid::worker::TaskState;
use crate::simulation::model_api::Kind;

#[tokio::test(start_paused = true)]
async fn a_task_is_submitted_once_and_gets_what_the_overlord_assigns() {
    let mut world = World::new();
    let name = world.create("noop", Some("a"));
    world.settle().await;
    assert_eq!(world.state(&name), Some(SubmissionState::Submitted));
    assert!(world.assign("a").await);
    let task = world.task(&name).unwrap();
    assert!(task.is_assigned());
    assert_eq!(
        assigned_text(&world, &task),
        world.overlord.0.lock().tasks["a"].payload
    );
    assert_eq!(world.bench.lines[0].of("a"), [(TaskState::Running, None)]);
    assert_eq!(
        world.bench.server.lock().api.all(Kind::Task).count(),
        1,
        "no other PeonTask"
    );
    world.settle().await;
    assert_eq!(world.state(&name), Some(SubmissionState::Assigned));
    assert_eq!(world.submitter.backlog.lock().asked(), []);
}

#[tokio::test(start_paused = true)]
async fn a_squatter_captures_neither_an_assignment_nor_its_payload() {
    // Whether the process knows of it before or after.
    for known in [true, false] {
        let mut world = World::new();
        world.policy.send_replace(Policy {
            enabled: true,
            types: vec!["kill".into()],
        });
        let name = world.create("noop", Some("a"));
        let forged =
            json!({"labels": {"peon.dev/middle-manager": "vmm"}, "annotations": {"peon.dev/task-id": "a"}});
        world.bench.server.lock().api.update(Kind::Task, &name, |task| {
            task["metadata"]["labels"] = forged["labels"].clone();
            task["metadata"]["annotations"] = forged["annotations"].clone();
            task["status"] = json!({"taskId": "a", "taskType": "noop"});
        });
        if known {
            world.settle().await;
            assert_eq!(world.state(&name), Some(SubmissionState::TypeNotListed));
        }
        world
            .overlord
            .0
            .lock()
            .put(r#"{"type":"noop","id":"a"}"#)
            .unwrap();
        assert!(world.assign("a").await);
        world.settle().await;
        assert_eq!(world.state(&name), Some(SubmissionState::IdConflict), "{known}");
        let squatter = world.task(&name).unwrap();
        assert!(!squatter.is_assigned() && squatter.task_from().is_none());
        let server = world.bench.server.lock();
        let other = server
            .api
            .all(Kind::Task)
            .find(|t| t["metadata"]["name"] != name.as_str())
            .unwrap();
        assert_eq!(other["metadata"]["labels"]["peon.dev/identity"], "0");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_of_somebody_who_copies_the_provenance_is_not_bound() {
    let mut world = World::new();
    let name = world.create("noop", Some("a"));
    world.overlord.0.lock().next = Some(Trouble::Denied);
    world.hear();
    world.submitter.round().await;
    assert_eq!(world.state(&name), Some(SubmissionState::NotAuthorized));
    let task = world.task(&name).unwrap();
    let recorded = task.submission().unwrap();
    let copied = json!({"type": "noop", "id": "a", "context": {"priority": 8, "peon.dev/submission": {
        "middleManager": "vmm-uid", "name": name, "uid": task.metadata.uid, "taskId": "a",
        "taskHash": recorded.task_hash,
    }}});
    world.overlord.0.lock().put(&copied.to_string()).unwrap();
    assert!(world.assign("a").await);
    assert!(!world.task(&name).unwrap().is_assigned());
    assert_eq!(world.state(&name), Some(SubmissionState::IdConflict));
    assert_eq!(world.bench.server.lock().api.all(Kind::Task).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_is_finished_by_another_process() {
    let mut world = World::new();
    let name = world.create("noop", None);
    world.settle().await;
    let id = world
        .task(&name)
        .unwrap()
        .submission()
        .unwrap()
        .task_id
        .clone()
        .unwrap();
    assert!(id.starts_with(&format!("{name}_uid-")), "{id}");
    // The process dies at any moment, and the overlord says nothing again.
    let mut finished = 0;
    for steps in 0..60 {
        let mut world = World::new();
        let name = world.create("noop", Some("a"));
        world.settle().await;
        if until_killed(Box::pin(world.assign("a")), steps).await {
            break;
        }
        let mut world = world.restart();
        world.settle().await;
        let task = world.task(&name).unwrap();
        let decided = task.submission().unwrap().state == SubmissionState::Assigned;
        assert_eq!(task.is_assigned(), decided, "{steps}");
        if decided {
            finished += 1;
            assert_eq!(world.bench.lines[0].of("a"), [(TaskState::Running, None)]);
        } else {
            // It says it again.
            assert!(world.assign("a").await);
        }
        let task = world.task(&name).unwrap();
        assert!(task.is_assigned());
        assert_eq!(
            assigned_text(&world, &task),
            world.overlord.0.lock().tasks["a"].payload
        );
    }
    assert!(finished > 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_user_ends_is_ended_at_the_overlord() {
    for deleted in [true, false] {
        for elsewhere in [true, false] {
            let mut world = World::new();
            let name = world.create("noop", Some("a"));
            world.settle().await;
            if elsewhere {
                world.overlord.0.lock().tasks.get_mut("a").unwrap().at = At::Elsewhere;
                world.settle().await;
                assert_eq!(world.state(&name), Some(SubmissionState::RunsElsewhere));
            }
            if deleted {
                world.bench.server.lock().api.remove(Kind::Task, &name);
            } else {
                let mut server = world.bench.server.lock();
                server
                    .api
                    .update(Kind::Task, &name, |task| task["spec"]["cancel"] = json!(true));
            }
            world.settle().await;
            let at = world.overlord.0.lock().tasks["a"].at.clone();
            assert_eq!(at, At::Ended(TaskState::Failed), "{deleted} {elsewhere}");
            let expected = if elsewhere {
                SubmissionState::Failed
            } else {
                SubmissionState::ShutDown
            };
            assert_eq!(world.state(&name), (!deleted).then_some(expected));
            assert!(
                world
                    .submitter
                    .backlog
                    .lock()
                    .due(
                        world.bench.assigner.tasks().clock().instant(),
                        &enabled(),
                        |_| false,
                        |_| false
                    )
                    .is_empty()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_assignment_of_a_deleted_task_fails() {
    let mut world = World::new();
    let name = world.create("noop", Some("a"));
    world.settle().await;
    world.bench.server.lock().api.remove(Kind::Task, &name);
    assert!(world.assign("a").await);
    let said = world.bench.lines[0].of("a");
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].0, TaskState::Failed);
    assert_eq!(world.bench.server.lock().api.all(Kind::Task).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn refusals_are_said_in_the_overlords_words() {
    let mut world = World::new();
    let nonsense = world.create("nonsense", None);
    let conflict = world.create("noop", Some("b"));
    world
        .overlord
        .0
        .lock()
        .put(r#"{"type":"noop","id":"b"}"#)
        .unwrap();
    world.settle().await;
    assert_eq!(world.state(&nonsense), Some(SubmissionState::Refused));
    let message = world
        .task(&nonsense)
        .unwrap()
        .submission()
        .unwrap()
        .message
        .clone();
    assert!(message.unwrap().contains("Could not resolve type id"));
    assert_eq!(world.state(&conflict), Some(SubmissionState::IdConflict));
}

/// The overlord takes its time for one of them: the next one is submitted all the same, though it comes later.
#[tokio::test(start_paused = true)]
async fn a_submission_that_is_not_answered_keeps_no_other_waiting() {
    let mut world = World::new();
    world.overlord.0.lock().silent = Some("slow".into());
    let slow = world.create("noop", Some("slow"));
    let next = world.create("noop", Some("next"));
    world.hear();
    // As its watch would tell of it, once the first is on its way.
    let later = world
        .bench
        .server
        .lock()
        .api
        .get(Kind::Task, &next)
        .unwrap()
        .clone();
    let uid = later["metadata"]["uid"].as_str().unwrap().to_owned();
    world.submitter.backlog.lock().forget(&uid);
    let hear = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        world
            .submitter
            .event(Event::Apply(serde_json::from_value(later).unwrap()));
        // Far less than any time-out.
        tokio::time::sleep(Duration::from_secs(3)).await;
    };
    tokio::select! {
        () = world.submitter.work() => unreachable!(),
        () = hear => {}
    }
    assert_eq!(world.state(&next), Some(SubmissionState::Submitted));
    assert_ne!(world.state(&slow), Some(SubmissionState::Submitted));
}

/// One question is lost, and with it a thousand tasks: what became of the others is recorded.
#[tokio::test(start_paused = true)]
async fn a_question_that_is_not_answered_keeps_no_other_from_being_asked() {
    let mut world = World::new();
    for n in 0..=super::poll::MOST {
        let id = format!("t{n}");
        let name = world.create("noop", Some(&id));
        world.bench.server.lock().api.update(Kind::Task, &name, |task| {
            task["status"] = json!({"taskId": id, "taskType": "noop", "submission": {"state": "Submitted", "taskId": id}});
        });
        let payload = json!({"type": "noop", "id": id}).to_string();
        let held = Held {
            payload,
            at: At::Elsewhere,
        };
        world.overlord.0.lock().tasks.insert(id, held);
    }
    world.hear();
    world.overlord.0.lock().next = Some(Trouble::Lost);
    world.submitter.ask().await;
    let server = world.bench.server.lock();
    let elsewhere = server
        .api
        .all(Kind::Task)
        .filter(|task| task["status"]["submission"]["state"] == "RunsElsewhere");
    assert!(elsewhere.count() > 0);
}

/// A user deletes it while the answer to what is written is on its way: it is not asked for again and again.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_deleted_while_it_is_written_is_let_go() {
    let mut world = World::new();
    let name = world.create("noop", Some("a"));
    world.hear();
    let mut round = Box::pin(world.submitter.round());
    while world.state(&name).is_none() {
        assert!(futures::poll!(&mut round).is_pending());
        tokio::task::yield_now().await;
    }
    let gone = {
        let mut server = world.bench.server.lock();
        let gone = server.api.get(Kind::Task, &name).unwrap().clone();
        server.api.remove(Kind::Task, &name);
        gone
    };
    let asked = || {
        let server = world.bench.server.lock();
        let all = server.requests.iter();
        all.filter(|(asked, _)| asked.starts_with("GET") && asked.ends_with(&name))
            .count()
    };
    let before = asked();
    world
        .submitter
        .event(Event::Delete(serde_json::from_value(gone).unwrap()));
    assert_eq!(world.submitter.due(usize::MAX), [], "it is being looked after");
    round.await;
    for _ in 0..10 {
        world.submitter.round().await;
        world.pass_time(61);
    }
    assert!(asked() - before <= 1, "{} times", asked() - before);
    assert!(world.overlord.0.lock().tasks.is_empty());
}

/// Places that are free are taken at once.
#[tokio::test(start_paused = true)]
async fn many_are_looked_after_without_waiting_for_the_clock() {
    let mut world = World::new();
    let names: Vec<String> = (0..200).map(|_| world.create("kill", None)).collect();
    world.hear();
    tokio::select! {
        () = world.submitter.work() => unreachable!(),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    let said = |name: &&String| world.state(name) == Some(SubmissionState::TypeNotListed);
    assert_eq!(names.iter().filter(said).count(), names.len());
}
