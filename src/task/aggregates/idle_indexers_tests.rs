#![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

use serde_json::{Value, json};

use super::*;
use crate::api::PoolSlots;
use crate::task::fixtures::{asker, at, idle_indexer, noop, pool_offer as offer};

#[path = "idle_indexers_property_tests.rs"]
mod property;

fn idle(pod: &str) -> Idle {
    idle_indexer(pod, pod)
}

fn names(pods: &[&str]) -> HashSet<String> {
    pods.iter().map(|pod| (*pod).to_owned()).collect()
}

fn who(numbers: &[i64]) -> Vec<Who> {
    numbers.iter().map(|n| ("ns".into(), format!("t{n}"))).collect()
}

fn uid(n: i64) -> String {
    format!("uid-{n}")
}

/// Task number `n`, whose status says this.
fn says(n: i64, status: Value) -> PeonTask {
    let mut task = noop();
    task.metadata.uid = Some(uid(n));
    task.metadata.name = Some(format!("t{n}"));
    task.status = Some(serde_json::from_value(status).unwrap());
    task
}

fn claims(n: i64, pool: &str, pod: &str) -> PeonTask {
    says(
        n,
        json!({"phase": "Running", "run": {"kind": "Worker", "pool": pool, "pod": pod, "podUID": pod}}),
    )
}

fn ended(n: i64, pod: &str, conditions: Value) -> PeonTask {
    let mut all = vec![condition("Complete", "True", "Succeeded")];
    all.extend(conditions.as_array().unwrap().clone());
    let run = json!({"kind": "Worker", "pool": "a", "pod": pod, "podUID": pod});
    says(n, json!({"phase": "Succeeded", "run": run, "conditions": all}))
}

