//! Tasks that have one id: each keeps its log, and one of them has it where an overlord reads.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::until_archived;
use crate::{
    cases::{Case, case},
    testbed::{
        exec,
        fixture::{Fixture, NAMESPACE},
        json::list,
        kubectl::condition,
    },
};

pub(super) const CASES: [Case; 2] = [
    case(
        "logs::of_one_id_in_two_namespaces_are_each_their_own",
        two_namespaces,
    )
    .own(),
    case("logs::of_one_id_three_times_at_once_are_all_kept", three_at_once).own(),
];

/// A noop that runs for so long, with a word of its own in its log: its template has the JVM print it.
fn noop(fixture: &Fixture, namespace: &str, name: &str, id: &str, millis: u32) -> Result<()> {
    let mut template = fixture.sample_for(namespace)?;
    template["metadata"]["name"] = json!(name);
    let mut options = list(&template["spec"]["javaOpts"]);
    options.push(json!(format!("-Dpeon.test.word={}", word(namespace, name))));
    options.push(json!("-XshowSettings:properties"));
    template["spec"]["javaOpts"] = json!(options);
    fixture.apply(namespace, &template)?;
    let spec = json!({
        "task": {"type": "noop", "id": id, "runTime": millis},
        "templateRef": {"name": name},
    });
    fixture.task(namespace, name, &spec)
}

fn word(namespace: &str, name: &str) -> String {
    format!("word-of-{namespace}-{name}")
}

/// What `kubectl peon logs` prints from the archive, of a task that is there still and of the history.
fn read(fixture: &Fixture, namespace: &str, name: &str) -> Result<String> {
    let mut command = fixture.peon_command()?;
    let done = exec::ended(
        command.args(["logs", name, "--from-archive", "--namespace", namespace]),
        "",
    )?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{namespace}/{name}: {said}");
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The log of the task is its own and nobody else's.
fn has_its_own(fixture: &Fixture, namespace: &str, name: &str) -> Result<()> {
    let log = read(fixture, namespace, name)?;
    ensure!(
        log.contains(&word(namespace, name)),
        "{namespace}/{name} reads {log}"
    );
    let own = word(namespace, name);
    let all = log.match_indices("word-of-");
    ensure!(
        all.into_iter().all(|(at, _)| log[at..].starts_with(&own)),
        "{namespace}/{name} reads {log}"
    );
    Ok(())
}

fn recorded(fixture: &Fixture, namespace: &str, name: &str) -> Result<(Value, String)> {
    fixture.until(namespace, name, |status| {
        condition(status, "Recorded", "True").is_some()
    })?;
    until_archived(fixture, namespace, name)
}

fn two_namespaces(fixture: &Fixture) -> Result<()> {
    let (name, id) = ("shared-id", "shared-by-namespaces");
    let other = fixture.namespace("shared-id-other")?;
    noop(fixture, NAMESPACE, name, id, 1)?;
    let (_, first) = recorded(fixture, NAMESPACE, name)?;
    ensure!(first == "Archived", "the first: {first}");
    noop(fixture, &other, name, id, 1)?;
    let (task, second) = recorded(fixture, &other, name)?;
    ensure!(second == "IdConflict", "the second: {second}");
    let said = condition(&task["status"], "LogsArchived", "True").context("no condition")?;
    let said = said["message"].as_str().unwrap_or_default();
    ensure!(
        said.contains("another namespace") && !said.contains(NAMESPACE),
        "{said}"
    );
    has_its_own(fixture, NAMESPACE, name)?;
    has_its_own(fixture, &other, name)?;
    let overlords = fixture.archived(&format!("{id}.log"))?.context("no log")?;
    let overlords = String::from_utf8_lossy(&overlords).into_owned();
    ensure!(overlords.contains(&word(NAMESPACE, name)), "{overlords}");
    Ok(())
}

fn three_at_once(fixture: &Fixture) -> Result<()> {
    let (names, id) = (["at-once-a", "at-once-b", "at-once-c"], "shared-at-once");
    for name in names {
        noop(fixture, NAMESPACE, name, id, 5000)?;
    }
    let mut reasons = Vec::new();
    for name in names {
        reasons.push(recorded(fixture, NAMESPACE, name)?.1);
        has_its_own(fixture, NAMESPACE, name)?;
    }
    reasons.sort();
    ensure!(reasons == ["Archived", "IdConflict", "IdConflict"], "{reasons:?}");
    Ok(())
}
