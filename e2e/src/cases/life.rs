//! What a user does to a task: suspend, cancel, deadlines, and how long it is kept.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::lifecycle::long_noop;
use super::{Case, case};
use crate::testbed::{
    druid::samples,
    fixture::{Fixture, LIMIT, NAMESPACE},
    peons,
    wait::wait_until,
};

pub(super) const CASES: [Case; 8] = [
    case("life::suspended_before_it_runs_and_while_it_runs", suspend),
    case(
        "life::a_task_that_is_not_run_again_is_not_suspended",
        not_restartable,
    ),
    case("life::cancel_stops_the_peon", cancel).own(),
    case("life::cancel_kills_a_peon_that_does_not_stop", cancel_deaf).own(),
    case(
        "life::the_start_deadline_says_what_was_waited_for",
        start_deadline,
    ),
    case(
        "life::the_active_deadline_can_be_brought_forward",
        active_deadline,
    )
    .long(),
    case("life::a_finished_task_goes_when_its_time_is_over", ttl),
    case("life::no_more_than_max_running", max_running),
];

fn suspend(fixture: &Fixture) -> Result<()> {
    let name = "held";
    let mut task = samples::noop(name)?;
    task["spec"]["suspend"] = json!(true);
    task["spec"]["task"]["runTime"] = json!(20_000);
    fixture.apply(NAMESPACE, &task)?;
    let held = |status: &Value| status["phase"] == "Suspended";
    let status = fixture.until(NAMESPACE, name, held)?["status"].clone();
    ensure!(status.get("run").is_none(), "{status}");
    fixture.until_no_pod(NAMESPACE, name)?;

    fixture.change(NAMESPACE, name, &json!({"suspend": false}))?;
    fixture.until_running(NAMESPACE, name)?;
    fixture.change(NAMESPACE, name, &json!({"suspend": true}))?;
    let status = fixture.until(NAMESPACE, name, held)?["status"].clone();
    ensure!(
        status["attempts"][0]["cause"] == "Suspended" && status["attempt"] == 2,
        "{status}"
    );
    let pod = fixture.kubectl.get_json(&[
        "pod",
        "--namespace",
        NAMESPACE,
        "--selector",
        &format!("peon.dev/task={name}"),
    ])?;
    ensure!(
        pod["items"]
            .as_array()
            .into_iter()
            .flatten()
            .all(|p| p["status"]["phase"] != "Running"),
        "{pod}"
    );
    fixture.change(NAMESPACE, name, &json!({"suspend": false}))?;
    let task = fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    ensure!(task["status"]["run"]["pod"] == "held-2", "{}", task["status"]);
    Ok(())
}

fn not_restartable(fixture: &Fixture) -> Result<()> {
    let name = "not-held";
    let (_, _) = long_noop(fixture, name, &json!({"retry": {"rerun": "Never"}}))?;
    fixture.change(NAMESPACE, name, &json!({"suspend": true}))?;
    let said = |status: &Value| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut found = conditions.filter(|c| c["type"] == "Suspended");
        found.any(|c| c["status"] == "False" && c["reason"] == "NotRestartable")
    };
    let task = fixture.until(NAMESPACE, name, said)?;
    ensure!(task["status"]["phase"] == "Running", "{}", task["status"]);
    fixture.change(NAMESPACE, name, &json!({"cancel": true}))?;
    fixture.until_reason(NAMESPACE, name, "Cancelled").map(drop)
}

fn cancel(fixture: &Fixture) -> Result<()> {
    let name = "cancelled";
    let (_, address) = long_noop(fixture, name, &json!({}))?;
    fixture.change(NAMESPACE, name, &json!({"cancel": true}))?;
    let task = fixture.until_reason(NAMESPACE, name, "Cancelled")?;
    ensure!(
        task["status"]["exitCode"] == 143,
        "the peon was not asked to stop: {}",
        task["status"]
    );
    ensure!(peons::at(&address).is_empty(), "the peon lives");
    let error = fixture.change(NAMESPACE, name, &json!({"cancel": false})).err();
    let error = format!("{:#}", error.context("a cancelled task was taken back")?);
    ensure!(error.contains("stays cancelled"), "{error}");

    let waiting = "cancelled-early";
    let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": "there-is-none"}});
    fixture.task(NAMESPACE, waiting, &spec)?;
    fixture.until(NAMESPACE, waiting, |s| s["reason"] == "NoTemplate")?;
    fixture.change(NAMESPACE, waiting, &json!({"cancel": true}))?;
    let task = fixture.until_reason(NAMESPACE, waiting, "Cancelled")?;
    ensure!(task["status"].get("run").is_none(), "{}", task["status"]);
    Ok(())
}

