use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::fixtures::{BASIC, Server, client};
use super::*;

const RECORDED: &str = "noop_2026-11-21T01:50:17.060Z_feaaea03-68f1-450d-97a4-b165c2f90fbc";

#[tokio::test]
async fn asks_for_states_as_a_worker_of_druid_does() {
    let recorded = r#"{"noop_2026-11-21T01:50:17.060Z_feaaea03-68f1-450d-97a4-b165c2f90fbc":{"id":"noop_2026-11-21T01:50:17.060Z_feaaea03-68f1-450d-97a4-b165c2f90fbc","status":"SUCCESS","duration":29801,"errorMsg":null,"location":{"host":"127.0.0.1","port":18100,"tlsPort":-1}}}"#;
    let server = Server::saying(200, recorded).await;
    let states = server.client().task_status(&[RECORDED.to_owned()]).await.unwrap();
    assert_eq!(states.len(), 1);
    let state = &states[RECORDED];
    assert_eq!((state.status, state.duration), (TaskState::Success, 29801));
    assert_eq!(state.location.host.as_deref(), Some("127.0.0.1"));
    let expected = (
        "POST".to_owned(),
        "/druid/indexer/v1/taskStatus".to_owned(),
        Some(BASIC.to_owned()),
        format!("[\"{RECORDED}\"]"),
    );
    assert_eq!(server.asked(), [expected]);
}

