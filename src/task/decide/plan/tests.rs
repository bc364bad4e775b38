use crate::task::run::pod::evidence::Evidence;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::api::conditions::{ACCEPTED, COMPLETE, FAILED, READY, STALLED};
use crate::api::reason::{Acceptance, Cause, Reason, Waiting};
use crate::api::{PeonTask, Phase};
use crate::apiserver::classify::refusal::{Creation, Refusal};
use crate::task::decide::without_run::NAME_CONFLICT;
use crate::task::fixtures::{
    ID, POD, POD_UID, TASK_UID, at, ended, evidence, in_state, noop, recorded, running, snapshot, task,
    task_status, template, with_status,
};
use crate::task::snapshot::{Live, Outcomes, Template};

#[path = "plan_attempt_tests.rs"]
mod attempt;
#[path = "plan_life_tests.rs"]
mod life;
#[path = "plan_place_tests.rs"]
mod place;
#[path = "plan_pod_tests.rs"]
mod pods;
#[path = "plan_run_tests.rs"]
mod run;

fn settled(snapshot: &Snapshot, now: i64) -> Settlement {
    match plan(snapshot, at(now)) {
        Step::Settle(settlement) => *settlement,
        Step::Act(action) => panic!("acts: {action:?}"),
    }
}

fn action(snapshot: &Snapshot, now: i64) -> Action {
    match plan(snapshot, at(now)) {
        Step::Act(action) => action,
        Step::Settle(settlement) => panic!("settles: {settlement:?}"),
    }
}

fn status(snapshot: &Snapshot, now: i64) -> PeonTaskStatus {
    settled(snapshot, now).status.unwrap()
}

fn reason_of<'a>(status: &'a PeonTaskStatus, condition: &str) -> &'a str {
    &conditions::find(&status.conditions, condition).unwrap().reason
}

fn check_reason(status: &PeonTaskStatus, condition: &str, reason: &impl Reason) {
    assert_eq!(reason_of(status, condition), reason.name());
}

fn live(config_map_owner: Option<&str>, pod: Option<Evidence>) -> Live {
    Live {
        config_map_owner: config_map_owner.map(str::to_owned),
        task_version: None,
        pod,
    }
}

fn foreign() -> Evidence {
    Evidence {
        owner_uid: Some("another".into()),
        pod_uid: "its-pod".into(),
        ..evidence(running())
    }
}

fn creating() -> Evidence {
    evidence(in_state(
        "Pending",
        json!({"waiting": {"reason": "ContainerCreating"}}),
    ))
}

/// A pass that claimed the attempt.
fn claimed() -> Snapshot {
    Snapshot {
        outcomes: Outcomes {
            claim: Some(Creation::Created("map".into())),
            ..Outcomes::default()
        },
        ..snapshot(noop())
    }
}

/// A task with a verdict.
fn decided() -> PeonTask {
    let done = Snapshot {
        cached: Some(evidence(ended(0, "Completed", &task_status(ID, "SUCCESS", None)))),
        ..snapshot(recorded())
    };
    with_status(noop(), status(&done, 300))
}

