//! A task on an Indexer that runs others, too.

use super::*;
use crate::api::TaskSlot;

/// A task with a slot of an Indexer since second 100, on which `others` have slots.
fn shared(task: PeonTask, pod: Option<Evidence>, heard: &[Heard], others: &[&str]) -> Snapshot {
    let mut task = task;
    let run = task.status.as_mut().and_then(|status| status.run.as_mut());
    run.unwrap().slot = Some(TaskSlot::Heavy);
    let mut snapshot = with(task, pod, heard);
    let mut seen = *snapshot.indexer.unwrap();
    let ids = others.iter().map(|id| (*id).to_owned());
    seen.neighbours = Some(ids.chain([ID.to_owned()]).collect());
    snapshot.indexer = Some(Box::new(seen));
    snapshot
}

fn lives(task: PeonTask, heard: &[Heard]) -> Snapshot {
    shared(task, Some(pod(running())), heard, &["another"])
}

fn stopped(cause: Cause, task: PeonTask) -> PeonTask {
    let mut task = task;
    let status = task.status.as_mut().unwrap();
    status.stop = Some(Stop {
        cause: cause.to_string(),
        message: "why".into(),
        time: Time(at(250)),
    });
    task
}

#[test]
fn a_neighbour_is_no_stranger_and_what_is_not_known_is_none() {
    let mut snapshot = lives(claimed(true), &[Heard::Runs, Heard::Stranger]);
    assert_eq!(settled(&snapshot, 300).phase, Some(Phase::Running));
    let mut seen = *snapshot.indexer.clone().unwrap();
    seen.neighbours = Some(vec![ID.to_owned()]);
    snapshot.indexer = Some(Box::new(seen.clone()));
    let Action::ShutDown { task_id, .. } = acts(&snapshot, 300) else {
        panic!("the stranger goes on");
    };
    assert_eq!(task_id, "another");
    seen.neighbours = None;
    snapshot.indexer = Some(Box::new(seen));
    assert_eq!(
        settled(&snapshot, 300).phase,
        Some(Phase::Running),
        "not all tasks are known"
    );
}

#[test]
fn a_stop_that_is_not_confirmed_leaves_the_pod_to_its_pool() {
    for (cause, heard) in [
        (Cause::Cancelled, &[Heard::Runs][..]),
        (Cause::Cancelled, &[Heard::Idle]),
        (Cause::Deadline, &[Heard::Runs]),
    ] {
        let snapshot = lives(stopped(cause, claimed(true)), heard);
        let status = settled(&snapshot, 1000);
        assert_eq!(reason(&status), "Stopping", "{status:?}");
        let ready = conditions::find(&status.conditions, READY).unwrap();
        assert!(ready.message.contains("runs other tasks"), "{}", ready.message);
    }
}

/// A task that got its slot at second 100.
fn slotted(slot: TaskSlot, task_type: &str, heard: &[Heard]) -> Snapshot {
    let mut snapshot = lives(claimed(true), heard);
    let task = Arc::make_mut(&mut snapshot.task);
    let status = task.status.as_mut().unwrap();
    status.task_type = Some(task_type.into());
    let run = status.run.as_mut().unwrap();
    (run.slot, run.slot_time) = (Some(slot), Some(Time(at(100))));
    snapshot
}

#[test]
fn the_start_of_a_short_task_is_not_recorded() {
    let runs = slotted(TaskSlot::Heavy, "index_parallel", &[Heard::Runs]);
    let Step::Settle(pause) = plan(&runs, at(101)) else {
        panic!("it acts");
    };
    let after = Some(Duration::from_secs(1));
    assert_eq!((pause.status.clone(), pause.requeue), (None, after), "{pause:?}");
    let status = settled(&runs, 102);
    assert_eq!(
        (status.phase, status.start_time),
        (Some(Phase::Running), Some(Time(at(102))))
    );
    // Others call these, and learn from the record where.
    for called in [
        slotted(TaskSlot::Light, "index_parallel", &[Heard::Runs]),
        slotted(TaskSlot::Heavy, "index_kafka", &[Heard::Runs]),
    ] {
        assert_eq!(settled(&called, 101).phase, Some(Phase::Running));
    }
    let mut cancelled = runs.clone();
    Arc::make_mut(&mut cancelled.task).spec.cancel = true;
    assert_eq!(settled(&cancelled, 101).stop.unwrap().cause, "Cancelled");
}

#[test]
fn the_end_of_a_short_task_tells_when_it_began() {
    for (heard, phase) in [(Heard::Succeeds, Phase::Succeeded), (Heard::Fails, Phase::Failed)] {
        let ended = slotted(TaskSlot::Heavy, "index_parallel", &[Heard::Runs, heard]);
        let status = settled(&ended, 101);
        let times = (&status.start_time, &status.completion_time);
        assert_eq!(times, (&Some(Time(at(100))), &Some(Time(at(101)))));
        assert_eq!(status.phase, Some(phase));
        assert!(conditions::is_true(&status.conditions, conditions::STARTED));
    }
}

