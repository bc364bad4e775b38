//! Logs of tasks that run in one Indexer.

use futures::channel::mpsc::unbounded;

use super::*;

/// A follower of the task `id`, which got its slot at the time of the first line, or has ended.
fn keep(scene: &Scene, id: &str, ended: bool) -> LogState {
    let owner = Owner {
        namespace: "ns".into(),
        name: id.into(),
        uid: format!("uid-{id}"),
        task_id: id.into(),
        created: Some(Timestamp::from_second(1).unwrap()),
    };
    let ask = KeepLog {
        attempt: 1,
        pod: "small-1".into(),
        pod_uid: POD_UID.into(),
        seen: true,
        container: "peon".into(),
        started: None,
        sidecar: false,
        ended,
        complete: false,
        last: ended,
        last_line: Some(format!("Task [{id}] completed with status")),
        lines: Some(TaskLines {
            task_id: id.into(),
            pod_uid: POD_UID.into(),
            since: T1.parse().unwrap(),
        }),
    };
    scene.followers.keep(&owner, &ask).state
}

async fn archived(scene: &Scene, id: &str) -> u32 {
    let archived = async {
        loop {
            if let LogState::Archived { gaps, .. } = keep(scene, id, true) {
                return gaps;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), archived)
        .await
        .unwrap()
}

async fn log(scene: &Scene, id: &str) -> String {
    use futures::TryStreamExt;
    let task = scene.archive.of_task(id, &format!("uid-{id}")).unwrap();
    let content = task.read_log(LogRange::All).await.unwrap().unwrap();
    let bytes: Vec<Bytes> = content.bytes.try_collect().await.unwrap();
    String::from_utf8(bytes.concat()).unwrap()
}

fn line(time: &str, id: &str, text: &str) -> String {
    format!("{time} t 0b6f7b1e INFO [][[{id}]-task-runner-0] c - {text}\n")
}

fn end(time: &str, id: &str) -> String {
    line(time, id, &format!("Task [{id}] completed with status [SUCCESS]"))
}

fn own(id: &str, text: &str) -> String {
    format!("t INFO [[{id}]-task-runner-0] c - {text}\n")
}

fn expected(id: &str, text: &str) -> String {
    own(id, text)
        + &own(id, &format!("Task [{id}] completed with status [SUCCESS]"))
        + "[peon-operator] what threads wrote that tasks have in common is in the log of the Indexer's pod, small-1\n"
}

#[tokio::test]
async fn tasks_of_one_indexer_have_one_stream_and_a_log_each() {
    let (lines, stream) = unbounded::<Result<Bytes, Infallible>>();
    let scene = Scene::over(Arc::new(InMemory::new()), vec![Answer::from_stream(stream)]);
    for id in ["a", "b"] {
        let _ = keep(&scene, id, false);
    }
    let send = |text: String| lines.unbounded_send(Ok(text.into())).unwrap();
    send(line(T1, "a", "of a") + &line(T1, "b", "of b") + &line(T2, "c", "of c"));
    send(end(T2, "b") + &end(T2, "a"));
    for id in ["a", "b"] {
        assert_eq!(archived(&scene, id).await, 0);
        assert_eq!(log(&scene, id).await, expected(id, &format!("of {id}")));
    }
    // Its first line came before its log was asked for.
    send(end(T3, "c"));
    assert_eq!(archived(&scene, "c").await, 0);
    assert_eq!(log(&scene, "c").await, expected("c", "of c"));
    assert_eq!(scene.asked.lock().len(), 1);
}

#[tokio::test]
async fn a_shared_stream_that_breaks_costs_no_task_a_line() {
    let first = line(T1, "a", "of a") + &line(T1, "b", "of b");
    let (lines, stream) = unbounded::<Result<Bytes, Infallible>>();
    let scene = Scene::over(
        Arc::new(InMemory::new()),
        vec![Answer::from(first.clone()), Answer::from_stream(stream)],
    );
    for id in ["a", "b"] {
        let _ = keep(&scene, id, false);
    }
    scene.asked(2).await;
    lines
        .unbounded_send(Ok((first + &end(T2, "b") + &end(T2, "a")).into()))
        .unwrap();
    for id in ["a", "b"] {
        assert_eq!(archived(&scene, id).await, 0);
        let asked = scene.asked.lock().clone();
        assert_eq!(
            log(&scene, id).await,
            expected(id, &format!("of {id}")),
            "{asked:?}"
        );
    }
    assert_eq!(scene.asked.lock().len(), 2);
}

/// What was rotated away while nobody read it is missing in the log of a task that ran, and said there.
#[tokio::test]
async fn a_gap_in_a_shared_stream_is_said_in_the_log() {
    let rest = line(T2, "b", "of b") + &line(T3, "a", "later") + &end(T3, "a");
    let (lines, stream) = unbounded::<Result<Bytes, Infallible>>();
    let streams = vec![
        Answer::from(line(T1, "a", "of a") + &line(T1, "b", "of b")),
        Answer::from(rest.clone()),
        Answer::from_stream(stream),
    ];
    let scene = Scene::over(Arc::new(InMemory::new()), streams);
    let _ = keep(&scene, "a", false);
    scene.asked(3).await;
    lines.unbounded_send(Ok(rest.into())).unwrap();
    assert_eq!(archived(&scene, "a").await, 1);
    let log = log(&scene, "a").await;
    let begin = own("a", "of a") + GAP + &own("a", "later");
    assert!(log.starts_with(&begin), "{log}");
}