#[test]
fn a_new_task_claims_its_attempt_first() {
    match action(&snapshot(noop()), 100) {
        Action::CreateConfigMap(map) => assert_eq!(map.metadata.name.as_deref(), Some(POD)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_claim_is_followed_by_the_pod() {
    match action(&claimed(), 100) {
        Action::CreatePod(pod) => assert_eq!(pod["metadata"]["name"], POD),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_created_pod_is_recorded() {
    let status = recorded().status.unwrap();
    assert_eq!(status.phase, Some(Phase::Starting));
    assert_eq!((status.pod_name(), status.pod_uid()), (Some(POD), Some(POD_UID)));
    assert_eq!(status.task_id.as_deref(), Some(ID));
    assert_eq!(
        (status.memory.as_deref(), status.cpu.as_deref()),
        (Some("2G"), Some("1"))
    );
    assert!(conditions::is_true(&status.conditions, ACCEPTED));
}

#[test]
fn refusals_that_a_template_can_mend_wait() {
    let missing = Template::Missing { name: "big".into() };
    let undecodable = Template::Undecodable {
        name: "big".into(),
        error: "bad".into(),
    };
    let found = |spec| Template::Found(Arc::new(template(spec)));
    for (template, reason) in [
        (missing, Acceptance::NoTemplate.as_str()),
        (undecodable, Acceptance::InvalidTemplate.as_str()),
        (
            found(json!({"template": {"spec": {"containers": {}}}})),
            Acceptance::InvalidTemplate.as_str(),
        ),
        (
            found(json!({"resources": {"limits": {"memory": "16Mi"}}})),
            Acceptance::InvalidTemplate.as_str(),
        ),
        (
            found(json!({"properties": {"druid.host": "x"}})),
            Acceptance::InvalidTemplate.as_str(),
        ),
    ] {
        let refused = Snapshot {
            template,
            ..snapshot(noop())
        };
        let status = status(&refused, 100);
        assert_eq!(status.phase, Some(Phase::Pending));
        assert_eq!(reason_of(&status, ACCEPTED), reason);
        assert_eq!(reason_of(&status, STALLED), reason);
        assert!(conditions::find(&status.conditions, FAILED).is_none());
        assert_eq!(status.task_id.as_deref(), Some(ID));
        // Once the template is there, the task goes on.
        let mended = snapshot(with_status(noop(), status));
        assert!(matches!(action(&mended, 200), Action::CreateConfigMap(_)));
    }
}

#[test]
fn a_task_that_cannot_run_fails_for_good() {
    let noop = |more: Value| {
        let mut spec = json!({"task": {"type": "noop"}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec
    };
    for (spec, reason) in [
        (
            json!({"task": {"type": "index_parallel"}}),
            Acceptance::NeedsOverlord.as_str(),
        ),
        (json!({"task": {}}), Acceptance::InvalidTask.as_str()),
        (
            json!({"task": {"type": "noop", "id": "a/b"}}),
            Acceptance::InvalidTask.as_str(),
        ),
        (
            json!({"task": {"type": "noop", "context": {"druid.peon.pod.memory": "much"}}}),
            Acceptance::InvalidTask.as_str(),
        ),
        (
            json!({"task": {"type": "noop", "context": {"broadcastDatasourceLoadingMode": "x"}}}),
            Acceptance::InvalidTask.as_str(),
        ),
        (
            noop(json!({"javaOpts": ["-Xmx9g"]})),
            Acceptance::InvalidTask.as_str(),
        ),
        (
            noop(json!({"resources": {"limits": {"memory": "16Mi"}}})),
            Acceptance::InvalidTask.as_str(),
        ),
    ] {
        let status = status(&snapshot(task(spec)), 100);
        assert_eq!(status.phase, Some(Phase::Failed));
        assert_eq!(reason_of(&status, FAILED), reason);
        assert_eq!(reason_of(&status, ACCEPTED), reason);
        assert!(conditions::find(&status.conditions, COMPLETE).is_none());
    }
}

#[test]
fn a_task_registered_elsewhere_needs_no_overlord_of_ours() {
    let external = task(json!({"task": {"type": "index_parallel"}, "registration": "External"}));
    assert!(matches!(
        action(&snapshot(external), 100),
        Action::CreateConfigMap(_)
    ));
}

#[test]
fn a_task_that_changed_after_it_was_accepted_is_invalid() {
    let mut changed = task(json!({"task": {"type": "noop", "id": ID, "runTime": 2}}));
    changed.status = recorded().status.map(|s| PeonTaskStatus { run: None, ..s });
    assert_eq!(
        reason_of(&status(&snapshot(changed), 100), FAILED),
        Acceptance::InvalidTask.as_str()
    );
}

#[test]
fn refusals_of_the_api_server_wait_unless_they_are_for_good() {
    let cases = [
        (Refusal::Quota("q".into()), Waiting::QuotaExceeded.as_str()),
        (Refusal::ForNow("n".into()), Waiting::NotCreated.as_str()),
    ];
    for (refusal, reason) in cases {
        let refused = Some(Creation::Refused(refusal));
        let of_map = Snapshot {
            outcomes: Outcomes {
                claim: refused.clone(),
                ..Outcomes::default()
            },
            ..snapshot(noop())
        };
        let of_pod = Snapshot {
            outcomes: Outcomes {
                creation: refused,
                ..claimed().outcomes
            },
            ..claimed()
        };
        for snapshot in [of_map, of_pod] {
            let settlement = settled(&snapshot, 100);
            assert!(settlement.refused_for_now);
            let status = settlement.status.unwrap();
            assert_eq!(status.phase, Some(Phase::Pending));
            assert_eq!(status.reason.as_deref(), Some(reason));
            assert_eq!(reason_of(&status, STALLED), reason);
        }
    }
    let refused = Some(Creation::Refused(Refusal::ForGood("why".into())));
    let of_pod = Snapshot {
        outcomes: Outcomes {
            creation: refused.clone(),
            ..claimed().outcomes
        },
        ..claimed()
    };
    let of_map = Snapshot {
        outcomes: Outcomes {
            claim: refused,
            ..Outcomes::default()
        },
        ..snapshot(noop())
    };
    for snapshot in [of_map, of_pod] {
        let settlement = settled(&snapshot, 100);
        assert!(!settlement.refused_for_now);
        assert_eq!(
            reason_of(&settlement.status.unwrap(), FAILED),
            Cause::PodRefused.as_str()
        );
    }
}

#[test]
fn a_task_that_is_held_back_creates_nothing() {
    let held = Some(Duration::from_secs(7));
    let settlement = settled(
        &Snapshot {
            held,
            ..snapshot(noop())
        },
        100,
    );
    assert_eq!((settlement.status, settlement.requeue), (None, held));
    // A pod that exists is followed all the same.
    let running = Snapshot {
        held,
        cached: Some(evidence(running())),
        ..snapshot(recorded())
    };
    assert_eq!(status(&running, 120).phase, Some(Phase::Running));
}

#[test]
fn an_attempt_claimed_before_is_looked_at_live() {
    let exists = Snapshot {
        outcomes: Outcomes {
            claim: Some(Creation::Exists),
            ..Outcomes::default()
        },
        ..snapshot(noop())
    };
    assert_eq!(action(&exists, 100), Action::LookLive { name: POD.into() });
    let absent = Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), None)),
            ..exists.outcomes.clone()
        },
        ..exists.clone()
    };
    assert!(matches!(action(&absent, 100), Action::CreatePod(_)));
    let there = Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), Some(evidence(running())))),
            ..exists.outcomes
        },
        ..exists
    };
    let adopted = status(&there, 120);
    assert_eq!(adopted.phase, Some(Phase::Running));
    assert_eq!(adopted.pod_uid(), Some(POD_UID));
    assert_eq!(adopted.task_id.as_deref(), Some(ID));
    assert!(conditions::is_true(&adopted.conditions, ACCEPTED));
}

