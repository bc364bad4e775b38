use super::*;
use crate::druid::rows_in_memory::RowsInMemory;
use crate::indexer::fixtures::{Jvm, failed, running, succeeded, target};
use crate::task::fixtures::{at, idle_indexer};

const SLOTS: PoolSlots = PoolSlots { heavy: 2, light: 1 };

fn key() -> Key {
    ("ns".into(), "shared".into())
}

fn uids(pods: &[&str]) -> HashSet<String> {
    pods.iter().map(|pod| (*pod).to_owned()).collect()
}

fn offer(index: &mut SharedSlots, offered: &[&str], there: &[&str]) {
    let idle = |pod: &&str| (idle_indexer(pod, pod), SLOTS);
    index.offer(&key(), offered.iter().map(idle).collect(), &uids(there));
}

fn who(id: &str) -> Who {
    ("ns".into(), id.to_owned())
}

fn take_with(
    index: &mut SharedSlots,
    id: &str,
    slot: TaskSlot,
    group: Option<&str>,
    bytes: u64,
) -> Option<String> {
    let task = who(id);
    let asker = Asker {
        task: &task,
        task_uid: id,
        task_id: id,
        created: at(1),
        waits: false,
        slot,
        rows: RowsInMemory::Share,
        group,
    };
    index.take(&key(), &asker, bytes).map(|(idle, _)| idle.pod_uid)
}

fn take_as(index: &mut SharedSlots, id: &str, slot: TaskSlot, group: Option<&str>) -> Option<String> {
    take_with(index, id, slot, group, 0)
}

fn take(index: &mut SharedSlots, id: &str) -> Option<String> {
    take_as(index, id, TaskSlot::Heavy, None)
}

fn says(index: &mut SharedSlots, id: &str, pod: &str, over: bool, stopped: Option<i64>) -> Option<Key> {
    says_of(index, id, pod, over, stopped, (0, None))
}

fn says_of(
    index: &mut SharedSlots,
    id: &str,
    pod: &str,
    over: bool,
    stopped: Option<i64>,
    (bytes, group): (u64, Option<&str>),
) -> Option<Key> {
    let task = who(id);
    let recorded = Recorded {
        pool: &key(),
        pod_uid: pod,
        task: &task,
        id,
        kind: TaskKind {
            task_type: id.to_owned(),
            data_source: None,
        },
        slot: GivenSlot {
            kind: TaskSlot::Heavy,
            bytes,
            group: group.map(str::to_owned),
        },
        stopped: stopped.map(at),
        over,
    };
    index.observe(id, &recorded)
}

/// What an Indexer says of its tasks.
fn view(jvm: &Jvm) -> View {
    let mut view = View::new(target("p0"));
    view.answered(None, &jvm.answer(None).unwrap()).unwrap();
    view
}

#[test]
fn heavy_tasks_are_spread_and_light_ones_packed() {
    let mut index = SharedSlots::default();
    offer(&mut index, &["p0", "p1"], &["p0", "p1"]);
    assert_eq!(index.room(&key(), None), 6);
    let all: usize = index.counts().iter().map(|(_, used, free)| used + free).sum();
    assert_eq!(all, 6);
    let heavy: Vec<_> = (0..5).map(|n| take(&mut index, &format!("h{n}"))).collect();
    let heavy: Vec<_> = heavy.iter().map(Option::as_deref).collect();
    assert_eq!(heavy, [Some("p0"), Some("p1"), Some("p0"), Some("p1"), None]);
    let light = |index: &mut SharedSlots, id| take_as(index, id, TaskSlot::Light, None);
    assert_eq!(light(&mut index, "l0").as_deref(), Some("p0"));
    assert_eq!(light(&mut index, "l1").as_deref(), Some("p1"));
    assert_eq!(light(&mut index, "l2"), None);
    assert_eq!(index.room(&key(), None), 0);
    assert!(index.counts().iter().all(|(_, _, free)| *free == 0));
    let used = [TaskSlot::Heavy, TaskSlot::Light].map(|slot| index.used(&key(), slot));
    assert_eq!(used, [4, 2]);
}

#[test]
fn a_heavy_task_goes_where_the_fewest_bytes_are_held() {
    let mut index = SharedSlots::default();
    offer(&mut index, &["p0", "p1"], &["p0", "p1"]);
    let heavy = |index: &mut SharedSlots, id, bytes| take_with(index, id, TaskSlot::Heavy, None, bytes);
    assert_eq!(heavy(&mut index, "large", 100).as_deref(), Some("p0"));
    assert_eq!(heavy(&mut index, "small", 10).as_deref(), Some("p1"));
    assert_eq!(
        heavy(&mut index, "other", 60).as_deref(),
        Some("p1"),
        "10 is less than 100"
    );
    says(&mut index, "other", "p1", true, None);
    assert_eq!(heavy(&mut index, "next", 1).as_deref(), Some("p1"));
    assert_eq!(
        heavy(&mut index, "last", 1).as_deref(),
        Some("p0"),
        "p1 has no heavy slot left"
    );
}

