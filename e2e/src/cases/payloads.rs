//! Payloads of every size and source, and what becomes of the secrets in them.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, case};
use crate::testbed::{
    audit,
    druid::samples,
    exec,
    fixture::{Fixture, NAMESPACE, OPERATOR_NAMESPACE},
    wait::wait_until,
};

pub(super) const CASES: [Case; 5] = [
    case("payloads::sixteen_mebibytes_run", sixteen_mebibytes),
    case("payloads::text_reaches_the_peon_to_the_byte", exact_text),
    case("payloads::a_missing_chunk_is_waited_for", incomplete),
    case(
        "payloads::a_payload_that_is_not_what_was_said_never_runs",
        wrong_hash,
    ),
    case("payloads::a_secret_in_a_payload_stays_there", secret).own(),
];

/// JSON text of a noop with this much in it that nothing compresses.
fn large_noop(id: &str, bytes: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let mut noise = String::with_capacity(bytes);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Six bits a character.
        for shift in 0..10 {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let at = usize::try_from(state >> (shift * 6) & 63).unwrap_or(0);
            noise.push(char::from(alphabet[at]));
        }
    }
    noise.truncate(bytes);
    format!("{{\"type\":\"noop\",\"id\":\"{id}\",\"runTime\":1,\"context\":{{\"noise\":\"{noise}\"}}}}")
}

fn sixteen_mebibytes(fixture: &Fixture) -> Result<()> {
    let name = "sixteen-mebibytes";
    let empty = large_noop(name, 0).len();
    let task = large_noop(name, 16 * 1024 * 1024 - empty);
    ensure!(task.len() == 16 * 1024 * 1024, "{} bytes", task.len());
    fixture.peon_with_input(
        &["submit", "-f", "-", "--name", name, "--namespace", NAMESPACE],
        &task,
    )?;
    let task = fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    ensure!(task["spec"]["taskFrom"]["gzip"] == true, "{}", task["spec"]);
    let too_large = large_noop(name, 16 * 1024 * 1024);
    let args = [
        "submit",
        "-f",
        "-",
        "--name",
        "too-large",
        "--namespace",
        NAMESPACE,
    ];
    let error = fixture
        .peon_with_input(&args, &too_large)
        .err()
        .context("it was taken")?;
    ensure!(format!("{error:#}").contains("16777216"), "{error:#}");
    Ok(())
}

/// The task as its peon reads it.
fn as_the_peon_reads_it(fixture: &Fixture, name: &str) -> Result<String> {
    let pod = fixture.until_running(NAMESPACE, name)?["status"]["run"]["pod"].clone();
    let pod = pod.as_str().context("no status.run.pod")?;
    let args = [
        "exec",
        pod,
        "--namespace",
        NAMESPACE,
        "--",
        "cat",
        "/peon/task/task.json",
    ];
    fixture.kubectl.run(&args)
}

fn exact_text(fixture: &Fixture) -> Result<()> {
    let text = "{ \"type\":\"noop\", \"runTime\":600000,\"context\" : {\"n\":123456789012345678901234567890.10,\"b\":1e400, \"a\":\"\\u00fc\"} }";
    let expected = |name: &str| text.replacen('{', &format!("{{\"id\":\"{name}\","), 1);
    fixture.task(NAMESPACE, "exact-inline", &json!({ "taskJson": text }))?;
    let hash = sha256(text)?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "exact-chunk", "labels": {"peon.dev/payload": "true"}},
        "stringData": {"task": text},
    });
    fixture.apply(NAMESPACE, &secret)?;
    let from = json!({"taskFrom": {"sha256": hash, "secrets": [{"name": "exact-chunk", "key": "task"}]}});
    fixture.task(NAMESPACE, "exact-chunk", &from)?;
    for name in ["exact-inline", "exact-chunk"] {
        let read = as_the_peon_reads_it(fixture, name)?;
        ensure!(read == expected(name), "{name}: {read}");
        fixture.change(NAMESPACE, name, &json!({"cancel": true}))?;
    }
    Ok(())
}

fn sha256(text: &str) -> Result<String> {
    let output = exec::output_with_input(&mut std::process::Command::new("sha256sum"), text)?;
    Ok(output.split_whitespace().next().unwrap_or_default().to_owned())
}