#[test]
fn a_pod_is_adopted_and_described_though_its_template_is_gone() {
    let adopted = Snapshot {
        template: Template::Missing { name: "x".into() },
        cached: Some(evidence(running())),
        ..snapshot(noop())
    };
    let status = status(&adopted, 120);
    assert_eq!(status.phase, Some(Phase::Running));
    assert_eq!(status.task_id.as_deref(), Some(ID));
    assert!(status.task_hash.is_some());
}

#[test]
fn the_settings_of_a_pod_do_not_change_with_its_template() {
    let changed = Snapshot {
        template: Template::Found(Arc::new(template(
            json!({"resources": {"limits": {"memory": "9Gi"}}}),
        ))),
        cached: Some(evidence(running())),
        ..snapshot(recorded())
    };
    assert_eq!(status(&changed, 120).memory.as_deref(), Some("2G"));
}

#[test]
fn a_pod_that_exists_is_looked_at_live() {
    let exists = Snapshot {
        outcomes: Outcomes {
            creation: Some(Creation::Exists),
            ..claimed().outcomes
        },
        ..claimed()
    };
    assert_eq!(action(&exists, 100), Action::LookLive { name: POD.into() });
    let gone = Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), None)),
            ..exists.outcomes.clone()
        },
        ..exists.clone()
    };
    assert_eq!(settled(&gone, 100).status, None);
    assert!(settled(&gone, 100).requeue.is_some());
    let ours = Snapshot {
        outcomes: Outcomes {
            live: Some(live(Some(TASK_UID), Some(evidence(running())))),
            ..exists.outcomes
        },
        ..exists
    };
    assert_eq!(status(&ours, 120).pod_uid(), Some(POD_UID));
}

