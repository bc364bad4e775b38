//! Objects that are made to hurt: nested beyond every parser, large beyond every cache, odd in every way.
//!
//! `FUZZ_OBJECTS=<n>` sets how many odd ones there are; `make test-full` tries 10,000.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Case, Turn, case};
use crate::testbed::druid::samples;
use crate::testbed::fixture::{Fixture, LIMIT, NAMESPACE, OPERATOR_NAMESPACE};
use crate::testbed::proxy::Proxy;
use crate::testbed::wait::wait_until;

pub(super) const CASES: [Case; 1] = [case(
    "hostile::one_object_costs_only_itself",
    one_object_costs_only_itself,
)
.turn(Turn::Alone)];

const OBJECTS: u64 = 1_000;
const LARGE: u64 = 100;
const LANES: u64 = 4;
/// Stands in the payload of another tenant.
const MARKER: &str = "hunter2-of-another-tenant";
/// Generous; what it really takes is printed.
const READY: Duration = Duration::from_secs(120);
const LOOKED_AT: Duration = Duration::from_secs(900);

fn objects() -> Result<u64> {
    match std::env::var("FUZZ_OBJECTS") {
        Ok(many) => many.parse().context("FUZZ_OBJECTS is not a number"),
        Err(_) => Ok(OBJECTS),
    }
}

fn task(name: &str, payload: &str) -> String {
    format!(
        r#"{{"apiVersion":"peon.dev/v1alpha1","kind":"PeonTask","metadata":{{"name":"{name}"}},"spec":{{"task":{payload}}}}}"#
    )
}

