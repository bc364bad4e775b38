//! What is left of a task when it was deleted: its entry in the history and its log.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, case};
use crate::testbed::{
    druid::samples,
    exec,
    fixture::{Fixture, LIMIT, NAMESPACE, OPERATOR_NAMESPACE, RELEASE},
    kubectl::{self, Kubectl},
};

pub(super) const CASES: [Case; 5] = [
    case("history::of_a_deleted_task_has_its_verdict_and_its_log", deleted).own(),
    case("history::has_a_task_that_was_refused", refused).own(),
    case(
        "history::is_read_by_whom_the_role_is_given_and_by_nobody_else",
        rights,
    )
    .own(),
    case("history::is_read_from_the_store_without_a_cluster", store).own(),
    case(
        "history::of_a_success_keeps_the_same_task_from_running_again",
        again,
    )
    .own(),
];

/// The record of the newest finished task of this name, as `kubectl peon history` prints it.
fn record(fixture: &Fixture, name: &str) -> Result<Value> {
    let args = ["history", name, "-o", "json", "--namespace", NAMESPACE];
    let found: Value = serde_json::from_str(&fixture.peon(&args)?)?;
    let found = found["items"][0].clone();
    ensure!(found["name"] == name, "{name} is not in the history: {found}");
    Ok(found)
}

/// Runs a task to its end, and deletes it once the history has it.
fn run_and_delete(fixture: &Fixture, name: &str) -> Result<Value> {
    fixture.apply(NAMESPACE, &samples::noop(name)?)?;
    fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    let task = until_true(fixture, name, &["Recorded", "LogsArchived"])?;
    fixture
        .kubectl
        .delete(&["peontask", name, "--namespace", NAMESPACE])?;
    fixture.until_no_pod(NAMESPACE, name)?;
    Ok(task)
}

/// Waits until a task has these conditions.
fn until_true(fixture: &Fixture, name: &str, wanted: &[&str]) -> Result<Value> {
    fixture.until(NAMESPACE, name, |status| {
        let is_true = |condition: &&str| kubectl::condition(status, condition, "True").is_some();
        wanted.iter().all(is_true)
    })
}

/// A tool that keeps the cluster equal to Git creates the task again that was deleted.
fn again(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("again")?;
    let mut template = fixture.bare_sample()?;
    template["spec"]["afterSuccess"] = json!("Skip");
    fixture.apply(&namespace, &template)?;
    let name = "from-git";
    let run = |run_time: u32| -> Result<Value> {
        let task =
            json!({"task": {"type": "noop", "id": format!("git_{}", fixture.run), "runTime": run_time}});
        fixture.task(&namespace, name, &task)?;
        fixture.until_reason(&namespace, name, "Succeeded")?;
        let task = fixture.until(&namespace, name, |status| {
            kubectl::condition(status, "Recorded", "True").is_some()
        })?;
        fixture
            .kubectl
            .delete(&["peontask", name, "--namespace", &namespace])?;
        Ok(task)
    };
    let first = run(1)?;
    ensure!(
        first["status"]["run"]["pod"] == "from-git-1",
        "{}",
        first["status"]
    );
    let second = run(1)?;
    let message = Fixture::message(&second, "Complete", "True")?;
    let uid = first["metadata"]["uid"].as_str().context("no uid")?;
    ensure!(
        message.starts_with("not run: ") && message.contains(uid),
        "{message}"
    );
    ensure!(second["status"]["run"].is_null(), "{}", second["status"]);
    // It did not run, so the first one is still the one that counts; another payload is another task.
    let third = run(1)?;
    ensure!(
        Fixture::message(&third, "Complete", "True")?.contains(uid),
        "{third}"
    );
    let other = run(2)?;
    ensure!(
        other["status"]["run"]["pod"] == "from-git-1",
        "{}",
        other["status"]
    );
    Ok(())
}

