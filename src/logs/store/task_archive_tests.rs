use std::sync::Arc;

use jiff::Timestamp;
use object_store::memory::InMemory;

use super::*;
use crate::logs::fixtures::{Faults, Faulty, When};
use crate::logs::format::claim::Rival;
use crate::logs::format::location::{Location, S3Encryption};
use crate::logs::store::ownership::never;

const UID: &str = "0b6f7b1e-0000-4000-8000-000000000001";
const MIB: usize = 1024 * 1024;

fn location() -> Location {
    Location::S3 {
        bucket: "b".into(),
        prefix: "p".into(),
        endpoint: None,
        region: None,
        path_style: false,
        encryption: S3Encryption::Bucket,
        keys: None,
    }
}

/// A task in a store, and the same one behind faults.
struct Ground {
    inner: Arc<InMemory>,
    task: TaskArchive,
}

fn archive(store: Arc<dyn ObjectStore>) -> Archive {
    Archive::over(store, location())
}

fn task_in(store: Arc<dyn ObjectStore>, namespace: &str, uid: &str) -> TaskArchive {
    let claimant = Claimant {
        namespace: namespace.into(),
        name: "nightly".into(),
        uid: uid.into(),
        created: None,
    };
    archive(store).of_claimant("t", claimant).unwrap()
}

impl Ground {
    fn new() -> Self {
        let inner = Arc::new(InMemory::new());
        let task = task_in(inner.clone(), "ns", UID);
        Self { inner, task }
    }

    fn behind(&self, faults: &Arc<Faults>) -> TaskArchive {
        let store = Faulty::over(self.inner.clone(), faults.clone());
        task_in(Arc::new(store), "ns", UID)
    }

    async fn log(&self) -> Option<Vec<u8>> {
        let content = self.task.read_log(LogRange::All).await.unwrap()?;
        Some(content.bytes.try_collect::<Vec<_>>().await.unwrap().concat())
    }

    async fn keys(&self) -> Vec<String> {
        let found: Vec<_> = self.inner.list(None).try_collect().await.unwrap();
        let keys = found.into_iter().map(|meta| meta.location.to_string());
        keys.filter(|key| !key.contains("/.peon/claims/")).collect()
    }
}

fn part(sequence: u32) -> PartName {
    PartName::new(1, sequence, "c").unwrap()
}

/// So many parts of so many bytes each, written through this archive; the log that they make, with a header.
async fn write(task: &TaskArchive, parts: u32, bytes: usize) -> Vec<u8> {
    let mut log = b"header\n".to_vec();
    for sequence in 0..parts {
        let letter = b'a' + u8::try_from(sequence % 26).unwrap();
        let text = vec![letter; bytes];
        log.extend_from_slice(&text);
        task.put_part(&part(sequence), text.into()).await.unwrap();
    }
    log
}

/// What a caller composes: a header and the parts that it finds.
async fn pieces(task: &TaskArchive) -> Result<Vec<Piece>, ArchiveError> {
    let header = Piece::Text(Bytes::from_static(b"header\n"));
    let parts = task.parts().await?.into_iter().map(|part| Piece::Part(part.name));
    Ok(std::iter::once(header).chain(parts).collect())
}

async fn compose(task: &TaskArchive) -> Result<Composed, ArchiveError> {
    let place = task.place(&never).await?;
    task.compose(&pieces(task).await?, &place).await
}

async fn compose_text(task: &TaskArchive, text: Piece) -> Result<Composed, ArchiveError> {
    let place = task.place(&never).await?;
    task.compose(&[text], &place).await
}

#[tokio::test]
async fn a_log_is_composed_of_its_pieces_and_nothing_else_is_left() {
    let ground = Ground::new();
    let expected = write(&ground.task, 3, 10).await;
    assert_eq!(ground.log().await, None);
    let composed = compose(&ground.task).await.unwrap();
    assert_eq!(composed, Composed::Written(expected.len() as u64));
    assert_eq!(ground.log().await, Some(expected.clone()));
    assert_eq!(
        ground.keys().await,
        [format!("p/.peon/composed/{UID}"), "p/t/log".to_owned()]
    );
    assert_eq!(
        compose(&ground.task).await.unwrap(),
        Composed::Before(expected.len() as u64)
    );
    ground.task.forget().await.unwrap();
    assert_eq!(ground.keys().await, ["p/t/log"]);
}

