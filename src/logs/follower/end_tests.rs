use super::*;
use crate::logs::follower::decide::reader;
use crate::logs::format::attempt_parts::{self, End};
use crate::logs::store::ownership;

/// Whoever removes what is old in the store removes parts, too.
#[tokio::test]
async fn parts_that_are_gone_from_the_store_are_a_gap_and_not_the_end_of_the_log() {
    use object_store::ObjectStoreExt;
    let store = Arc::new(InMemory::new());
    let (lines, stream) = futures::channel::mpsc::unbounded::<Result<Bytes, Infallible>>();
    let scene = Scene::over(store.clone(), vec![Answer::from_stream(stream)]);
    let task = scene.archive.of_task("the id", UID).unwrap();
    let mut reader = reader::Reader::new(None);
    let mut names: Vec<PartName> = Vec::new();
    for (time, text) in [(T1, "one"), (T2, "two")] {
        reader.feed(format!("{time} {text}\n").as_bytes(), &mut Vec::new());
        let cursor = attempt_parts::cursor(names.last(), &End::at(reader.mark().unwrap()));
        let name = PartName::new(1, u32::try_from(names.len()).unwrap(), &cursor).unwrap();
        task.put_part(&name, format!("{text}\n").into()).await.unwrap();
        names.push(name);
    }
    let _ = scene.ask(1, false, false);
    lines
        .unbounded_send(Ok(format!("{T2} two\n{T3} three\n").into()))
        .unwrap();
    scene.asked(1).await;
    let key = format!("p/.peon/parts/{UID}/{}", names[0]);
    store.delete(&key.into()).await.unwrap();
    drop(lines);
    assert_eq!(gaps(&scene.archived(1).await), 1);
    let log = scene.log().await;
    assert!(
        log.starts_with("\n[peon-operator] a part of the log is missing here: it had been archived"),
        "{log}"
    );
    assert!(log.ends_with("\ntwo\nthree\n"), "{log}");
    assert!(!scene.followers.is_busy(UID));
}

/// Nothing waits for a follower that is not there any more.
#[tokio::test]
async fn who_cannot_archive_a_log_is_not_busy_with_it() {
    let scene = Scene {
        task_id: "no\u{7f}key",
        ..Scene::of(&[])
    };
    assert!(matches!(scene.ask(1, true, true), LogState::Failing { .. }));
    assert!(!scene.followers.is_busy(UID));
    // Asked again, it says so again.
    assert!(matches!(scene.ask(1, true, true), LogState::Failing { .. }));
}

#[tokio::test]
async fn a_log_whose_id_another_namespace_has_is_put_aside_and_says_so() {
    let scene = Scene::of(&[format!("{T1} one\n")]);
    let claimant = crate::logs::format::claim::Claimant {
        namespace: "another".into(),
        name: "secret-name".into(),
        uid: "u".into(),
        created: None,
    };
    let other = scene.archive.of_claimant("the id", claimant).unwrap();
    let place = other.place(&ownership::never).await.unwrap();
    let text = crate::logs::format::parts::Piece::Text("theirs".into());
    other.compose(&[text], &place).await.unwrap();
    let LogState::Archived { url, conflict, .. } = scene.archived(1).await else {
        panic!()
    };
    assert_eq!(url, format!("s3://b/p/.peon/tasks/{UID}/log"));
    let conflict = conflict.unwrap();
    assert!(
        conflict.contains("another namespace") && !conflict.contains("secret-name"),
        "{conflict}"
    );
    assert_eq!(scene.log().await, "one\n");
}

