//! Kinds of tasks that share no Indexer for now.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::{PoolQuarantine, TaskKind};
use crate::task::fixtures::at;

#[test]
fn what_was_there_when_memory_ran_out_runs_alone() {
    let quarantine = PoolQuarantine {
        kind: TaskKind {
            task_type: "kill".into(),
            data_source: Some("big".into()),
        },
        until: Time(at(90_000)),
    };
    let shared = || PoolOffer {
        quarantined: vec![quarantine.clone()],
        ..shared()
    };
    let kill = |data_source: &str| json!({"type": "kill", "id": ID, "dataSource": data_source});
    let why = "shared: two of the last three Indexers that ran out of memory had tasks of its type and datasource: it \
               runs alone, as all of them do until 1970-01-02T01:00:00Z";
    for placement in ["Auto", "Pool"] {
        let placement = json!({"placement": placement});
        let task = assigned(kill("big"), placement.clone());
        assert_eq!(chosen(task.clone(), vec![shared()]), in_pod(why));
        assert_eq!(
            chosen(task, vec![shared(), offer("single")]),
            in_pools(&["single"], false),
            "an Indexer of one task is its own"
        );
        let other = chosen(assigned(kill("small"), placement), vec![shared()]);
        assert!(matches!(other, Choice::Pools { .. }), "{other:?}");
    }
}
