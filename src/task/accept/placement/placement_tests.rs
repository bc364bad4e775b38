#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.
use serde_json::{Value, json};

use super::rules::LARGEST;
use super::*;
use crate::api::LABEL_IDENTITY;
use crate::task::accept::accept;
use crate::task::fixtures::{ID, payload, pool_offer as offer, snapshot, task, template};
use crate::task::snapshot::{Outcomes, Snapshot, Template};

#[path = "duration_tests.rs"]
mod duration;
#[path = "overflow_tests.rs"]
mod overflow;
#[path = "quarantine_tests.rs"]
mod quarantine;

fn matching(types: Value) -> PoolOffer {
    PoolOffer {
        matches: Some(serde_json::from_value(json!({"types": types})).unwrap()),
        ..offer("warm")
    }
}

/// A task that the overlord assigned, with these fields of its spec.
fn assigned(druid: Value, more: Value) -> PeonTask {
    let mut spec = json!({"task": druid, "middleManagerRef": {"name": "ingestion"}});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let mut task = task(spec);
    let label = (LABEL_IDENTITY.to_owned(), "identity".to_owned());
    task.metadata.labels = Some([label].into());
    task
}

fn druid(type_: &str) -> Value {
    json!({"type": type_, "id": ID})
}

fn with_context(context: Value) -> Value {
    json!({"type": "index", "id": ID, "context": context})
}

fn choice(snapshot: &Snapshot, pools: Vec<PoolOffer>) -> Choice {
    let accepted = accept(snapshot).unwrap();
    let pools: Vec<_> = pools.into_iter().map(Arc::new).collect();
    let case = Case {
        task: &snapshot.task,
        accepted: &accepted,
        expected: snapshot.outcomes.expected.flatten(),
    };
    choose(&case, &pools)
}

fn chosen(task: PeonTask, pools: Vec<PoolOffer>) -> Choice {
    choice(&snapshot(task), pools)
}

fn in_pools(names: &[&str], waits: bool) -> Choice {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Choice::Pools {
        names,
        overflows_after: (!waits).then_some(Duration::ZERO),
    }
}

fn in_pod(why: &str) -> Choice {
    Choice::Pod(Some(why.to_owned()))
}

#[test]
fn what_is_not_right_for_a_pool_runs_in_a_pod_and_says_why() {
    let streaming = "tasks of type index_kafka run in a pool only if it serves queries (its condition QueriesServed), or \
                     its match.types names them: else what they have not published cannot be queried";
    let sized = |memory: &str, cpu: &str| json!({"resources": {"limits": {"memory": memory, "cpu": cpu}}});
    let none = || json!({});
    for (druid, more, pool, why) in [
        (
            druid("query_controller"),
            none(),
            offer("warm"),
            "tasks of type query_controller run in their own pods",
        ),
        (
            druid("query_worker"),
            none(),
            matching(json!(["query_worker"])),
            "tasks of type query_worker run in their own pods",
        ),
        (druid("index_kafka"), none(), offer("warm"), streaming),
        (druid("index_kafka"), none(), matching(json!([])), streaming),
        (
            druid("index"),
            none(),
            matching(json!(["kill"])),
            "its match does not fit the task",
        ),
        (
            druid("index"),
            json!({"javaOpts": ["-XX:+UseSerialGC"]}),
            offer("warm"),
            "the task sets -XX (the PeonTask's spec), and the JVM has started already",
        ),
        (
            with_context(json!({"druid.indexer.runner.javaOpts": "-Dmarker=secret"})),
            none(),
            offer("warm"),
            "the task sets -Dmarker (the task's context), and the JVM has started already",
        ),
        (
            with_context(json!({"druid.peon.javaOpts": "-Xmx700m"})),
            none(),
            offer("warm"),
            "the task sets -Xmx700m (the task's context), and the JVM has started already",
        ),
        (
            with_context(json!({"druid.indexer.fork.property.druid.x": "secret"})),
            none(),
            offer("warm"),
            "the task sets -Ddruid.x (the task's context), and the JVM has started already",
        ),
        (
            druid("index"),
            none(),
            PoolOffer {
                template: "big".into(),
                ..offer("warm")
            },
            "its Indexers are made from the PeonTemplate big, the task's is default",
        ),
        (
            druid("index"),
            sized("5Gi", "1"),
            offer("warm"),
            "the task needs more memory than its Indexers have (4Gi)",
        ),
        (
            druid("index"),
            sized("2Gi", "2500m"),
            offer("warm"),
            "the task needs 2500m of cpu, its Indexers have 2",
        ),
        (
            with_context(json!({"druid.peon.pod.memory": "5Gi"})),
            none(),
            offer("warm"),
            "the task needs more memory than its Indexers have (4Gi)",
        ),
    ] {
        let why = format!("warm: {why}");
        let task = assigned(druid, more);
        assert_eq!(chosen(task.clone(), vec![pool.clone()]), in_pod(&why));
        let mut waits = task;
        waits.spec.placement = Some(Placement::Pool);
        assert_eq!(chosen(waits, vec![pool]), Choice::Wait(Waiting::NoPool, why));
    }
}

