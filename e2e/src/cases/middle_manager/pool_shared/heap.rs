//! A shared Indexer whose heap is full, and the streams of the logs of shared Indexers.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::super::pool_tasks::Pool;
use super::{change, list, noop, spec, text};
use crate::testbed::audit::{self, Request};
use crate::testbed::fixture::{Fixture, LIMIT, OPERATOR_NAMESPACE};
use crate::testbed::wait::wait_until;

/// The template of the lane, with these options.
fn template(fixture: &Fixture, options: &[&str]) -> Result<()> {
    fixture.template(fixture.home(), "default", |spec| {
        spec["resources"]["requests"]["cpu"] = json!("50m");
        if let Some(all) = spec["javaOpts"].as_array_mut() {
            all.extend(options.iter().map(|option| json!(option)));
        }
    })
}

/// An Indexer whose heap is full, as far as the pool says, gets no task while it has one, and gets tasks again afterwards. Its
/// collector looks at the whole heap every second.
pub(super) fn full(fixture: &Fixture) -> Result<()> {
    template(fixture, &["-XX:+UseG1GC", "-XX:G1PeriodicGCInterval=1000"])?;
    let outcome = cordoned(fixture);
    template(fixture, &[])?;
    outcome
}

fn cordoned(fixture: &Fixture) -> Result<()> {
    let mut of_pool = spec(1, "16Mi");
    of_pool["resources"]["limits"]["memory"] = json!("700Mi");
    of_pool["slots"] = json!({"heavy": 2, "light": 1});
    of_pool["watchdog"] = json!({"cordonLivePercent": 10, "cordonGcPercent": 100});
    of_pool["recycle"] = json!({"liveHeapPercent": 100});
    let pool = Pool::start(fixture, &of_pool)?;
    let [first, second] = ["first", "second"].map(|name| format!("{name}_{}", fixture.run));
    pool.manager.submit(&noop(&first, 25_000))?;
    let name = pool.manager.until_assigned(&first)?;
    fixture.until_running(fixture.home(), &name)?;
    let args = ["indexerpool", "warm", "--namespace", fixture.home()];
    let indexer = |pool: &Value| list(&pool["status"]["indexers"]).into_iter().next();
    let is_cordoned = |pool: &Value| indexer(pool).is_some_and(|i| i["state"] == "Cordoned");
    let found = fixture.kubectl.wait_for(&args, LIMIT, is_cordoned)?;
    let state = indexer(&found).context("no Indexer")?;
    ensure!(
        state["livePercent"].as_u64() >= Some(10)
            && text(&state["reason"]).contains("of its heap is in use after a full garbage collection"),
        "{state}"
    );
    pool.manager.submit(&noop(&second, 100))?;
    for id in [&first, &second] {
        let status = pool.manager.until_ended(id)?;
        ensure!(status["statusCode"] == "SUCCESS", "{id}: {status}");
    }
    let (one, other) = (pool.peon_task(&first)?, pool.peon_task(&second)?);
    ensure!(
        one["status"]["run"]["podUID"] == other["status"]["run"]["podUID"],
        "{other}"
    );
    let (ended, began) = (
        text(&one["status"]["completionTime"]),
        text(&other["status"]["run"]["slotTime"]),
    );
    ensure!(
        began >= ended,
        "the second task got a slot at {began}, the first ended at {ended}"
    );
    let events = ["get", "events", "--namespace", fixture.home(), "--output", "json"];
    for reason in ["Cordoned", "Uncordoned"] {
        let of_pool = format!("--field-selector=reason={reason}");
        wait_until(LIMIT, "an Event of the pool", || {
            let said = fixture.kubectl.run(&[&events[..], &[&of_pool]].concat())?;
            Ok(said.contains(text(&state["pod"])).then_some(()))
        })?;
    }
    Ok(())
}

/// The operator opened few streams of the logs of these pods. A stream is in the audit log when it ends, so the pool is emptied.
pub(super) fn few_streams(fixture: &Fixture, pool: &Pool<'_>, from: u64, pods: &[String]) -> Result<()> {
    change(fixture, &spec(0, "40Mi"))?;
    for pod in pods {
        pool.until_pod_is_gone(pod)?;
    }
    let own = fixture.target.own().context("no cluster of our own")?;
    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:");
    let streams = wait_until(LIMIT, "the ends of the streams", || {
        let is_one = |r: &Request| {
            r.user.starts_with(&user) && r.resource == "pods/log" && r.namespace == fixture.home()
        };
        let requests = audit::of_operator_from(own, from)?;
        let streams: Vec<Request> = requests.into_iter().filter(is_one).collect();
        let all = pods.iter().all(|pod| streams.iter().any(|r| r.name == *pod));
        Ok(all.then_some(streams))
    })?;
    println!(
        "the operator opened {} streams of {} Indexers",
        streams.len(),
        pods.len()
    );
    // One each, and at its end some look whether it is the end.
    ensure!(streams.len() <= pods.len() * 4, "{streams:?}");
    Ok(())
}
