use super::*;
use crate::pool::fixtures::{POOL_UID, pod, ready, starting};

fn names(pods: &IndexerPods) -> Vec<String> {
    let (indexers, _) = pods.of(POOL_UID, Instant::now());
    indexers.iter().map(|indexer| indexer.name().to_owned()).collect()
}

#[test]
fn the_index_has_what_the_watch_reported() {
    let pods = IndexerPods::default();
    let mut wakes = pods.wakes();
    pods.pod_event(&Event::Apply(pod("b", "r", 1, starting())));
    pods.pod_event(&Event::Apply(pod("a", "r", 2, ready())));
    assert_eq!(names(&pods), ["a", "b"]);
    pods.pod_event(&Event::Delete(pod("b", "r", 1, starting())));
    assert_eq!(names(&pods), ["a"]);
    for _ in 0..3 {
        assert!(matches!(wakes.try_recv(), Ok(Wake::Pool(_))));
    }
    // A list replaces everything, and only at its end.
    pods.pod_event(&Event::Init);
    pods.pod_event(&Event::InitApply(pod("c", "r", 3, ready())));
    assert_eq!(names(&pods), ["a"]);
    pods.pod_event(&Event::InitDone);
    assert_eq!(names(&pods), ["c"]);
    assert!(matches!(wakes.try_recv(), Ok(Wake::All)));
    pods.forget(POOL_UID);
    assert!(names(&pods).is_empty());
}

#[test]
fn pods_of_tasks_are_not_in_it() {
    let pods = IndexerPods::default();
    let mut wakes = pods.wakes();
    pods.pod_event(&Event::Apply(crate::task::fixtures::pod(serde_json::json!({}))));
    assert!(names(&pods).is_empty() && wakes.try_recv().is_err());
}

#[test]
fn what_was_created_counts_until_it_is_seen_and_not_for_ever() {
    let (pods, now) = (IndexerPods::default(), Instant::now());
    let unseen = |now| pods.of(POOL_UID, now).1;
    pods.created(POOL_UID, "a", now);
    pods.created(POOL_UID, "b", now);
    assert_eq!(unseen(now), 2);
    pods.pod_event(&Event::Apply(pod("a", "r", 1, starting())));
    assert_eq!(unseen(now), 1);
    // A list that is older than the creation.
    pods.pod_event(&Event::Init);
    pods.pod_event(&Event::InitDone);
    assert_eq!(unseen(now), 1);
    assert_eq!(unseen(now + UNSEEN), 0);
    // The event came before the answer to the creation.
    pods.pod_event(&Event::Apply(pod("c", "r", 1, starting())));
    pods.created(POOL_UID, "c", now);
    assert_eq!(unseen(now), 0);
}
