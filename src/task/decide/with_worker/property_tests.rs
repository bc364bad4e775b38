//! Whatever is known of an Indexer and its pod: what may never follow from it.

use proptest::prelude::*;

use super::*;

fn heard() -> impl Strategy<Value = Vec<Heard>> {
    let one = prop_oneof![
        Just(Heard::Idle),
        Just(Heard::Runs),
        Just(Heard::Succeeds),
        Just(Heard::Fails),
        Just(Heard::Forgets),
        Just(Heard::Restarts),
        Just(Heard::Silence),
        Just(Heard::Stranger),
    ];
    proptest::collection::vec(one, 0..6)
}

fn pods() -> impl Strategy<Value = Option<Evidence>> {
    prop_oneof![
        3 => Just(Some(pod(running()))),
        1 => Just(Some(going())),
        1 => Just(Some(pod(ended(143, "Error", "")))),
        1 => Just(Some(pod(json!({"phase": "Failed"})))),
        1 => Just(Some(Evidence { pod_uid: "other".into(), ..pod(running()) })),
        1 => Just(None),
    ]
}

fn stops() -> impl Strategy<Value = Option<Cause>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(Cause::Cancelled)),
        1 => Just(Some(Cause::Suspended)),
        1 => Just(Some(Cause::NoVerdict)),
    ]
}

fn nodes() -> impl Strategy<Value = Option<NodeState>> {
    prop_oneof![
        Just(None),
        Just(Some(NodeState::NotReady)),
        Just(Some(NodeState::Deleted)),
        Just(Some(NodeState::Ready(at(0)))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is known: a POST goes to the claimed pod alone, never after a stop, never once the task was
    /// announced, and never to a pod that ends; another attempt follows a dead pod only; requests go only where the
    /// claim is; SUCCESS that was heard is the verdict.
    #[test]
    fn nothing_runs_twice(
        heard in heard(), there in pods(), live in pods(), looked in any::<bool>(), stop in stops(),
        node in nodes(), safe in any::<bool>(), cancel in any::<bool>(), suspend in any::<bool>(),
        shut in any::<bool>(), now in 100_i64..2_000,
    ) {
        let mut task = claimed(safe);
        if let Some(cause) = stop {
            task = stopped(task, cause, 150);
        }
        (task.spec.cancel, task.spec.suspend) = (cancel, suspend);
        let mut snapshot = with(task, there.clone(), &heard);
        if looked {
            snapshot.outcomes.indexer = Some(Box::new(Live {
                config_map_owner: None,
                pod: live.clone(),
                task_version: None,
            }));
        }
        snapshot.outcomes.node = node.clone();
        if shut {
            snapshot.outcomes.shut_down = vec![ID.into(), "another".into()];
        }
        let known = view(&heard);
        let was_announced = known.task(ID).is_some() || known.former_task(ID).is_some();
        let seen = [there, live.filter(|_| looked)].into_iter().flatten().find(|pod| pod.pod_uid == UID);
        let alive = seen.as_ref().is_some_and(|pod| pod.may_live() && pod.deletion_requested.is_none());
        match plan(&snapshot, at(now)) {
            Step::Act(Action::PostTask { pod_uid }) => {
                prop_assert_eq!(pod_uid, UID);
                prop_assert!(stop.is_none() && !was_announced && alive && !cancel);
                prop_assert!(!heard.is_empty() && known.replaced().is_none());
            }
            Step::Act(Action::ShutDown { pod_uid, task_id }) => {
                prop_assert_eq!(pod_uid, UID);
                prop_assert!(alive && (task_id != ID || stop.is_some()));
            }
            Step::Act(Action::DeletePod(pod)) => {
                prop_assert!(pod.uid == UID && stop.is_some() && alive);
            }
            Step::Act(Action::LookIndexer { .. }) => prop_assert!(seen.is_none() && !looked),
            Step::Act(Action::LookNode { .. }) => prop_assert!(seen.is_none_or(|pod| !pod.may_live())),
            Step::Act(other) => prop_assert!(false, "{other:?}"),
            Step::Settle(settlement) => {
                let status = settlement.status.unwrap_or_default();
                if status.attempt == Some(2) {
                    let dead = seen.as_ref().is_some_and(|pod| !pod.may_live());
                    let gone = seen.is_none() && matches!(node, Some(NodeState::Ready(_)));
                    prop_assert!(safe && (dead || gone), "{status:?}");
                }
                if status.phase == Some(Phase::Failed) {
                    prop_assert!(!heard.first().is_some_and(|h| *h == Heard::Succeeds), "{status:?}");
                }
            }
        }
    }
}
