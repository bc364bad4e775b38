//! Real tasks on a real kubelet, each to its true end.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, case};
use crate::testbed::{
    druid::samples,
    fixture::{Fixture, LIMIT, NAMESPACE},
    peons,
    wait::wait_until,
};

pub(super) const CASES: [Case; 8] = [
    case("lifecycle::noop_completes", noop_completes),
    case(
        "lifecycle::index_parallel_publishes_its_segments",
        index_parallel_completes,
    ),
    case(
        "lifecycle::a_task_that_fails_with_exit_code_0_is_task_failed",
        task_failed,
    ),
    case(
        "lifecycle::a_container_over_its_memory_limit_is_oom_killed",
        oom_killed,
    ),
    case(
        "lifecycle::a_jvm_without_heap_is_java_out_of_memory",
        java_out_of_memory,
    ),
    case(
        "lifecycle::a_peon_killed_before_its_status_ends_with_the_pods_evidence",
        killed,
    )
    .own(),
    case("lifecycle::deletion_while_running_leaves_nothing", deletion).own(),
    case("lifecycle::odd_ids_run", odd_ids),
];

fn noop_completes(fixture: &Fixture) -> Result<()> {
    let name = "noop-completes";
    fixture.apply(NAMESPACE, &samples::noop(name)?)?;
    wait_for_complete(fixture, name)?;
    let task = fixture.get(NAMESPACE, name)?;
    let status = &task["status"];
    ensure!(
        status["phase"] == "Succeeded" && status["exitCode"] == 0,
        "{status}"
    );
    ensure!(
        status["taskId"] == name && status["taskType"] == "noop",
        "{status}"
    );
    ensure!(status["memory"] == "512Mi" && status["cpu"] == "1", "{status}");
    ensure!(
        status["startTime"].is_string() && status["completionTime"].is_string(),
        "{status}"
    );
    let pod_name = status["run"]["pod"].as_str().context("no status.run.pod")?;
    let pod = fixture
        .kubectl
        .get_json(&["pod", pod_name, "--namespace", NAMESPACE])?;
    let resources = &pod["spec"]["containers"][0]["resources"];
    ensure!(
        resources["limits"] == json!({"cpu": "1", "memory": "512Mi"}),
        "{resources}"
    );
    ensure!(
        resources["requests"] == json!({"cpu": "250m", "memory": "512Mi"}),
        "{resources}"
    );
    let log = fixture.peon(&["logs", name, "--follow", "--namespace", NAMESPACE])?;
    ensure!(
        log.contains("SUCCESS") && !log.contains("Running with task"),
        "unexpected log:\n{log}"
    );
    ensure!(
        log == fixture.kubectl.logs(&[pod_name, "--namespace", NAMESPACE])?,
        "not the pod's log:\n{log}"
    );
    let error = fixture
        .peon(&["logs", "absent", "--namespace", NAMESPACE])
        .err()
        .context("a log of nothing")?;
    ensure!(format!("{error:#}").contains("PeonTask absent"), "{error:#}");
    Ok(())
}

/// As a user would in a script.
fn wait_for_complete(fixture: &Fixture, name: &str) -> Result<()> {
    let task = format!("peontask/{name}");
    let wait = [
        "wait",
        "--for=condition=Complete",
        "--timeout=240s",
        &task,
        "--namespace",
        NAMESPACE,
    ];
    fixture.kubectl.run(&wait).map(drop)
}

fn index_parallel_completes(fixture: &Fixture) -> Result<()> {
    let name = "index-completes";
    let (id, datasource) = fixture.ingest(name, |_| {})?;
    wait_for_complete(fixture, name)?;
    let segments = wait_until(LIMIT, "two segments", || {
        Ok(Some(fixture.druid.segments(&datasource)?).filter(|s| s.len() == 2))
    })?;
    ensure!(
        segments.iter().all(|s| s["dataSource"] == datasource.as_str()),
        "{segments:?}"
    );
    fixture.druid.shutdown(&id)
}

/// Has an ingestion fail, and say of which row.
pub(super) fn cannot_be_parsed(task: &mut Value) {
    let spec = &mut task["spec"]["task"]["spec"];
    spec["ioConfig"]["inputSource"]["data"] = json!("this is no JSON");
    spec["tuningConfig"]["maxParseExceptions"] = json!(0);
    spec["tuningConfig"]["logParseExceptions"] = json!(true);
}

fn task_failed(fixture: &Fixture) -> Result<()> {
    let name = "fails-in-druid";
    let (id, _) = fixture.ingest(name, cannot_be_parsed)?;
    let task = fixture.until_reason(NAMESPACE, name, "TaskFailed")?;
    ensure!(task["status"]["exitCode"] == 0, "{}", task["status"]);
    let message = Fixture::message(&task, "Failed", "True")?;
    ensure!(
        !message.is_empty() && message.contains("parse"),
        "not Druid's message: {message:?}"
    );
    fixture.druid.shutdown(&id)
}

