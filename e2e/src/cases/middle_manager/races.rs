//! Assignments and shutdowns that meet.

use std::{
    sync::{Barrier, mpsc},
    thread,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{
    Case, MiddleManager, Turn, case, list, noop,
    process::Process,
    text,
    worker::{Answer, JSON, SMILE, Worker, assignment, smile},
};
use crate::{
    cases::middle_manager::faults_network::Paused,
    testbed::{
        cluster::Component,
        fixture::{Fixture, LIMIT},
        wait::wait_until,
    },
};

pub(super) const CASES: &[Case] = &[
    case(
        "middle_manager::races::an_assignment_that_comes_again_is_the_same_task",
        comes_again,
    )
    .own(),
    case(
        "middle_manager::races::a_payload_in_its_peon_task_needs_one_write_and_is_one_task",
        inline,
    )
    .own(),
    case(
        "middle_manager::races::a_shutdown_around_the_assignment_ends_the_task_once",
        shut_down_around,
    )
    .turn(Turn::Alone)
    .own(),
];

/// Memory that no node has: the pod waits, and the task runs for as long as the overlord wants.
pub(super) const TOO_MUCH: &str = "900Gi";

/// Does all of this at the same time; each gives an answer.
fn at_once<'s>(work: Vec<Box<dyn FnOnce() -> Result<Answer> + Send + 's>>) -> Result<Vec<Answer>> {
    let barrier = Barrier::new(work.len());
    thread::scope(|scope| {
        let started: Vec<_> = work
            .into_iter()
            .map(|one| {
                scope.spawn(|| {
                    barrier.wait();
                    one()
                })
            })
            .collect();
        let joined = started.into_iter().map(|thread| match thread.join() {
            Ok(answer) => answer,
            Err(_) => anyhow::bail!("a thread panicked"),
        });
        joined.collect()
    })
}

/// Sends an assignment to all workers, several times in each form that is given, at once; each has to take it.
fn assign_to_all(workers: &[Worker], forms: &[(&[u8], &str)]) -> Result<()> {
    let mut work: Vec<Box<dyn FnOnce() -> Result<Answer> + Send + '_>> = Vec::new();
    for worker in workers {
        for (body, media_type) in forms.iter().cycle().take(4) {
            work.push(Box::new(|| worker.assign(body, media_type)));
        }
    }
    for answer in at_once(work)? {
        ensure!(answer.code == 200, "{answer:?}");
    }
    Ok(())
}

/// The payload of a PeonTask, as it was assigned.
fn payload(fixture: &Fixture, task: &Value) -> Result<String> {
    let chunk = &task["spec"]["taskFrom"]["secrets"][0];
    let name = text(&chunk["name"]);
    let secret = chunk_of(fixture, "secret", name)?;
    let bytes = STANDARD.decode(text(&secret["data"][text(&chunk["key"])]))?;
    String::from_utf8(bytes).context("the payload is packed")
}

/// A chunk, which is stored after its PeonTask. Without it an assignment is not acknowledged, and the overlord repeats it
/// a few times only.
fn chunk_of(fixture: &Fixture, kind: &str, name: &str) -> Result<Value> {
    let args = [kind, name, "--namespace", fixture.home()];
    fixture.kubectl.wait_for(&args, LIMIT, |_| true)
}

fn pods(fixture: &Fixture, name: &str) -> Result<usize> {
    let selector = format!("peon.dev/task={name}");
    let pods = ["pod", "--namespace", fixture.home(), "--selector", &selector];
    Ok(list(&fixture.kubectl.get_json(&pods)?["items"]).len())
}

