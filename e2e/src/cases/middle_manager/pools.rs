//! Pools of Indexers: warm, unseen by the overlord, and replaced.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Case, MiddleManager, NAME, case, list, text};
use crate::testbed::{
    druid::samples,
    fixture::{Fixture, LIMIT},
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[
    case("pools::indexers_are_warm_and_hidden_and_replaced", warm)
        .long()
        .own(),
    case("pools::what_keeps_an_indexer_from_being_warm_is_said", not_warm).own(),
];

const POOL: &str = "warm";

/// Applies a pool, and the template of its Indexers, both changed.
pub(super) fn pool(fixture: &Fixture, name: &str, template: &Value, spec: &Value) -> Result<()> {
    let mut object = fixture.bare_sample()?;
    object["metadata"]["name"] = json!(name);
    merge(&mut object["spec"], template);
    fixture.apply(fixture.home(), &object)?;
    let mut of_pool = json!({
        "templateRef": {"name": name},
        "middleManagerRef": {"name": NAME},
        "replicas": 1,
        "maxIndexers": 4,
        "resources": {"limits": {"memory": "640Mi", "cpu": "1"}, "requests": {"cpu": "10m"}},
    });
    merge(&mut of_pool, spec);
    let object = samples::pool(name, &of_pool);
    fixture.apply(fixture.home(), &object)
}

fn merge(to: &mut Value, from: &Value) {
    let Value::Object(from) = from else { return };
    for (key, value) in from {
        if value.is_object() && to[key].is_object() {
            merge(&mut to[key], value);
        } else {
            to[key] = value.clone();
        }
    }
}

/// Waits for a pool with this reason of `Ready`, and returns it.
pub(super) fn until(fixture: &Fixture, name: &str, reason: &str) -> Result<Value> {
    until_pool(fixture, name, |pool| {
        let current = pool["status"]["observedGeneration"] == pool["metadata"]["generation"];
        current && ready(pool)["reason"] == reason
    })
}

pub(super) fn until_pool(fixture: &Fixture, name: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let args = ["indexerpool", name, "--namespace", fixture.home()];
    fixture.kubectl.wait_for(&args, LIMIT, wanted)
}

pub(super) fn ready(pool: &Value) -> Value {
    let conditions = list(&pool["status"]["conditions"]);
    conditions
        .into_iter()
        .find(|c| c["type"] == "Ready")
        .unwrap_or_default()
}

/// The pods of a pool that are not being deleted: name and revision.
fn pods(fixture: &Fixture, name: &str) -> Result<Vec<(String, String)>> {
    let selector = format!("peon.dev/pool={name}");
    let args = ["pods", "--namespace", fixture.home(), "--selector", &selector];
    let found = list(&fixture.kubectl.get_json(&args)?["items"]);
    let live = found
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let read = live.map(|pod| {
        let meta = &pod["metadata"];
        let revision = text(&meta["labels"]["peon.dev/revision"]).to_owned();
        (text(&meta["name"]).to_owned(), revision)
    });
    Ok(read.collect())
}

fn warm(fixture: &Fixture) -> Result<()> {
    let manager = MiddleManager::start(fixture)?;
    pool(fixture, POOL, &json!({}), &json!({"replicas": 2}))?;
    let warm = until(fixture, POOL, "Warm")?;
    let discovery = &warm["status"]["discovery"];
    ensure!(list(&discovery["hidden"]).len() == 2, "{discovery}");
    manager.until_workers(2)?;

    // A JVM that ends is replaced by another one.
    let before = pods(fixture, POOL)?;
    ensure!(before.len() == 2, "{before:?}");
    let killed = &before[0].0;
    let delete = [
        "delete",
        "pod",
        killed,
        "--namespace",
        fixture.home(),
        "--wait=false",
    ];
    fixture.kubectl.run(&delete)?;
    wait_until(LIMIT, "another Indexer in its place", || {
        let now = pods(fixture, POOL)?;
        let other = now.len() == 2 && now.iter().all(|(name, _)| name != killed);
        Ok(other.then_some(()))
    })?;
    until(fixture, POOL, "Warm")?;

    // A change of the template replaces all, and leaves no gap in what is warm.
    pool(
        fixture,
        POOL,
        &json!({"properties": {"druid.startup.logging.logProperties": "false"}}),
        &json!({"replicas": 2}),
    )?;
    let old = &before[0].1;
    let replaced = wait_until(LIMIT, "Indexers of the new revision", || {
        let status = &until_pool(fixture, POOL, |_| true)?["status"];
        ensure!(
            status["readyReplicas"].as_u64() > Some(0) || status["replicas"].as_u64() > Some(2),
            "none is warm: {status}"
        );
        let now = pods(fixture, POOL)?;
        Ok((now.len() == 2 && now.iter().all(|(_, revision)| revision != old)).then_some(now))
    })?;
    ensure!(replaced[0].1 == replaced[1].1, "{replaced:?}");
    until(fixture, POOL, "Warm")?;
    manager.until_workers(2)?;

    // Its tasks still run as they did.
    let task = manager.submit(&super::noop(fixture, "beside_a_pool", 1000))?;
    let status = manager.until_ended(&task)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");

    let delete = ["delete", "indexerpool", POOL, "--namespace", fixture.home()];
    fixture.kubectl.run(&delete)?;
    wait_until(LIMIT, "an end of its pods", || {
        Ok(pods(fixture, POOL)?.is_empty().then_some(()))
    })
}

/// Takes the excluded modules out of the argument file, and starts Java as if nothing had happened.
const SHIM: &str = r#"#!/bin/sh
for argument; do
  case $argument in @*) grep -v druid.modules.excludeList "${argument#@}" >/tmp/args; mv /tmp/args "${argument#@}";; esac
done
PATH=${PATH#*:}
exec java "$@"
"#;

fn not_warm(fixture: &Fixture) -> Result<()> {
    let _manager = MiddleManager::start(fixture)?;
    pool(
        fixture,
        "small",
        &json!({}),
        &json!({"resources": {"limits": {"memory": "256Mi"}}}),
    )?;
    pool(
        fixture,
        "broken",
        &json!({"javaOpts": ["-XX:+NoSuchOption"]}),
        &json!({}),
    )?;
    let shim = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shim"}, "data": {"java": SHIM},
    });
    fixture.apply(fixture.home(), &shim)?;
    // A Druid on which the property has no effect.
    let seen = json!({"template": {"spec": {
        "containers": [{
            "name": "peon",
            "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "PATH", "value": "/shim:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}],
            "volumeMounts": [{"name": "shim", "mountPath": "/shim"}],
        }],
        "volumes": [{"name": "shim", "configMap": {"name": "shim", "defaultMode": 0o555}}],
    }}});
    pool(fixture, "visible", &seen, &json!({}))?;

    let said = |name: &str, reason: &str, part: &str| -> Result<()> {
        let pool = until(fixture, name, reason)?;
        let message = ready(&pool)["message"].take();
        ensure!(text(&message).contains(part), "{message}");
        Ok(())
    };
    said(
        "small",
        "InvalidSizing",
        "a memory limit of 256 MiB cannot hold the JVM",
    )?;
    said("broken", "IndexerFails", "NoSuchOption")?;
    said("visible", "NotHidden", "workerNodeService")?;
    for name in ["small", "broken", "visible"] {
        let delete = ["delete", "indexerpool", name, "--namespace", fixture.home()];
        fixture.kubectl.run(&delete)?;
    }
    Ok(())
}