#[test]
fn what_just_fits_may_run_in_a_pool() {
    let sized = |memory: &str, cpu: &str| json!({"resources": {"limits": {"memory": memory, "cpu": cpu}}});
    for (druid, more, pool) in [
        (druid("index"), json!({}), offer("warm")),
        (druid("index"), sized("4Gi", "2"), offer("warm")),
        (
            druid("index_kafka"),
            json!({}),
            matching(json!(["index_kafka", "kill"])),
        ),
        (
            druid("index_kafka"),
            json!({"poolRef": {"name": "warm"}}),
            offer("warm"),
        ),
        (
            druid("index"),
            json!({"poolRef": {"name": "warm"}}),
            matching(json!(["kill"])),
        ),
    ] {
        assert_eq!(
            chosen(assigned(druid, more), vec![pool]),
            in_pools(&["warm"], false)
        );
    }
}

#[test]
fn what_the_template_says_of_the_jvm_is_the_pools_own_and_its_sidecar_is_none() {
    let of = |spec: Value| Snapshot {
        template: Template::Found(Arc::new(template(spec))),
        ..snapshot(assigned(druid("index"), json!({})))
    };
    let options = of(json!({"javaOpts": ["-Dmarker=x"], "properties": {"druid.x": "y"}}));
    assert_eq!(choice(&options, vec![offer("warm")]), in_pools(&["warm"], false));
    let follower = of(json!({"logs": {"collect": "Follower"}}));
    assert_eq!(choice(&follower, vec![offer("warm")]), in_pools(&["warm"], false));
    let sidecar = of(json!({"logs": {"collect": "Sidecar"}}));
    assert_eq!(
        choice(&sidecar, vec![offer("warm")]),
        in_pod("warm: logs.collect of the template is Sidecar, and Indexers have none")
    );
}

#[test]
fn pools_are_used_by_priority_then_memory_then_name() {
    let with = |name: &str, priority: i32, gib: u64| PoolOffer {
        priority,
        memory: (gib << 30, format!("{gib}Gi")),
        ..offer(name)
    };
    let pools = || {
        vec![
            with("f", -1, 2),
            with("e", 0, 8),
            with("d", 0, 4),
            with("c", 0, 4),
            with("b", 7, 9),
            with("a", 9, 1),
        ]
    };
    let task = assigned(druid("index"), json!({}));
    // The one with the highest priority is too small.
    assert_eq!(
        chosen(task.clone(), pools()),
        in_pools(&["b", "c", "d", "e", "f"], false)
    );
    let mut waits = task;
    waits.spec.placement = Some(Placement::Pool);
    assert_eq!(
        chosen(waits.clone(), pools()),
        in_pools(&["b", "c", "d", "e", "f"], true)
    );
    waits.spec.pool_ref = Some(crate::api::PoolRef { name: "d".into() });
    assert_eq!(chosen(waits, pools()), in_pools(&["d"], true));
}