fn comes_again(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let workers = [Worker::of(&manager, 0)?, Worker::of(&manager, 1)?];
    let id = manager.submit(&noop(fixture, "assigned_again", 30_000))?;
    let name = manager.until_assigned(&id)?;
    let payload = payload(fixture, &fixture.get(fixture.home(), &name)?)?;
    let again = [(payload.as_bytes(), JSON)];
    assign_to_all(&workers, &again)?;
    // Tasks that nobody assigned before; what the overlord does not know it shuts down.
    let unknown: Vec<String> = (0..3)
        .map(|n| format!("assigned_by_many_{n}_{}", fixture.run))
        .collect();
    for id in &unknown {
        let task = assignment(id, 3_600_000);
        let forms = [task.to_string().into_bytes(), smile(&task)?];
        assign_to_all(&workers, &[(&forms[0], JSON), (&forms[1], SMILE)])?;
        let tasks = manager.peon_tasks(id)?;
        ensure!(tasks.len() == 1, "{id}: {tasks:?}");
    }
    fixture.until_running(fixture.home(), &name)?;
    // A process that begins anew, and is told the same before it could hear of it in another way.
    Process::server(fixture).kill()?;
    wait_until(LIMIT, "the workers", || Ok(assign_to_all(&workers, &again).ok()))?;
    ensure!(
        manager.peon_tasks(&id)?.len() == 1,
        "{:?}",
        manager.peon_tasks(&id)?
    );
    ensure!(pods(fixture, &name)? == 1, "more than one pod");
    let status = manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    let tasks = manager.peon_tasks(&id)?;
    ensure!(
        tasks.len() == 1 && tasks[0]["status"]["attempt"].as_u64().unwrap_or(1) == 1,
        "{tasks:?}"
    );
    ensure!(pods(fixture, &name)? == 1, "more than one pod");
    for id in &unknown {
        cancelled(fixture, &manager, id)?;
    }
    Ok(())
}

/// Bytes of a payload that is too large for its PeonTask.
const LARGE: usize = 120 << 10;

/// With `payload: Inline` a small payload is in its PeonTask, and a large one in a ConfigMap. What is assigned again, also
/// to another process, is the same task.
fn inline(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start_with(fixture, |spec| spec["payload"] = json!("Inline"))?;
    let workers = [Worker::of(&manager, 0)?, Worker::of(&manager, 1)?];
    let small = manager.submit(&noop(fixture, "assigned_inline", 30_000))?;
    let name = manager.until_assigned(&small)?;
    let spec = &fixture.get(fixture.home(), &name)?["spec"];
    let payload = text(&spec["taskJson"]).to_owned();
    let given: Value = serde_json::from_str(&payload).with_context(|| spec.to_string())?;
    ensure!(
        given["id"] == json!(small) && spec.get("taskFrom").is_none(),
        "{spec}"
    );
    let mut large = noop(fixture, "assigned_in_config_map", 500);
    large["context"] = json!({"filler": "x".repeat(LARGE)});
    let large = manager.submit(&large)?;
    let chunks = &fixture.get(fixture.home(), &manager.until_assigned(&large)?)?["spec"]["taskFrom"];
    ensure!(
        list(&chunks["configMaps"]).len() == 1 && chunks.get("secrets").is_none(),
        "{chunks}"
    );
    chunk_of(fixture, "configmap", text(&chunks["configMaps"][0]["name"]))?;
    let again = [(payload.as_bytes(), JSON)];
    assign_to_all(&workers, &again)?;
    Process::server(fixture).kill()?;
    wait_until(LIMIT, "the workers", || Ok(assign_to_all(&workers, &again).ok()))?;
    for id in [&small, &large] {
        let status = manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{status}");
        let tasks = manager.peon_tasks(id)?;
        ensure!(
            tasks.len() == 1 && tasks[0]["status"]["attempt"].as_u64().unwrap_or(1) == 1,
            "{tasks:?}"
        );
    }
    ensure!(pods(fixture, &name)? == 1, "more than one pod");
    let of_task = format!("peon.dev/task={name}");
    let secrets = ["secret", "--namespace", fixture.home(), "--selector", &of_task];
    let secrets = fixture.kubectl.get_json(&secrets)?;
    ensure!(list(&secrets["items"]).is_empty(), "{secrets}");
    Ok(())
}

/// Waits until the PeonTask of a task, if there is one, was cancelled and has no pod.
fn cancelled(fixture: &Fixture, manager: &MiddleManager, id: &str) -> Result<()> {
    let tasks = manager.peon_tasks(id)?;
    ensure!(tasks.len() < 2, "{id} has two PeonTasks: {tasks:?}");
    for task in tasks {
        let name = text(&task["metadata"]["name"]);
        fixture.until_reason(fixture.home(), name, "Cancelled")?;
        fixture.until_no_pod(fixture.home(), name)?;
    }
    Ok(())
}

/// As [`cancelled`], and the overlord says that it failed.
fn failed(fixture: &Fixture, manager: &MiddleManager, id: &str) -> Result<()> {
    let status = manager.until_ended(id)?;
    ensure!(status["statusCode"] == "FAILED", "{id}: {status}");
    cancelled(fixture, manager, id)
}