/// The newest of the history of the namespace, once there is one.
async fn recorded(scene: &Scene) -> crate::logs::format::record::Record {
    let recorded = async {
        loop {
            let entries = scene
                .archive
                .list_history("ns", Timestamp::UNIX_EPOCH, 10)
                .await
                .unwrap();
            if let [entry] = entries.as_slice() {
                let json = scene.archive.read_history(entry).await.unwrap().unwrap();
                return serde_json::from_slice(&json).unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), recorded)
        .await
        .unwrap()
}

/// A namespace that is deleted takes PeonTask and pod with it, and the log stays in the store.
#[tokio::test]
async fn a_task_that_is_deleted_while_it_runs_is_in_the_history_with_its_log() {
    let (lines, stream) = futures::channel::mpsc::unbounded::<Result<Bytes, Infallible>>();
    let scene = Scene::over(Arc::new(InMemory::new()), vec![Answer::from_stream(stream)]);
    let _ = scene.ask(1, false, false);
    lines.unbounded_send(Ok(format!("{T1} one\n").into())).unwrap();
    scene.asked(1).await;
    scene.followers.gone(UID, LastWord::NoVerdict);
    drop(lines);
    let record = recorded(&scene).await;
    assert_eq!((record.name.as_str(), record.uid.as_str()), ("nightly", UID));
    assert_eq!(record.task_id.as_deref(), Some("the id"));
    assert_eq!(record.reason.as_deref(), Some("Deleted"));
    let log = record.log.unwrap();
    assert!(log.archived, "{log:?}");
    assert_eq!(log.url.as_deref(), Some("s3://b/p/the id/log"));
    assert!(scene.log().await.starts_with("one\n"));
}

/// A pass that had begun before asks for its log again, or ends between the two who are told of the deletion.
#[tokio::test]
async fn a_task_whose_last_pass_ends_before_its_deletion_is_told_is_in_the_history_with_its_log() {
    let (lines, stream) = futures::channel::mpsc::unbounded::<Result<Bytes, Infallible>>();
    let scene = Scene::over(Arc::new(InMemory::new()), vec![Answer::from_stream(stream)]);
    let _ = scene.ask(1, false, false);
    lines.unbounded_send(Ok(format!("{T1} one\n").into())).unwrap();
    scene.asked(1).await;
    scene.followers.abandon(UID);
    scene.followers.abandon(UID);
    scene.followers.gone(UID, LastWord::NoVerdict);
    drop(lines);
    assert_eq!(recorded(&scene).await.reason.as_deref(), Some("Deleted"));
    // Nothing is left of it.
    scene.followers.abandon(UID);
    assert!(!scene.followers.is_busy(UID));
}

#[tokio::test]
async fn a_task_that_is_deleted_when_its_log_is_there_is_in_the_history_once() {
    let scene = Scene::of(&[format!("{T1} one\n")]);
    scene.archived(1).await;
    scene.followers.gone(UID, LastWord::NoVerdict);
    assert_eq!(recorded(&scene).await.reason.as_deref(), Some("Deleted"));
    // One that the history has already is not put there again.
    let other = Scene::of(&[format!("{T1} one\n")]);
    other.archived(1).await;
    other.followers.gone(UID, LastWord::Recorded);
    let entries = other
        .archive
        .list_history("ns", Timestamp::UNIX_EPOCH, 10)
        .await
        .unwrap();
    assert_eq!(entries.len(), 0);
}

fn later(scene: &Scene, uid: &str) -> LogState {
    let owner = Owner {
        namespace: "ns".into(),
        name: "nightly".into(),
        uid: uid.into(),
        task_id: scene.task_id.into(),
        created: Some(Timestamp::from_second(2).unwrap()),
    };
    let ask = KeepLog {
        lines: None,
        last_line: None,
        attempt: 1,
        pod: "nightly-1".into(),
        pod_uid: POD_UID.into(),
        seen: true,
        container: "peon".into(),
        started: None,
        // Nobody waits for a place to read it from.
        sidecar: true,
        ended: true,
        complete: false,
        last: true,
    };
    scene.followers.keep(&owner, &ask).state
}

/// Waits until this is so.
async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let so = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), so).await;
    assert!(waited.is_ok(), "{what}");
}