#[test]
fn without_a_pool_the_task_says_what_is_missing() {
    let pool_ref = json!({"poolRef": {"name": "cold"}});
    let missing = "there is no IndexerPool cold of the VirtualMiddleManager ingestion";
    let with = |more: &Value, placement| {
        let mut task = assigned(druid("index"), more.clone());
        task.spec.placement = placement;
        task
    };
    let pool = Some(Placement::Pool);
    for (more, placement, pools, expected) in [
        (json!({}), None, vec![], Choice::Pod(None)),
        (
            json!({}),
            pool,
            vec![],
            Choice::Wait(
                Waiting::NoPool,
                "the VirtualMiddleManager ingestion has no IndexerPool".into(),
            ),
        ),
        (pool_ref.clone(), None, vec![offer("warm")], in_pod(missing)),
        (
            pool_ref.clone(),
            pool,
            vec![offer("warm")],
            Choice::Wait(Waiting::NoPool, missing.into()),
        ),
        (json!({}), Some(Placement::Pod), vec![], Choice::Pod(None)),
        (
            pool_ref,
            Some(Placement::Pod),
            vec![offer("cold")],
            in_pod("placement is Pod"),
        ),
    ] {
        assert_eq!(chosen(with(&more, placement), pools), expected);
    }
    let why_not = vec![
        matching(json!(["kill"])),
        PoolOffer {
            template: "big".into(),
            ..offer("big")
        },
    ];
    assert_eq!(
        chosen(with(&json!({}), None), why_not),
        in_pod(
            "warm: its match does not fit the task; big: its Indexers are made from the PeonTemplate big, the task's \
             is default"
        )
    );
}