/// What was given is as the status records it, so that another process decides as this one would.
#[test]
fn after_a_restart_bytes_and_groups_are_those_of_the_claims() {
    let mut index = SharedSlots::default();
    says_of(&mut index, "a", "p0", false, None, (100, Some("group")));
    says_of(&mut index, "b", "p1", false, None, (200, None));
    offer(&mut index, &["p0", "p1"], &["p0", "p1"]);
    let replica = take_as(&mut index, "c", TaskSlot::Heavy, Some("group"));
    assert_eq!(replica.as_deref(), Some("p1"), "p0 has a task of its group");
    assert_eq!(take(&mut index, "d").as_deref(), Some("p0"), "it holds less");
    let again = take_as(&mut index, "e", TaskSlot::Light, Some("group"));
    assert_eq!(again, None, "each has a task of its group");
}

#[test]
fn tasks_of_one_availability_group_are_apart_until_they_have_ended() {
    let mut index = SharedSlots::default();
    offer(&mut index, &["p0"], &["p0"]);
    let replica = |index: &mut SharedSlots, id| take_as(index, id, TaskSlot::Heavy, Some("group"));
    assert!(replica(&mut index, "a").is_some());
    assert_eq!(replica(&mut index, "b"), None);
    assert!(take_as(&mut index, "c", TaskSlot::Heavy, Some("other")).is_some());
    says(&mut index, "a", "p0", true, None);
    assert!(replica(&mut index, "b").is_some());
}

#[test]
fn a_slot_is_free_when_the_end_is_announced_and_the_indexer_is_needed_until_the_log_is_stored() {
    let mut index = SharedSlots::default();
    offer(&mut index, &["p0"], &["p0"]);
    take(&mut index, "a");
    take(&mut index, "b");
    assert_eq!(says(&mut index, "a", "p0", false, None), Some(key()));
    assert_eq!(says(&mut index, "a", "p0", false, None), None, "that was known");
    let mut jvm = Jvm::started(1);
    jvm.announce(running("a"));
    let news = index.heard("p0", &view(&jvm)).unwrap();
    assert_eq!(
        (news.tasks, news.freed),
        (vec![who("a"), who("b")], None),
        "it answers"
    );
    assert!(index.room(&key(), Some(TaskSlot::Heavy)) == 0);
    jvm.announce(succeeded("a"));
    let news = index.heard("p0", &view(&jvm)).unwrap();
    assert_eq!(
        (news.tasks, news.pool, news.freed),
        (vec![who("a")], false, Some(key()))
    );
    assert_eq!(
        index.heard("p0", &view(&jvm)).unwrap(),
        News::default(),
        "no news"
    );
    assert_eq!(take(&mut index, "c").as_deref(), Some("p0"));
    assert!(!index.retire(&key(), "p0", false));
    assert_eq!(index.load("p0").ids, ["a", "b", "c"]);
    assert_eq!(says(&mut index, "a", "p0", true, None), Some(key()));
    assert_eq!(index.load("p0").ids, ["b", "c"]);
    index.release("b");
    index.release("c");
    assert!(index.retire(&key(), "p0", false));
    offer(&mut index, &["p0"], &["p0"]);
    assert_eq!(take(&mut index, "d"), None, "it is being deleted");
}

#[test]
fn no_id_comes_to_an_indexer_twice() {
    let mut index = SharedSlots::default();
    offer(&mut index, &["p0"], &["p0"]);
    take(&mut index, "a");
    says(&mut index, "a", "p0", true, None);
    assert_eq!(take(&mut index, "a"), None);
    offer(&mut index, &["p0", "p1"], &["p0", "p1"]);
    assert_eq!(take(&mut index, "a").as_deref(), Some("p1"));
    // It was not posted.
    index.release("a");
    assert_eq!(take(&mut index, "a").as_deref(), Some("p1"));
}

#[test]
fn a_task_that_is_gone_may_still_run() {
    let mut index = SharedSlots::default();
    offer(&mut index, &["p0"], &["p0"]);
    for id in ["a", "b"] {
        take(&mut index, id);
        says(&mut index, id, "p0", false, None);
        // It was posted.
        index.received(id, "p0", Some(true));
    }
    index.end("a");
    let load = index.load("p0");
    assert_eq!(
        (load.tasks, load.orphans, load.known(), load.unstopped),
        (2, 1, 1, 1)
    );
    assert_eq!(load.ids, ["b"], "it is to be shut down as a stranger");
    assert_eq!(index.room(&key(), Some(TaskSlot::Heavy)), 0);
    let mut jvm = Jvm::started(1);
    jvm.announce(running("a"));
    jvm.announce(running("b"));
    assert_eq!(index.heard("p0", &view(&jvm)).unwrap().tasks, [who("b")]);
    jvm.announce(failed("a"));
    let news = index.heard("p0", &view(&jvm)).unwrap();
    assert!(news.pool && news.freed.is_some());
    assert_eq!((index.load("p0").tasks, index.load("p0").orphans), (1, 0));
}

