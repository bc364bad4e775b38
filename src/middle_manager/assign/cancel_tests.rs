use std::time::Duration;

use crate::druid::worker::TaskState;
use crate::middle_manager::http::backend::Backend;
use crate::middle_manager::model_api::{Bench, FIRST, Fault, assigned};
use crate::simulation::model_api::Kind;

/// What the overlord said of one task does not wait for another one's.
#[tokio::test(start_paused = true)]
async fn the_answer_to_an_assignment_waits_for_no_other_tasks_cancel() {
    let bench = Bench::new();
    bench.assigner.assign(FIRST, assigned("a")).await.unwrap();
    let target = bench.assigner.tasks().ask(|known, _| known.target("a")).unwrap();
    bench.server.lock().silent = Some(("PATCH", target.name));
    assert!(bench.assigner.shutdown(FIRST, "a").await.is_err());
    let begun = tokio::time::Instant::now();
    bench.assigner.assign(FIRST, assigned("b")).await.unwrap();
    assert_eq!(
        begun.elapsed(),
        Duration::ZERO,
        "the clock goes on while somebody waits"
    );
    assert_eq!(bench.lines[0].of("b"), [(TaskState::Running, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_is_not_answered_keeps_no_other_waiting() {
    let bench = Bench::new();
    let mut names = Vec::new();
    for id in ["a", "b", "c"] {
        bench.assigner.assign(FIRST, assigned(id)).await.unwrap();
        let target = bench.assigner.tasks().ask(|known, _| known.target(id)).unwrap();
        names.push(target.name);
        bench.server.lock().outage = Some(Fault::Refused(503));
        assert!(bench.assigner.shutdown(FIRST, id).await.is_err());
        bench.server.lock().outage = None;
    }
    // The first by uid, as they are gone through.
    bench.server.lock().silent = Some(("PATCH", names[0].clone()));
    let all = bench.assigner.cancel_all();
    // Far less than any time-out.
    assert!(tokio::time::timeout(Duration::from_millis(1), all).await.is_err());
    let server = bench.server.lock();
    for (name, is_cancelled) in names.iter().zip([false, true, true]) {
        let task = server.api.get(Kind::Task, name).unwrap();
        assert_eq!(task["spec"]["cancel"] == true, is_cancelled, "{name}");
    }
}
