//! Logs of attempts whose container goes on: an Indexer outlives its task.

use futures::channel::mpsc::UnboundedSender;

use super::*;

const LAST: &str = "Task [the id] completed with status";

type Lines = UnboundedSender<Result<Bytes, Infallible>>;

/// A stream that does not end, whose last line is known.
fn endless() -> (Lines, Scene) {
    let (lines, stream) = futures::channel::mpsc::unbounded();
    let scene = Scene {
        last_line: Some(LAST),
        ..Scene::over(Arc::new(InMemory::new()), vec![Answer::from_stream(stream)])
    };
    (lines, scene)
}

fn send(lines: &Lines, time: &str, line: &str) {
    let line = format!("{time} {line}\n");
    lines.unbounded_send(Ok(line.into())).unwrap();
}

/// Waits until this number of parts of the log is in the store.
async fn stored(scene: &Scene, parts: usize) {
    let task = scene.archive.of_task("the id", UID).unwrap();
    let stored = async {
        while task.parts().await.unwrap().len() < parts {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), stored)
        .await
        .unwrap();
}

/// Waits until the log is under its key.
async fn composed(scene: &Scene) {
    let task = scene.archive.of_task("the id", UID).unwrap();
    let composed = async {
        while task.read_log(LogRange::All).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), composed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_log_ends_with_its_last_line_when_the_attempt_is_over_and_not_before() {
    let (lines, scene) = endless();
    let _ = scene.ask(1, false, false);
    send(&lines, T1, &format!("INFO {LAST} [SUCCESS]"));
    stored(&scene, 1).await;
    // The attempt is not over: what comes is read.
    send(&lines, T2, "two");
    stored(&scene, 2).await;
    assert!(!matches!(scene.ask(1, false, false), LogState::Archived { .. }));
    assert_eq!(gaps(&scene.archived(1).await), 0);
    assert_eq!(scene.log().await, format!("INFO {LAST} [SUCCESS]\ntwo\n"));
}

#[tokio::test]
async fn the_last_line_may_come_after_the_attempt_is_over() {
    let (lines, scene) = endless();
    let _ = scene.ask(1, true, true);
    scene.asked(1).await;
    send(&lines, T1, "one");
    send(&lines, T2, &format!("INFO {LAST} [FAILED]"));
    assert_eq!(gaps(&scene.archived(1).await), 0);
    assert_eq!(scene.log().await, format!("one\nINFO {LAST} [FAILED]\n"));
    assert_eq!(scene.asked.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_log_whose_last_line_does_not_come_is_archived_a_while_after_the_attempt_is_over() {
    let (lines, scene) = endless();
    let _ = scene.ask(1, false, false);
    send(&lines, T1, "one");
    scene.asked(1).await;
    assert_eq!(gaps(&scene.archived(1).await), 0);
    assert_eq!(scene.log().await, "one\n");
    assert_eq!(scene.asked.lock().len(), 1);
}

#[tokio::test]
async fn the_log_of_a_deleted_task_is_archived_though_its_indexer_goes_on() {
    for whole in [true, false] {
        let (lines, scene) = endless();
        let _ = scene.ask(1, false, false);
        let line = if whole { LAST } else { "one" };
        send(&lines, T1, line);
        stored(&scene, 1).await;
        scene.followers.gone(UID, LastWord::NoVerdict);
        composed(&scene).await;
        let log = scene.log().await;
        assert!(log.starts_with(&format!("{line}\n")), "{log}");
        assert_eq!(log.contains("the end of the log may be missing"), !whole, "{log}");
        drop(lines);
    }
}

/// The end of the JVM is that of the log, whatever was read.
#[tokio::test]
async fn a_log_without_its_last_line_ends_with_its_container() {
    let (lines, scene) = endless();
    let _ = scene.ask(1, true, true);
    send(&lines, T1, "one");
    drop(lines);
    assert_eq!(gaps(&scene.archived(1).await), 0);
    assert_eq!(scene.log().await, "one\n");
}
