use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::Body as Answer;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::{Request, Response};
use kube::Client;
use kube::client::Body;

use super::super::decide::recent_lines::MOST;
use super::*;
use crate::logs::format::shared_log::TaskLines;
use crate::metrics::Metrics;

const POD_UID: &str = "0b6f7b1e-0000-4000-8000-000000000001";

const NOT_STARTED: &str = r#"{"kind": "Status", "code": 400, "status": "Failure", "reason": "BadRequest", "message": "waiting to start"}"#;

type Lines = UnboundedSender<Result<Bytes, io::Error>>;

/// An API server that answers each request for a log with the next of some streams.
struct Scene {
    streams: PodStreams,
    client: Client,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// Requests for logs.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    fn new() -> Self {
        let answers: Arc<Mutex<VecDeque<Answer>>> = Arc::default();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (next, log) = (answers.clone(), asked.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (code, body) = if request.uri().path().ends_with("/log") {
                log.lock().push(request.uri().to_string());
                let answer = next.lock().pop_front();
                answer.map_or_else(|| (400, Answer::from(NOT_STARTED)), |answer| (200, answer))
            } else {
                let pod = serde_json::json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                    "metadata": {"name": "small-1", "uid": POD_UID}});
                (200, Answer::from(pod.to_string()))
            };
            let answer = Response::builder().status(code).body(body);
            async move { Ok::<_, Infallible>(answer.unwrap()) }
        });
        Self {
            streams: PodStreams::default(),
            client: Client::new(service, "default"),
            answers,
            asked,
        }
    }

    /// The answer to the next request for a log.
    fn answer(&self) -> Lines {
        let (lines, stream) = unbounded();
        self.answers.lock().push_back(Answer::from_stream(stream));
        lines
    }

    async fn open(&self, since: u32) -> Result<Opened, Closed> {
        let source = Source {
            client: self.client.clone(),
            namespace: "ns".into(),
            pod: "small-1".into(),
            pod_uid: POD_UID.into(),
            owner_uid: "task".into(),
            container: "peon".into(),
            started: None,
            lines: Some(TaskLines {
                task_id: "a".into(),
                pod_uid: POD_UID.into(),
                since: at(since),
            }),
        };
        self.streams.open(&source, Some(at(since)), true).await
    }

    fn asked(&self) -> usize {
        self.asked.lock().len()
    }
}

fn at(second: u32) -> Timestamp {
    format!("2026-11-30T05:00:{second:02}Z").parse().unwrap()
}

fn line(second: u32, text: &str) -> String {
    format!("2026-11-30T05:00:{second:02}.500000000Z {text}\n")
}

fn send(lines: &Lines, text: String) {
    lines.unbounded_send(Ok(text.into())).unwrap();
}

/// Reads as many bytes as that text has.
async fn reads(opened: &mut Opened, text: &str) {
    let mut read = vec![0; text.len()];
    opened.bytes.read_exact(&mut read).await.unwrap();
    assert_eq!(String::from_utf8(read).unwrap(), text);
}

async fn breaks(opened: &mut Opened) {
    let mut rest = Vec::new();
    assert!(opened.bytes.read_to_end(&mut rest).await.is_err());
}

#[tokio::test]
async fn the_tasks_of_a_pod_read_one_stream_and_each_gets_the_lines_since_its_time() {
    let scene = Scene::new();
    let lines = scene.answer();
    let mut first = scene.open(10).await.unwrap();
    send(&lines, line(11, "one"));
    send(&lines, line(12, "two"));
    reads(&mut first, &(line(11, "one") + &line(12, "two"))).await;
    let mut later = scene.open(12).await.unwrap();
    send(&lines, line(13, "three"));
    reads(&mut first, &line(13, "three")).await;
    let mut rest = line(12, "two") + &line(13, "three");
    let mut begin = vec![0; 1];
    later.bytes.read_exact(&mut begin).await.unwrap();
    // It may begin with earlier lines.
    rest.insert_str(0, &line(11, "one"));
    reads(&mut later, &rest[1..]).await;
    assert!(first.is_shared && later.is_shared);
    assert_eq!(scene.asked(), 1);
}

/// It may have claimed its Indexer before the others did.
#[tokio::test]
async fn a_task_that_needs_earlier_lines_reads_alone() {
    let scene = Scene::new();
    let (_lines, alone) = (scene.answer(), scene.answer());
    let _first = scene.open(10).await.unwrap();
    let mut earlier = scene.open(5).await.unwrap();
    assert!(!earlier.is_shared);
    send(&alone, line(6, "early"));
    reads(&mut earlier, &line(6, "early")).await;
    assert_eq!(scene.asked(), 2);
}