fn deep(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

fn path(namespace: &str, plural: &str) -> String {
    format!("/apis/peon.dev/v1alpha1/namespaces/{namespace}/{plural}")
}

/// Creates it, by HTTP: kubectl would look at it first.
fn create(proxy: &Proxy, namespace: &str, plural: &str, object: &str) -> Result<bool> {
    match proxy.request("POST", &path(namespace, plural), Some(object)) {
        Ok(_) => Ok(true),
        Err(error) => {
            let said = format!("{error:#}");
            let is_refused = [" answered 400", " answered 413", " answered 422"];
            ensure!(is_refused.iter().any(|code| said.contains(code)), "{said}");
            Ok(false)
        }
    }
}

#[allow(clippy::too_many_lines)] // One story, told in order.
fn one_object_costs_only_itself(fixture: &Fixture) -> Result<()> {
    let objects = objects()?;
    let (victim, attacker) = (fixture.namespace("victim")?, fixture.namespace("attacker")?);
    let proxy = Proxy::start(&fixture.kubectl)?;
    // What is accepted waits: that many pods are another test's.
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"count/configmaps": "0"}},
    });
    fixture.apply(&attacker, &quota)?;
    // It waits, so that its payload is in every list.
    let held = json!({"task": {"type": "noop", "password": MARKER}, "suspend": true});
    fixture.task(&victim, "held", &held)?;

    bounds(&proxy, &attacker)?;
    for levels in [200, 5_000] {
        let payload = format!(r#"{{"type":"noop","x":{}}}"#, deep(levels));
        ensure!(
            create(
                &proxy,
                &attacker,
                "peontasks",
                &task(&format!("deep-{levels}"), &payload)
            )?,
            "the API server refuses {levels} levels by now: this tests nothing"
        );
        let template = format!(
            r#"{{"apiVersion":"peon.dev/v1alpha1","kind":"PeonTemplate","metadata":{{"name":"deep-{levels}"}},"spec":{{"template":{{"spec":{{"x":{}}}}}}}}}"#,
            deep(levels)
        );
        ensure!(
            create(&proxy, &attacker, "peontemplates", &template)?,
            "{levels} levels in a template"
        );
    }
    let named = json!({"task": {"type": "noop"}, "templateRef": {"name": "deep-200"}});
    fixture.task(&attacker, "of-a-deep-template", &named)?;

    // As they were created before the policy, or without it: what is there already must not hurt either.
    let policy = Lifted::lift(fixture)?;
    let large = throw(LARGE, |at| {
        let payload = format!(r#"{{"type":"noop","pad":"{}"}}"#, "x".repeat(1_400_000));
        wait_until(Duration::from_secs(60), "the policy to be gone", || {
            Ok(create(
                &proxy,
                &attacker,
                "peontasks",
                &task(&format!("large-{at}"), &payload),
            )?
            .then_some(()))
        })
        .map(|()| true)
    })?;
    let odd = throw(objects, |at| {
        let (plural, object) = super::fuzz::object(at);
        create(&proxy, &attacker, plural, &object.to_string())
    })?;
    println!("{large} large objects and {odd} of {objects} odd ones were accepted by the API server");

    let before = logs(fixture)?;
    let restarted = Instant::now();
    fixture.kubectl.run(&[
        "delete",
        "pod",
        "--namespace",
        OPERATOR_NAMESPACE,
        "--all",
        "--wait=false",
    ])?;
    let pods = [
        "pod",
        "--namespace",
        OPERATOR_NAMESPACE,
        "--selector=app.kubernetes.io/name=peon-operator",
    ];
    let started = wait_until(READY, "the operator to be ready again", || {
        let pods = fixture.kubectl.get_json(&pods)?;
        let ready = pods["items"].as_array().into_iter().flatten().find(|pod| {
            pod["metadata"]["deletionTimestamp"].is_null()
                && pod["status"]["containerStatuses"][0]["ready"] == true
        });
        Ok(ready.cloned())
    })?;
    println!(
        "ready {:.1} s after its pod was deleted, by its own times from {} to {}",
        restarted.elapsed().as_secs_f64(),
        started["status"]["containerStatuses"][0]["state"]["running"]["startedAt"],
        started["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|c| c["type"] == "Ready")
            .map_or(&Value::Null, |c| &c["lastTransitionTime"]),
    );

    fixture.apply(NAMESPACE, &samples::noop("after-the-storm")?)?;
    fixture.until_reason(NAMESPACE, "after-the-storm", "Succeeded")?;
    fixture.change(&victim, "held", &json!({"suspend": false}))?;
    fixture.until_reason(&victim, "held", "Succeeded")?;
    for name in ["deep-200", "deep-5000", "large-0"] {
        until_status(fixture, &attacker, name, |status| {
            status["reason"] == "InvalidTask" && status["phase"] == "Failed"
        })?;
    }
    fixture.until(&attacker, "of-a-deep-template", |status| {
        status["reason"] == "InvalidTemplate"
    })?;
    wait_until(LOOKED_AT, "every task to be looked at", || {
        let pending = fixture.kubectl.run(&[
            "get",
            "peontasks",
            "--namespace",
            &attacker,
            "--field-selector=status.phase=Pending",
            "--output=jsonpath={.items[*].status.reason}",
        ])?;
        Ok((!pending.contains("WaitingForOperator")).then_some(()))
    })?;

    let listed = fixture.peon(&["list", "--namespace", &attacker])?;
    ensure!(
        listed.contains("deep-200") && listed.contains("large-0"),
        "the list is not whole"
    );
    let operator = fixture.kubectl.get_json(&pods)?;
    for pod in operator["items"].as_array().into_iter().flatten() {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        ensure!(*restarts == 0, "the operator was restarted {restarts} times");
    }
    for (of, log) in before.into_iter().chain(logs(fixture)?) {
        ensure!(!log.contains(MARKER), "{of} logs another tenant's payload");
    }
    fixture
        .kubectl
        .delete(&["namespace", &attacker, &victim, "--wait=false"])?;
    // The release is as the other cases expect it.
    policy.restore()
}

/// The policy of the bounds, while it does not hold. Where the case fails it is restored, too.
struct Lifted<'f> {
    fixture: &'f Fixture,
    binding: Option<Value>,
}

impl<'f> Lifted<'f> {
    fn lift(fixture: &'f Fixture) -> Result<Self> {
        let policy = format!("peon-operator-{OPERATOR_NAMESPACE}-bounds");
        let args = ["validatingadmissionpolicybinding", policy.as_str()];
        let mut binding = fixture.kubectl.get_json(&args)?;
        for key in [
            "creationTimestamp",
            "generation",
            "managedFields",
            "resourceVersion",
            "uid",
        ] {
            if let Some(metadata) = binding["metadata"].as_object_mut() {
                metadata.remove(key);
            }
        }
        fixture.kubectl.delete(&args)?;
        Ok(Self {
            fixture,
            binding: Some(binding),
        })
    }

    fn restore(mut self) -> Result<()> {
        let binding = self.binding.take();
        binding.map_or(Ok(()), |binding| self.fixture.kubectl.apply(&binding.to_string()))
    }
}

impl Drop for Lifted<'_> {
    fn drop(&mut self) {
        let Some(binding) = self.binding.take() else {
            return;
        };
        if let Err(error) = self.fixture.kubectl.apply(&binding.to_string()) {
            eprintln!("the policy of the bounds is not restored: {error:#}");
        }
    }
}

