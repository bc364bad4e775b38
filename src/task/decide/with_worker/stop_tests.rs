//! How an attempt is stopped, and what follows it.

use super::*;

#[test]
fn another_attempt_after_an_announced_failure_waits_for_the_death_of_its_pod() {
    let heard = &[Heard::Idle, Heard::Runs, Heard::Fails];
    let retries = |snapshot: Snapshot| Snapshot {
        template: Template::Found(Arc::new(template(
            json!({"retry": {"limits": {"TaskFailed": 1}}}),
        ))),
        ..snapshot
    };
    let status = settled(&retries(lives(claimed(true), heard)), 200);
    let stop = status.stop.clone().unwrap();
    assert_eq!(
        (stop.cause.as_str(), stop.message.as_str()),
        ("TaskFailed", "why")
    );
    assert_eq!(status.attempt, Some(1));
    let task = with_status(noop(), status);
    deletes(&retries(lives(task.clone(), heard)), 201);
    let going = settled(&retries(with(task.clone(), Some(going()), heard)), 310);
    assert_eq!((going.attempt, reason(&going)), (Some(1), "Stopping"));
    // The operator that heard the failure has gone.
    let mut over = pod(ended(143, "Error", ""));
    if let Container::Terminated(terminated) = &mut over.peon {
        terminated.finished = Some(at(230));
    }
    let status = settled(&retries(with(task.clone(), Some(over), &[])), 400);
    assert_eq!(
        (status.attempt, status.failures.get("TaskFailed")),
        (Some(2), Some(&1))
    );
    assert!(status.run.is_none() && status.stop.is_none());
    // SUCCESS that comes after all is the verdict.
    let heard = &[Heard::Idle, Heard::Runs, Heard::Succeeds];
    assert_eq!(
        settled(&retries(lives(task, heard)), 320).phase,
        Some(Phase::Succeeded)
    );
}

#[test]
fn a_stop_is_recorded_then_asked_for_again_and_again_then_forced() {
    let heard = &[Heard::Idle, Heard::Runs];
    let mut task = with_status(noop(), settled(&lives(claimed(false), heard), 101));
    task.spec.cancel = true;
    let status = settled(&lives(task.clone(), heard), 200);
    assert_eq!(status.stop.as_ref().unwrap().cause, "Cancelled");
    task.status = Some(status);
    for now in [200, 205, 259] {
        assert_eq!(shuts_down(&lives(task.clone(), heard), now), ID);
    }
    let asked = Snapshot {
        outcomes: Outcomes {
            shut_down: vec![ID.into()],
            ..Outcomes::default()
        },
        ..lives(task.clone(), heard)
    };
    let Step::Settle(settlement) = plan(&asked, at(205)) else {
        panic!("once in a pass is enough");
    };
    assert_eq!(settlement.requeue, Some(AGAIN));
    // killGrace and 30 seconds.
    deletes(&lives(task.clone(), heard), 260);
    let failed = settled(
        &lives(task.clone(), &[Heard::Idle, Heard::Runs, Heard::Fails]),
        210,
    );
    assert_eq!(
        (failed.phase, reason(&failed)),
        (Some(Phase::Failed), "Cancelled")
    );
    assert!(message(&failed).contains("Druid said: why"));
    let published = settled(
        &lives(task.clone(), &[Heard::Idle, Heard::Runs, Heard::Succeeds]),
        210,
    );
    assert_eq!(published.phase, Some(Phase::Succeeded));
    let mut over = pod(ended(143, "Error", ""));
    if let Container::Terminated(terminated) = &mut over.peon {
        terminated.finished = Some(at(290));
    }
    let killed = settled(&with(task, Some(over), heard), 400);
    assert_eq!(
        (killed.phase, reason(&killed)),
        (Some(Phase::Failed), "Cancelled")
    );
}

#[test]
fn a_task_that_was_never_announced_is_not_posted_after_a_stop() {
    let mut task = claimed(false);
    task.spec.cancel = true;
    let status = settled(&lives(task.clone(), &[Heard::Idle]), 101);
    assert_eq!(status.stop.as_ref().unwrap().cause, "Cancelled");
    task.status = Some(status);
    deletes(&lives(task.clone(), &[Heard::Idle]), 102);
    // Even if the user changes their mind.
    task.spec.cancel = false;
    deletes(&lives(task.clone(), &[Heard::Idle]), 103);
    assert_eq!(shuts_down(&lives(task, &[Heard::Idle, Heard::Silence]), 103), ID);
}

