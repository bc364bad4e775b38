//! `kubectl peon` against a real cluster.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, case};
use crate::testbed::exec;
use crate::testbed::fixture::{Fixture, LIMIT, NAMESPACE};
use crate::testbed::wait::wait_until;

pub(super) const CASES: [Case; 7] = [
    case("cli::submits_tasks_and_completes_a_submission", submits),
    case("cli::lists_what_the_filters_say", lists),
    case("cli::cancels_suspends_and_resumes", desires),
    case("cli::exit_codes_are_for_scripts", exit_codes),
    case("cli::says_which_right_is_missing", rights),
    case("cli::shows_the_rows_of_a_running_task", rows).long(),
    case("cli::explains_a_task_that_makes_no_progress", no_progress),
];

/// A Druid task with spaces and a number that Kubernetes would round.
const NOOP: &str =
    "{ \"type\":\"noop\",  \"runTime\": 1, \"context\": {\"exact\": 1.2345678901234567890} }\n";

/// What became of a command.
struct Ran {
    code: Option<i32>,
    out: String,
    error: String,
}

fn run(fixture: &Fixture, namespace: &str, args: &[&str], input: &str) -> Result<Ran> {
    let mut command = fixture.peon_command()?;
    let done = exec::ended(command.args(args).args(["--namespace", namespace]), input)?;
    Ok(Ran {
        code: done.status.code(),
        out: String::from_utf8(done.stdout)?,
        error: String::from_utf8(done.stderr)?,
    })
}

/// Runs a command that ends with this code; returns its output and its errors.
fn ends(
    fixture: &Fixture,
    namespace: &str,
    code: i32,
    args: &[&str],
    input: &str,
) -> Result<(String, String)> {
    let ran = run(fixture, namespace, args, input)?;
    let words = args.join(" ");
    ensure!(
        ran.code == Some(code),
        "{words} ended with {:?} instead of {code}: {}{}",
        ran.code,
        ran.out,
        ran.error
    );
    Ok((ran.out, ran.error))
}

/// A namespace with a held task of this name.
fn with_held(fixture: &Fixture, namespace: &str, name: &str) -> Result<String> {
    let namespace = fixture.namespace(namespace)?;
    let args = ["submit", name, "--suspend", "--label", "team=ads"];
    ends(fixture, &namespace, 0, &args, NOOP)?;
    fixture.until(&namespace, name, |s| s["phase"] == "Suspended")?;
    Ok(namespace)
}