#[test]
fn names_that_belong_to_something_else_are_waited_for() {
    let map_of_another = Snapshot {
        outcomes: Outcomes {
            claim: Some(Creation::Exists),
            live: Some(live(Some("another"), None)),
            ..Outcomes::default()
        },
        ..snapshot(noop())
    };
    let map_of_nobody = Snapshot {
        outcomes: Outcomes {
            live: Some(live(None, None)),
            ..map_of_another.outcomes.clone()
        },
        ..map_of_another.clone()
    };
    let pod_of_another = Snapshot {
        outcomes: Outcomes {
            creation: Some(Creation::Exists),
            live: Some(live(Some(TASK_UID), Some(foreign()))),
            ..claimed().outcomes
        },
        ..claimed()
    };
    let pod_in_cache = Snapshot {
        cached: Some(foreign()),
        ..snapshot(noop())
    };
    let pod_of_nobody = Snapshot {
        cached: Some(Evidence {
            owner_uid: None,
            ..foreign()
        }),
        ..snapshot(noop())
    };
    for snapshot in [
        map_of_another,
        map_of_nobody,
        pod_of_another,
        pod_in_cache,
        pod_of_nobody,
    ] {
        let settlement = settled(&snapshot, 100);
        assert_eq!(settlement.requeue, Some(NAME_CONFLICT));
        let status = settlement.status.unwrap();
        assert_eq!(status.reason.as_deref(), Some(Waiting::NameConflict.as_str()));
        assert_eq!(status.pod_uid(), None);
        assert_eq!(status.phase, Some(Phase::Pending));
    }
}

#[test]
fn the_departed_pod_of_an_earlier_incarnation_says_nothing() {
    let earlier = Snapshot {
        departed: Some(foreign()),
        ..snapshot(noop())
    };
    assert!(matches!(action(&earlier, 100), Action::CreateConfigMap(_)));
}

#[test]
fn a_task_that_the_cache_has_not_seen_change_is_not_acted_on() {
    let mut stale = Snapshot {
        outcomes: Outcomes {
            claim: Some(Creation::Exists),
            live: Some(live(Some(TASK_UID), None)),
            ..Outcomes::default()
        },
        ..snapshot(noop())
    };
    assert!(matches!(action(&stale, 100), Action::CreatePod(_)));
    stale.outcomes.live.as_mut().unwrap().task_version = Some("7".into());
    let settlement = settled(&stale, 100);
    assert_eq!((settlement.status, settlement.requeue), (None, Some(CACHE_LAG)));
}

/// An action carries the payload, and failed effects are logged.
#[test]
fn an_action_does_not_print_what_it_carries() {
    let task = task(json!({"taskJson": "{\"type\": \"noop\", \"password\": \"marked\"}"}));
    let step = plan(&snapshot(task), at(100));
    assert!(matches!(step, Step::Act(Action::CreateConfigMap(_))), "{step:?}");
    assert!(!format!("{step:?}").contains("marked"));
}
