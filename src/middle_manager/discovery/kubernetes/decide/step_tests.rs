use super::*;
use crate::druid::discovery::Worker;

fn worker(capacity: u32) -> Worker {
    Worker {
        host: "ingestion-vmm-0.druid.svc".into(),
        port: 8091,
        tls: false,
        ip: "10.96.0.7".into(),
        capacity,
        category: "c".into(),
        version: "0".into(),
    }
}

fn process(instance: &str, second: u8) -> Process {
    Process {
        instance: instance.into(),
        started: format!("2026-11-21T01:55:{second:02}Z").parse().unwrap(),
    }
}

fn announcement(process: &Process, capacity: u32, cluster: &str) -> PodAnnouncement {
    PodAnnouncement::of(&worker(capacity), process, cluster).unwrap()
}

fn pod(carries: Option<&PodAnnouncement>) -> AnnouncingPod {
    AnnouncingPod {
        uid: "u".into(),
        version: "7".into(),
        labels: [0, 1, 2].map(|n| carries.map(|a| a.labels[n].1.clone())),
        node: carries.map(|a| a.node.clone()),
        is_ready: true,
    }
}

/// What the step writes: whether it announces.
fn writes(step: &Step) -> Option<bool> {
    match step {
        Step::Write(patch) => {
            let metadata = &patch["metadata"];
            assert_eq!(
                (&metadata["uid"], &metadata["resourceVersion"]),
                (&json!("u"), &json!("7"))
            );
            let Value::Object(labels) = &metadata["labels"] else {
                panic!("{patch}")
            };
            assert_eq!(labels.len(), 3, "all of them together");
            let is_set = metadata["annotations"][WORKER_ANNOTATION].is_string();
            assert!(
                labels.values().all(|value| value.is_string() == is_set),
                "{patch}"
            );
            Some(is_set)
        }
        _ => None,
    }
}

#[test]
fn what_is_wanted_is_written_once_and_withdrawn_as_a_whole() {
    let ours = process("p/1", 10);
    let wanted = announcement(&ours, 10, "analytics");
    let step = |pod: &AnnouncingPod, wanted: Option<&PodAnnouncement>| next(pod, wanted, &ours, |_| true);
    assert_eq!(writes(&step(&pod(None), Some(&wanted))), Some(true));
    assert_eq!(step(&pod(Some(&wanted)), Some(&wanted)), Step::Stands);
    assert_eq!(writes(&step(&pod(Some(&wanted)), None)), Some(false));
    assert_eq!(step(&pod(None), None), Step::Absent);
}

#[test]
fn a_change_is_a_removal_and_another_announcement() {
    let ours = process("p/1", 10);
    let wanted = announcement(&ours, 10, "analytics");
    for before in [
        announcement(&ours, 20, "analytics"),
        announcement(&ours, 10, "another"),
    ] {
        let step = next(&pod(Some(&before)), Some(&wanted), &ours, |_| true);
        assert_eq!(writes(&step), Some(false), "{before:?}");
    }
}

/// A ready pod with the label and without the annotation hides all workers from an overlord.
#[test]
fn a_part_of_an_announcement_is_removed() {
    let ours = process("p/1", 10);
    let wanted = announcement(&ours, 10, "analytics");
    let whole = pod(Some(&wanted));
    let mut parts = [whole.clone(), whole.clone(), whole];
    parts[0].node = None;
    parts[1].labels[0] = None;
    parts[2].node = Some("{".into());
    for part in parts {
        for wanted in [Some(&wanted), None] {
            assert_eq!(
                writes(&next(&part, wanted, &ours, |_| true)),
                Some(false),
                "{part:?}"
            );
        }
    }
}

#[test]
fn the_younger_process_has_the_identity_for_as_long_as_it_exists() {
    let (older, younger) = (process("old/1", 10), process("new/1", 11));
    let of = |process: &Process| announcement(process, 10, "analytics");
    let (by_older, by_younger) = (pod(Some(&of(&older))), pod(Some(&of(&younger))));
    // The younger one takes it over, whether or not the older one exists.
    for is_alive in [true, false] {
        let step = next(&by_older, Some(&of(&younger)), &younger, |_| is_alive);
        assert_eq!(writes(&step), Some(false));
    }
    let yields = Step::Yield { to: "new/1".into() };
    let exists = |pod: &str| {
        assert_eq!(pod, "new");
        true
    };
    assert_eq!(next(&by_younger, Some(&of(&older)), &older, exists), yields);
    // One that ends leaves alone what is not its own.
    assert_eq!(next(&by_younger, None, &older, exists), yields);
    let step = next(&by_younger, Some(&of(&older)), &older, |_| false);
    assert_eq!(writes(&step), Some(false), "nobody else removes it");
}

/// A container that was restarted: the same pod, another process.
#[test]
fn a_restarted_process_replaces_its_own_announcement() {
    let (before, after) = (process("p/1", 10), process("p/2", 20));
    let standing = pod(Some(&announcement(&before, 10, "analytics")));
    let wanted = announcement(&after, 10, "analytics");
    assert_eq!(
        writes(&next(&standing, Some(&wanted), &after, |_| true)),
        Some(false)
    );
}