/// A stopped process does not see the request.
fn cancel_deaf(fixture: &Fixture) -> Result<()> {
    let name = "deaf";
    fixture.template(NAMESPACE, name, |spec| {
        spec["template"]["spec"]["terminationGracePeriodSeconds"] = json!(5);
    })?;
    let (_, address) = long_noop(fixture, name, &json!({"templateRef": {"name": name}}))?;
    for peon in peons::at(&address) {
        kill(Pid::from_raw(peon), Signal::SIGSTOP)?;
    }
    fixture.change(NAMESPACE, name, &json!({"cancel": true}))?;
    let task = fixture.until_reason(NAMESPACE, name, "Cancelled")?;
    ensure!(task["status"]["exitCode"] == 137, "{}", task["status"]);
    ensure!(peons::at(&address).is_empty(), "the peon lives");
    Ok(())
}

fn start_deadline(fixture: &Fixture) -> Result<()> {
    let name = "nowhere";
    fixture.template(NAMESPACE, name, |spec| {
        spec["template"]["spec"]["nodeSelector"] = json!({"peon.dev/there-is": "none"});
    })?;
    let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": name}, "startDeadlineSeconds": 3000});
    fixture.task(NAMESPACE, name, &spec)?;
    fixture.until(NAMESPACE, name, |s| s["reason"] == "Unschedulable")?;
    fixture.change(NAMESPACE, name, &json!({"startDeadlineSeconds": 1}))?;
    let task = fixture.until_reason(NAMESPACE, name, "StartDeadline")?;
    let message = Fixture::message(&task, "Failed", "True")?;
    ensure!(message.contains("Unschedulable"), "{message}");
    fixture.until_no_pod(NAMESPACE, name)?;

    let name = "without-template";
    let spec =
        json!({"task": {"type": "noop"}, "templateRef": {"name": "never"}, "startDeadlineSeconds": 3000});
    fixture.task(NAMESPACE, name, &spec)?;
    fixture.until(NAMESPACE, name, |s| s["reason"] == "NoTemplate")?;
    fixture.change(NAMESPACE, name, &json!({"startDeadlineSeconds": 1}))?;
    let task = fixture.until_reason(NAMESPACE, name, "StartDeadline")?;
    let message = Fixture::message(&task, "Failed", "True")?;
    ensure!(message.contains("NoTemplate"), "{message}");
    Ok(())
}

fn active_deadline(fixture: &Fixture) -> Result<()> {
    let name = "too-long";
    let (pod, _) = long_noop(fixture, name, &json!({"activeDeadlineSeconds": 3000}))?;
    let pod = fixture
        .kubectl
        .get_json(&["pod", &pod, "--namespace", NAMESPACE])?;
    ensure!(
        pod["spec"]["activeDeadlineSeconds"] == 3000,
        "not on the pod: {}",
        pod["spec"]
    );
    fixture.change(NAMESPACE, name, &json!({"activeDeadlineSeconds": 1}))?;
    fixture.until_reason(NAMESPACE, name, "Deadline")?;
    // And by the kubelet, which needs no operator for it.
    let name = "too-long-for-the-kubelet";
    let mut task = samples::noop(name)?;
    task["spec"]["task"]["runTime"] = json!(600_000);
    task["spec"]["activeDeadlineSeconds"] = json!(12);
    fixture.apply(NAMESPACE, &task)?;
    fixture.until_reason(NAMESPACE, name, "Deadline").map(drop)
}

fn ttl(fixture: &Fixture) -> Result<()> {
    let name = "short-lived";
    let mut task = samples::noop(name)?;
    task["spec"]["ttlSecondsAfterFinished"] = json!(3600);
    fixture.apply(NAMESPACE, &task)?;
    fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    fixture.change(NAMESPACE, name, &json!({"ttlSecondsAfterFinished": 1}))?;
    wait_until(LIMIT, "the task to be deleted", || {
        let args = [
            "get",
            "peontask",
            name,
            "--ignore-not-found",
            "--namespace",
            NAMESPACE,
            "-o",
            "name",
        ];
        Ok(fixture.kubectl.run(&args)?.is_empty().then_some(()))
    })?;
    fixture.until_no_pod(NAMESPACE, name)
}

fn max_running(fixture: &Fixture) -> Result<()> {
    let template = "one-at-a-time";
    fixture.template(NAMESPACE, template, |spec| spec["maxRunning"] = json!(1))?;
    let names = ["first-in-line", "second-in-line", "third-in-line"];
    let (_, _) = long_noop(fixture, names[0], &json!({"templateRef": {"name": template}}))?;
    for name in &names[1..] {
        let spec = json!({"task": {"type": "noop", "runTime": 1}, "templateRef": {"name": template}});
        fixture.task(NAMESPACE, name, &spec)?;
        let task = fixture.until(NAMESPACE, name, |s| s["reason"] == "MaxRunning")?;
        ensure!(task["status"].get("run").is_none(), "{}", task["status"]);
    }
    fixture.change(NAMESPACE, names[0], &json!({"cancel": true}))?;
    let third = fixture.until_reason(NAMESPACE, names[2], "Succeeded")?;
    let second = fixture.until_reason(NAMESPACE, names[1], "Succeeded")?;
    let time = |task: &Value, field: &str| task["status"][field].as_str().unwrap_or_default().to_owned();
    ensure!(
        time(&second, "completionTime") <= time(&third, "startTime"),
        "both ran: {} {}",
        second["status"],
        third["status"]
    );
    Ok(())
}