#[tokio::test]
async fn a_stream_that_breaks_is_opened_once_for_all_and_repeats_nothing() {
    let scene = Scene::new();
    let (lines, again) = (scene.answer(), scene.answer());
    let (mut one, mut two) = (scene.open(10).await.unwrap(), scene.open(10).await.unwrap());
    send(&lines, line(11, "one"));
    for reader in [&mut one, &mut two] {
        reads(reader, &line(11, "one")).await;
    }
    lines.unbounded_send(Err(io::Error::other("cut"))).unwrap();
    breaks(&mut one).await;
    breaks(&mut two).await;
    let (mut one, mut two) = (scene.open(10).await.unwrap(), scene.open(10).await.unwrap());
    send(&again, line(11, "one") + &line(12, "two"));
    for reader in [&mut one, &mut two] {
        reads(reader, &(line(11, "one") + &line(12, "two"))).await;
    }
    assert_eq!(scene.asked(), 2);
    assert!(scene.asked.lock()[1].contains("sinceTime=2026-11-30T05%3A00%3A10Z"));
}

/// Each reader then finds out by itself what it misses.
#[tokio::test]
async fn lines_that_are_missing_end_the_streams_of_all() {
    let scene = Scene::new();
    let (lines, again) = (scene.answer(), scene.answer());
    let mut one = scene.open(10).await.unwrap();
    send(&lines, line(11, "one"));
    reads(&mut one, &line(11, "one")).await;
    lines.close_channel();
    let mut rest = Vec::new();
    one.bytes.read_to_end(&mut rest).await.unwrap();
    let mut one = scene.open(10).await.unwrap();
    send(&again, line(13, "three"));
    breaks(&mut one).await;
    let alone = scene.answer();
    let mut one = scene.open(10).await.unwrap();
    send(&alone, line(13, "three"));
    reads(&mut one, &line(13, "three")).await;
    assert_eq!(scene.asked(), 3);
}

/// It reads alone from then on, and the others are held up for a moment only.
#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_is_left_behind() {
    let scene = Scene::new();
    let lines = scene.answer();
    let (mut stalled, mut quick) = (scene.open(10).await.unwrap(), scene.open(10).await.unwrap());
    let long = "x".repeat(MOST / 8);
    for second in 11..40 {
        send(&lines, line(second, &long));
        reads(&mut quick, &line(second, &long)).await;
    }
    breaks(&mut stalled).await;
    let alone = scene.answer();
    let again = scene.open(10).await.unwrap();
    drop(alone);
    assert!(!again.is_shared);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_is_closed() {
    let scene = Scene::new();
    let lines = scene.answer();
    let first = scene.open(10).await.unwrap();
    drop(first);
    let second = scene.open(11).await.unwrap();
    assert_eq!(scene.asked(), 1, "the next task came soon");
    drop(second);
    let closed = async {
        while scene.streams.number() > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), closed)
        .await
        .unwrap();
    assert!(lines.is_closed());
}

/// A pod that cannot be read is not remembered.
#[tokio::test]
async fn a_stream_that_cannot_be_opened_leaves_nothing() {
    let scene = Scene::new();
    assert!(matches!(scene.open(10).await, Err(Closed::NotStarted)));
    assert_eq!(scene.streams.number(), 0);
}

#[tokio::test(start_paused = true)]
async fn open_streams_and_their_readers_are_counted() {
    let mut scene = Scene::new();
    let metrics = Metrics::default();
    scene.streams = PodStreams::new(metrics.logs());
    let counted = |name: &str| {
        let text = metrics.text().unwrap();
        let head = format!("peon_operator_log_{name} ");
        let found = text.lines().find_map(|line| line.strip_prefix(&head));
        found.unwrap().parse::<i64>().unwrap()
    };
    assert_eq!((counted("streams"), counted("stream_readers")), (0, 0));
    let lines = scene.answer();
    let mut first = scene.open(10).await.unwrap();
    send(&lines, line(11, "one"));
    reads(&mut first, &line(11, "one")).await;
    let second = scene.open(11).await.unwrap();
    assert_eq!((counted("streams"), counted("stream_readers")), (1, 2));
    drop(second);
    assert_eq!((counted("streams"), counted("stream_readers")), (1, 1));
    // The stream ends, and its reader with it.
    drop(lines);
    let mut rest = Vec::new();
    first.bytes.read_to_end(&mut rest).await.unwrap();
    drop(first);
    assert_eq!((counted("streams"), counted("stream_readers")), (0, 0));
}
