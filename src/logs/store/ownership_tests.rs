use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, TryStreamExt};
use jiff::Timestamp;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::*;
use crate::logs::fixtures::{Faults, Faulty, Kind, When, archive_over};
use crate::logs::format::claim::Claimant;
use crate::logs::format::location::Location;
use crate::logs::format::parts::{Composed, LogRange, Piece};
use crate::logs::store::archive::Archive;
use crate::logs::store::client::{self, Identity};

fn claimant(namespace: &str, uid: &str, created: i64) -> Claimant {
    Claimant {
        namespace: namespace.into(),
        name: format!("task-{uid}"),
        uid: uid.into(),
        created: Some(Timestamp::from_second(created).unwrap()),
    }
}

fn ended(_: Claim) -> BoxFuture<'static, bool> {
    std::future::ready(true).boxed()
}

/// A store that replaces objects on condition, and a directory, which does not.
fn grounds() -> (tempfile::TempDir, [Archive; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::File {
        directory: folder.path().to_owned(),
    };
    let directory = client::open(&location, Identity::Explicit).unwrap();
    let archives = [
        archive_over(Arc::new(InMemory::new())),
        Archive::over(directory, location),
    ];
    (folder, archives)
}

fn task(archive: &Archive, namespace: &str, uid: &str, created: i64) -> TaskArchive {
    archive
        .of_claimant("noop", claimant(namespace, uid, created))
        .unwrap()
}

async fn write(task: &TaskArchive, text: &str, place: &Ownership) {
    let report = Bytes::from(format!("report of {text}"));
    task.put_report(report, place).await.unwrap();
    let piece = Piece::Text(Bytes::from(text.to_owned()));
    let composed = task.compose(&[piece], place).await.unwrap();
    assert_eq!(composed, Composed::Written(text.len() as u64));
}

/// Log and report, as who asks for this task's reads them.
async fn read(archive: &Archive, uid: &str) -> (Option<String>, Option<String>) {
    let task = archive.of_task("noop", uid).unwrap();
    let log = match task.read_log(LogRange::All).await.unwrap() {
        Some(content) => Some(content.bytes.try_collect::<Vec<_>>().await.unwrap().concat()),
        None => None,
    };
    let report = task.read_report().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (log.map(text), report.map(|r| text(r.into())))
}

fn both(text: &str) -> (Option<String>, Option<String>) {
    (Some(text.to_owned()), Some(format!("report of {text}")))
}

async fn clear(archive: &Archive) {
    let found: Vec<_> = archive.store.list(None).try_collect().await.unwrap();
    let keys = found.into_iter().map(|meta| meta.location).collect();
    archive.remove(keys).await.unwrap();
}

/// What a stock overlord reads.
async fn under_the_id(archive: &Archive) -> Option<Bytes> {
    archive.get(&archive.layout.log("noop").unwrap()).await.unwrap()
}

#[tokio::test]
async fn of_two_namespaces_each_reads_its_own_log_whoever_has_the_id() {
    let (_folder, archives) = grounds();
    for archive in &archives {
        let (a, b) = (task(archive, "a", "1", 1), task(archive, "b", "2", 2));
        // Both run at once, and the one that began first gets the id.
        let first = a.place(&never).await.unwrap();
        let second = b.place(&ended).await.unwrap();
        assert_eq!(
            (&first, &second),
            (&Ownership::Druids, &Ownership::Aside(Rival::Elsewhere))
        );
        write(&b, "what b wrote", &second).await;
        assert_eq!(read(archive, "1").await, (None, None));
        write(&a, "what a wrote", &first).await;
        assert_eq!(read(archive, "1").await, both("what a wrote"));
        assert_eq!(read(archive, "2").await, both("what b wrote"));
        assert_eq!(under_the_id(archive).await.unwrap(), "what a wrote");
        // Nobody else's is read by a uid that wrote nothing.
        assert_eq!(read(archive, "3").await, (None, None));
    }
}

/// However they come beside each other: one of them has the id.
#[tokio::test]
async fn of_three_at_once_exactly_one_has_the_id_and_nothing_is_lost() {
    let (_folder, archives) = grounds();
    for archive in &archives {
        let tasks: Vec<_> = ["1", "2", "3"].map(|uid| task(archive, "a", uid, 1)).into();
        let places = futures::future::join_all(tasks.iter().map(|t| t.place(&never))).await;
        let places: Vec<_> = places.into_iter().map(Result::unwrap).collect();
        let owners = places.iter().filter(|place| **place == Ownership::Druids).count();
        assert_eq!(owners, 1, "{places:?}");
        futures::future::join_all(
            tasks
                .iter()
                .zip(&places)
                .map(|(task, place)| write(task, &task.uid, place)),
        )
        .await;
        for task in &tasks {
            assert_eq!(read(archive, &task.uid).await, both(&task.uid));
        }
    }
}

#[tokio::test]
async fn a_later_task_of_the_namespace_gets_the_id_and_the_earlier_ones_log_is_put_aside() {
    let (_folder, archives) = grounds();
    for archive in &archives {
        let first = task(archive, "a", "1", 1);
        let place = first.place(&ended).await.unwrap();
        write(&first, "first", &place).await;
        let second = task(archive, "a", "2", 2);
        // As long as it has not ended, it keeps them.
        assert_eq!(
            second.place(&never).await.unwrap(),
            Ownership::Aside(Rival::Here("task-1".into()))
        );
        assert_eq!(second.place(&ended).await.unwrap(), Ownership::Druids);
        assert_eq!(read(archive, "1").await, both("first"));
        assert_eq!(read(archive, "2").await, (None, None));
        write(&second, "second", &Ownership::Druids).await;
        assert_eq!(read(archive, "1").await, both("first"));
        assert_eq!(read(archive, "2").await, both("second"));
        assert_eq!(under_the_id(archive).await.unwrap(), "second");
        // Who still believes in the first one does not take them back, and another namespace never gets them.
        assert_eq!(
            first.place(&ended).await.unwrap(),
            Ownership::Aside(Rival::Here("task-2".into()))
        );
        let other = task(archive, "b", "3", 3).place(&ended).await.unwrap();
        assert_eq!(other, Ownership::Aside(Rival::Elsewhere));
        // An administrator removes the claim: the next one gets them, and the log is put aside as nobody's.
        let claims: Vec<_> = archive
            .store
            .list(Some(&archive.layout.claim("noop").unwrap()))
            .try_collect()
            .await
            .unwrap();
        archive
            .remove(claims.into_iter().map(|m| m.location).collect())
            .await
            .unwrap();
        archive
            .remove(vec![archive.layout.claim("noop").unwrap()])
            .await
            .unwrap();
        assert_eq!(
            task(archive, "b", "3", 3).place(&ended).await.unwrap(),
            Ownership::Druids
        );
        assert_eq!(read(archive, "3").await, (None, None));
        assert_eq!(under_the_id(archive).await, None);
        let aside = archive.layout.aside("before-3", "log").unwrap();
        assert_eq!(archive.get(&aside).await.unwrap().unwrap(), "second");
    }
}

/// Whatever request the process dies at while it takes the keys over: nothing is lost, nothing is read as another's, and
/// whoever comes next completes it.
#[tokio::test]
async fn a_crash_while_keys_are_taken_over_loses_nothing() {
    for when in [When::Before, When::After] {
        for requests in 0.. {
            let inner = Arc::new(InMemory::new());
            let archive = archive_over(inner.clone());
            let first = task(&archive, "a", "1", 1);
            let place = first.place(&ended).await.unwrap();
            write(&first, "first", &place).await;
            let faults = Arc::new(Faults::after(requests, when));
            let dying = archive_over(Arc::new(Faulty::over(inner, faults)));
            let crashed = task(&dying, "a", "2", 2).place(&ended).await;
            let context = format!("{requests} requests, {when:?}");
            assert_eq!(read(&archive, "1").await, both("first"), "{context}");
            assert_eq!(read(&archive, "2").await, (None, None), "{context}");
            let second = task(&archive, "a", "2", 2);
            assert_eq!(
                second.place(&ended).await.unwrap(),
                Ownership::Druids,
                "{context}"
            );
            write(&second, "second", &Ownership::Druids).await;
            assert_eq!(read(&archive, "1").await, both("first"), "{context}");
            assert_eq!(read(&archive, "2").await, both("second"), "{context}");
            if crashed.is_ok() {
                assert!(requests > 6, "only {requests} requests were made");
                break;
            }
        }
    }
}

/// A task still believes that the keys are its own, which a later one has taken over.
#[tokio::test]
async fn a_former_owner_leaves_the_log_of_the_new_one_alone() {
    let (_folder, archives) = grounds();
    for (archive, written) in archives.iter().flat_map(|a| [(a, true), (a, false)]) {
        // Of one of each, as both logs may begin alike.
        for old_text in ["another", "n"] {
            clear(archive).await;
            let (old, new) = (task(archive, "a", "1", 1), task(archive, "a", "2", 2));
            assert_eq!(old.place(&never).await.unwrap(), Ownership::Druids);
            assert_eq!(new.place(&ended).await.unwrap(), Ownership::Druids);
            if written {
                write(&new, "new", &Ownership::Druids).await;
            }
            let piece = Piece::Text(old_text.into());
            let refused = old
                .compose(std::slice::from_ref(&piece), &Ownership::Druids)
                .await;
            assert!(matches!(refused, Err(ArchiveError::Contended(_))), "{refused:?}");
            if !written {
                write(&new, "new", &Ownership::Druids).await;
            }
            assert_eq!(read(archive, "2").await, both("new"));
            let place = old.place(&ended).await.unwrap();
            assert_eq!(place, Ownership::Aside(Rival::Here("task-2".into())));
            old.compose(&[piece], &place).await.unwrap();
            assert_eq!(read(archive, "1").await.0.unwrap(), old_text);
            assert_eq!(read(archive, "2").await, both("new"));
        }
    }
}

/// Operator and sidecar of one task take the keys over at once, and one of them is slow.
#[tokio::test]
async fn who_is_late_to_put_a_log_aside_neither_removes_nor_overwrites_another() {
    let inner = Arc::new(InMemory::new());
    let archive = archive_over(inner.clone());
    let first = task(&archive, "a", "1", 1);
    let place = first.place(&never).await.unwrap();
    write(&first, "first", &place).await;
    let faults = Arc::new(Faults::none());
    faults.hold(Kind::Copy);
    let slow = archive_over(Arc::new(Faulty::over(inner, faults.clone())));
    let slow = tokio::spawn(async move { task(&slow, "a", "2", 2).place(&ended).await });
    faults.until_held().await;
    let second = task(&archive, "a", "2", 2);
    assert_eq!(second.place(&ended).await.unwrap(), Ownership::Druids);
    write(&second, "second", &Ownership::Druids).await;
    faults.let_go();
    assert_eq!(slow.await.unwrap().unwrap(), Ownership::Druids);
    assert_eq!(read(&archive, "1").await, both("first"));
    assert_eq!(read(&archive, "2").await, both("second"));
}

/// An operator from before claims archived the log, and this one comes after it.
#[tokio::test]
async fn a_task_finds_its_own_log_from_before_claims_where_it_was() {
    let (_folder, archives) = grounds();
    for archive in &archives {
        let log = archive.layout.log("noop").unwrap();
        archive.put(&log, "of the last one".into()).await.unwrap();
        let note = archive.layout.composed("1").unwrap();
        archive.put(&note, "15".into()).await.unwrap();
        let first = task(archive, "b", "1", 1);
        assert_eq!(first.place(&never).await.unwrap(), Ownership::Druids);
        assert_eq!(read(archive, "1").await.0.unwrap(), "of the last one");
        assert_eq!(under_the_id(archive).await.unwrap(), "of the last one");
    }
}

/// Neither claim nor note says whose it is: a worker of Druid's own wrote it, or a task of another namespace.
#[tokio::test]
async fn a_log_of_nobody_is_read_as_nobodys() {
    let (_folder, archives) = grounds();
    for archive in &archives {
        let log = archive.layout.log("noop").unwrap();
        archive.put(&log, "somebody's".into()).await.unwrap();
        assert_eq!(read(archive, "1").await, (None, None));
    }
}

/// Logs that were archived before there were claims.
#[tokio::test]
async fn a_log_from_before_claims_is_read_by_who_wrote_it_and_put_aside_for_who_comes() {
    let (_folder, archives) = grounds();
    for archive in &archives {
        archive
            .put(&archive.layout.log("noop").unwrap(), "of the last one".into())
            .await
            .unwrap();
        archive
            .put(&archive.layout.composed("1").unwrap(), "15".into())
            .await
            .unwrap();
        archive
            .put(&archive.layout.composed("2").unwrap(), "99".into())
            .await
            .unwrap();
        assert_eq!(read(archive, "1").await.0.unwrap(), "of the last one");
        // The other one's was replaced then.
        assert_eq!(read(archive, "2").await, (None, None));
        let third = task(archive, "b", "3", 3);
        assert_eq!(third.place(&never).await.unwrap(), Ownership::Druids);
        assert_eq!(read(archive, "3").await, (None, None));
        write(&third, "new", &Ownership::Druids).await;
        assert_eq!(read(archive, "3").await, both("new"));
    }
}

/// One small object is written for a task, and nothing is listed in a store that replaces on condition.
#[tokio::test]
async fn a_claim_costs_one_small_object() {
    let archive = archive_over(Arc::new(InMemory::new()));
    let me = task(&archive, "a", "1", 1);
    for _ in 0..3 {
        assert_eq!(me.place(&never).await.unwrap(), Ownership::Druids);
    }
    let found: Vec<_> = archive.store.list(None).try_collect().await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(
        found[0].size < 300 && found[0].location.as_ref().starts_with("p/.peon/claims/"),
        "{found:?}"
    );
}

/// In Google a log and a report may have one key, and so may two ids.
#[test]
fn ids_that_share_a_key_share_a_claim() {
    let location = Location::Google {
        bucket: "b".into(),
        prefix: "p".into(),
        service_account: None,
    };
    let layout = crate::logs::format::layout::Layout::of(&location);
    let claim = |id: &str| layout.claim(id).unwrap();
    assert_eq!(claim("a:b"), claim("a_b"));
    assert_eq!(claim("a"), claim("a.report.json"));
    assert_ne!(claim("a"), claim("b"));
    assert!(layout.claim("a").unwrap().as_ref().starts_with("p/.peon/claims/"));
}