/// `_JAVA_OPTIONS` is applied after the command line: a template that sets it defeats any sizing.
fn with_java_options(fixture: &Fixture, template: &str, options: &str) -> Result<()> {
    let mut object = fixture.sample()?;
    object["metadata"]["name"] = json!(template);
    object["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "_JAVA_OPTIONS", "value": options}]);
    fixture.apply(NAMESPACE, &object)
}

fn oom_killed(fixture: &Fixture) -> Result<()> {
    let name = "oom-killed";
    with_java_options(fixture, name, "-Xms900m -Xmx900m -XX:+AlwaysPreTouch")?;
    let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": name}, "retry": {"limits": {"OOMKilled": 0}}});
    fixture.task(NAMESPACE, name, &spec)?;
    let task = fixture.until_reason(NAMESPACE, name, "OOMKilled")?;
    ensure!(task["status"]["exitCode"] == 137, "{}", task["status"]);
    Ok(())
}

fn java_out_of_memory(fixture: &Fixture) -> Result<()> {
    let name = "java-oom";
    with_java_options(fixture, name, "-Xmx12m -Xms12m")?;
    let spec = json!({"task": {"type": "noop"}, "templateRef": {"name": name}, "retry": {"rerun": "Never"}});
    fixture.task(NAMESPACE, name, &spec)?;
    let task = fixture.until_reason(NAMESPACE, name, "JavaOutOfMemory")?;
    ensure!(task["status"]["exitCode"] == 3, "{}", task["status"]);
    Ok(())
}

/// A noop that runs for ten minutes, running; returns its pod's name and address. `spec` is merged into its own.
pub(super) fn long_noop(fixture: &Fixture, name: &str, spec: &Value) -> Result<(String, String)> {
    let mut task = samples::noop(name)?;
    task["spec"]["task"]["runTime"] = json!(600_000);
    for (key, value) in spec.as_object().into_iter().flatten() {
        task["spec"][key] = value.clone();
    }
    fixture.apply(NAMESPACE, &task)?;
    let task = fixture.until_running(NAMESPACE, name)?;
    let pod_name = task["status"]["run"]["pod"]
        .as_str()
        .context("no status.run.pod")?
        .to_owned();
    let pod = fixture
        .kubectl
        .get_json(&["pod", &pod_name, "--namespace", NAMESPACE])?;
    let address = pod["status"]["podIP"].as_str().context("no podIP")?.to_owned();
    wait_until(LIMIT, "the peon's JVM", || {
        Ok((peons::at(&address).len() == 1).then_some(()))
    })?;
    Ok((pod_name, address))
}

fn killed(fixture: &Fixture) -> Result<()> {
    let name = "killed";
    let (_, address) = long_noop(fixture, name, &json!({"retry": {"limits": {"NoVerdict": 0}}}))?;
    peons::at(&address).into_iter().try_for_each(peons::kill_hard)?;
    let task = fixture.until_reason(NAMESPACE, name, "NoVerdict")?;
    ensure!(task["status"]["exitCode"] == 137, "{}", task["status"]);
    let message = Fixture::message(&task, "Failed", "True")?;
    ensure!(
        message.contains("signal 9") && message.contains("may already be published"),
        "{message}"
    );
    Ok(())
}

fn deletion(fixture: &Fixture) -> Result<()> {
    let name = "deleted";
    let (pod_name, address) = long_noop(fixture, name, &json!({}))?;
    fixture
        .kubectl
        .delete(&["peontask", name, "--namespace", NAMESPACE])?;
    wait_until(LIMIT, "pod, ConfigMap and JVM to go", || {
        let args = [
            "pod,configmap",
            "--namespace",
            NAMESPACE,
            "--selector",
            &format!("peon.dev/task={name}"),
        ];
        let left = fixture.kubectl.get_json(&args)?;
        let objects = left["items"].as_array().map_or(0, Vec::len);
        Ok((objects == 0 && peons::at(&address).is_empty()).then_some(()))
    })
    .with_context(|| format!("of pod {pod_name}"))
}

fn odd_ids(fixture: &Fixture) -> Result<()> {
    let ids = [
        " a\"b'c\\d$(PATH)%41*?x=1&y;|<>{}[]~^`#,@! ",
        "ünïcødé:with.dots\u{2028}é",
    ];
    for (at, id) in ids.iter().enumerate() {
        let mut task = samples::noop(&format!("odd-{at}"))?;
        task["spec"]["task"]["id"] = json!(id);
        fixture.apply(NAMESPACE, &task)?;
    }
    for (at, id) in ids.iter().enumerate() {
        let task = fixture.until_reason(NAMESPACE, &format!("odd-{at}"), "Succeeded")?;
        ensure!(task["status"]["taskId"] == *id, "{}", task["status"]);
    }
    Ok(())
}