fn shut_down_around(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    let worker = Worker::of(&manager, 0)?;
    let unknown = |name: &str| format!("{name}_{}", fixture.run);
    let assign = |id: &str| worker.assign(assignment(id, 3_600_000).to_string().as_bytes(), JSON);

    let before = unknown("shut_down_before");
    ensure!(worker.shutdown(&before)?.code == 200 && assign(&before)?.code == 200);
    let said = worker.says(&before)?;
    ensure!(said.as_deref() == Some("FAILED"), "{said:?}");
    ensure!(
        manager.peon_tasks(&before)?.is_empty(),
        "it was created all the same"
    );

    let mut together = Vec::new();
    for n in 0..6 {
        let id = unknown(&format!("shut_down_with_{n}"));
        let work: Vec<Box<dyn FnOnce() -> Result<Answer> + Send>> =
            vec![Box::new(|| assign(&id)), Box::new(|| worker.shutdown(&id))];
        for answer in at_once(work)? {
            ensure!(answer.code == 200, "{id}: {answer:?}");
        }
        together.push(id);
    }
    together.push(slowly(fixture, &worker)?);

    let mut known = Vec::new();
    for n in 0..4 {
        let id = manager.submit(&noop(fixture, &format!("shut_down_after_{n}"), 3_600_000))?;
        fixture.druid.shutdown(&id)?;
        known.push(id);
    }
    let waits = noop_that_waits(fixture, "shut_down_unschedulable");
    let waits = manager.submit(&waits)?;
    let name = manager.until_assigned(&waits)?;
    fixture.until(fixture.home(), &name, |s| s["reason"] == "Unschedulable")?;
    fixture.druid.shutdown(&waits)?;
    known.push(waits);

    for id in &known {
        failed(fixture, &manager, id)?;
    }
    for id in &together {
        wait_until(LIMIT, &format!("the end of {id}"), || {
            Ok((worker.says(id)?.as_deref() != Some("RUNNING")).then_some(()))
        })?;
        cancelled(fixture, &manager, id)?;
    }
    // Nothing comes back with another process.
    Process::server(fixture).kill()?;
    let (_, tasks) = wait_until(LIMIT, "the worker", || {
        Ok(worker.poll(60_000).ok().filter(|a| a.code == 200))
    })?
    .state()?;
    for id in known.iter().chain(&together) {
        ensure!(
            tasks.get(id).is_none_or(|s| s != "RUNNING"),
            "{id} runs: {tasks:?}"
        );
        cancelled(fixture, &manager, id)?;
    }
    Ok(())
}

/// A noop whose pod waits for a node that has enough memory.
pub(super) fn noop_that_waits(fixture: &Fixture, name: &str) -> Value {
    let mut task = noop(fixture, name, 3_600_000);
    task["context"] = json!({"druid.peon.pod.memory": TOO_MUCH});
    task
}

/// Assignment and shutdown both wait for an API server that does not answer.
fn slowly(fixture: &Fixture, worker: &Worker) -> Result<String> {
    let own = fixture.target.own().context("no cluster of our own")?;
    let id = format!("shut_down_slowly_{}", fixture.run);
    let body = assignment(&id, 3_600_000).to_string();
    let server = own.process_id(Component::ApiServer).context("no API server")?;
    let paused = Paused::by(server, Signal::SIGSTOP)?;
    let (sent, sends) = mpsc::channel();
    thread::scope(|scope| {
        let (left, also_left) = (sent.clone(), sent);
        let assigning = scope.spawn({
            let (worker, body) = (worker, &body);
            move || {
                let path = "/druid-internal/v1/worker/assignTask";
                let headers = [("Content-Type", JSON)];
                worker.send_and_say("POST", path, &headers, body.as_bytes(), Some(&left))
            }
        });
        let ending = scope.spawn({
            let (worker, path) = (worker, format!("/druid/worker/v1/task/{id}/shutdown"));
            move || worker.send_and_say("POST", &path, &[], b"", Some(&also_left))
        });
        let both = sends.iter().take(2).count();
        drop(paused);
        for thread in [assigning, ending] {
            let answer = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            ensure!(answer.code == 200, "{answer:?}");
        }
        ensure!(both == 2, "a request was not sent");
        Ok(id.clone())
    })
}