fn deleted(fixture: &Fixture) -> Result<()> {
    let name = "history-of-deleted";
    let task = run_and_delete(fixture, name)?;
    let status = &task["status"];
    let id = status["taskId"].as_str().context("no taskId")?;
    let record = record(fixture, name)?;
    for (field, expected) in [
        ("uid", &task["metadata"]["uid"]),
        ("namespace", &task["metadata"]["namespace"]),
        ("creationTime", &task["metadata"]["creationTimestamp"]),
        ("taskId", &status["taskId"]),
        ("type", &status["taskType"]),
        ("phase", &status["phase"]),
        ("reason", &status["reason"]),
        ("startTime", &status["startTime"]),
        ("completionTime", &status["completionTime"]),
        ("template", &status["template"]),
        ("memory", &status["memory"]),
        ("cpu", &status["cpu"]),
        ("node", &status["nodeName"]),
        ("exitCode", &status["exitCode"]),
        ("attempt", &status["attempt"]),
    ] {
        ensure!(
            record[field] == *expected && !expected.is_null(),
            "{field} is {} and was {expected}",
            record[field]
        );
    }
    ensure!(record["log"]["archived"] == true, "{record}");
    let table = fixture.peon(&["history", "--namespace", NAMESPACE, "--limit", "1000"])?;
    ensure!(
        table.lines().any(|l| l.starts_with(&format!("{name} "))),
        "{table}"
    );

    let log = fixture.archived(&format!("{id}.log"))?.context("no log")?;
    for called in [name, id] {
        let mut command = fixture.peon_command()?;
        let done = exec::ended(command.args(["logs", called, "--namespace", NAMESPACE]), "")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{called}: {said}");
        ensure!(
            done.stdout == log,
            "{called}: {} bytes were printed and {} archived: {said}",
            done.stdout.len(),
            log.len()
        );
    }
    let mut command = fixture.peon_command()?;
    let none = exec::ended(
        command.args(["logs", "there-was-none", "--namespace", NAMESPACE]),
        "",
    )?;
    let said = String::from_utf8_lossy(&none.stderr);
    ensure!(
        none.status.code() == Some(1)
            && said.contains("there-was-none is neither a PeonTask nor in the history"),
        "{said}"
    );
    Ok(())
}

fn refused(fixture: &Fixture) -> Result<()> {
    let name = "history-of-refused";
    fixture.task(
        NAMESPACE,
        name,
        &json!({"task": {"type": "index", "dataSource": "d"}}),
    )?;
    fixture.until_reason(NAMESPACE, name, "NeedsOverlord")?;
    until_true(fixture, name, &["Recorded"])?;
    let record = record(fixture, name)?;
    ensure!(
        record["phase"] == "Failed" && record["reason"] == "NeedsOverlord" && record["dataSource"] == "d",
        "{record}"
    );
    ensure!(record["log"].is_null() && record["attempt"].is_null(), "{record}");
    let message = record["message"].as_str().unwrap_or_default();
    ensure!(message.contains("submit the task to an overlord"), "{record}");
    Ok(())
}

/// A user of the cluster, in the operator's namespace, with a kubeconfig in a file.
struct User {
    file: std::path::PathBuf,
}

impl User {
    fn make(kubectl: &Kubectl, name: &str) -> Result<Self> {
        let at = ["--namespace", OPERATOR_NAMESPACE];
        kubectl.run(&[&["create", "serviceaccount", name], &at[..]].concat())?;
        let token = kubectl.run(&[&["create", "token", name], &at[..]].concat())?;
        let config = kubectl.run(&["config", "view", "--raw", "--minify", "-o", "json"])?;
        let mut config: Value = serde_json::from_str(&config)?;
        config["users"][0]["user"] = json!({"token": token.trim()});
        let file = std::env::temp_dir().join(format!("{name}.kubeconfig"));
        std::fs::write(&file, config.to_string())?;
        Ok(Self { file })
    }