#[test]
fn a_stop_counts_from_the_first_that_is_not_confirmed() {
    let mut index = SharedSlots::default();
    offer(&mut index, &["p0"], &["p0"]);
    says(&mut index, "a", "p0", false, Some(20));
    says(&mut index, "b", "p0", false, Some(10));
    let load = index.load("p0");
    assert_eq!(
        (load.stopping_since, load.unstopped, load.tasks),
        (Some(at(10)), 0, 2)
    );
    says(&mut index, "b", "p0", true, Some(10));
    assert_eq!(index.load("p0").stopping_since, Some(at(20)));
}

#[test]
fn after_a_restart_the_statuses_say_who_is_where() {
    let mut index = SharedSlots::default();
    says(&mut index, "a", "p0", false, None);
    offer(&mut index, &["p0"], &["p0"]);
    assert_eq!(index.room(&key(), Some(TaskSlot::Heavy)), 1);
    assert_eq!(index.held_by("a"), Held::Recorded);
    assert_eq!(index.tasks_on("p0"), Some(vec![who("a")]));
    // Its next attempt, which began when this JVM was dead, is elsewhere.
    assert_eq!(says(&mut index, "a", "p1", false, None), Some(key()));
    offer(&mut index, &[], &["p1"]);
    assert_eq!(index.load("p0"), Load::default());
}

#[test]
fn what_was_given_stays_while_the_pod_is_there() {
    let mut index = SharedSlots::default();
    offer(&mut index, &["p0"], &["p0"]);
    take(&mut index, "a");
    offer(&mut index, &[], &["p0"]);
    assert!(
        matches!(index.held_by("a"), Held::Reserved { .. }),
        "it is not offered for the moment"
    );
    assert_eq!(index.room(&key(), None), 0);
    offer(&mut index, &[], &[]);
    assert_eq!(index.held_by("a"), Held::Lost);
    assert_eq!(index.release("a"), Some(key()));
    assert_eq!((index.held_by("a"), index.uids().count()), (Held::Nothing, 0));
}

/// A task that was given a slot since the pass looked keeps the Indexer.
#[test]
fn an_indexer_goes_with_stopped_tasks_only_while_it_has_no_other() {
    let mut index = SharedSlots::default();
    offer(&mut index, &["p0"], &["p0"]);
    says(&mut index, "a", "p0", false, Some(10));
    assert!(!index.retire(&key(), "p0", false));
    take(&mut index, "b");
    assert!(!index.retire(&key(), "p0", true), "b is about to be posted");
    index.release("b");
    assert!(index.retire(&key(), "p0", true));
    assert_eq!(take(&mut index, "b"), None);
}

/// An Indexer may end with a task whose verdict is written before its pool looks at it.
#[test]
fn the_kinds_of_tasks_that_did_not_end_are_known_until_the_pod_is_gone() {
    let mut index = SharedSlots::default();
    offer(&mut index, &["p0"], &["p0"]);
    for id in ["a", "b", "c"] {
        says(&mut index, id, "p0", false, None);
    }
    let mut jvm = Jvm::started(1);
    jvm.announce(running("a"));
    jvm.announce(succeeded("b"));
    let _ = index.heard("p0", &view(&jvm));
    says(&mut index, "b", "p0", false, None);
    says(&mut index, "a", "p0", true, None);
    let _ = index.end("c");
    let load = index.load("p0");
    let kinds: Vec<_> = load.kinds.iter().map(|kind| kind.task_type.as_str()).collect();
    assert_eq!(kinds, ["a", "c"]);
}

/// A task that the Indexer never received leaves its slot at once; of one that may have come, nobody knows.
#[test]
fn what_was_never_received_leaves_nothing_behind() {
    let mut index = SharedSlots::default();
    offer(&mut index, &["p0"], &["p0"]);
    for id in ["a", "b"] {
        take(&mut index, id).unwrap();
        says(&mut index, id, "p0", false, None);
        assert!(
            !index.received(id, "p0", None),
            "{id}: this process gave it the slot"
        );
    }
    assert!(!index.received("b", "p0", Some(true)));
    assert!(index.received("b", "p0", None));
    for id in ["a", "b"] {
        let _ = index.end(id);
    }
    let load = index.load("p0");
    assert_eq!((load.tasks, load.orphans, load.kinds.len()), (1, 1, 1));
    says(&mut index, "c", "p0", false, None);
    assert!(
        index.received("c", "p0", None),
        "another process may have posted it"
    );
    assert!(index.received("unknown", "p0", None));
}

/// A process that leads since a moment knows nothing of tasks whose PeonTasks are gone, but what the Indexer lists.
#[test]
fn an_id_that_the_indexer_lists_does_not_come_again() {
    let mut index = SharedSlots::default();
    let mut jvm = Jvm::started(1);
    jvm.announce(succeeded("before"));
    index.listed(&key(), "p0", &view(&jvm));
    offer(&mut index, &["p0"], &["p0"]);
    assert_eq!(
        take(&mut index, "before"),
        None,
        "its former end would be the verdict"
    );
    jvm.announce(running("meanwhile"));
    let _ = index.heard("p0", &view(&jvm));
    assert_eq!(take(&mut index, "meanwhile"), None);
    assert_eq!(take(&mut index, "new"), Some("p0".into()));
}
