use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::json;

use super::*;
use crate::api::virtual_middle_manager::PayloadPlace;
use crate::middle_manager::assign::decide::provenance::KEY;
use crate::middle_manager::object_fixtures::{at, ended, indexing};

fn maker() -> Maker {
    Maker {
        middle_manager: "vmm".into(),
        uid: "vmm-uid".into(),
        namespace: "ns".into(),
        labels: BTreeMap::new(),
        payload: PayloadPlace::Secret,
    }
}

const JSON: &str = r#"{"type":"index","id":"a"}"#;

fn progress<'a>(maker: &'a Maker, facts: &'a TaskFacts, json: &'a str) -> Progress<'a> {
    Progress::new(maker, Ordinal(0), facts, json)
}

fn to_create(progress: &mut Progress<'_>) -> New {
    match progress.next_step() {
        Next::Create(new) => *new,
        other => panic!("{other:?}"),
    }
}

/// As the API server stores it.
fn stored(new: &New) -> PeonTask {
    let mut task = new.task.clone();
    task.metadata.uid = Some("u".into());
    task
}

#[test]
fn an_assignment_that_names_a_peon_task_is_first_given_to_it() {
    let (maker, facts) = (maker(), indexing("a"));
    let naming = |middle_manager: &str| {
        let said = json!({
            "middleManager": middle_manager, "name": "nightly", "uid": "u", "taskId": "a", "taskHash": "sha256:x",
        });
        json!({"type": "index", "id": "a", "context": {KEY: said}}).to_string()
    };
    let json = naming("another");
    to_create(&mut progress(&maker, &facts, &json));
    let json = naming("vmm-uid");
    let mut progress = progress(&maker, &facts, &json);
    for _ in 0..2 {
        let next = progress.next_step();
        assert!(
            matches!(&next, Next::Match(said) if said.name == "nightly"),
            "{next:?}"
        );
    }
    let ended = progress.matched(Matched::Ended("cancelled".into()));
    assert!(matches!(ended, Some(Kept::Never(why)) if why == "cancelled"));
    assert!(progress.matched(Matched::Other).is_none());
    let new = to_create(&mut progress);
    let kept = progress.matched(Matched::As(Box::new(new.task)));
    assert!(matches!(kept, Some(Kept::As(_))));
}

#[test]
fn the_answer_to_a_creation_says_what_is_next() {
    let (maker, facts) = (maker(), indexing("a"));
    let mut progress = progress(&maker, &facts, JSON);
    let new = to_create(&mut progress);
    let refused = |refusal| Posted::Refused(refusal);
    let step = progress.posted("n", &new, refused(Refusal::ForGood("invalid".into())));
    assert!(matches!(step, Ok(Step::Never(why)) if why == "invalid"));
    for refusal in [Refusal::Quota("why".into()), Refusal::ForNow("why".into())] {
        let not_now = progress.posted("n", &new, refused(refusal)).unwrap_err();
        assert_eq!(not_now.0, "PeonTask n cannot be created: why");
    }
    assert!(matches!(
        progress.posted("n", &new, Posted::Exists),
        Ok(Step::Read)
    ));
    let step = progress.posted("n", &new, Posted::Created(stored(&new)));
    assert!(matches!(step, Ok(Step::CreateChunks(created)) if created.task.uid().as_deref() == Some("u")));
    // The next try asks for the same.
    assert_eq!(to_create(&mut progress), new);
}

#[test]
fn a_peon_task_that_has_the_name_is_the_same_one_or_another_name_is_tried() {
    let (maker, facts) = (maker(), indexing("a"));
    let mut progress = progress(&maker, &facts, JSON);
    let new = to_create(&mut progress);
    let gone = progress.read("n", &new, None, at(0)).unwrap_err();
    assert_eq!(gone.0, "PeonTask n was deleted while it was being read");
    let same = progress.read("n", &new, Some(stored(&new)), at(0));
    assert!(matches!(same, Ok(Step::CreateChunks(same)) if same.chunks == new.chunks));
    let mut over = stored(&new);
    over.status = serde_json::from_value(ended("Complete", "Succeeded")).ok();
    assert!(over.is_final());
    let step = progress.read("n", &new, Some(over), at(0));
    assert!(
        matches!(step, Ok(Step::Done(_))),
        "nothing is read of it any more: {step:?}"
    );

    let mut names = vec![new.task.name_any()];
    for _ in 0..MOST_NAMES {
        let mut other = stored(&to_create(&mut progress));
        other.metadata.labels = None;
        let new = to_create(&mut progress);
        let step = progress.read("n", &new, Some(other), at(0));
        assert!(
            matches!(step, Ok(Step::NextName("VirtualMiddleManager"))),
            "{step:?}"
        );
        names.push(to_create(&mut progress).task.name_any());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 17, "each is another one");
    let new = to_create(&mut progress);
    let mut other = stored(&new);
    other.metadata.labels = None;
    let not_now = progress.read("n", &new, Some(other), at(0)).unwrap_err();
    assert!(not_now.0.starts_with("16 candidate names"), "{not_now}");
}

#[test]
fn a_chunk_that_exists_is_its_own_unless_its_peon_task_was_created_just_now() {
    let (maker, facts) = (maker(), indexing("a"));
    // From an earlier process, or an earlier try.
    let mut progress = progress(&maker, &facts, JSON);
    let is_first = progress.asks("c");
    assert!(is_first);
    assert_eq!(progress.chunk_exists("c", is_first), Ok(()));
    // The PeonTask was created here, and the chunk was not yet asked for.
    let new = to_create(&mut progress);
    progress.posted("n", &new, Posted::Created(stored(&new))).unwrap();
    for _ in 0..2 {
        let is_first = progress.asks("d");
        assert!(
            progress.chunk_exists("d", is_first).is_err(),
            "it is asked for again"
        );
    }
    // An answer was lost.
    assert!(progress.asks("e"));
    let is_first = progress.asks("e");
    assert_eq!(progress.chunk_exists("e", is_first), Ok(()));
}

#[test]
fn tries_come_less_and_less_often_until_the_time_is_over() {
    let plenty = Duration::from_secs(60);
    let pauses: Vec<u128> = (0..8)
        .map(|tries| pause(tries, plenty).unwrap().as_millis())
        .collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3000, 3000, 3000]);
    assert_eq!(pause(u32::MAX, plenty), Some(Duration::from_secs(3)));
    assert_eq!(pause(0, Duration::from_millis(100)), None);
    assert_eq!(pause(9, Duration::from_secs(3)), None);
}

#[test]
fn a_payload_is_completed_as_long_as_its_peon_task_waits_for_it() {
    let (maker, facts) = (maker(), indexing("a"));
    let mut new = to_create(&mut progress(&maker, &facts, JSON));
    new.task = stored(&new);
    let (mut other, mut over) = (new.task.clone(), new.task.clone());
    other.metadata.uid = Some("other".into());
    over.status = serde_json::from_value(ended("Complete", "Succeeded")).ok();
    for (found, why) in [
        (Some(&new.task), None),
        (Some(&other), Some("another PeonTask has the name")),
        (Some(&over), Some("the task has ended")),
        (None, Some("the PeonTask is gone")),
    ] {
        let said = not_wanted(found, &new);
        assert_eq!(said.map(|said| said.trim_start_matches("not needed: ")), why);
    }
}