/// The end is announced: the task has its verdict while the others go on.
#[test]
fn a_stop_that_is_confirmed_ends_the_task_alone() {
    let snapshot = lives(
        stopped(Cause::Cancelled, claimed(true)),
        &[Heard::Runs, Heard::Fails],
    );
    let status = settled(&snapshot, 300);
    assert_eq!(
        (status.phase, reason(&status)),
        (Some(Phase::Failed), "Cancelled")
    );
}

#[test]
fn a_task_that_is_not_listed_any_more_has_ended() {
    let forgotten = [Heard::Runs, Heard::Forgets];
    let status = settled(&lives(claimed(true), &forgotten), 300);
    assert_eq!(status.stop.as_ref().unwrap().cause, "NoVerdict");
    let task = with_status(claimed(true), status);
    let status = settled(&lives(task, &forgotten), 301);
    // It may run again, but not before its JVM has ended.
    assert_eq!(reason(&status), "Stopping", "{status:?}");
    let task = stopped(Cause::NoVerdict, claimed(false));
    let status = settled(&lives(task, &forgotten), 301);
    assert_eq!(
        (status.phase, reason(&status)),
        (Some(Phase::Failed), "NoVerdict")
    );
}

/// Who deleted the pod is not recorded: it may have been the operator, of a JVM that stands still.
#[test]
fn a_pod_that_was_deleted_may_have_been_one_that_did_not_answer() {
    let deleted = Evidence {
        deletion_requested: Some(at(150)),
        ..pod(ended(137, "Error", ""))
    };
    let status = settled(
        &shared(claimed(false), Some(deleted), &[Heard::Runs], &["b"]),
        300,
    );
    let failed = conditions::find(&status.conditions, conditions::FAILED).unwrap();
    assert_eq!(failed.reason, "PodDeleted");
    assert!(
        failed
            .message
            .contains("by the operator because it had not answered"),
        "{}",
        failed.message
    );
}

#[test]
fn the_end_of_the_jvm_is_the_end_of_each_and_says_that_there_were_others() {
    let dead = || Some(pod(ended(137, "Error", "")));
    let status = settled(&shared(claimed(false), dead(), &[Heard::Runs], &["b", "c"]), 300);
    let failed = conditions::find(&status.conditions, conditions::FAILED).unwrap();
    assert!(
        failed.message.contains("the JVM was shared with other tasks"),
        "{}",
        failed.message
    );
    let status = settled(&shared(claimed(true), dead(), &[Heard::Runs], &["b"]), 300);
    assert_eq!((status.attempt, status.phase), (Some(2), Some(Phase::Pending)));
    assert_eq!(status.attempts[0].start_time, None, "it was not announced");
    let running = settled(&lives(claimed(true), &[Heard::Runs]), 150);
    let task = with_status(noop(), running);
    let status = settled(&shared(task, dead(), &[Heard::Runs], &["b"]), 300);
    let began = status.attempts[0].start_time.clone();
    assert_eq!(began, Some(Time(at(150))), "the JVM started before, for others");
    // What was announced before counts.
    let ended = [Heard::Runs, Heard::Succeeds];
    let status = settled(&shared(claimed(false), dead(), &ended, &["b"]), 300);
    assert_eq!(status.phase, Some(Phase::Succeeded));
}

/// The memory of the JVM was never the task's own: it runs alone with what it asks for, however little that is.
#[test]
fn a_task_of_a_jvm_that_ran_out_of_memory_has_its_own_memory_next() {
    let mut task = claimed(true);
    task.status.as_mut().unwrap().memory = Some("64Gi".into());
    let dead = Some(pod(ended(137, "OOMKilled", "")));
    let status = settled(&shared(task, dead, &[Heard::Runs], &["b"]), 300);
    assert_eq!(
        (status.attempt, status.phase, status.memory_step),
        (Some(2), Some(Phase::Pending), None)
    );
    assert!(!message(&status).contains("more memory"), "{}", message(&status));
}

/// A task that its Indexer certainly never received waits for nothing, however long the others run.
#[test]
fn a_task_that_was_never_received_ends_at_once() {
    let never = |task: PeonTask| {
        let mut snapshot = lives(task, &[Heard::Idle]);
        let mut seen = *snapshot.indexer.unwrap();
        seen.never_received = true;
        snapshot.indexer = Some(Box::new(seen));
        snapshot
    };
    let status = settled(&never(stopped(Cause::Cancelled, claimed(false))), 300);
    assert_eq!(
        (status.phase, reason(&status)),
        (Some(Phase::Failed), "Cancelled")
    );
    let failed = conditions::find(&status.conditions, conditions::FAILED).unwrap();
    assert!(!failed.message.contains("shared"), "{}", failed.message);
    // A POST that was refused: the next attempt runs alone.
    let status = settled(&never(stopped(Cause::NoVerdict, claimed(false))), 300);
    assert_eq!((status.attempt, status.phase), (Some(2), Some(Phase::Pending)));
    // Without a stop it is posted.
    assert!(matches!(
        acts(&never(claimed(false)), 300),
        Action::PostTask { .. }
    ));
}