#[tokio::test]
async fn a_deleted_task_keeps_its_keys_while_its_log_is_being_read() {
    const LATER: &str = "5f0c5c0e-7f0a-4b58-9d1f-000000000002";
    let (lines, stream) = futures::channel::mpsc::unbounded::<Result<Bytes, Infallible>>();
    let scene = Scene::over(Arc::new(InMemory::new()), vec![Answer::from_stream(stream)]);
    let _ = scene.ask(1, false, false);
    lines.unbounded_send(Ok(format!("{T1} one\n").into())).unwrap();
    scene.asked(1).await;
    let first = scene.archive.of_task("the id", UID).unwrap();
    until("the keys are claimed", async || {
        first.archive.read_claim(&first.claim).await.unwrap().is_some()
    })
    .await;
    scene.followers.gone(UID, LastWord::NoVerdict);
    until("the later one is archived", async || {
        matches!(later(&scene, LATER), LogState::Archived { .. })
    })
    .await;
    let LogState::Archived { conflict, .. } = later(&scene, LATER) else {
        panic!()
    };
    assert!(conflict.is_some());
    drop(lines);
    until("the first one is archived", async || {
        first.is_composed().await.unwrap()
    })
    .await;
    assert!(scene.log().await.starts_with("one\n"));
}

/// The claim that is made while a log is read may still move what stood there when the log is archived.
#[tokio::test]
async fn a_log_is_archived_when_its_keys_are_free_and_not_before() {
    use object_store::ObjectStoreExt;
    let inner = Arc::new(InMemory::new());
    inner
        .put(&"p/the id/log".into(), Bytes::from("a worker's").into())
        .await
        .unwrap();
    let faults = Arc::new(Faults::none());
    faults.hold(crate::logs::fixtures::Kind::Delete);
    let store = Arc::new(Faulty::over(inner, faults.clone()));
    let scene = Scene::over(store, vec![Answer::from(format!("{T1} one\n"))]);
    let _ = scene.ask(1, false, false);
    faults.until_held().await;
    let early = tokio::time::timeout(Duration::from_secs(2), scene.archived(1)).await;
    faults.let_go();
    assert_eq!(gaps(&scene.archived(1).await), 0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(scene.log().await, "one\n");
    assert!(early.is_err());
}

/// The watch broke, and the object was gone when it was back.
#[tokio::test]
async fn a_task_that_is_in_the_history_with_its_verdict_is_there_once() {
    let (lines, stream) = futures::channel::mpsc::unbounded::<Result<Bytes, Infallible>>();
    let scene = Scene::over(Arc::new(InMemory::new()), vec![Answer::from_stream(stream)]);
    let _ = scene.ask(1, false, false);
    lines.unbounded_send(Ok(format!("{T1} one\n").into())).unwrap();
    scene.asked(1).await;
    let entry = Entry {
        completed: Timestamp::from_second(1000).unwrap(),
        record: crate::logs::format::record::Record {
            namespace: "ns".into(),
            name: "nightly".into(),
            uid: UID.into(),
            task_id: Some("the id".into()),
            phase: Some("Succeeded".into()),
            ..Default::default()
        },
        success: None,
    };
    assert_eq!(scene.followers.record(entry).await.outcome, Ok(()));
    scene.followers.keep_only(&HashSet::new());
    drop(lines);
    let records = async || {
        let list = scene.archive.list_history("ns", Timestamp::UNIX_EPOCH, 10);
        let mut records = Vec::new();
        for entry in list.await.unwrap() {
            let json = scene.archive.read_history(&entry).await.unwrap().unwrap();
            records.push(serde_json::from_slice::<crate::logs::format::record::Record>(&json).unwrap());
        }
        records
    };
    until("the log is in the history", async || {
        records().await.iter().any(|r| r.log.is_some())
    })
    .await;
    let records = records().await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].phase.as_deref(), Some("Succeeded"));
    assert!(records[0].log.as_ref().is_some_and(|log| log.archived));
}