#[tokio::test]
async fn pieces_around_the_size_of_a_request_are_whole() {
    for (parts, bytes) in [(1, 8 * MIB - 7), (1, 8 * MIB - 6), (2, 8 * MIB), (5, 5 * MIB + 1)] {
        let ground = Ground::new();
        let expected = write(&ground.task, parts, bytes).await;
        assert_eq!(
            compose(&ground.task).await.unwrap(),
            Composed::Written(expected.len() as u64)
        );
        assert!(ground.log().await == Some(expected), "{parts} parts of {bytes}");
    }
}

/// Whatever request the process dies at, before the store did it or after: whoever comes next completes the log.
#[tokio::test]
async fn a_crash_at_any_point_loses_nothing() {
    // More than one request's worth, and less.
    for (parts, bytes) in [(3, 4 * MIB), (3, 10)] {
        for when in [When::Before, When::After] {
            for requests in 0.. {
                let ground = Ground::new();
                let expected = write(&ground.task, parts, bytes).await;
                let faults = Arc::new(Faults::after(requests, when));
                let crashed = compose(&ground.behind(&faults)).await;
                if crashed.is_ok() {
                    assert!(requests > 8, "only {requests} requests were made");
                    break;
                }
                let context = format!("{parts} parts of {bytes}, {requests} requests, {when:?}");
                let seen = ground.log().await;
                assert!(seen.is_none_or(|log| log == expected), "half a log: {context}");
                compose(&ground.task).await.expect(&context);
                assert!(ground.log().await == Some(expected), "{context}");
                assert_eq!(ground.task.parts().await.unwrap(), [], "{context}");
            }
        }
    }
}

#[tokio::test]
async fn a_composed_log_is_never_replaced_by_a_shorter_one() {
    let ground = Ground::new();
    let expected = write(&ground.task, 2, 10).await;
    compose(&ground.task).await.unwrap();
    // Somebody who was late writes a part, and composes it.
    ground
        .task
        .put_part(&part(2), Bytes::from_static(b"late"))
        .await
        .unwrap();
    assert_eq!(
        compose(&ground.task).await.unwrap(),
        Composed::Before(expected.len() as u64)
    );
    let lost = Piece::Text(Bytes::from_static(b"the log was lost"));
    assert_eq!(
        ground.task.compose(&[lost], &Ownership::Druids).await.unwrap(),
        Composed::Before(expected.len() as u64)
    );
    assert_eq!(ground.log().await, Some(expected));
    assert_eq!(ground.task.parts().await.unwrap(), []);
}

#[tokio::test]
async fn a_part_that_somebody_else_removed_ends_it() {
    let ground = Ground::new();
    write(&ground.task, 2, 10).await;
    let stale = pieces(&ground.task).await.unwrap();
    ground
        .task
        .archive
        .remove(vec![ground.task.archive.layout.part(UID, &part(1)).unwrap()])
        .await
        .unwrap();
    let error = ground.task.compose(&stale, &Ownership::Druids).await.unwrap_err();
    assert!(
        matches!(&error, ArchiveError::PartGone(name) if *name == part(1)),
        "{error}"
    );
    assert_eq!(ground.log().await, None);
}

#[tokio::test]
async fn another_task_of_the_same_id_writes_its_own_log() {
    let ground = Ground::new();
    let first = write(&ground.task, 3, 10).await;
    compose(&ground.task).await.unwrap();
    for (namespace, uid) in [("ns", "another-uid"), ("other", "third-uid")] {
        let again = task_in(ground.inner.clone(), namespace, uid);
        let place = again.place(&never).await.unwrap();
        assert!(matches!(place, Ownership::Aside(_)), "{place:?}");
        let text = Piece::Text(Bytes::from_static(b"short"));
        assert_eq!(
            again.compose(&[text], &place).await.unwrap(),
            Composed::Written(5)
        );
        again.put_report(Bytes::from_static(b"{}"), &place).await.unwrap();
        assert_eq!(
            again.log_url_in(&place),
            format!("s3://b/p/.peon/tasks/{uid}/log")
        );
        let read = again.read_log(LogRange::All).await.unwrap().unwrap();
        assert_eq!(
            read.bytes.try_collect::<Vec<_>>().await.unwrap().concat(),
            b"short"
        );
        assert_eq!(again.read_report().await.unwrap().unwrap(), "{}");
    }
    assert_eq!(ground.log().await, Some(first));
    assert_eq!(ground.task.read_report().await.unwrap(), None);
}