fn condition(name: &str, status: &str, reason: &str) -> Value {
    json!({"type": name, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn pools(list: &[&str]) -> Vec<String> {
    list.iter().map(|pool| (*pool).to_owned()).collect()
}

/// Task number `n`, created in second `n`, asks for an Indexer of these pools.
fn take(index: &IdleIndexers, n: i64, list: &[&str], waits: bool) -> Option<String> {
    let task = ("ns".to_owned(), format!("t{n}"));
    let id = format!("id-{n}");
    let uid = uid(n);
    let asker = Asker {
        task_id: &id,
        ..asker(&task, &uid, at(n), waits)
    };
    let given = index.take(&pools(list), &asker)?;
    assert!(list.contains(&&*given.pool));
    assert_eq!(given.indexer.pod, given.indexer.pod_uid);
    Some(given.indexer.pod)
}

/// The pool `a` has these pods, all of them idle.
fn offers(index: &IdleIndexers, pods: &[&str]) -> Vec<Who> {
    let all = pods.iter().map(|pod| idle(pod)).collect();
    index.offer("ns", offer("a"), all, names(pods))
}

fn listed() -> IdleIndexers {
    let index = IdleIndexers::default();
    index.listed();
    index
}

#[test]
fn nothing_is_known_or_given_before_the_tasks_are_listed() {
    let index = IdleIndexers::default();
    let _ = offers(&index, &["a0"]);
    assert_eq!(index.use_of("ns", "a", "a0"), Use::Unknown);
    assert_eq!(take(&index, 1, &["a"], false), None);
    index.observe(&claims(2, "a", "a0"));
    index.listed();
    assert_eq!(take(&index, 1, &["a"], false), None, "another task has it");
    assert_eq!(index.use_of("ns", "a", "a0"), Use::Claimed);
    assert_eq!(index.tasks_on("a0"), who(&[2]));
}

#[test]
fn no_indexer_is_given_before_the_pools_open() {
    let index = listed();
    let now = Instant::now();
    assert_eq!(index.opens_in(now), None);
    index.opens(now + Duration::from_secs(5));
    assert_eq!(index.opens_in(now), Some(Duration::from_secs(5)));
    assert_eq!(index.opens_in(now + Duration::from_secs(5)), None);
    assert_eq!(index.opens_in(now + Duration::from_secs(9)), None);
}

#[test]
fn a_reservation_stays_until_it_is_released_also_if_the_indexer_is_not_offered_any_more() {
    let index = listed();
    let _ = offers(&index, &["a0", "a1"]);
    let first = take(&index, 1, &["a"], false).unwrap();
    // A reserved Indexer is not idle for its pool.
    let _ = index.offer("ns", offer("a"), vec![idle("a1")], names(&["a0", "a1"]));
    index.observe(&says(1, json!({"phase": "Pending"})));
    assert_eq!(index.use_of("ns", "a", &first), Use::Claimed);
    assert_eq!(
        take(&index, 1, &["a"], false),
        Some(first.clone()),
        "the same one"
    );
    assert!(!index.retire("ns", "a", &first), "it is not deleted");
    assert_eq!(take(&index, 2, &["a"], false).as_deref(), Some("a1"));
    index.release(&uid(1));
    assert_eq!(index.use_of("ns", "a", &first), Use::None);
    let _ = index.offer("ns", offer("a"), vec![idle("a0")], names(&["a0", "a1"]));
    assert_eq!(take(&index, 3, &["a"], false), Some(first));
}

#[test]
fn a_reservation_that_cannot_be_kept_is_not_given_to_another_task() {
    let index = listed();
    let _ = offers(&index, &["a0"]);
    let _ = index.offer("ns", offer("b"), vec![idle("b0")], names(&["b0"]));
    assert_eq!(take(&index, 1, &["a"], false).as_deref(), Some("a0"));
    // The answer to the write of the claim may have been lost, and the task may not run in that pool any more.
    assert_eq!(take(&index, 1, &["b"], false).as_deref(), Some("b0"));
    assert_eq!(index.use_of("ns", "a", "a0"), Use::Over);
    assert_eq!(take(&index, 2, &["a"], false), None);
}

#[test]
fn a_claim_that_a_status_records_survives_its_release() {
    let index = listed();
    let _ = offers(&index, &["a0"]);
    assert_eq!(take(&index, 1, &["a"], false).as_deref(), Some("a0"));
    index.observe(&claims(1, "a", "a0"));
    index.release(&uid(1));
    assert_eq!(index.use_of("ns", "a", "a0"), Use::Claimed);
    assert_eq!(take(&index, 1, &["a"], false), None, "no second one beside it");
    assert_eq!(take(&index, 2, &["a"], false), None);
}

#[test]
fn an_indexer_is_over_with_the_verdict_and_the_log_and_never_idle_again() {
    let archived = |status, reason| json!([condition("LogsArchived", status, reason)]);
    for (conditions, over) in [
        (json!([]), true),
        (archived("True", "Archived"), true),
        (archived("False", "GaveUp"), true),
        (archived("False", "Archiving"), false),
    ] {
        let index = listed();
        let _ = offers(&index, &["a0"]);
        index.observe(&claims(1, "a", "a0"));
        index.observe(&ended(1, "a0", conditions.clone()));
        let expected = if over { Use::Over } else { Use::Claimed };
        assert_eq!(index.use_of("ns", "a", "a0"), expected, "{conditions}");
        assert_eq!(index.retire("ns", "a", "a0"), over);
        index.gone(&uid(1));
        assert_eq!(index.use_of("ns", "a", "a0"), Use::Over);
        assert_eq!(take(&index, 2, &["a"], false), None);
        // Also if the pool offers nothing in between.
        let _ = index.withdraw("ns", "a");
        let _ = offers(&index, &["a0"]);
        assert_eq!(take(&index, 2, &["a"], false), None);
    }
}

#[test]
fn an_attempt_that_ended_there_frees_the_task_and_not_the_indexer() {
    let index = listed();
    let _ = offers(&index, &["a0", "a1"]);
    index.observe(&claims(1, "a", "a0"));
    index.observe(&says(1, json!({"phase": "Pending", "attempt": 2})));
    assert_eq!(index.use_of("ns", "a", "a0"), Use::Over);
    assert_eq!(take(&index, 1, &["a"], false).as_deref(), Some("a1"));
}

#[test]
fn what_is_retired_is_given_to_nobody() {
    let index = listed();
    assert!(index.retire("ns", "a", "a0"), "before the pool offers anything");
    let _ = offers(&index, &["a0", "a1"]);
    assert_eq!(index.use_of("ns", "a", "a0"), Use::Over);
    assert!(index.retire("ns", "a", "a1"));
    assert_eq!(take(&index, 1, &["a"], true), None);
    assert_eq!(offers(&index, &["a0", "a1"]), who(&[]));
    assert_eq!(index.forget("ns", "a"), who(&[1]), "it may run elsewhere");
    assert!(index.inner.lock().pools.is_empty());
}

#[test]
fn a_task_takes_the_first_pool_that_has_one_and_pools_are_those_of_a_manager() {
    let index = listed();
    let _ = offers(&index, &[]);
    let _ = index.offer("ns", offer("b"), vec![idle("b0")], names(&["b0"]));
    let _ = index.offer("other", offer("c"), vec![idle("c0")], names(&["c0"]));
    let foreign = PoolOffer {
        manager: "another".into(),
        ..offer("d")
    };
    let _ = index.offer("ns", foreign, Vec::new(), names(&[]));
    let found = index.pools("ns", "ingestion");
    assert_eq!(
        found.iter().map(|pool| &*pool.name).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(take(&index, 1, &["a", "c", "b"], false).as_deref(), Some("b0"));
    assert_eq!(index.withdraw("ns", "a"), who(&[]));
    assert_eq!(index.pools("ns", "ingestion").len(), 1);
    assert!(index.pool("ns", "a").is_none() && index.pool("ns", "b").is_some());
}

#[test]
fn those_who_wait_are_woken_in_the_order_of_their_creation_for_their_pools() {
    let index = listed();
    let _ = offers(&index, &[]);
    for (n, list) in [(5, &["a"][..]), (1, &["b"]), (4, &["b", "a"]), (3, &["a"])] {
        assert_eq!(take(&index, n, list, true), None);
    }
    assert_eq!(
        offers(&index, &["a0"]),
        who(&[3]),
        "the first one waits for another pool"
    );
    assert_eq!(offers(&index, &["a0", "a1"]), who(&[3, 4]));
    assert_eq!(take(&index, 3, &["a"], true).as_deref(), Some("a0"));
    assert_eq!(offers(&index, &["a0", "a1"]), who(&[4]));
    index.gone(&uid(4));
    assert_eq!(offers(&index, &["a0", "a1"]), who(&[5]));
}

#[test]
fn all_who_wait_are_woken_when_a_pool_is_new_or_changes_or_goes() {
    let index = listed();
    let _ = offers(&index, &[]);
    for n in [2, 1] {
        assert_eq!(take(&index, n, &["a"], true), None);
    }
    let other = |priority| PoolOffer {
        priority,
        ..offer("b")
    };
    let offers = |priority| index.offer("ns", other(priority), Vec::new(), names(&[]));
    assert_eq!(offers(0), who(&[1, 2]));
    assert_eq!(offers(0), who(&[]));
    assert_eq!(offers(1), who(&[1, 2]));
    assert_eq!(take(&index, 2, &["a", "b"], true), None);
    assert_eq!(index.withdraw("ns", "b"), who(&[2]));
    assert_eq!(index.withdraw("ns", "b"), who(&[]), "once");
    assert_eq!(index.forget("ns", "b"), who(&[]));
    assert_eq!(index.forget("ns", "a"), who(&[1, 2]));
}

#[test]
fn a_task_that_is_created_again_in_the_same_second_waits_by_itself() {
    let index = listed();
    let name = ("ns".to_owned(), "t1".to_owned());
    for uid in ["old", "new"] {
        assert_eq!(index.take(&pools(&["a"]), &asker(&name, uid, at(1), true)), None);
    }
    index.gone("old");
    assert_eq!(offers(&index, &["a0"]), who(&[1]));
}

#[test]
fn every_change_is_reported_and_one_that_was_woken_in_vain_makes_room() {
    let index = listed();
    let reported = Arc::new(Mutex::new(0));
    let count = reported.clone();
    index.on_change(Box::new(move |namespace, pool| {
        assert_eq!((namespace, pool), ("ns", "a"));
        *count.lock() += 1;
    }));
    let changes = || std::mem::take(&mut *reported.lock());
    let _ = offers(&index, &["a0"]);
    let _ = take(&index, 1, &["a"], false);
    assert_eq!(changes(), 1);
    let _ = take(&index, 1, &["a"], false);
    assert_eq!(changes(), 0, "it keeps it");
    index.observe(&claims(1, "a", "a0"));
    let _ = changes();
    index.observe(&claims(1, "a", "a0"));
    index.release(&uid(1));
    assert_eq!(changes(), 0, "nothing changed");
    index.observe(&ended(1, "a0", json!([])));
    assert_eq!(changes(), 1);
    index.gone(&uid(1));
    assert_eq!(changes(), 1);
    let (_, _) = (take(&index, 2, &["a"], true), take(&index, 3, &["a"], true));
    assert_eq!(changes(), 0);
    assert_eq!(offers(&index, &["a0", "a1"]), who(&[2]));
    index.release(&uid(2));
    assert_eq!(changes(), 1, "the pool offers it to the next one");
    assert_eq!(offers(&index, &["a0", "a1"]), who(&[3]));
}

#[test]
fn a_pod_that_was_begun_is_remembered_until_its_task_is_gone() {
    let index = IdleIndexers::default();
    index.runs_in_pod("t", 1);
    index.release("t");
    assert!(index.may_have_pod("t", 1) && !index.may_have_pod("t", 2));
    index.gone("t");
    assert!(!index.may_have_pod("t", 1));
    assert_eq!(index.uids(), Vec::<String>::new());
}

#[test]
fn a_younger_task_takes_only_what_older_ones_leave() {
    let index = listed();
    for n in [1, 2] {
        assert_eq!(take(&index, n, &["a"], true), None);
    }
    let two = offers(&index, &["a0", "a1"]);
    assert_eq!(two, who(&[1, 2]));
    // It comes before those that were woken.
    assert_eq!(take(&index, 3, &["a"], false), None, "both are waited for");
    let _ = offers(&index, &["a0", "a1", "a2"]);
    assert!(
        take(&index, 3, &["a"], false).is_some(),
        "one more than is waited for"
    );
    assert!(
        take(&index, 2, &["a"], true).is_some(),
        "one is left for the first"
    );
    assert_eq!(take(&index, 4, &["a"], true), None);
    assert!(take(&index, 1, &["a"], true).is_some());
    // Who waits no more stands in nobody's way.
    let _ = offers(&index, &["a0", "a1", "a2", "a3"]);
    assert_eq!(take(&index, 5, &["a"], false), None);
    index.release(&uid(4));
    assert!(take(&index, 5, &["a"], false).is_some());
}

/// A task is counted for the first of its pools that has more Indexers if it waits, and that pool is told once.
#[test]
fn tasks_that_wait_are_counted_for_a_pool_that_scales() {
    let index = listed();
    let told = std::sync::Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    index.on_change(Box::new(move |_, pool| sink.lock().push(pool.to_owned())));
    for (name, scales) in [("fixed", false), ("first", true), ("second", true)] {
        let pool = PoolOffer {
            scales,
            ..offer(name)
        };
        let _ = index.offer("ns", pool, Vec::new(), names(&[]));
    }
    for _ in 0..2 {
        assert_eq!(take(&index, 1, &["fixed", "first", "second"], true), None);
    }
    assert_eq!(take(&index, 2, &["fixed"], true), None);
    assert_eq!(*told.lock(), ["first"]);
    let waiting = |pool: &str| {
        let demand = |slot| index.demand("ns", pool, slot).waiting;
        (demand(TaskSlot::Heavy), demand(TaskSlot::Light))
    };
    assert_eq!(
        (waiting("first"), waiting("second"), waiting("fixed")),
        ((1, 0), (0, 0), (0, 0))
    );
    index.release(&uid(1));
    assert_eq!(waiting("first"), (0, 0));
}

/// What a process gave, another one knows from the statuses.
#[test]
fn after_a_restart_slots_are_given_as_before() {
    let claims = |n: i64, pod: &str, bytes: Value, group: Value| {
        let run = json!({"kind": "Worker", "pool": "small", "pod": pod, "podUID": pod, "slot": "Heavy",
            "estimatedBytes": bytes, "availabilityGroup": group});
        says(
            n,
            json!({"phase": "Running", "taskId": format!("id-{n}"), "run": run}),
        )
    };
    let index = listed();
    let slots = PoolSlots { heavy: 4, light: 0 };
    let shared = |pod: &&str| Idle {
        slots: Some(slots),
        ..idle(pod)
    };
    let pool = PoolOffer {
        is_shared: true,
        task_bytes: 100,
        ..offer("small")
    };
    let all = ["s0", "s1", "s2"];
    let _ = index.offer("ns", pool, all.iter().map(shared).collect(), names(&all));
    index.observe(&claims(1, "s0", json!(150), json!("group")));
    index.observe(&claims(2, "s1", json!(300), Value::Null));
    // Of an earlier version.
    index.observe(&claims(3, "s2", Value::Null, Value::Null));
    let give = |n: i64, group: Option<&str>| {
        let (task, uid) = (("ns".to_owned(), format!("t{n}")), uid(n));
        let asker = Asker {
            group,
            ..asker(&task, &uid, at(n), false)
        };
        let given = index.take(&pools(&["small"]), &asker)?;
        let slot = given.slot?;
        Some((given.indexer.pod, slot.bytes, slot.group))
    };
    let group = Some("group".to_owned());
    assert_eq!(give(10, Some("group")), Some(("s2".into(), 200, group)));
    assert_eq!(
        give(11, None),
        Some(("s0".into(), 200, None)),
        "it holds 150 bytes"
    );
    assert_eq!(
        give(12, None),
        Some(("s1".into(), 200, None)),
        "300 of 350 and 400"
    );
    assert_eq!(
        give(13, Some("group")).map(|given| given.0).as_deref(),
        Some("s1")
    );
    assert_eq!(give(14, Some("group")), None, "each has a task of the group");
}