#[tokio::test]
async fn without_ids_nobody_is_asked() {
    let nobody = client("http://127.0.0.1:1");
    assert!(nobody.task_status(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_overlord_without_such_questions_knows_no_task() {
    let server = Server::saying(404, "").await;
    let states = server.client().task_status(&["a".into()]).await.unwrap();
    assert!(states.is_empty());
}

#[tokio::test]
async fn names_the_leader() {
    for (status, body, leader) in [
        (200, "http://10.0.0.7:8090", Some("http://10.0.0.7:8090")),
        (200, "", None),
        (204, "", None),
    ] {
        let server = Server::saying(status, body).await;
        assert_eq!(server.client().leader().await.unwrap().as_deref(), leader);
        assert_eq!(server.asked()[0].1, "/druid/indexer/v1/leader");
    }
    let console = Server::saying(200, "<!DOCTYPE html>").await;
    let error = console.client().leader().await.unwrap_err();
    assert!(matches!(error, OverlordError::Unexpected { .. }), "{error}");
}

#[tokio::test]
async fn lists_the_workers_by_host_and_port() {
    let listed = r#"[{"worker":{"scheme":"http","host":"bridge.druid.svc:8091","ip":"10.0.0.5","capacity":50,
        "version":"0","category":"_default_worker_category"},"currCapacityUsed":1,"currParallelIndexCapacityUsed":0,
        "parallelIndexTaskCapacity":null,"availabilityGroups":["a"],"runningTasks":["a"],
        "lastCompletedTaskTime":"2026-11-21T01:50:17.060Z","blacklistedUntil":null},
        {"worker":{"scheme":"http","host":"[fd00::1]:8091","ip":"fd00::1","capacity":1,"version":"","category":"c"},
        "currCapacityUsed":0,"availabilityGroups":[],"runningTasks":[],"lastCompletedTaskTime":"2026-11-21T01:50:17.060Z"}]"#;
    let server = Server::saying(200, listed).await;
    let workers = server.client().workers().await.unwrap();
    assert_eq!(
        workers.into_iter().collect::<Vec<_>>(),
        ["[fd00::1]:8091", "bridge.druid.svc:8091"]
    );
    assert_eq!(server.asked()[0].1, "/druid/indexer/v1/workers");
    assert!(
        Server::saying(200, "[]")
            .await
            .client()
            .workers()
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn no_list_is_no_empty_list() {
    for (status, body) in [
        (200, ""),
        (200, "{}"),
        (200, r#"[{"worker":{}}]"#),
        (404, ""),
        (500, "Task Runner does not support worker listing"),
        (503, ""),
        (403, r#"{"Access-Check-Result":"Unauthorized"}"#),
    ] {
        let server = Server::saying(status, body).await;
        assert!(server.client().workers().await.is_err(), "{status} {body}");
    }
    let endless = Server::start(|_| vec![b' '; MOST_OF_WORKERS + 1].into_response()).await;
    let error = endless.client().workers().await.unwrap_err();
    assert!(error.to_string().contains("more than 8192 KiB"), "{error}");
}

#[tokio::test]
async fn remembers_what_is_not_answered_until_it_is() {
    let answering = Arc::new(AtomicU16::new(403));
    let status = answering.clone();
    let server = Server::start(move |path| {
        let is_leader = path.ends_with("/leader");
        let code = if is_leader {
            200
        } else {
            status.load(Ordering::Relaxed)
        };
        let body = if is_leader { "" } else { "{}" };
        (StatusCode::from_u16(code).unwrap(), body).into_response()
    })
    .await;
    let (asking, looking) = (server.client(), server.client());
    let shared = asking.clone();
    assert_eq!(shared.trouble(), None);
    let ids = ["a".to_owned()];
    for _ in 0..2 {
        asking.task_status(&ids).await.unwrap_err();
        // Another question was answered.
        asking.leader().await.unwrap();
        let trouble = shared.trouble().unwrap();
        assert_eq!(trouble.reason.as_str(), "NotAuthorized");
        assert!(trouble.message.contains("403"), "{}", trouble.message);
    }
    assert_eq!(looking.trouble(), None);
    answering.store(200, Ordering::Relaxed);
    asking.task_status(&ids).await.unwrap();
    assert_eq!(shared.trouble(), None);
}

#[tokio::test]
async fn a_path_before_druids_own_stays() {
    for base in ["/proxy/overlord", "/proxy/overlord/"] {
        let server = Server::saying(200, "").await;
        client(&format!("{}{base}", server.url())).leader().await.unwrap();
        assert_eq!(server.asked()[0].1, "/proxy/overlord/druid/indexer/v1/leader");
    }
}

#[tokio::test]
async fn submits_and_tells_refusals_apart() {
    let submit = async |status, body| {
        let server = Server::saying(status, body).await;
        let submitted = server.client().submit(r#"{"type":"noop"}"#).await;
        assert_eq!(
            server.asked(),
            [(
                "POST".to_owned(),
                "/druid/indexer/v1/task".to_owned(),
                Some(BASIC.to_owned()),
                r#"{"type":"noop"}"#.to_owned()
            )]
        );
        submitted
    };
    let taken = submit(200, r#"{"task":"with:colon"}"#).await.unwrap();
    assert_eq!(taken.id, "with:colon");
    let exists = submit(
        400,
        r#"{"error":"druidException","errorCode":"entryAlreadyExists","persona":"USER","category":"INVALID_INPUT","errorMessage":"Task[t] already exists","context":{}}"#,
    );
    let error = exists.await.unwrap_err();
    assert!(
        matches!(&error, SubmitError::AlreadyExists(m) if m == "Task[t] already exists"),
        "{error}"
    );
    let unreadable = submit(
        400,
        r#"{"error":"Cannot construct instance of `org.apache.druid.indexing.common.task.NoopTask`, problem: Invalid value for field [task ID]: must not be null"}"#,
    );
    let error = unreadable.await.unwrap_err();
    assert!(
        matches!(&error, SubmitError::Refused(m) if m.ends_with("must not be null")),
        "{error}"
    );
    let denied = submit(403, r#"{"Access-Check-Result":"Unauthorized"}"#)
        .await
        .unwrap_err();
    assert!(matches!(denied, SubmitError::NotAuthorized(_)), "{denied}");
    let stranger = submit(401, r#"{"error":"Unauthorized request","errorMessage":null}"#)
        .await
        .unwrap_err();
    assert!(matches!(stranger, SubmitError::NotAuthorized(_)), "{stranger}");
    for (status, body) in [
        // The queue is full.
        (
            429,
            r#"{"error":"druidException","errorCode":"general","errorMessage":"Task queue already contains [1] tasks."}"#,
        ),
        // The metadata store is down.
        (
            500,
            r#"{"error":"druidException","errorCode":"general","errorMessage":"Encountered metadata exception"}"#,
        ),
        (
            503,
            "<html><head><title>Error 503 Service Unavailable</title></head></html>",
        ),
        // Somebody else than an overlord.
        (
            400,
            "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
        ),
        (
            404,
            "<html><head><title>Error 404 Not Found</title></head></html>",
        ),
        (302, ""),
        (200, "<html>"),
    ] {
        let error = submit(status, body).await.unwrap_err();
        assert!(matches!(error, SubmitError::Unavailable(_)), "{status}: {error}");
    }
}

#[tokio::test]
async fn payloads_keep_their_numbers() {
    let server = Server::saying(
        200,
        r#"{"task":"t","payload":{"type":"noop","big":12345678901234567890123,"exact":0.1000000000000000055511}}"#,
    )
    .await;
    let payload = server.client().payload("t").await.unwrap().unwrap();
    assert_eq!(
        payload,
        r#"{"type":"noop","big":12345678901234567890123,"exact":0.1000000000000000055511}"#
    );
}

#[tokio::test]
async fn knows_a_tasks_state() {
    let body = json!({"task": "t", "status": {
        "id": "t", "groupId": "t", "type": "noop", "createdTime": "2026-11-21T01:50:17.060Z",
        "queueInsertionTime": "1970-01-01T00:00:00.000Z", "statusCode": "RUNNING", "status": "RUNNING",
        "runnerStatusCode": "PENDING", "duration": -1,
        "location": {"host": null, "port": -1, "tlsPort": -1}, "dataSource": "x", "errorMsg": null
    }});
    let server = Server::start(move |_| body.to_string().into_response()).await;
    let report = server.client().status("t").await.unwrap().unwrap();
    let expected = TaskReport {
        id: "t".into(),
        state: TaskState::Running,
        runner_status_code: Some("PENDING".into()),
        duration: Some(-1),
        location: Some(TaskLocation::unknown()),
        error_msg: None,
    };
    assert_eq!(report, expected);
}

#[tokio::test]
async fn a_task_that_nobody_knows_is_none() {
    for body in [
        "Cannot find any task with id: [t]",
        r#"{"task":"t","payload":null,"status":null}"#,
    ] {
        let client = Server::saying(404, body).await.client();
        assert_eq!(client.payload("t").await.unwrap(), None);
        assert_eq!(client.status("t").await.unwrap(), None);
        assert!(!client.shutdown("t").await.unwrap());
    }
    let client = Server::saying(404, "<html>").await.client();
    let error = client.payload("t").await.unwrap_err();
    assert!(matches!(error, OverlordError::Unexpected { .. }), "{error}");
}

/// The ids that a real overlord took.
#[tokio::test]
async fn odd_ids_reach_the_overlord_whole() {
    let server = Server::saying(200, r#"{"task":"x"}"#).await;
    let client = server.client();
    for (id, path) in [
        (
            "index_kafka_2026-11-21T01:50:17.060Z",
            "index_kafka_2026-11-21T01%3A50%3A17.060Z",
        ),
        ("semi;colon", "semi%3Bcolon"),
        ("pct%41", "pct%2541"),
        ("q?x=1&y", "q%3Fx%3D1%26y"),
        ("back\\slash", "back%5Cslash"),
        ("plus+x", "plus%2Bx"),
        (" lead", "%20lead"),
        ("ünïcødé", "%C3%BCn%C3%AFc%C3%B8d%C3%A9"),
        ("hash#x", "hash%23x"),
        ("tilde~x", "tilde~x"),
    ] {
        assert!(client.shutdown(id).await.unwrap());
        let (method, asked, ..) = server.asked().pop().unwrap();
        assert_eq!(method, "POST");
        assert_eq!(asked, format!("/druid/indexer/v1/task/{path}/shutdown"));
    }
}

#[test]
fn a_report_without_what_may_be_missing_is_read() {
    let least: Value = json!({"id": "t", "statusCode": "FAILED"});
    let report: TaskReport = serde_json::from_value(least).unwrap();
    assert_eq!(report.state, TaskState::Failed);
}
