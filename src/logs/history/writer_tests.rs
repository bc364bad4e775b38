use std::sync::Arc;

use jiff::Timestamp;
use object_store::memory::InMemory;

use super::*;
use crate::logs::fixtures::{Faults, Faulty, When, archive_over};
use crate::logs::format::record::LogRecord;

fn archive(faults: Faults) -> Archive {
    let store = Faulty::over(Arc::new(InMemory::new()), Arc::new(faults));
    archive_over(Arc::new(store))
}

fn entry(uid: &str) -> Entry {
    let record = Record {
        namespace: "ns".into(),
        name: "nightly".into(),
        uid: uid.into(),
        task_id: Some("index_x".into()),
        log: Some(LogRecord {
            archived: true,
            ..LogRecord::default()
        }),
        ..Record::default()
    };
    Entry {
        completed: Timestamp::from_second(1000).unwrap(),
        record,
        success: None,
    }
}

async fn uids(archive: &Archive) -> Vec<String> {
    let found = archive.list_history("ns", Timestamp::UNIX_EPOCH, 10).await;
    found.unwrap().into_iter().map(|e| e.uid).collect()
}

#[tokio::test]
async fn an_entry_says_where_the_log_is_and_is_replaced_by_the_next() {
    let archive = archive(Faults::none());
    let journal = HistoryWriter::new(archive.clone());
    for reason in ["StoreFailed", "Archived"] {
        let mut entry = entry("u");
        entry.record.reason = Some(reason.into());
        assert_eq!(journal.put(entry).await.outcome, Ok(()));
    }
    let found = archive
        .list_history("ns", Timestamp::UNIX_EPOCH, 10)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    let json = archive.read_history(&found[0]).await.unwrap().unwrap();
    let record: Record = serde_json::from_slice(&json).unwrap();
    assert_eq!(record.reason.as_deref(), Some("Archived"));
    assert_eq!(
        record.log.and_then(|l| l.url).as_deref(),
        Some("s3://b/p/index_x/log")
    );
    assert_eq!(record.report_url.as_deref(), Some("s3://b/p/index_x/report.json"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_given_up_in_seconds_and_left_alone_for_a_while() {
    let archive = archive(Faults::after(0, When::Never));
    let journal = HistoryWriter::new(archive);
    let began = Instant::now();
    let first = journal.put(entry("a")).await;
    assert!(first.outcome.unwrap_err().contains("did not answer within 3s"));
    assert_eq!(began.elapsed(), PATIENCE);
    // The others need not find out by themselves.
    let second = journal.put(entry("b")).await;
    assert!(second.outcome.is_err() && second.completed == entry("b").completed);
    assert_eq!(began.elapsed(), PATIENCE);
    tokio::time::advance(REST).await;
    let _ = journal.put(entry("b")).await;
    assert_eq!(began.elapsed(), PATIENCE + REST + PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_cannot_be_recorded_stops_no_other() {
    let archive = archive(Faults::none());
    let journal = HistoryWriter::new(archive.clone());
    assert!(journal.put(entry("no/uid")).await.outcome.is_err());
    assert_eq!(journal.put(entry("u")).await.outcome, Ok(()));
    assert_eq!(uids(&archive).await, ["u"]);
}

#[tokio::test]
async fn a_success_is_found_by_its_name_and_a_failure_of_the_store_is_none() {
    let archive = archive(Faults::none());
    let journal = HistoryWriter::new(archive.clone());
    let name = crate::logs::format::success::key("nightly", "index_x", "hash");
    assert_eq!(journal.success("ns", &name).await, Ok(None));
    for (uid, success) in [("first", Some(&name)), ("second", Some(&name)), ("failed", None)] {
        let mut entry = entry(uid);
        entry.success = success.cloned();
        assert_eq!(journal.put(entry).await.outcome, Ok(()));
    }
    let found = journal.success("ns", &name).await.unwrap().unwrap();
    assert_eq!(found.uid, "second");
    assert_eq!(journal.success("other", &name).await, Ok(None));
    assert_eq!(
        uids(&archive).await.len(),
        3,
        "those of the history are counted once"
    );
    archive
        .put_success("ns", &name, Bytes::from_static(b"no JSON"))
        .await
        .unwrap();
    assert!(journal.success("ns", &name).await.is_err());
}
