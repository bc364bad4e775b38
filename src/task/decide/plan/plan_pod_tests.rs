//! What the plan makes of a task that has a pod.

use crate::task::run::pod::evidence::Evidence;
use crate::task::snapshot::Outcomes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::reason::{Acceptance, Cause, Readiness, Waiting};
use crate::task::decide::waiting::{PodWarning, Warnings};
use crate::task::run::death::NodeState;
use crate::task::run::pod::run::StopPod;

#[test]
fn a_pod_that_the_cache_does_not_have_yet_is_waited_for_and_then_looked_for() {
    let lagging = snapshot(recorded());
    let settlement = settled(&lagging, 104);
    assert_eq!((settlement.status, settlement.requeue), (None, Some(CACHE_LAG)));
    assert_eq!(action(&lagging, 105), Action::LookLive { name: POD.into() });
    let there = Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), Some(evidence(running())))),
            ..lagging.outcomes.clone()
        },
        ..lagging.clone()
    };
    assert_eq!(status(&there, 120).phase, Some(Phase::Running));
    let absent = Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), None)),
            ..lagging.outcomes.clone()
        },
        ..lagging.clone()
    };
    let ask = Action::LookNode {
        node: None,
        pod_uid: POD_UID.into(),
    };
    assert_eq!(action(&absent, 120), ask);
    let replaced = Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), Some(foreign()))),
            ..lagging.outcomes
        },
        ..lagging
    };
    assert_eq!(action(&replaced, 120), ask);
    let unscheduled = Snapshot {
        outcomes: Outcomes {
            node: Some(NodeState::NeverBound),
            ..absent.outcomes
        },
        ..absent
    };
    assert_eq!(status(&unscheduled, 120).attempt, Some(2), "a noop is run again");
}

/// The clock of the process that wrote the status may have been ahead.
#[test]
fn a_pod_created_in_the_future_is_looked_for_now() {
    let lagging = snapshot(recorded());
    assert_eq!(action(&lagging, 50), Action::LookLive { name: POD.into() });
}

#[test]
fn what_a_departed_pod_showed_last_is_judged() {
    let succeeded = ended(0, "Completed", &task_status(ID, "SUCCESS", None));
    let failed = ended(0, "Completed", &task_status(ID, "FAILED", Some("m")));
    for (last, reason) in [(succeeded, COMPLETE), (failed, FAILED)] {
        for task in [recorded(), noop()] {
            let departed = Snapshot {
                departed: Some(evidence(last.clone())),
                outcomes: Outcomes {
                    live: Some(live(Some(TASK_UID), None)),
                    ..Outcomes::default()
                },
                ..snapshot(task)
            };
            let status = status(&departed, 101);
            assert!(conditions::is_true(&status.conditions, reason), "{status:?}");
        }
    }
}

#[test]
fn the_life_of_a_pod_is_the_tasks() {
    let mut task = recorded();
    for (pod, now, phase, ready) in [
        (creating(), 101, Phase::Starting, false),
        (evidence(running()), 111, Phase::Running, true),
        (
            evidence(ended(0, "Completed", &task_status(ID, "SUCCESS", None))),
            201,
            Phase::Succeeded,
            true,
        ),
    ] {
        let next = status(
            &Snapshot {
                cached: Some(pod),
                ..snapshot(task.clone())
            },
            now,
        );
        assert_eq!(next.phase, Some(phase));
        assert_eq!(conditions::is_true(&next.conditions, READY), ready);
        task = with_status(task, next);
    }
    let status = task.status.unwrap();
    assert_eq!(status.exit_code, Some(0));
    assert_eq!(
        (status.start_time, status.completion_time),
        (Some(Time(at(110))), Some(Time(at(200))))
    );
}

#[test]
fn a_pass_over_an_unchanged_pod_changes_nothing() {
    let unchanged = Snapshot {
        cached: Some(creating()),
        ..snapshot(recorded())
    };
    assert_eq!(Some(status(&unchanged, 110)), recorded().status);
}

