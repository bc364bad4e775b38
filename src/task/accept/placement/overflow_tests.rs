//! How long a task waits for an Indexer.

use super::*;

/// The shortest time of the pools that fit counts; a subtask never waits without end.
#[test]
fn a_task_overflows_after_the_time_of_its_pools() {
    let patience = |task: PeonTask, pools: Vec<PoolOffer>| match chosen(task, pools) {
        Choice::Pools { overflows_after, .. } => overflows_after,
        other => panic!("{other:?}"),
    };
    let waits = || PoolOffer {
        overflows_after: None,
        ..offer("waits")
    };
    let task = || assigned(druid("index"), json!({}));
    let subtask = json!({
        "type": "single_phase_sub_task", "id": ID, "supervisorTaskId": "s", "subtaskSpecId": "s_0",
    });
    assert_eq!(patience(task(), vec![shared()]), Some(Duration::from_secs(5)));
    assert_eq!(
        patience(task(), vec![shared(), waits()]),
        Some(Duration::from_secs(5))
    );
    assert_eq!(patience(task(), vec![waits()]), None);
    assert_eq!(
        patience(assigned(subtask, json!({})), vec![waits()]),
        Some(Duration::ZERO)
    );
    assert_eq!(
        patience(
            assigned(druid("index"), json!({"placement": "Pool"})),
            vec![shared()]
        ),
        None
    );
}