/// Another process composed the log, and is removing the parts.
#[tokio::test]
async fn parts_that_are_gone_from_a_log_that_is_whole_are_no_gap() {
    let (lines, stream) = futures::channel::mpsc::unbounded::<Result<Bytes, Infallible>>();
    let scene = Scene::over(Arc::new(InMemory::new()), vec![Answer::from_stream(stream)]);
    let _ = scene.ask(1, false, false);
    lines.unbounded_send(Ok(format!("{T1} one\n").into())).unwrap();
    scene.asked(1).await;
    let task = scene.archive.of_task("the id", UID).unwrap();
    until("the keys are claimed", async || {
        task.archive.read_claim(&task.claim).await.unwrap().is_some()
    })
    .await;
    let mut reader = reader::Reader::new(None);
    reader.feed(format!("{T1} one\n").as_bytes(), &mut Vec::new());
    let first = PartName::new(
        1,
        0,
        &attempt_parts::cursor(None, &End::at(reader.mark().unwrap())),
    )
    .unwrap();
    reader.feed(format!("{T2} two\n").as_bytes(), &mut Vec::new());
    let second = attempt_parts::cursor(Some(&first), &End::at(reader.mark().unwrap()));
    let second = PartName::new(1, 1, &second).unwrap();
    task.put_part(&second, "two\n".into()).await.unwrap();
    task.archive.put(&task.log, "one\ntwo\n".into()).await.unwrap();
    task.archive.put(&task.composed, "8".into()).await.unwrap();
    drop(lines);
    assert_eq!(gaps(&scene.archived(1).await), 0);
    assert_eq!(scene.log().await, "one\ntwo\n");
}

/// A stream of a log that fails whoever reads it, once it is told to.
fn failing(until: Arc<Notify>) -> Answer {
    Answer::from_stream(futures::stream::once(async move {
        until.notified().await;
        panic!("a follower that fails");
        #[expect(unreachable_code, reason = "it says what the stream is of")]
        Ok::<Bytes, Infallible>(Bytes::new())
    }))
}

async fn until_idle(scene: &Scene) {
    let idle = async {
        while scene.followers.is_busy(UID) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), idle).await.unwrap();
}

#[tokio::test]
async fn a_follower_that_panicked_is_not_busy_and_the_task_that_is_gone_is_in_the_history() {
    let fails = Arc::new(Notify::new());
    let scene = Scene::over(Arc::new(InMemory::new()), vec![failing(fails.clone())]);
    let _ = scene.ask(1, false, false);
    scene.asked(1).await;
    fails.notify_one();
    until_idle(&scene).await;
    scene.followers.gone(UID, LastWord::NoVerdict);
    let log = recorded(&scene).await.log.unwrap();
    assert_eq!(log.reason, "GaveUp");
}

#[tokio::test]
async fn a_follower_that_panics_when_its_task_is_gone_tells_the_history_of_it() {
    let fails = Arc::new(Notify::new());
    let scene = Scene::over(Arc::new(InMemory::new()), vec![failing(fails.clone())]);
    let _ = scene.ask(1, false, false);
    scene.asked(1).await;
    scene.followers.gone(UID, LastWord::NoVerdict);
    fails.notify_one();
    assert_eq!(recorded(&scene).await.reason.as_deref(), Some("Deleted"));
}

/// It is asked for again then, and the log is read anew.
#[tokio::test(start_paused = true)]
async fn a_task_whose_follower_panicked_is_woken() {
    let fails = Arc::new(Notify::new());
    let scene = Scene::over(Arc::new(InMemory::new()), vec![failing(fails.clone())]);
    let _ = scene.ask(1, false, false);
    scene.asked(1).await;
    // It said that it reads.
    scene.woken.notified().await;
    fails.notify_one();
    until_idle(&scene).await;
    let woken = tokio::time::timeout(Duration::from_secs(120), scene.woken.notified());
    woken.await.unwrap();
}