#[test]
fn a_silent_kubelet_is_asked_through_events_after_a_minute() {
    let silent = Snapshot {
        cached: Some(creating()),
        ..snapshot(recorded())
    };
    assert_eq!(settled(&silent, 119).requeue, Some(Duration::from_secs(41)));
    assert_eq!(settled(&silent, 159).requeue, Some(Duration::from_secs(1)));
    let expected = Action::ReadWarnings {
        pod: POD.into(),
        uid: POD_UID.into(),
    };
    assert_eq!(action(&silent, 160), expected);
    let warning = PodWarning {
        reason: "FailedMount".into(),
        message: "secret \"s\" not found".into(),
    };
    let told = Snapshot {
        outcomes: Outcomes {
            warnings: Some(Warnings::Read(vec![warning])),
            ..silent.outcomes.clone()
        },
        ..silent.clone()
    };
    let settlement = settled(&told, 160);
    assert_eq!(settlement.requeue, Some(Duration::from_secs(30)));
    let said = settlement.status.unwrap();
    assert_eq!(said.reason.as_deref(), Some(Waiting::ContainerConfig.as_str()));
    let still_silent = Snapshot {
        outcomes: Outcomes {
            warnings: Some(Warnings::Read(Vec::new())),
            ..silent.outcomes.clone()
        },
        ..silent.clone()
    };
    assert_eq!(
        status(&still_silent, 160).reason.as_deref(),
        Some(Waiting::Starting.as_str())
    );
    // What Events said stands where they may not be read now.
    for (before, expected) in [
        (told.task.clone(), Waiting::Starting.as_str()),
        (
            Arc::new(with_status((*told.task).clone(), said)),
            Waiting::ContainerConfig.as_str(),
        ),
    ] {
        let later = Snapshot {
            task: before,
            outcomes: Outcomes {
                warnings: Some(Warnings::Later),
                ..silent.outcomes.clone()
            },
            ..silent.clone()
        };
        let settlement = settled(&later, 300);
        assert_eq!(settlement.requeue, Some(Duration::from_secs(100)));
        assert_eq!(settlement.status.unwrap().reason.as_deref(), Some(expected));
    }
}

#[test]
fn a_node_that_is_looked_up_later_leaves_what_was_said_of_it() {
    let gone = |status, node| Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), None)),
            node: Some(node),
            ..Outcomes::default()
        },
        ..snapshot(with_status(noop(), status))
    };
    let first = settled(&gone(recorded().status.unwrap(), NodeState::Later), 1000);
    let waits = first.status.unwrap();
    assert_eq!(
        waits.reason.as_deref(),
        Some(Readiness::AwaitingNodeProof.as_str())
    );
    let again = settled(&gone(waits, NodeState::Later), 1000);
    assert_eq!((again.status, again.requeue), (None, first.requeue));
    assert!(first.requeue.is_some());
}

#[test]
fn an_image_with_an_invalid_name_fails_for_good() {
    let pod = in_state(
        "Pending",
        json!({"waiting": {"reason": "InvalidImageName", "message": "m"}}),
    );
    let invalid = Snapshot {
        cached: Some(evidence(pod)),
        ..snapshot(recorded())
    };
    assert_eq!(
        reason_of(&status(&invalid, 101), FAILED),
        Cause::ImagePull.as_str()
    );
}