/// Waits for a status of a task that no parser of JSON reads as a whole.
fn until_status(
    fixture: &Fixture,
    namespace: &str,
    name: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<()> {
    let args = [
        "get",
        "peontask",
        name,
        "--namespace",
        namespace,
        "--output=jsonpath={.status}",
    ];
    let mut last = String::new();
    let found = wait_until(LIMIT, &format!("the status of {name}"), || {
        last = fixture.kubectl.run(&args)?;
        let status: Value = serde_json::from_str(&last)?;
        Ok(wanted(&status).then_some(()))
    });
    found.with_context(|| last)
}

/// What the policy refuses where it enters, and what it must let in.
fn bounds(proxy: &Proxy, namespace: &str) -> Result<()> {
    let filled = |bytes: usize| {
        let empty = r#"{"type":"noop","pad":""}"#.len();
        format!(r#"{{"type":"noop","pad":"{}"}}"#, "x".repeat(bytes - empty))
    };
    // What is the longest where the policy counts, and still 100 KiB of JSON.
    let numbers = format!(r#"{{"type":"noop","x":[{}0]}}"#, "0,".repeat(51_000));
    let texts = format!(r#"{{"type":"noop","x":[{}""]}}"#, r#""ü","#.repeat(20_000));
    let objects = format!(r#"{{"type":"noop","x":[{}{{}}]}}"#, "{},".repeat(34_000));
    let nested = format!(r#"{{"type":"noop","x":{}}}"#, deep(63));
    for (name, payload, is_legal) in [
        ("filled", filled(102_400), true),
        ("numbers", numbers, true),
        ("texts", texts, true),
        ("objects", objects, true),
        ("nested", nested, true),
        ("too-large", filled(1_400_000), false),
    ] {
        let began = Instant::now();
        let is_taken = create(proxy, namespace, "peontasks", &task(name, &payload))?;
        println!(
            "{name}: {} bytes, taken: {is_taken}, {} ms",
            payload.len(),
            began.elapsed().as_millis()
        );
        ensure!(
            is_taken == is_legal,
            "{name} of {} bytes: taken: {is_taken}",
            payload.len()
        );
    }
    Ok(())
}

/// Does it for each number up to `many`, several at a time; says how often it was taken.
fn throw(many: u64, each: impl Fn(u64) -> Result<bool> + Sync) -> Result<u64> {
    let lanes: Vec<Result<u64>> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let each = &each;
                scope.spawn(move || {
                    let mut taken = 0;
                    for at in (lane..many).step_by(usize::try_from(LANES)?) {
                        taken += u64::from(each(at)?);
                    }
                    Ok(taken)
                })
            })
            .collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|_| bail!("a lane panicked")))
            .collect()
    });
    lanes.into_iter().sum()
}

/// The log of every process of ours, by pod.
fn logs(fixture: &Fixture) -> Result<Vec<(String, String)>> {
    let mut logs = Vec::new();
    for namespace in [OPERATOR_NAMESPACE, NAMESPACE] {
        let pods = fixture.kubectl.get_json(&[
            "pod",
            "--namespace",
            namespace,
            "--selector=app.kubernetes.io/name=peon-operator",
        ])?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            // One that is just being deleted may have none any more.
            if let Ok(log) =
                fixture
                    .kubectl
                    .run(&["logs", name, "--namespace", namespace, "--all-containers"])
            {
                logs.push((name.to_owned(), log));
            }
        }
    }
    ensure!(!logs.is_empty(), "no process of ours has a log");
    Ok(logs)
}