fn incomplete(fixture: &Fixture) -> Result<()> {
    let name = "in-pieces";
    let parts = ["{\"type\":\"noop\",", "\"id\":\"in-pieces\",\"runTime\":1}"];
    let chunks: Vec<Value> = (0..2)
        .map(|at| json!({"name": format!("{name}-part-{at}"), "key": "part"}))
        .collect();
    let from = json!({"sha256": sha256(&parts.concat())?, "configMaps": chunks});
    fixture.task(NAMESPACE, name, &json!({ "taskFrom": from }))?;
    for (at, part) in parts.iter().enumerate() {
        let object = format!("{name}-part-{at}");
        let waits = |s: &Value| {
            let conditions = s["conditions"].as_array().into_iter().flatten();
            let mut found = conditions.filter(|c| c["reason"] == "PayloadIncomplete");
            found.any(|c| c["message"].as_str().is_some_and(|m| m.contains(&object)))
        };
        fixture.until(NAMESPACE, name, waits)?;
        let config_map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": object, "labels": {"peon.dev/payload": "true"}},
            "data": {"part": part},
        });
        fixture.apply(NAMESPACE, &config_map)?;
    }
    fixture.until_reason(NAMESPACE, name, "Succeeded").map(drop)
}

fn wrong_hash(fixture: &Fixture) -> Result<()> {
    let name = "not-what-was-said";
    let config_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"peon.dev/payload": "true"}},
        "data": {"task": "{\"type\":\"noop\"}"},
    });
    fixture.apply(NAMESPACE, &config_map)?;
    let from = json!({"sha256": sha256("{}")?, "configMaps": [{"name": name, "key": "task"}]});
    fixture.task(NAMESPACE, name, &json!({ "taskFrom": from }))?;
    let task = fixture.until_reason(NAMESPACE, name, "InvalidTask")?;
    let message = Fixture::message(&task, "Failed", "True")?;
    ensure!(message.contains("SHA-256"), "{message}");
    Ok(())
}

/// Looks for a marked secret wherever a payload could leak to.
fn secret(fixture: &Fixture) -> Result<()> {
    let name = "with-a-secret";
    let marked = format!("marked-secret-{}", fixture.run);
    let datasource = format!("secret_{}", fixture.run);
    let id = format!("index_parallel_{datasource}_2026-11-21T00:00:00.000Z");
    let mut task = samples::index_parallel(name, &id, &datasource)?["spec"]["task"].clone();
    task["context"]["password"] = json!(marked);
    fixture.druid.submit(&task)?;
    let args = [
        "submit",
        "-f",
        "-",
        "--name",
        name,
        "--registration=external",
        "--secret",
        "--namespace",
        NAMESPACE,
    ];
    fixture.peon_with_input(&args, &task.to_string())?;
    fixture.until_reason(NAMESPACE, name, "Succeeded")?;
    fixture.druid.shutdown(&id)?;

    let mut leaks = String::new();
    let mut look = |what: &str, text: &str| {
        if let Some(at) = text.find(&marked) {
            let around = text[..at].char_indices().rev().nth(80).map_or(0, |(at, _)| at);
            let _ = writeln!(leaks, "{what}: …{}", &text[around..at]);
        }
    };
    let all = "pods,configmaps,peontasks,peontemplates,events";
    let args = ["get", all, "--namespace", NAMESPACE, "-o", "json"];
    look("an object", &fixture.kubectl.run(&args)?);
    let pod = format!("{name}-1");
    look(
        "the peon's log",
        &fixture.kubectl.logs(&[&pod, "--namespace", NAMESPACE])?,
    );
    let operator = [
        "--selector=app.kubernetes.io/name=peon-operator",
        "--tail=-1",
        "--namespace",
        OPERATOR_NAMESPACE,
    ];
    look("the operator's log", &fixture.kubectl.logs(&operator)?);
    let own = fixture.target.own().context("no cluster of our own")?;
    // The log has requests, not their bodies; a URL may hold anything.
    let requests = wait_until(crate::testbed::fixture::LIMIT, "the audit log", || {
        let requests = audit::of_operator(own)?;
        Ok((!requests.is_empty()).then_some(requests))
    })?;
    look("a request", &format!("{requests:?}"));
    ensure!(leaks.is_empty(), "{leaks}");
    let chunk = [
        "get",
        "secret",
        &format!("{name}.payload.0"),
        "--namespace",
        NAMESPACE,
        "-o",
        "name",
    ];
    fixture
        .kubectl
        .run(&chunk)
        .map(drop)
        .context("the payload was not in a Secret")
}
