use super::decide::reader;
use crate::logs::format::attempt_parts::{self, End};
use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::Body as Answer;
use http::{Request, Response};
use kube::client::Body;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::sync::Notify;

use super::decide::kubelet_stream::GAP;
use super::spool::Disk;
use super::*;
use crate::logs::fixtures::{Faults, Faulty, archive_over};
use crate::logs::format::parts::LogRange;
use crate::logs::format::shared_log::TaskLines;
use crate::logs::format::state::Heard;
use crate::metrics::logs::LogMetrics;

const UID: &str = "5f0c5c0e-7f0a-4b58-9d1f-3a4e5b6c7d8e";
const T1: &str = "2026-11-21T09:55:37.100000000Z";
const T2: &str = "2026-11-21T09:55:38.200000000Z";
const T3: &str = "2026-11-21T09:55:39.300000000Z";

const NO_POD: &str =
    r#"{"kind": "Status", "code": 404, "status": "Failure", "reason": "NotFound", "message": "no pod"}"#;

const POD_UID: &str = "0b6f7b1e-0000-4000-8000-000000000001";

/// Which pods are asked for, and the uid that each has.
#[derive(Clone)]
struct Pods {
    uid: Arc<Mutex<String>>,
    looks: Arc<Mutex<u32>>,
}

/// An API server that answers each request for a log with the next of these streams, which then end; after the last one
/// there is no pod.
fn api_server(streams: Vec<Answer>, asked: &Arc<Mutex<Vec<String>>>, pods: &Pods) -> Client {
    let streams = Arc::new(Mutex::new(VecDeque::from(streams)));
    let asked = asked.clone();
    let pods = pods.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (code, body) = if request.uri().path().ends_with("/log") {
            asked.lock().push(request.uri().to_string());
            match streams.lock().pop_front() {
                Some(stream) => (200, stream),
                None => (404, Answer::from(NO_POD)),
            }
        } else if request.uri().path().contains("/pods/") {
            *pods.looks.lock() += 1;
            let pod = serde_json::json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {"name": "nightly-1", "uid": *pods.uid.lock()}});
            (200, Answer::from(pod.to_string()))
        } else {
            (404, Answer::from(NO_POD))
        };
        let answer = Response::builder().status(code).body(body);
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    Client::new(service, "default")
}

struct Scene {
    followers: Followers,
    archive: Archive,
    woken: Arc<Notify>,
    asked: Arc<Mutex<Vec<String>>>,
    pods: Pods,
    task_id: &'static str,
    last_line: Option<&'static str>,
    lines: Option<TaskLines>,
}

impl Scene {
    fn of(streams: &[String]) -> Self {
        let bodies = streams.iter().map(|s| Answer::from(s.clone()));
        Self::over(Arc::new(InMemory::new()), bodies.collect())
    }

    fn over(store: Arc<dyn ObjectStore>, streams: Vec<Answer>) -> Self {
        let archive = archive_over(store);
        let (woken, asked) = (Arc::new(Notify::new()), Arc::default());
        let waker = woken.clone();
        let limits = Limits {
            flush: Duration::from_secs(1),
            most: 1000,
            disk: Disk {
                folder: std::env::temp_dir(),
                most: 1 << 20,
                budget: Shares::fair(64 << 20),
            },
            uploads: Shares::fair(1),
            metrics: LogMetrics::default(),
        };
        let pods = Pods {
            uid: Arc::new(Mutex::new(POD_UID.into())),
            looks: Arc::default(),
        };
        let followers = Followers::new(
            api_server(streams, &asked, &pods),
            archive.clone(),
            limits,
            Shares::fair(2),
            Box::new(move |_, _| waker.notify_one()),
        );
        Self {
            followers,
            archive,
            woken,
            asked,
            pods,
            task_id: "the id",
            last_line: None,
            lines: None,
        }
    }

    fn ask(&self, attempt: u32, ended: bool, last: bool) -> LogState {
        self.keep(attempt, ended, last).state
    }

    fn keep(&self, attempt: u32, ended: bool, last: bool) -> Kept {
        let owner = Owner {
            namespace: "ns".into(),
            name: "nightly".into(),
            uid: UID.into(),
            task_id: self.task_id.into(),
            created: Some(Timestamp::from_second(1).unwrap()),
        };
        let ask = KeepLog {
            last_line: self.last_line.map(str::to_owned),
            lines: self.lines.clone(),
            attempt,
            pod: format!("nightly-{attempt}"),
            pod_uid: POD_UID.into(),
            seen: true,
            container: "peon".into(),
            started: None,
            sidecar: false,
            ended,
            complete: false,
            last,
        };
        self.followers.keep(&owner, &ask)
    }

