use parking_lot::Mutex;

use super::*;
use crate::api::virtual_middle_manager::PayloadPlace;
use crate::middle_manager::http::backend::Backend;
use crate::middle_manager::model_api::{Bench, FIRST, Fault, assigned};
use crate::middle_manager::object_fixtures::{failed, succeeded};
use crate::middle_manager::registry::identity::Ordinal;
use crate::simulation::model_api::Kind;

/// Answers with what it is given, and remembers what it was asked.
#[derive(Default)]
struct Answers {
    known: BTreeMap<String, TaskState>,
    no_such_question: bool,
    down: bool,
    asked: Mutex<Vec<Vec<String>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("down")]
struct Down;

impl Overlord for Answers {
    type Error = Down;

    async fn task_status(&self, ids: &[String]) -> Result<Option<BTreeMap<String, TaskState>>, Down> {
        self.asked.lock().push(ids.to_vec());
        if self.down {
            return Err(Down);
        }
        Ok((!self.no_such_question).then(|| self.known.clone()))
    }
}

/// A task that has ended, and whose end the overlord has received.
async fn delivered() -> Bench {
    let bench = Bench::new();
    bench.assigner.assign(FIRST, assigned("a")).await.unwrap();
    bench.status(succeeded());
    bench.watch();
    bench.lines[0].delivered.lock().insert("a".into());
    bench
}

fn mark(bench: &Bench) -> serde_json::Value {
    bench.server.lock().task()["metadata"]["annotations"]["peon.dev/overlord"].clone()
}

#[tokio::test]
async fn what_the_overlord_does_not_call_running_is_removed_and_marked() {
    for known in [
        BTreeMap::new(),
        BTreeMap::from([("a".to_owned(), TaskState::Success)]),
    ] {
        let bench = delivered().await;
        let overlord = Answers {
            known,
            ..Answers::default()
        };
        round(&bench.assigner, &overlord).await;
        assert_eq!(*bench.lines[0].removed.lock(), ["a"]);
        assert_eq!(mark(&bench), "forgotten");
        // It stays so, for this process and the next.
        bench.watch();
        round(&bench.assigner, &overlord).await;
        assert_eq!(overlord.asked.lock().len(), 1, "there is nothing to ask any more");
        let next = Bench::of(bench.server.clone(), PayloadPlace::Secret);
        next.assigner.refresh(FIRST).await.unwrap();
        assert!(next.lines[0].said.lock().is_empty());
    }
}

#[tokio::test]
async fn nothing_is_removed_before_its_end_was_delivered() {
    let bench = delivered().await;
    bench.lines[0].delivered.lock().clear();
    bench.assigner.assign(Ordinal(1), assigned("b")).await.unwrap();
    // The line may have delivered that it runs.
    bench.lines[1].delivered.lock().insert("b".into());
    let overlord = Answers::default();
    round(&bench.assigner, &overlord).await;
    assert!(overlord.asked.lock().is_empty());
}

#[tokio::test]
async fn what_the_overlord_calls_running_is_kept() {
    let bench = delivered().await;
    let overlord = Answers {
        known: BTreeMap::from([("a".to_owned(), TaskState::Running)]),
        ..Answers::default()
    };
    round(&bench.assigner, &overlord).await;
    assert!(bench.lines[0].removed.lock().is_empty());
    assert!(mark(&bench).is_null());
}

#[tokio::test]
async fn an_overlord_that_does_not_answer_forgets_nothing_and_one_without_the_question_all() {
    let bench = delivered().await;
    let overlord = Answers {
        down: true,
        ..Answers::default()
    };
    round(&bench.assigner, &overlord).await;
    assert!(bench.lines[0].removed.lock().is_empty());
    let overlord = Answers {
        no_such_question: true,
        ..Answers::default()
    };
    round(&bench.assigner, &overlord).await;
    assert_eq!(*bench.lines[0].removed.lock(), ["a"]);
}

#[tokio::test]
async fn a_task_that_cannot_be_marked_is_asked_about_again() {
    let bench = delivered().await;
    let overlord = Answers::default();
    bench
        .server
        .lock()
        .faults
        .push_back(("PATCH", "", Fault::Refused(503)));
    round(&bench.assigner, &overlord).await;
    assert!(bench.lines[0].removed.lock().is_empty());
    round(&bench.assigner, &overlord).await;
    assert_eq!(*bench.lines[0].removed.lock(), ["a"]);
}