/// A process that was late has looked at the note, and gives its log its name after another one has.
#[tokio::test]
async fn a_log_gets_its_name_on_condition_that_nothing_has_it() {
    // One request's worth, and more.
    for bytes in [10, 5 * MIB] {
        let ground = Ground::new();
        let whole = write(&ground.task, 3, bytes).await;
        let place = ground.task.place(&never).await.unwrap();
        let late = [Piece::Text(Bytes::from_static(b"header\n")), Piece::Part(part(0))];
        // It stops before its last requests: the name, and what follows.
        let mut requests = 0;
        loop {
            requests += 1;
            let faults = Arc::new(Faults::after(requests, When::Before));
            let behind = ground.behind(&faults);
            if behind.compose(&late, &place).await.is_ok() {
                break;
            }
            if ground.inner.head(&ground.task.log).await.is_ok() {
                break;
            }
        }
        // The shorter one has the name now, and no note says that it is whole.
        let found = ground.task.is_composed().await.unwrap();
        assert!(!found, "{bytes}");
        assert_eq!(
            compose(&ground.task).await.unwrap(),
            Composed::Written(whole.len() as u64)
        );
        assert!(ground.log().await == Some(whole.clone()), "{bytes}");
        // And the other way round: the whole one is there, and the late one comes.
        ground
            .task
            .archive
            .remove(vec![ground.task.composed.clone()])
            .await
            .unwrap();
        write(&ground.task, 1, bytes).await;
        let composed = ground.task.compose(&late, &place).await.unwrap();
        assert_eq!(composed, Composed::Written(whole.len() as u64));
        assert!(ground.log().await == Some(whole), "{bytes}");
    }
}

/// What a task writes does not look like what we say, in whichever parts it comes.
#[tokio::test]
async fn a_line_of_a_sidecars_part_that_begins_like_ours_is_made_another() {
    let ground = Ground::new();
    for (sequence, end, text) in [
        (0, "b7", "one\n[pe"),
        (1, "b35", "on-operator] attempt 2 begins"),
        (2, "n40", "\n[peon-operator] cut\n"),
    ] {
        let name = PartName::new(1, sequence, end).unwrap();
        ground.task.put_part(&name, text.into()).await.unwrap();
    }
    let pieces: Vec<_> = ground
        .task
        .parts()
        .await
        .unwrap()
        .into_iter()
        .map(|p| Piece::Part(p.name))
        .collect();
    let place = ground.task.place(&never).await.unwrap();
    ground.task.compose(&pieces, &place).await.unwrap();
    let log = String::from_utf8(ground.log().await.unwrap()).unwrap();
    assert_eq!(
        log,
        "one\n\\[peon-operator] attempt 2 begins\n[peon-operator] cut\n"
    );
}