    /// `kubectl peon history` as this user: whether it is shown, and what is said.
    fn history(&self, fixture: &Fixture) -> Result<(bool, String)> {
        let path = self.file.display().to_string();
        let mut command = fixture.peon_command()?;
        let args = ["history", "--namespace", NAMESPACE, "--kubeconfig", &path];
        let done = exec::ended(command.args(args), "")?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        Ok((done.status.success(), said))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn bind(fixture: &Fixture, binding: &str, role: &str, user: &str) -> Result<()> {
    let account = format!("--serviceaccount={OPERATOR_NAMESPACE}:{user}");
    let args = [
        "create",
        "rolebinding",
        binding,
        "--role",
        role,
        &account,
        "--namespace",
        OPERATOR_NAMESPACE,
    ];
    fixture.kubectl.run(&args).map(drop)
}

fn rights(fixture: &Fixture) -> Result<()> {
    let (kubectl, run) = (&fixture.kubectl, &fixture.run);
    let name = format!("reader-{run}");
    let user = User::make(kubectl, &name)?;
    let (shown, said) = user.history(fixture)?;
    ensure!(
        !shown
            && said.contains(&format!(
                "you may not list pods in the namespace {OPERATOR_NAMESPACE}"
            )),
        "{said}"
    );
    let lists = format!("lists-{run}");
    let role = [
        "create",
        "role",
        &lists,
        "--verb=list",
        "--resource=pods",
        "--namespace",
        OPERATOR_NAMESPACE,
    ];
    kubectl.run(&role)?;
    bind(fixture, &lists, &lists, &name)?;
    // A right holds a moment after it was given.
    let expected =
        format!("you may not get and create pods/portforward in the namespace {OPERATOR_NAMESPACE}");
    crate::testbed::wait::wait_until(LIMIT, "the right to list pods", || {
        let (shown, said) = user.history(fixture)?;
        ensure!(!shown, "shown without the right to forward a port");
        Ok(said.contains(&expected).then_some(()))
    })?;
    // What the chart's Role allows is enough.
    bind(fixture, &name, &format!("{RELEASE}-archive-reader"), &name)?;
    crate::testbed::wait::wait_until(LIMIT, "the history", || {
        let (shown, _) = user.history(fixture)?;
        Ok(shown.then_some(()))
    })?;
    for object in [
        ["rolebinding", &name],
        ["rolebinding", &lists],
        ["role", &lists],
        ["serviceaccount", &name],
    ] {
        kubectl.delete(&[object[0], object[1], "--namespace", OPERATOR_NAMESPACE])?;
    }
    Ok(())
}

/// The store alone, as after the loss of the cluster.
fn store(fixture: &Fixture) -> Result<()> {
    let name = "history-of-store";
    let task = run_and_delete(fixture, name)?;
    let id = task["status"]["taskId"].as_str().context("no taskId")?;
    let log = fixture.archived(&format!("{id}.log"))?.context("no log")?;
    let properties = format!(
        "druid.indexer.logs.type=file\ndruid.indexer.logs.directory={}\n",
        fixture.logs_folder()?.display()
    );
    let file = std::env::temp_dir().join(format!("{name}-{}.properties", fixture.run));
    std::fs::write(&file, properties)?;
    let path = file.display().to_string();
    let direct = |args: &[&str]| {
        let mut command = fixture.peon_command()?;
        command.env("KUBECONFIG", "/there-is-none");
        let args = [args, &["--namespace", NAMESPACE, "--log-properties", &path]].concat();
        exec::ended(command.args(args), "")
    };
    let listed = direct(&["history", name, "-o", "name"])?;
    let said = String::from_utf8_lossy(&listed.stderr);
    ensure!(
        listed.stdout == format!("peontask.peon.dev/{name}\n").as_bytes(),
        "{said}"
    );
    let printed = direct(&["logs", name, "--from-archive"])?;
    let said = String::from_utf8_lossy(&printed.stderr);
    ensure!(
        printed.stdout == log,
        "{} bytes instead of {}: {said}",
        printed.stdout.len(),
        log.len()
    );
    std::fs::remove_file(&file)?;
    Ok(())
}