    /// Waits until this is known of the log of an attempt that has ended.
    async fn heard(&self, attempt: u32, wanted: Heard) {
        let heard = async {
            while self.keep(attempt, true, false).heard != wanted {
                self.woken.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), heard)
            .await
            .unwrap();
    }

    /// Waits until so many streams were asked for.
    async fn asked(&self, times: usize) {
        let asked = async {
            while self.asked.lock().len() < times {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asked)
            .await
            .unwrap();
    }

    /// Waits until the log is archived.
    async fn archived(&self, attempt: u32) -> LogState {
        let archived = async {
            loop {
                let state = self.ask(attempt, true, true);
                if matches!(state, LogState::Archived { .. } | LogState::Nothing) {
                    return state;
                }
                self.woken.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), archived)
            .await
            .unwrap()
    }

    async fn log(&self) -> String {
        use futures::TryStreamExt;
        let task = self.archive.of_task("the id", UID).unwrap();
        let content = task.read_log(LogRange::All).await.unwrap().unwrap();
        let bytes: Vec<Bytes> = content.bytes.try_collect().await.unwrap();
        String::from_utf8(bytes.concat()).unwrap()
    }
}

fn gaps(state: &LogState) -> u32 {
    match state {
        LogState::Archived { gaps, .. } => *gaps,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stream_that_broke_is_asked_for_again() {
    let scene = Scene::of(&[
        format!("{T1} one\n{T2} tw"),
        format!("{T1} one\n{T2} two\n{T3} three\n"),
    ]);
    assert!(matches!(
        scene.ask(1, false, false),
        LogState::Queued | LogState::Collecting
    ));
    // It has not ended when the first stream does.
    scene.asked(2).await;
    assert_eq!(gaps(&scene.archived(1).await), 0);
    assert_eq!(scene.log().await, "one\ntwo\nthree\n");
    let asked = scene.asked.lock().clone();
    assert!(
        asked[0].contains("timestamps=true") && !asked[0].contains("sinceTime"),
        "{asked:?}"
    );
    // From a second before the last whole line.
    assert!(
        asked[1].contains("sinceTime=2026-11-21T09%3A55%3A36Z"),
        "{asked:?}"
    );
    assert!(
        scene
            .archive
            .of_task("the id", UID)
            .unwrap()
            .parts()
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_store_that_does_not_answer_keeps_nobody_from_reading_on() {
    let faults = Arc::new(Faults::silent());
    let store = Faulty::over(Arc::new(InMemory::new()), faults.clone());
    let (lines, stream) = futures::channel::mpsc::unbounded::<Result<Bytes, Infallible>>();
    let second = format!("{T1} one\n{T2} two\n");
    let streams = vec![Answer::from_stream(stream), Answer::from(second)];
    let scene = Scene::over(Arc::new(store), streams);
    let _ = scene.ask(1, false, false);
    let line = Bytes::from(format!("{T1} one\n"));
    lines.unbounded_send(Ok(line)).unwrap();
    let begun = tokio::time::timeout(Duration::from_secs(60), faults.until_put());
    begun.await.unwrap();
    drop(lines);
    scene.asked(2).await;
    faults.answer();
    assert_eq!(gaps(&scene.archived(1).await), 0);
    assert_eq!(scene.log().await, "one\ntwo\n");
}

/// A log may be rotated away while its store is down.
#[tokio::test]
async fn a_store_that_is_down_keeps_nobody_from_beginning_to_read() {
    let faults = Arc::new(Faults::down());
    let store = Faulty::over(Arc::new(InMemory::new()), faults.clone());
    let streams = vec![
        Answer::from(format!("{T1} one\n")),
        Answer::from(format!("{T1} one\n{T2} two\n")),
    ];
    let scene = Scene::over(Arc::new(store), streams);
    let _ = scene.ask(1, false, false);
    scene.asked(2).await;
    faults.up();
    assert_eq!(gaps(&scene.archived(1).await), 0);
    assert_eq!(scene.log().await, "one\ntwo\n");
}

#[tokio::test]
async fn what_a_process_before_this_one_read_is_found_when_the_store_is_back() {
    let faults = Arc::new(Faults::down());
    let store = Arc::new(InMemory::new());
    let (lines, stream) = futures::channel::mpsc::unbounded::<Result<Bytes, Infallible>>();
    let again = format!("{T1} one\n{T2} two\n{T3} three\n");
    let streams = vec![Answer::from_stream(stream), Answer::from(again)];
    let scene = Scene::over(Arc::new(Faulty::over(store.clone(), faults.clone())), streams);
    let before = Scene::over(store, Vec::new())
        .archive
        .of_task("the id", UID)
        .unwrap();
    let mut reader = reader::Reader::new(None);
    reader.feed(format!("{T1} one\n").as_bytes(), &mut Vec::new());
    let cursor = attempt_parts::cursor(None, &End::at(reader.mark().unwrap()));
    let name = PartName::new(1, 0, &cursor).unwrap();
    before.put_part(&name, "one\n".into()).await.unwrap();
    let _ = scene.ask(1, false, false);
    let line = Bytes::from(format!("{T1} one\n{T2} two\n"));
    lines.unbounded_send(Ok(line)).unwrap();
    scene.asked(1).await;
    faults.up();
    scene.asked(2).await;
    assert_eq!(gaps(&scene.archived(1).await), 0);
    assert_eq!(scene.log().await, "one\ntwo\nthree\n");
}

/// What decides on another attempt is known before its log is archived, and after a restart.
#[tokio::test]
async fn that_a_task_published_is_heard_and_not_forgotten() {
    let published = Heard {
        whole: true,
        published: true,
        ..Heard::default()
    };
    let said = format!("{T1} INFO Task - Published [2] segments\n");
    let store = Arc::new(InMemory::new());
    let scene = Scene::over(store.clone(), vec![Answer::from(said.clone())]);
    scene.heard(1, published).await;
    // The next process reads what came after that.
    let task = scene.archive.of_task("the id", UID).unwrap();
    let parts = async {
        while task.parts().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), parts)
        .await
        .unwrap();
    let after = Scene::over(store, vec![Answer::from(format!("{said}{T2} two\n"))]);
    after.heard(1, published).await;
    let other = Scene::of(&[format!("{T1} one\n")]);
    let nothing = Heard {
        whole: true,
        published: false,
        ..Heard::default()
    };
    other.heard(1, nothing).await;
}

#[tokio::test]
async fn what_is_missing_is_said_in_the_log_and_of_it() {
    let scene = Scene::of(&[format!("{T1} one\n"), format!("{T3} three\n")]);
    let _ = scene.ask(1, false, false);
    scene.asked(2).await;
    assert_eq!(gaps(&scene.archived(1).await), 1);
    assert_eq!(scene.log().await, format!("one\n{GAP}three\n"));
}

/// A kubelet that is at the end of a rotated file when the container has ended says nothing of the files after it.
#[tokio::test]
async fn the_end_of_a_long_log_is_asked_for_again() {
    let rotated = format!("{T1} {}\n{T2} two\n", "x".repeat(1 << 20));
    // A kubelet writes no line break behind it.
    let complaint = "unable to retrieve container logs for containerd://1234".to_owned();
    for (second, missing) in [
        (Some(format!("{T2} two\n")), 0),
        (Some(format!("{T2} two\n{T3} three\n")), 0),
        (Some(format!("{T3} three\n")), 1),
        // The pod, or its container, went in between.
        (None, 0),
        (Some(complaint.clone()), 0),
        (Some(complaint + "\n"), 0),
    ] {
        let streams: Vec<String> = [Some(rotated.clone()), second].into_iter().flatten().collect();
        let scene = Scene::of(&streams);
        assert_eq!(gaps(&scene.archived(1).await), missing);
        assert_eq!(scene.asked.lock().len(), 2);
    }
}

/// What stands in the store counts: another process goes on with a log that is long already.
#[tokio::test]
async fn the_end_of_a_log_that_another_process_began_is_asked_for_again() {
    let store = Arc::new(InMemory::new());
    let before = Scene::over(store.clone(), Vec::new());
    let before = before.archive.of_task("the id", UID).unwrap();
    let long = "x".repeat(1 << 20);
    let mut reader = reader::Reader::new(None);
    reader.feed(format!("{T1} {long}\n").as_bytes(), &mut Vec::new());
    let name = PartName::new(
        1,
        0,
        &attempt_parts::cursor(None, &End::at(reader.mark().unwrap())),
    )
    .unwrap();
    before.put_part(&name, format!("{long}\n").into()).await.unwrap();
    // Of what is known only the last lines come again.
    let streams = [format!("{T2} two\n"), format!("{T3} three\n")];
    let scene = Scene::over(store, streams.iter().map(|s| Answer::from(s.clone())).collect());
    assert_eq!(gaps(&scene.archived(1).await), 2);
    assert_eq!(scene.asked.lock().len(), 2);
}

#[tokio::test]
async fn attempts_follow_each_other_in_one_log() {
    let scene = Scene::of(&[format!("{T1} one\n"), format!("{T2} two\n")]);
    let _ = scene.ask(1, true, false);
    let _ = scene.ask(2, true, false);
    scene.archived(2).await;
    assert_eq!(
        scene.log().await,
        "one\n\n[peon-operator] attempt 2 of the task begins here\ntwo\n"
    );
}

#[tokio::test]
async fn a_log_that_is_too_long_says_so() {
    let line = format!("{T1} {}\n", "x".repeat(1500));
    let scene = Scene::of(&[line]);
    scene.archived(1).await;
    let log = scene.log().await;
    assert!(
        log.starts_with(&"x".repeat(1000)) && !log.contains(&"x".repeat(1001)),
        "{log}"
    );
    assert!(
        log.contains("longer than 1000 bytes: 501 bytes are left out"),
        "{log}"
    );
}

#[tokio::test]
async fn a_container_that_wrote_nothing_has_no_log() {
    let scene = Scene::of(&[String::new()]);
    assert_eq!(scene.archived(1).await, LogState::Nothing);
    let gone = Scene::of(&[]);
    assert_eq!(gone.archived(1).await, LogState::Nothing);
}

#[tokio::test]
async fn what_the_kubelet_says_in_place_of_a_log_is_said() {
    let scene = Scene::of(&["unable to retrieve container logs for containerd://1234\n".to_owned()]);
    assert_eq!(gaps(&scene.archived(1).await), 1);
    assert!(scene.log().await.contains("the kubelet says: unable to retrieve"));
}

/// The name of a pod may be another one's by the time that its log is asked for again.
#[tokio::test]
async fn a_pod_of_the_same_name_is_not_read() {
    let scene = Scene::of(&[format!("{T1} one\n"), format!("{T2} a stranger's\n")]);
    *scene.pods.uid.lock() = "another".into();
    let _ = scene.ask(1, false, false);
    let looked = async {
        while *scene.pods.looks.lock() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looked)
        .await
        .unwrap();
    assert_eq!(gaps(&scene.archived(1).await), 1);
    assert_eq!(scene.asked.lock().len(), 1);
    let log = scene.log().await;
    assert!(
        log.starts_with("one\n[peon-operator] the end of the log may be missing"),
        "{log}"
    );
    assert!(!log.contains("stranger"), "{log}");
}

/// A pod that was seen just now is read without being asked for.
#[tokio::test]
async fn a_short_log_takes_one_request() {
    let scene = Scene::of(&[format!("{T1} one\n")]);
    scene.archived(1).await;
    assert_eq!((scene.asked.lock().len(), *scene.pods.looks.lock()), (1, 0));
}

#[tokio::test]
async fn a_task_cannot_say_what_only_we_say() {
    let forged = "[peon-operator] attempt 2 of the task begins here";
    let scene = Scene::of(&[format!("{T1} {forged}\n{T2} [peon-operator")]);
    scene.archived(1).await;
    assert_eq!(scene.log().await, format!("\\{forged}\n\\[peon-operator"));
}

/// A process after the one that archived the log finds its note, and reads nothing.
#[tokio::test]
async fn what_was_archived_before_is_not_read_again() {
    let scene = Scene::of(&[format!("{T1} one\n")]);
    scene.archived(1).await;
    scene.followers.gone(UID, LastWord::None);
    assert_eq!(gaps(&scene.archived(1).await), 0);
    assert_eq!(scene.asked.lock().len(), 1);
    assert_eq!(scene.log().await, "one\n");
}

#[path = "end_tests.rs"]
mod end;

#[path = "last_line_tests.rs"]
mod last_line;

#[path = "shared_tests.rs"]
mod shared;