fn submits(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("submits")?;
    let submit = |code, args: &[&str], input: &str| {
        let args = [&["submit", "--suspend"], args].concat();
        ends(fixture, &namespace, code, &args, input)
    };
    let (out, _) = submit(0, &["plain", "--memory", "1Gi", "--cpu", "500m"], NOOP)?;
    ensure!(out == "peontask.peon.dev/plain created\n", "{out}");
    let task = fixture.get(&namespace, "plain")?;
    ensure!(task["spec"]["taskJson"] == NOOP.trim(), "{}", task["spec"]);
    let limits = &task["spec"]["resources"]["limits"];
    ensure!(*limits == json!({"cpu": "500m", "memory": "1Gi"}), "{limits}");
    let (out, _) = submit(0, &["plain", "--memory", "1Gi", "--cpu", "500m"], NOOP)?;
    ensure!(
        out.starts_with("peontask.peon.dev/plain exists already ("),
        "{out}"
    );
    let (_, error) = submit(1, &["plain"], "{\"type\":\"noop\"}")?;
    ensure!(error.contains("exists already, with another payload"), "{error}");
    let (_, error) = submit(1, &["bad"], "{\n\"type\": noop}")?;
    ensure!(error.contains("line 2 column"), "{error}");

    let (out, _) = submit(0, &["--secret", "-o", "json"], NOOP)?;
    let made: Value = serde_json::from_str(&out)?;
    let name = made["metadata"]["name"].as_str().context("no name")?;
    let chunk = made["spec"]["taskFrom"]["secrets"][0]["name"]
        .as_str()
        .context("no chunk")?;
    let secret = ["secret", chunk, "--namespace", &namespace];
    let first = fixture.kubectl.get_json(&secret)?;
    ensure!(
        first["metadata"]["ownerReferences"][0]["name"] == *name,
        "{}",
        first["metadata"]
    );
    // A submission that broke off before its chunks is completed by repeating it.
    fixture.kubectl.delete(&secret)?;
    submit(0, &["--secret"], NOOP)?;
    let second = fixture.kubectl.get_json(&secret)?;
    ensure!(first["data"] == second["data"], "another payload");
    fixture.until(&namespace, name, |s| s["phase"] == "Suspended")?;

    let folder = std::env::temp_dir().join(&namespace);
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("tasks.yaml");
    let task = |name: &str| {
        format!(
            "apiVersion: peon.dev/v1alpha1\nkind: PeonTask\nmetadata: {{name: {name}}}\nspec:\n  task: {{type: noop}}\n"
        )
    };
    std::fs::write(&file, format!("{}---\n{}", task("one"), task("two")))?;
    let file = file.display().to_string();
    let (out, _) = submit(0, &["-f", &file, "-o", "name"], "")?;
    ensure!(out == "peontask.peon.dev/one\npeontask.peon.dev/two\n", "{out}");
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn lists(fixture: &Fixture) -> Result<()> {
    let namespace = with_held(fixture, "lists", "held")?;
    let index = "{\"type\":\"index\",\"dataSource\":\"a,b\"}";
    ends(fixture, &namespace, 0, &["submit", "refused"], index)?;
    fixture.until_reason(&namespace, "refused", "NeedsOverlord")?;
    let names = |args: &[&str]| {
        let args = [&["list", "-o", "name"], args].concat();
        Ok::<_, anyhow::Error>(ends(fixture, &namespace, 0, &args, "")?.0)
    };
    let (held, refused) = ("peontask.peon.dev/held\n", "peontask.peon.dev/refused\n");
    for (args, expected) in [
        (&[][..], format!("{held}{refused}")),
        (&["--phase", "suspended"], held.to_owned()),
        (&["--type", "index"], refused.to_owned()),
        (&["--datasource", "a,b", "--phase", "Failed"], refused.to_owned()),
        (&["--datasource", "a"], String::new()),
        (&["-l", "team=ads"], held.to_owned()),
    ] {
        let listed = names(args)?;
        ensure!(listed == expected, "{args:?}: {listed}");
    }
    let (table, _) = ends(fixture, &namespace, 0, &["list"], "")?;
    ensure!(table.starts_with("NAME "), "{table}");
    let line = table
        .lines()
        .find(|l| l.starts_with("refused "))
        .context("no line")?;
    let cells: Vec<&str> = line.split_whitespace().collect();
    ensure!(
        cells[1..5] == ["index", "a,b", "Failed", "NeedsOverlord"],
        "{line}"
    );
    let (everywhere, _) = ends(fixture, &namespace, 0, &["list", "-A", "-o", "json"], "")?;
    let everywhere: Value = serde_json::from_str(&everywhere)?;
    let items = everywhere["items"].as_array().context("no items")?;
    ensure!(
        items.iter().any(|t| t["metadata"]["namespace"] == *namespace),
        "not in all namespaces"
    );
    let (none, said) = ends(fixture, &namespace, 0, &["list", "--type", "kill"], "")?;
    ensure!(
        none.is_empty() && said.starts_with("no such PeonTasks in"),
        "{none}{said}"
    );
    Ok(())
}

fn desires(fixture: &Fixture) -> Result<()> {
    let namespace = with_held(fixture, "desires", "held")?;
    let spec = || Ok::<_, anyhow::Error>(fixture.get(&namespace, "held")?["spec"].clone());
    let (out, _) = ends(fixture, &namespace, 0, &["suspend", "held", "--wait"], "")?;
    ensure!(out == "peontask.peon.dev/held suspended already\n", "{out}");
    let (out, _) = ends(fixture, &namespace, 0, &["cancel", "held", "--wait"], "")?;
    let expected = "peontask.peon.dev/held cancelled\npeontask.peon.dev/held failed: Cancelled: ";
    ensure!(out.starts_with(expected), "{out}");
    ensure!(spec()?["cancel"] == true, "{}", spec()?);
    let (out, _) = ends(fixture, &namespace, 0, &["cancel", "held"], "")?;
    ensure!(out == "peontask.peon.dev/held cancelled already\n", "{out}");
    let (_, error) = ends(fixture, &namespace, 1, &["resume", "held"], "")?;
    ensure!(
        error.contains("held has already failed (Cancelled), which is final"),
        "{error}"
    );

    ends(fixture, &namespace, 0, &["submit", "again", "--suspend"], NOOP)?;
    fixture.until(&namespace, "again", |s| s["phase"] == "Suspended")?;
    ends(
        fixture,
        &namespace,
        0,
        &["resume", "again", "--wait", "--timeout", "4m"],
        "",
    )?;
    ensure!(
        fixture.get(&namespace, "again")?["spec"]["suspend"] != true,
        "not resumed"
    );
    // One that is there is changed even if another is not.
    let (_, error) = ends(fixture, &namespace, 1, &["cancel", "absent", "again"], "")?;
    ensure!(error.contains("there is no PeonTask absent"), "{error}");
    ensure!(
        fixture.get(&namespace, "again")?["spec"]["cancel"] == true,
        "not cancelled"
    );
    Ok(())
}

fn exit_codes(fixture: &Fixture) -> Result<()> {
    let namespace = with_held(fixture, "exit-codes", "held")?;
    let index = "{\"type\":\"index\"}";
    let (out, _) = ends(fixture, &namespace, 3, &["submit", "refused", "--wait"], index)?;
    ensure!(out.contains("refused failed: NeedsOverlord: "), "{out}");
    ends(fixture, &namespace, 3, &["wait", "refused"], "")?;
    ends(
        fixture,
        &namespace,
        0,
        &["wait", "refused", "--for", "finished"],
        "",
    )?;
    let (_, error) = ends(fixture, &namespace, 4, &["wait", "held", "--timeout", "1s"], "")?;
    ensure!(error.contains("the task keeps running"), "{error}");
    let (_, error) = ends(fixture, &namespace, 1, &["wait", "absent"], "")?;
    ensure!(error.contains("there is no PeonTask absent"), "{error}");
    ends(fixture, &namespace, 2, &["wait"], "")?;
    let (text, _) = ends(fixture, &namespace, 3, &["explain", "-f", "-"], NOOP)?;
    ensure!(text.contains("template default ✗ NoTemplate"), "{text}");
    let (json, _) = ends(fixture, &namespace, 0, &["explain", "held", "-o", "json"], "")?;
    let json: Value = serde_json::from_str(&json)?;
    ensure!(
        json["reason"] == "Suspended" && json["settings"].is_array(),
        "{json}"
    );
    let (_, error) = ends(fixture, "there-is-none", 1, &["submit"], NOOP)?;
    ensure!(error.contains("there is no namespace there-is-none"), "{error}");
    Ok(())
}

/// A user who may see tasks and nothing else.
fn rights(fixture: &Fixture) -> Result<()> {
    let namespace = with_held(fixture, "rights", "held")?;
    let (user, kubectl) = ("looker", &fixture.kubectl);
    kubectl.run(&["create", "serviceaccount", user, "--namespace", &namespace])?;
    let role = [
        "create",
        "role",
        user,
        "--verb=get,list",
        "--resource=peontasks.peon.dev",
        "--namespace",
        &namespace,
    ];
    kubectl.run(&role)?;
    let account = format!("--serviceaccount={namespace}:{user}");
    let binding = [
        "create",
        "rolebinding",
        user,
        "--role",
        user,
        &account,
        "--namespace",
        &namespace,
    ];
    kubectl.run(&binding)?;
    let token = kubectl.run(&["create", "token", user, "--namespace", &namespace])?;
    let config = kubectl.run(&["config", "view", "--raw", "--minify", "-o", "json"])?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let file = std::env::temp_dir().join(format!("{namespace}.kubeconfig"));
    std::fs::write(&file, config.to_string())?;
    let path = file.display().to_string();
    let as_looker = |code, args: &[&str]| {
        let args = [args, &["--kubeconfig", &path]].concat();
        ends(fixture, &namespace, code, &args, "")
    };
    let (out, _) = as_looker(0, &["list", "-o", "name"])?;
    ensure!(out == "peontask.peon.dev/held\n", "{out}");
    let (text, _) = as_looker(0, &["explain", "held"])?;
    ensure!(
        text.contains("you may not list peontemplates in the namespace"),
        "{text}"
    );
    let (_, error) = as_looker(1, &["cancel", "held"])?;
    ensure!(
        error.contains("you may not patch peontasks in the namespace"),
        "{error}"
    );
    let (_, error) = as_looker(1, &["wait", "held"])?;
    ensure!(
        error.contains("you may not watch peontasks in the namespace"),
        "{error}"
    );
    std::fs::remove_file(&file)?;
    Ok(())
}

/// On a terminal, of a task that waits for its segments to be loaded, which nobody does here: the rows that it has
/// read are known by then.
fn rows(fixture: &Fixture) -> Result<()> {
    let name = "rows";
    let (id, _) = fixture.ingest(name, |task| {
        let task = &mut task["spec"]["task"];
        task["type"] = json!("index");
        task["spec"]["ioConfig"]["type"] = json!("index");
        task["spec"]["tuningConfig"] =
            json!({"type": "index", "awaitSegmentAvailabilityTimeoutMillis": 60_000});
    })?;
    let line = format!(
        "{} wait {name} --namespace {NAMESPACE} --timeout 4m",
        fixture.peon_command()?.get_program().display()
    );
    let mut terminal = Command::new("script");
    for (variable, value) in fixture.peon_command()?.get_envs() {
        terminal.env(variable, value.unwrap_or_default());
    }
    terminal
        .env("TERM", "xterm")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let done = exec::ended(&mut terminal, "")?;
    let shown = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success(), "{shown}");
    ensure!(shown.contains("3 rows"), "{shown:?}");
    fixture.druid.shutdown(&id)
}

