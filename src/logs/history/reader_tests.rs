use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use serde_json::json;

use super::*;
use crate::logs::format::location::Location;

async fn archive() -> Archive {
    let location = Location::S3 {
        bucket: "b".into(),
        prefix: "p".into(),
        endpoint: None,
        region: None,
        path_style: false,
        encryption: crate::logs::format::location::S3Encryption::Bucket,
        keys: None,
    };
    let archive = Archive::over(Arc::new(InMemory::new()), location);
    for second in 1..=40_i64 {
        let name = if second % 20 == 0 { "rare" } else { "often" };
        let json = json!({"name": name, "uid": second.to_string(), "taskId": format!("id-{second}")});
        let at = Timestamp::from_second(second).unwrap();
        archive
            .put_history("ns", at, &second.to_string(), json.to_string().into())
            .await
            .unwrap();
    }
    archive
}

async fn found(archive: &Archive, limit: usize, name: Option<&str>) -> Vec<String> {
    let query = Query {
        namespace: "ns".into(),
        since: Timestamp::UNIX_EPOCH,
        limit,
        name: name.map(str::to_owned),
    };
    let found = archive.history(query).await.unwrap();
    assert!(!found.cut);
    let records: Vec<Bytes> = found.records.try_collect().await.unwrap();
    let uid = |json: &Bytes| serde_json::from_slice::<Record>(json).unwrap().uid;
    records.iter().map(uid).collect()
}

#[tokio::test]
async fn the_newest_come_first_however_they_are_asked_for() {
    let archive = archive().await;
    assert_eq!(found(&archive, 3, None).await, ["40", "39", "38"]);
    assert_eq!(found(&archive, 3, Some("rare")).await, ["40", "20"]);
    assert_eq!(found(&archive, 1, Some("rare")).await, ["40"]);
    assert_eq!(found(&archive, 1, Some("id-7")).await, ["7"]);
    assert_eq!(found(&archive, 0, None).await, Vec::<String>::new());
    assert_eq!(found(&archive, usize::MAX, None).await.len(), 40);
}