#[test]
fn a_pod_that_lives_after_the_verdict_is_deleted() {
    let stray = Evidence {
        pod_uid: "stray".into(),
        ..evidence(running())
    };
    let cached = Snapshot {
        cached: Some(stray.clone()),
        ..snapshot(decided())
    };
    assert_eq!(action(&cached, 300), Action::LookLive { name: POD.into() });
    let alive = Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), Some(stray.clone()))),
            ..cached.outcomes
        },
        ..cached
    };
    let expected = Action::DeletePod(StopPod {
        pod: POD.into(),
        uid: "stray".into(),
        version: None,
        grace_seconds: None,
    });
    assert_eq!(action(&alive, 300), expected);
    let nothing_to_do = vec![
        Snapshot {
            outcomes: Outcomes {
                ended: vec![POD.into()],
                ..alive.outcomes.clone()
            },
            ..alive.clone()
        },
        Snapshot {
            cached: Some(Evidence {
                deletion_requested: Some(at(250)),
                ..stray
            }),
            ..alive.clone()
        },
        Snapshot {
            cached: Some(foreign()),
            ..alive.clone()
        },
        Snapshot {
            cached: Some(evidence(ended(0, "Completed", ""))),
            ..alive.clone()
        },
        Snapshot {
            cached: Some(evidence(json!({"phase": "Failed"}))),
            ..alive.clone()
        },
        Snapshot {
            outcomes: Outcomes {
                live: Some(live(Some(TASK_UID), Some(evidence(ended(0, "Completed", ""))))),
                ..alive.outcomes.clone()
            },
            ..alive.clone()
        },
        Snapshot {
            outcomes: Outcomes {
                live: Some(live(Some(TASK_UID), None)),
                ..alive.outcomes.clone()
            },
            ..alive.clone()
        },
        Snapshot {
            cached: None,
            ..alive
        },
    ];
    for snapshot in nothing_to_do {
        let settlement = settled(&snapshot, 300);
        assert_eq!(settlement.status, None);
    }
}

#[test]
fn a_task_that_is_being_deleted_is_left_alone() {
    for mut task in [noop(), recorded(), decided()] {
        task.metadata.deletion_timestamp = Some(Time(at(100)));
        for cached in [None, Some(evidence(running()))] {
            let settlement = settled(
                &Snapshot {
                    cached,
                    ..snapshot(task.clone())
                },
                300,
            );
            assert_eq!((settlement.status, settlement.requeue), (None, None));
        }
    }
}

#[test]
fn a_warning_is_given_once_for_each_new_trouble() {
    let missing = Snapshot {
        template: Template::Missing { name: "x".into() },
        ..snapshot(noop())
    };
    let refused = status(&missing, 100);
    let (reason, message) = warning(None, &refused).unwrap();
    assert_eq!(reason, Acceptance::NoTemplate.as_str());
    assert!(message.contains("PeonTemplate x"), "{message}");
    assert_eq!(warning(Some(&refused), &refused), None);
    assert_eq!(warning(Some(&refused), &recorded().status.unwrap()), None);
    assert_eq!(warning(None, &decided().status.unwrap()), None);
}

/// Its pod may have ended and gone before the status first names it: what it showed last is all there is.
#[test]
fn the_status_that_first_names_an_attempt_does_not_end_it() {
    let status = |value: serde_json::Value| serde_json::from_value::<PeonTaskStatus>(value).unwrap();
    let first = status(json!({"phase": "Starting", "attempt": 1}));
    assert!(!ends_attempt(&noop(), &first));
    let task = with_status(noop(), first);
    assert!(ends_attempt(
        &task,
        &status(json!({"phase": "Pending", "attempt": 2}))
    ));
    assert!(ends_attempt(
        &task,
        &status(json!({"phase": "Succeeded", "attempt": 1}))
    ));
}

/// Of two pods of one attempt that nobody recorded, the watch may have told only that the first went.
#[test]
fn a_pod_that_went_unrecorded_is_judged_only_after_a_look_for_another_one() {
    let first = Evidence {
        pod_uid: "first".into(),
        node: None,
        ..evidence(json!({"phase": "Pending"}))
    };
    let went = Snapshot {
        departed: Some(first),
        ..snapshot(noop())
    };
    assert_eq!(action(&went, 1000), Action::LookLive { name: POD.into() });
    let second = Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), Some(evidence(running())))),
            ..went.outcomes
        },
        ..went
    };
    let recorded = status(&second, 1000);
    assert_eq!((recorded.attempt, recorded.pod_uid()), (Some(1), Some(POD_UID)));
}