#[test]
fn a_task_is_suspended_only_if_it_may_run_again_and_once_its_pod_is_dead() {
    let heard = &[Heard::Idle, Heard::Runs];
    let suspended = |safe| {
        let mut task = with_status(noop(), settled(&lives(claimed(safe), heard), 101));
        task.spec.suspend = true;
        task
    };
    let held = settled(&lives(suspended(false), heard), 200);
    assert_eq!((held.phase, held.stop.as_ref()), (Some(Phase::Running), None));
    assert_eq!(
        conditions::find(&held.conditions, SUSPENDED).unwrap().reason,
        "NotRestartable"
    );
    let mut task = suspended(true);
    task.status = Some(settled(&lives(task.clone(), heard), 200));
    assert_eq!(
        task.status.as_ref().unwrap().stop.as_ref().unwrap().cause,
        "Suspended"
    );
    assert_eq!(shuts_down(&lives(task.clone(), heard), 201), ID);
    let heard = &[Heard::Idle, Heard::Runs, Heard::Fails];
    deletes(&lives(task.clone(), heard), 202);
    let mut over = pod(ended(143, "Error", ""));
    if let Container::Terminated(terminated) = &mut over.peon {
        terminated.finished = Some(at(290));
    }
    let status = settled(&with(task, Some(over), heard), 400);
    assert_eq!((status.attempt, status.run), (Some(2), None));
}

#[test]
fn deadlines_stop_it() {
    let with_deadline = |status: PeonTaskStatus, start: bool| {
        let mut task = with_status(noop(), status);
        let deadline = if start {
            &mut task.spec.start_deadline_seconds
        } else {
            &mut task.spec.active_deadline_seconds
        };
        *deadline = Some(60);
        task
    };
    let mut pending = claimed(false).status.unwrap();
    pending.pending_since = Some(Time(at(100)));
    let task = with_deadline(pending, true);
    posts(&lives(task.clone(), &[Heard::Idle]), 120);
    let status = settled(&lives(task.clone(), &[Heard::Idle, Heard::Silence]), 160);
    assert_eq!(status.stop.unwrap().cause, "StartDeadline");
    // It runs already, though that is not recorded.
    let status = settled(&lives(task, &[Heard::Idle, Heard::Runs]), 160);
    assert_eq!(status.phase, Some(Phase::Running));
    let task = with_deadline(status, false);
    assert_eq!(
        settled(&lives(task.clone(), &[Heard::Idle, Heard::Runs]), 219).stop,
        None
    );
    let status = settled(&lives(task, &[Heard::Idle, Heard::Runs]), 220);
    assert_eq!(status.stop.unwrap().cause, "Deadline");
}

/// What is lost: the cause is recorded, then the pod is deleted, then the kubelet's word is the proof.
#[test]
fn what_the_indexer_lost_ends_with_its_pod() {
    for lost in [
        &[Heard::Idle, Heard::Runs, Heard::Forgets][..],
        &[Heard::Idle, Heard::Runs, Heard::Restarts],
        &[Heard::Idle, Heard::Restarts],
        // A JVM that was posted the task again by a process that no longer leads.
        &[Heard::Idle, Heard::Runs, Heard::Forgets, Heard::Runs],
    ] {
        for safe in [false, true] {
            let status = settled(&lives(claimed(safe), lost), 200);
            assert_eq!(reason(&status), Readiness::Stopping.as_str(), "{lost:?}");
            let task = with_status(noop(), status);
            deletes(&lives(task.clone(), lost), 201);
            let deleted = Snapshot {
                outcomes: Outcomes {
                    ended: vec![POD.into()],
                    ..Outcomes::default()
                },
                ..lives(task.clone(), lost)
            };
            assert_eq!(settled(&deleted, 201).attempt, Some(1));
            assert_eq!(
                settled(&with(task.clone(), Some(going()), lost), 310).attempt,
                Some(1)
            );
            // Another operator knows nothing of the view any more.
            for heard in [lost, &[]] {
                let dead = Some(Evidence {
                    deletion_requested: Some(at(201)),
                    ..pod(ended(143, "Error", ""))
                });
                let mut dead = with(task.clone(), dead, heard);
                // It ended after the stop.
                if let Some(Evidence {
                    peon: Container::Terminated(t),
                    ..
                }) = dead.indexer.as_mut().and_then(|seen| seen.pod.as_mut())
                {
                    t.finished = Some(at(230));
                }
                let status = settled(&dead, 400);
                if safe {
                    assert_eq!((status.attempt, status.run), (Some(2), None), "{lost:?}");
                } else {
                    assert_eq!(
                        (status.phase, reason(&status)),
                        (Some(Phase::Failed), "NoVerdict")
                    );
                }
            }
        }
    }
}