#[tokio::test]
async fn a_task_whose_object_is_gone_is_forgotten_without_it() {
    let bench = delivered().await;
    let name = bench.server.lock().task()["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    bench.server.lock().api.remove(Kind::Task, &name);
    // One that never had any.
    let odd = crate::middle_manager::registry::identity::Assigned {
        id: "odd".into(),
        json: "{}".into(),
    };
    bench.assigner.assign(FIRST, odd).await.unwrap();
    bench.lines[0].delivered.lock().insert("odd".into());
    round(&bench.assigner, &Answers::default()).await;
    let mut removed = bench.lines[0].removed.lock().clone();
    removed.sort();
    assert_eq!(removed, ["a", "odd"]);
    assert_eq!(bench.lines[0].of("a").len(), 2, "its verdict was known");
}

#[tokio::test]
async fn many_are_asked_about_in_several_questions() {
    let bench = Bench::new();
    for n in 0..=MOST {
        let id = format!("{n}");
        bench.assigner.tasks().tell(|known, now| {
            known.fail(
                FIRST,
                &crate::middle_manager::object_fixtures::indexing(&id),
                "no",
                now,
            )
        });
        bench.lines[0].delivered.lock().insert(id);
    }
    let overlord = Answers::default();
    round(&bench.assigner, &overlord).await;
    let asked: Vec<_> = overlord.asked.lock().iter().map(Vec::len).collect();
    assert_eq!(asked, [MOST, 1]);
    assert_eq!(bench.lines[0].removed.lock().len(), MOST + 1);
}

#[tokio::test(start_paused = true)]
async fn the_overlord_is_asked_after_a_minute_and_then_about_every_five() {
    let bench = Bench::new();
    bench.assigner.assign(FIRST, assigned("a")).await.unwrap();
    bench.status(failed());
    bench.watch();
    bench.lines[0].delivered.lock().insert("a".into());
    let overlord = std::sync::Arc::new(Answers {
        known: BTreeMap::from([("a".to_owned(), TaskState::Running)]),
        ..Answers::default()
    });
    let began = tokio::time::Instant::now();
    let asking = tokio::spawn(run(bench.assigner.clone(), Shared(overlord.clone())));
    let mut times = Vec::new();
    while times.len() < 3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if overlord.asked.lock().len() > times.len() {
            times.push(began.elapsed().as_secs());
        }
        assert!(began.elapsed() < Duration::from_secs(3600));
    }
    asking.abort();
    assert!((60..=62).contains(&times[0]), "{times:?}");
    for pair in times.windows(2) {
        assert!((270..=332).contains(&(pair[1] - pair[0])), "{times:?}");
    }
}

/// On a real line: a task from its assignment until nobody speaks of it any more.
#[tokio::test]
async fn a_line_tells_the_whole_life_of_a_task() {
    use crate::clock::Clock;
    use crate::druid::worker::{Change, Counter};
    use crate::middle_manager::model_api::assigner;
    use crate::middle_manager::sync::long_poll::LongPoll;

    let line = Arc::new(LongPoll::new(77));
    let bench = Bench::new();
    let assigner = assigner(
        &bench.server,
        PayloadPlace::Inline,
        vec![line.clone()],
        Clock::default(),
    );
    let poll = async |asked| {
        let answer = line.poll(asked, Duration::ZERO).await;
        (answer.counter.unwrap(), answer.requests.unwrap())
    };
    let everything = Counter { counter: -1, hash: 0 };
    assigner.refresh(FIRST).await.unwrap();
    let (first, changes) = poll(everything).await;
    assert_eq!(changes, [Change::Metadata { disabled: false }]);
    assigner.assign(FIRST, assigned("a")).await.unwrap();
    let (second, changes) = poll(first).await;
    let states = |changes: &[Change]| -> Vec<TaskState> {
        let state = |change: &Change| match change {
            Change::TaskUpdate { task_announcement } => Some(task_announcement.status),
            Change::Metadata { .. } | Change::TaskRemoval { .. } => None,
        };
        changes.iter().filter_map(state).collect()
    };
    assert_eq!(states(&changes), [TaskState::Running]);
    let overlord = Answers::default();
    bench.status(succeeded());
    assigner.list().await.unwrap();
    round(&assigner, &overlord).await;
    let (third, changes) = poll(second).await;
    assert_eq!(states(&changes), [TaskState::Success]);
    round(&assigner, &overlord).await;
    assert!(
        overlord.asked.lock().is_empty(),
        "nobody has shown to know the end yet"
    );
    let (_, changes) = poll(third).await;
    assert_eq!(changes, []);
    round(&assigner, &overlord).await;
    let (_, changes) = poll(third).await;
    assert_eq!(changes, [Change::TaskRemoval { task_id: "a".into() }]);
    let (_, changes) = poll(everything).await;
    assert_eq!(changes, [Change::Metadata { disabled: false }]);
    assert_eq!(mark(&bench), "forgotten");
}

struct Shared(Arc<Answers>);

impl Overlord for Shared {
    type Error = Down;

    async fn task_status(&self, ids: &[String]) -> Result<Option<BTreeMap<String, TaskState>>, Down> {
        self.0.task_status(ids).await
    }
}
