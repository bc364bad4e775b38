use std::sync::atomic::Ordering;

use kube::runtime::watcher::Event;

use super::*;
use crate::druid::worker::TaskState;
use crate::middle_manager::http::backend::Backend;
use crate::middle_manager::model_api::{Bench, FIRST, Fault, assigned};
use crate::middle_manager::object_fixtures::{running, succeeded, with_log};
use crate::middle_manager::registry::DELETED;
use crate::simulation::model_api::Kind;

/// Lets time pass, for the process and for its clock.
async fn pass(bench: &Bench, seconds: u32) {
    for _ in 0..seconds {
        bench.seconds.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

struct Running(tokio::task::JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn start(bench: &Bench) -> Running {
    Running(tokio::spawn(run(bench.assigner.clone())))
}

#[tokio::test(start_paused = true)]
async fn a_silent_api_server_disables_all_identities_until_it_answers() {
    let bench = Bench::new();
    let _running = start(&bench);
    pass(&bench, 10).await;
    bench.assigner.enable(FIRST, false).await.unwrap();
    for fault in [Fault::Lost, Fault::Refused(500)] {
        bench.server.lock().outage = Some(fault);
        pass(&bench, 4).await;
        assert_eq!(bench.lines[1].disabled.lock().last(), Some(&false), "{fault:?}");
        pass(&bench, 4).await;
        assert_eq!(bench.lines[1].disabled.lock().last(), Some(&true), "{fault:?}");
        bench.server.lock().outage = None;
        pass(&bench, 3).await;
        assert_eq!(bench.lines[1].disabled.lock().last(), Some(&false), "{fault:?}");
    }
    assert_eq!(bench.lines[0].disabled.lock().last(), Some(&true), "by hand");
    assert_eq!(*bench.lines[1].disabled.lock(), [false, true, false, true, false]);
    // Who may not ask is answered, too.
    bench.server.lock().outage = Some(Fault::Refused(403));
    pass(&bench, 20).await;
    assert_eq!(bench.lines[1].disabled.lock().last(), Some(&false));
}

#[tokio::test(start_paused = true)]
async fn what_went_while_the_api_server_was_silent_is_found_when_it_is_back() {
    let bench = Bench::new();
    bench.assigner.assign(FIRST, assigned("a")).await.unwrap();
    let _running = start(&bench);
    bench.server.lock().outage = Some(Fault::Lost);
    pass(&bench, 12).await;
    let name = bench.server.lock().task()["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    bench.server.lock().api.remove(Kind::Task, &name);
    bench.server.lock().outage = None;
    pass(&bench, 4).await;
    assert_eq!(
        bench.lines[0].of("a").last(),
        Some(&(TaskState::Failed, Some(DELETED.to_owned())))
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_watchs_list_lacks_is_asked_for_until_there_is_an_answer() {
    let bench = Bench::new();
    bench.assigner.assign(FIRST, assigned("a")).await.unwrap();
    bench.assigner.assign(FIRST, assigned("b")).await.unwrap();
    let target = bench.assigner.tasks().ask(|known, _| known.target("a")).unwrap();
    bench.server.lock().api.remove(Kind::Task, &target.name);
    // The list of the watch is empty: `b` is younger than it, for all that anybody knows.
    bench
        .server
        .lock()
        .faults
        .push_back(("GET", "peontasks", Fault::Refused(500)));
    let _running = start(&bench);
    bench.assigner.tasks().task_event(Event::Init);
    bench.assigner.tasks().task_event(Event::InitDone);
    pass(&bench, 12).await;
    assert_eq!(bench.lines[0].of("a").len(), 2);
    assert_eq!(bench.lines[0].of("b"), [(TaskState::Running, None)]);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_said_when_its_log_does_not_come() {
    let bench = Bench::new();
    bench.assigner.assign(FIRST, assigned("a")).await.unwrap();
    let _running = start(&bench);
    bench.status(running());
    let mut status = with_log(succeeded(), false, "StoreFailed");
    status["completionTime"] = serde_json::json!(crate::middle_manager::object_fixtures::at(1000));
    bench.status(status);
    bench.watch();
    pass(&bench, 299).await;
    assert_eq!(bench.lines[0].of("a").len(), 1);
    pass(&bench, 3).await;
    assert_eq!(bench.lines[0].of("a").last(), Some(&(TaskState::Success, None)));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_could_not_be_cancelled_is_tried_again() {
    let bench = Bench::new();
    bench.assigner.assign(FIRST, assigned("a")).await.unwrap();
    bench.server.lock().outage = Some(Fault::Refused(503));
    assert!(bench.assigner.shutdown(FIRST, "a").await.is_err());
    let _running = start(&bench);
    pass(&bench, 8).await;
    assert!(bench.server.lock().task()["spec"]["cancel"].is_null());
    bench.server.lock().outage = None;
    pass(&bench, 8).await;
    assert_eq!(bench.server.lock().task()["spec"]["cancel"], true);
}