#[test]
fn a_task_that_no_overlord_assigned_runs_in_a_pod() {
    let own = |more: Value| {
        let mut spec = json!({"task": {"type": "noop", "id": ID}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        task(spec)
    };
    assert_eq!(chosen(own(json!({})), vec![]), Choice::Pod(None));
    let why = "no overlord assigned the task, and pools run only tasks that one assigned";
    let named = own(json!({"poolRef": {"name": "warm"}}));
    assert_eq!(chosen(named, vec![]), in_pod(why));
    let waits = own(json!({"placement": "Pool"}));
    assert_eq!(chosen(waits, vec![]), Choice::Wait(Waiting::NoPool, why.into()));
}

#[test]
fn the_spec_decides_then_the_context() {
    use Placement::{Auto, Pod, Pool};
    let context = |value: Value| json!({CONTEXT: value});
    for (spec, context, expected) in [
        (None, json!({}), Auto),
        (None, context(json!(null)), Auto),
        (None, context(json!("Auto")), Auto),
        (None, context(json!("Pod")), Pod),
        (None, context(json!("Pool")), Pool),
        (Some(Auto), context(json!("Pool")), Auto),
        (Some(Pool), context(json!("Pod")), Pool),
        (Some(Pod), context(json!("nowhere")), Pod),
    ] {
        let mut task = assigned(with_context(context), json!({}));
        task.spec.placement = spec;
        assert_eq!(accept(&snapshot(task)).unwrap().placement, expected);
    }
    for value in [json!("pool"), json!(""), json!(1), json!(["Pool"])] {
        let refused = accept(&snapshot(assigned(
            with_context(context(value.clone())),
            json!({}),
        )))
        .unwrap_err();
        assert_eq!(refused.reason, Acceptance::InvalidTask);
        let said = format!("druid.peon.placement in the context is {value}, it must be Auto, Pod or Pool");
        assert_eq!(refused.message, said);
    }
}

#[test]
fn after_it_ran_out_of_memory_a_task_needs_more_than_it_had() {
    let after = |attempts: Value| {
        let mut task = assigned(druid("index"), json!({}));
        let status = json!({"phase": "Pending", "attempt": 3, "conditions": [], "attempts": attempts});
        task.status = Some(serde_json::from_value(status).unwrap());
        task
    };
    let attempt = |cause: &str, memory: &str| json!({"number": 1, "cause": cause, "memory": memory});
    let larger = PoolOffer {
        memory: ((4 << 30) + 1, "4Gi and a byte".into()),
        ..offer("larger")
    };
    let pools = || vec![offer("warm"), larger.clone()];
    for (attempts, names) in [
        (json!([]), &["warm", "larger"][..]),
        (json!([attempt("Evicted", "4Gi")]), &["warm", "larger"]),
        (json!([attempt("OOMKilled", "3Gi")]), &["warm", "larger"]),
        (json!([attempt("OOMKilled", "4Gi")]), &["larger"]),
        (
            json!([attempt("OOMKilled", "4Gi"), attempt("OOMKilled", "1Gi")]),
            &["larger"],
        ),
    ] {
        let pools = chosen(after(attempts.clone()), pools());
        assert_eq!(pools, in_pools(names, false), "{attempts}");
    }
    let why = "warm: the task needs more memory than its Indexers have (4Gi)";
    assert_eq!(
        chosen(after(json!([attempt("OOMKilled", "4Gi")])), vec![offer("warm")]),
        in_pod(why)
    );
}

#[test]
fn the_size_of_a_payload_in_chunks_is_that_of_the_task_with_its_id() {
    let from = json!({"taskFrom": {"sha256": "0".repeat(64), "secrets": [{"name": "a", "key": "k"}]}});
    let of = |json: &str| {
        let mut task = assigned(json!({}), from.clone());
        task.spec.task = None;
        let payload = Payload::parse_chunked(json.as_bytes(), "nightly").unwrap();
        assert!(payload.json.is_empty());
        let size = payload.size;
        let read = Snapshot {
            outcomes: Outcomes {
                payload: Some(Ok(Arc::new(payload))),
                ..Outcomes::default()
            },
            ..snapshot(task)
        };
        (size, choice(&read, vec![offer("warm")]))
    };
    let whole = json!({"type": "index", "id": ID}).to_string();
    assert_eq!(of(&whole), (whole.len(), in_pools(&["warm"], false)));
    let without = json!({"type": "index"}).to_string();
    let added = payload(json!({"type": "index"}));
    assert_eq!(of(&without).0, added.size);
    assert!(added.size > without.len() && added.size == added.json.len());
    let shell = json!({"type": "index", "id": ID, "x": ""}).to_string().len();
    let of_size =
        |size: usize| of(&json!({"type": "index", "id": ID, "x": "y".repeat(size - shell)}).to_string());
    assert_eq!(of_size(LARGEST), (LARGEST, in_pools(&["warm"], false)));
    let why = "warm: the task has 1048577 bytes of JSON, at most 1048576 are given to an Indexer";
    assert_eq!(of_size(LARGEST + 1), (LARGEST + 1, in_pod(why)));
}

#[test]
fn a_pool_that_serves_queries_runs_streaming_tasks() {
    let serving = |name: &str, types: Value| PoolOffer {
        name: name.to_owned(),
        serves_queries: true,
        ..matching(types)
    };
    let pools = vec![
        serving("any", json!([])),
        serving("batch", json!(["index"])),
        offer("warm"),
    ];
    let task = assigned(druid("index_kafka"), json!({}));
    assert_eq!(chosen(task, pools), in_pools(&["any"], false));
}

fn shared() -> PoolOffer {
    PoolOffer {
        is_shared: true,
        overflows_after: Some(Duration::from_secs(5)),
        ..offer("shared")
    }
}

#[test]
fn what_may_not_share_an_indexer_says_why() {
    let own = |context: Value| assigned(with_context(context), json!({}));
    let id = |id: &str| assigned(json!({"type": "index", "id": id}), json!({}));
    let lines = "shared: the task's id contains `]-`, `][` or a line break: in the log of a shared Indexer its lines could \
                 be taken for another task's";
    let table = [
        (
            own(json!({"druid.peon.pod.memory": "1G"})),
            "shared: the task asks for 1G of memory of its own (the task's context), and its Indexers are shared",
        ),
        (
            own(json!({"druid.peon.pod.cpu": "1"})),
            "shared: the task asks for 1 of cpu of its own (the task's context), and its Indexers are shared",
        ),
        (id("a]-b"), lines),
        (id("a][b"), lines),
    ];
    for (task, why) in table {
        assert_eq!(chosen(task, vec![shared()]), in_pod(why));
    }
    let mut again = own(json!({}));
    again.status = Some(serde_json::from_value(json!({"attempt": 2})).unwrap());
    assert_eq!(
        chosen(again.clone(), vec![shared()]),
        in_pod("shared: another attempt runs alone, and its Indexers are shared")
    );
    assert_eq!(
        chosen(again.clone(), vec![shared(), offer("single")]),
        in_pools(&["single"], false)
    );
    // Also where it is to run in a pool: it was in one.
    again.spec.placement = Some(Placement::Pool);
    assert_eq!(
        chosen(again, vec![shared()]),
        in_pod("shared: another attempt runs alone, and its Indexers are shared")
    );
    // A template's memory is not the task's own, and may be more than an Indexer has.
    let small = PoolOffer {
        memory: (1, "1".into()),
        ..shared()
    };
    assert!(matches!(
        chosen(own(json!({})), vec![small]),
        Choice::Pools { .. }
    ));
}