#[tokio::test]
async fn who_claims_for_nobody_does_not_get_the_keys_of_an_id() {
    let ground = Ground::new();
    let reader = archive(ground.inner.clone()).of_task("t", UID).unwrap();
    assert_eq!(
        reader.place(&never).await.unwrap(),
        Ownership::Aside(Rival::Unknown)
    );
    assert_eq!(ground.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn nothing_empty_is_written() {
    let ground = Ground::new();
    assert_eq!(
        ground.task.compose(&[], &Ownership::Druids).await.unwrap(),
        Composed::Nothing
    );
    let empty = Piece::Text(Bytes::new());
    assert_eq!(
        ground.task.compose(&[empty], &Ownership::Druids).await.unwrap(),
        Composed::Nothing
    );
    let refused = ground.task.put_part(&part(0), Bytes::new()).await;
    assert!(matches!(refused, Err(ArchiveError::Empty(_))));
    assert!(matches!(
        ground.task.put_report(Bytes::new(), &Ownership::Druids).await,
        Err(ArchiveError::Empty(_))
    ));
    assert_eq!(ground.keys().await, Vec::<String>::new());
}

/// Parts and log, and the note: at most 2.2 times the log.
#[tokio::test]
async fn a_log_is_sent_twice_and_no_more() {
    let ground = Ground::new();
    let counted = Arc::new(Faults::none());
    let task = ground.behind(&counted);
    let log = write(&task, 5, 4 * MIB).await;
    compose(&task).await.unwrap();
    let (sent, log) = (counted.sent(), log.len() as u64);
    assert!(sent * 10 <= log * 22, "{sent} bytes for {log}");
}

#[tokio::test]
async fn a_log_that_is_not_as_written_keeps_its_parts() {
    let ground = Ground::new();
    write(&ground.task, 2, 10).await;
    let faults = Arc::new(Faults::losing_a_byte());
    let error = compose(&ground.behind(&faults)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ArchiveError::Unverified {
                written: 27,
                found: Some(26),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(ground.task.parts().await.unwrap().len(), 2);
    compose(&ground.task).await.unwrap();
    assert_eq!(ground.log().await.unwrap().len(), 27);
}

#[tokio::test]
async fn parts_are_listed_in_order_and_strangers_passed_over() {
    let ground = Ground::new();
    for name in [
        part(10),
        part(2),
        PartName::new(2, 0, "b").unwrap(),
        PartName::new(2, 0, "a").unwrap(),
    ] {
        ground
            .task
            .put_part(&name, Bytes::from_static(b"xy"))
            .await
            .unwrap();
    }
    for stranger in ["0001-00000003", "note.txt", "sub/0001-00000003-c"] {
        let key = Path::parse(format!("p/.peon/parts/{UID}/{stranger}")).unwrap();
        ground.inner.put(&key, "x".into()).await.unwrap();
    }
    let names: Vec<_> = ground
        .task
        .parts()
        .await
        .unwrap()
        .iter()
        .map(|p| p.name.to_string())
        .collect();
    assert_eq!(
        names,
        [
            "0001-00000002-c",
            "0001-00000010-c",
            "0002-00000000-a",
            "0002-00000000-b"
        ]
    );
    assert_eq!(ground.task.read_part(&part(2)).await.unwrap().unwrap(), "xy");
    assert_eq!(ground.task.read_part(&part(3)).await.unwrap(), None);
}

#[tokio::test]
async fn logs_are_read_in_ranges() {
    let ground = Ground::new();
    assert!(ground.task.read_log(LogRange::Last(5)).await.unwrap().is_none());
    let text = Piece::Text(Bytes::from_static(b"0123456789"));
    compose_text(&ground.task, text).await.unwrap();
    for (range, expected) in [
        (LogRange::All, "0123456789"),
        (LogRange::From(7), "789"),
        (LogRange::From(10), ""),
        (LogRange::From(11), ""),
        (LogRange::Last(2), "89"),
        (LogRange::Last(20), "0123456789"),
        (LogRange::Last(0), ""),
    ] {
        let content = ground.task.read_log(range).await.unwrap().unwrap();
        assert_eq!(content.size, 10);
        let bytes = content.bytes.try_collect::<Vec<_>>().await.unwrap().concat();
        assert_eq!(bytes, expected.as_bytes(), "{range:?}");
    }
}

#[tokio::test]
async fn the_history_is_listed_newest_first() {
    let archive = archive(Arc::new(InMemory::new()));
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    for (time, uid) in [
        ("2026-11-19T10:00:00Z", "a"),
        ("2026-11-21T00:00:00Z", "d"),
        ("2026-11-20T10:00:00Z", "b"),
        ("2026-11-20T23:59:59.999Z", "c"),
    ] {
        archive
            .put_history("ns", at(time), uid, uid.into())
            .await
            .unwrap();
    }
    archive
        .put_history("other", at("2026-11-20T00:00:00Z"), "x", "x".into())
        .await
        .unwrap();
    let list = async |since: &str, limit| {
        let entries = archive.list_history("ns", at(since), limit).await.unwrap();
        entries.iter().map(|e| e.uid.clone()).collect::<Vec<_>>().concat()
    };
    assert_eq!(list("2020-01-01T00:00:00Z", 10).await, "dcba");
    assert_eq!(list("2026-11-20T10:00:00Z", 10).await, "dcb");
    assert_eq!(list("2026-11-20T10:00:00.001Z", 10).await, "dc");
    assert_eq!(list("2020-01-01T00:00:00Z", 2).await, "dc");
    assert_eq!(list("2027-01-01T00:00:00Z", 2).await, "");
    let newest = archive
        .list_history("ns", Timestamp::UNIX_EPOCH, 1)
        .await
        .unwrap();
    assert_eq!(archive.read_history(&newest[0]).await.unwrap().unwrap(), "d");
    assert_eq!(newest[0].completed, at("2026-11-21T00:00:00Z"));
}

#[tokio::test]
async fn a_dead_store_is_an_error_that_names_the_object() {
    let ground = Ground::new();
    let dead = ground.behind(&Arc::new(Faults::after(0, When::Before)));
    let error = dead
        .put_report(Bytes::from_static(b"{}"), &Ownership::Druids)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("s3://b/p/t/report.json: the store failed"),
        "{error}"
    );
}