/// A peon that finds no ZooKeeper runs, and says why in its log only.
fn no_progress(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("progress")?;
    let mut template = fixture.bare_sample()?;
    template["spec"]["properties"]["druid.zk.service.host"] = json!("nowhere.invalid:2181");
    fixture.apply(&namespace, &template)?;
    let task = json!({"task": {"type": "noop", "runTime": 1}});
    fixture.task(&namespace, "waiting", &task)?;
    fixture.until_running(&namespace, "waiting")?;
    let explained = wait_until(LIMIT, "a warning in the log", || {
        let (text, _) = ends(fixture, &namespace, 0, &["explain", "waiting"], "")?;
        let log = text.split("The end of its log\n").nth(1).unwrap_or_default();
        let log = log.split("\n\n").next().unwrap_or_default();
        Ok(Some(log.to_owned()).filter(|log| log.contains("UnknownHostException: nowhere.invalid")))
    })?;
    ensure!(
        explained.contains("the last line is ") && explained.contains(" ago"),
        "{explained}"
    );
    let (log, _) = ends(
        fixture,
        &namespace,
        0,
        &["logs", "waiting", "--timestamps", "--tail", "3"],
        "",
    )?;
    let is_timed =
        |line: &str| line.starts_with("20") && line.split(' ').next().is_some_and(|t| t.ends_with('Z'));
    ensure!(log.lines().count() == 3 && log.lines().all(is_timed), "{log}");
    fixture.change(&namespace, "waiting", &json!({"cancel": true}))
}
