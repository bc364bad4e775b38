//! Thousands of objects that nobody would write, through a real API server.
//!
//! `FUZZ_OBJECTS=<n>` sets how many; `make test-full` tries 10,000.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::{Case, Turn, case};
use crate::testbed::druid::samples;
use crate::testbed::fixture::{Fixture, NAMESPACE, OPERATOR_NAMESPACE};
use crate::testbed::proxy::Proxy;
use crate::testbed::wait::wait_until;

pub(super) const CASES: [Case; 1] =
    [case("fuzz::objects_that_nobody_would_write_stop_nobody", fuzz).turn(Turn::Burden)];

/// Enough to reach every reason.
const OBJECTS: u64 = 2_000;
const LANES: u64 = 4;
/// Each of them is read, written to and warned about.
const LOOKED_AT: Duration = Duration::from_secs(900);
/// Reasons that tasks must be found with, so that the fuzzing is known to go deep.
const REACHED: [&str; 10] = [
    "NoTemplate",
    "InvalidTemplate",
    "LimitExceeded",
    "InvalidTask",
    "NeedsOverlord",
    "PayloadIncomplete",
    "QuotaExceeded",
    "Suspended",
    "Cancelled",
    "StartDeadline",
];

/// A small generator (xorshift), the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn often(&mut self) -> bool {
        self.roll(10) < 8
    }

    fn rarely(&mut self) -> bool {
        self.roll(10) == 0
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.roll(of.len() as u64)).unwrap_or(0)]
    }

    fn text(&mut self) -> String {
        let odd = [
            "", " ", "a/b", ".x", "ü", "😀", "$(X)", "\u{0}", "\"", "\\", "x\ny", "-", "default", "{}",
        ];
        let plain = ["x", "noop", "wikipedia", "4Gi", "default", "a", "512Mi"];
        if self.often() {
            (*self.pick(&plain)).to_owned()
        } else if self.rarely() {
            self.pick(&odd).repeat(300)
        } else {
            (*self.pick(&odd)).to_owned()
        }
    }

    /// Anything at all.
    fn value(&mut self, depth: u32) -> Value {
        match self.roll(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.roll(2) == 0),
            2 => json!(self.roll(1 << 40)),
            3 => json!(-1.5e300),
            4 | 5 => json!(self.text()),
            6 => (0..self.roll(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let entries = (0..self.roll(4)).map(|_| (self.text(), self.value(depth - 1)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// A good value mostly, else anything.
    fn mostly(&mut self, good: &[Value]) -> Value {
        if self.roll(40) == 0 {
            self.value(2)
        } else {
            self.pick(good).clone()
        }
    }

    fn payload(&mut self) -> Value {
        let types = [
            json!("noop"),
            json!("noop"),
            json!("noop"),
            json!("index_parallel"),
            json!("kill"),
            json!("Nö"),
        ];
        let mut task = json!({ "type": self.mostly(&types) });
        if self.rarely() {
            task["id"] = json!(self.text());
        }
        if self.roll(3) == 0 {
            let keys = [
                "druid.peon.pod.memory",
                "druid.peon.pod.cpu",
                "druid.peon.javaOpts",
                "druid.indexer.runner.javaOptsArray",
                "druid.indexer.fork.property.druid.processing.buffer.sizeBytes",
                "broadcastDatasourceLoadingMode",
                "tags",
            ];
            let key = *self.pick(&keys);
            task["context"] = json!({ key: self.value(2) });
        }
        if self.rarely() {
            task[self.text()] = self.value(3);
        }
        task
    }

    fn task(&mut self, name: &str) -> Value {
        let mut spec = json!({});
        match self.roll(12) {
            0 => spec["taskJson"] = json!(self.payload().to_string()),
            1 => spec["taskJson"] = json!(self.text()),
            2 => {
                let kind = *self.pick(&["configMaps", "secrets"]);
                let chunks = [json!([{"name": "x", "key": "k"}]), json!([])];
                spec["taskFrom"] = json!({"sha256": "0".repeat(64), kind: self.mostly(&chunks)});
            }
            _ => spec["task"] = self.payload(),
        }
        let templates = [
            json!({"name": "fuzz-0"}),
            json!({"name": "fuzz-1"}),
            json!({"name": "strict"}),
            json!({"name": "broken"}),
        ];
        let good: [(&str, Vec<Value>); 12] = [
            ("templateRef", templates.to_vec()),
            (
                "resources",
                vec![
                    json!({"limits": {"memory": "1Gi", "cpu": 1}}),
                    json!({"limits": {"memory": "1Ki"}}),
                ],
            ),
            (
                "javaOpts",
                vec![
                    json!(["-Xmx100m"]),
                    json!(["-Xmx100g"]),
                    json!(["-Ddruid.plaintextPort=1"]),
                ],
            ),
            (
                "registration",
                vec![json!("External"), json!("Managed"), json!("x")],
            ),
            ("suspend", vec![json!(true)]),
            ("cancel", vec![json!(true)]),
            ("startDeadlineSeconds", vec![json!(1), json!(100_000), json!(0)]),
            ("activeDeadlineSeconds", vec![json!(1), json!(-1)]),
            (
                "ttlSecondsAfterFinished",
                vec![json!(100_000), json!(-1), json!(-2)],
            ),
            (
                "retry",
                vec![
                    json!({"limits": {"OOMKilled": 1}}),
                    json!({"rerun": "Always"}),
                    json!({"rerun": "x"}),
                ],
            ),
            ("unknownField", vec![json!(1)]),
            ("task", vec![json!({"type": "noop"})]),
        ];
        for (field, values) in good {
            if self.rarely() {
                spec[field] = self.mostly(&values);
            }
        }
        json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "metadata": {"name": name}, "spec": spec})
    }

    fn template(&mut self, name: &str) -> Value {
        let containers = [
            json!({"spec": {"containers": [{"name": "peon"}]}}),
            json!({"spec": {"containers": [{"name": "UPPER"}], "volumes": [{}]}}),
            json!({"metadata": {"labels": {"a": "b c"}}}),
            json!({"spec": {"nodeSelector": {"a": "b"}}}),
        ];
        let good: [(&str, Vec<Value>); 12] = [
            ("image", vec![json!("localhost/x:1"), json!("UPPER CASE")]),
            ("resources", vec![json!({"limits": {"memory": "2Gi"}})]),
            ("javaOpts", vec![json!(["-Xmx1g"]), json!(["-Xmx"])]),
            (
                "properties",
                vec![
                    json!({"druid.processing.numThreads": "2"}),
                    json!({"druid.processing.numThreads": "x"}),
                ],
            ),
            ("template", containers.to_vec()),
            (
                "propertiesFrom",
                vec![json!([{"secretRef": {"name": "x"}}]), json!([{}])],
            ),
            (
                "match",
                vec![json!({"types": ["kill"]}), json!({"contextTags": {"a": ["b"]}})],
            ),
            ("priority", vec![json!(1), json!(-5)]),
            ("maxRunning", vec![json!(1), json!(0)]),
            (
                "sizing",
                vec![json!({"ingestionMemory": "Bytes"}), json!({"enforce": false})],
            ),
            ("overrides", vec![json!({"maxMemory": "1Gi", "javaOpts": "Deny"})]),
            (
                "retry",
                vec![
                    json!({"memory": {"factorPercent": 200, "max": "4Gi"}}),
                    json!({"memory": {"factorPercent": 1}}),
                ],
            ),
        ];
        let mut spec = json!({});
        for (field, values) in good {
            if self.roll(4) == 0 {
                spec[field] = self.mostly(&values);
            }
        }
        json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate", "metadata": {"name": name}, "spec": spec})
    }
}

/// The plural and the text of the odd object with this number.
pub(super) fn object(at: u64) -> (&'static str, Value) {
    let mut dice = Dice(at.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    if at.is_multiple_of(20) {
        ("peontemplates", dice.template(&format!("fuzz-{}", at / 20)))
    } else {
        ("peontasks", dice.task(&format!("fuzz-{at}")))
    }
}

fn objects() -> Result<u64> {
    match std::env::var("FUZZ_OBJECTS") {
        Ok(many) => many.parse().context("FUZZ_OBJECTS is not a number"),
        Err(_) => Ok(OBJECTS),
    }
}

fn fuzz(fixture: &Fixture) -> Result<()> {
    let objects = objects()?;
    let namespace = fixture.namespace("fuzz")?;
    // What is accepted waits: that many pods are another test's.
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"count/configmaps": "0"}},
    });
    fixture.apply(&namespace, &quota)?;
    let strict = json!({"spec": {"overrides": {"maxMemory": "512Mi", "javaOpts": "Deny", "retry": "Deny"}}});
    let broken = json!({"spec": {"javaOpts": ["-Xmx"]}});
    for (name, mut template) in [("strict", strict), ("broken", broken)] {
        template["apiVersion"] = json!("peon.dev/v1alpha1");
        template["kind"] = json!("PeonTemplate");
        template["metadata"] = json!({"name": name});
        fixture.apply(&namespace, &template)?;
    }
    let proxy = Proxy::start(&fixture.kubectl)?;
    let lanes: Vec<Result<u64>> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let (proxy, namespace) = (&proxy, &namespace);
                scope.spawn(move || throw(proxy, namespace, lane, objects))
            })
            .collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|_| bail!("a lane panicked")))
            .collect()
    });
    let accepted = lanes.into_iter().sum::<Result<u64>>()?;
    println!("{accepted} of {objects} objects were accepted by the API server");
    ensure!(accepted * 10 >= objects * 3, "too few for a test of the operator");

    fixture.apply(NAMESPACE, &samples::noop("canary")?)?;
    let reasons = wait_until(LOOKED_AT, "every task to be looked at", || {
        let reasons = reasons(&proxy, &namespace)?;
        Ok((!reasons.contains_key("WaitingForOperator")).then_some(reasons))
    })?;
    fixture.until_reason(NAMESPACE, "canary", "Succeeded")?;
    println!("reasons: {reasons:?}");
    for reason in REACHED {
        ensure!(
            reasons.contains_key(reason),
            "{reason} was not reached: {reasons:?}"
        );
    }
    let pods = [
        "pod",
        "--namespace",
        OPERATOR_NAMESPACE,
        "--selector=app.kubernetes.io/name=peon-operator",
    ];
    let operator = fixture.kubectl.get_json(&pods)?;
    for pod in operator["items"].as_array().into_iter().flatten() {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        ensure!(*restarts == 0, "the operator was restarted {restarts} times");
    }
    fixture.kubectl.delete(&["namespace", &namespace, "--wait=false"])
}

/// Creates every fourth object; says how many were accepted.
fn throw(proxy: &Proxy, namespace: &str, lane: u64, objects: u64) -> Result<u64> {
    let mut accepted = 0;
    for at in (lane..objects).step_by(usize::try_from(LANES)?) {
        let (kind, object) = object(at);
        let path = format!("/apis/peon.dev/v1alpha1/namespaces/{namespace}/{kind}");
        match proxy.request("POST", &path, Some(&object.to_string())) {
            Ok(_) => accepted += 1,
            Err(error) => {
                let said = format!("{error:#}");
                let refused = [" answered 400", " answered 422", " answered 413"]
                    .iter()
                    .any(|code| said.contains(code));
                ensure!(refused, "{object}: {said}");
            }
        }
    }
    Ok(accepted)
}

/// How many tasks have each reason. Tasks are listed in pages.
fn reasons(proxy: &Proxy, namespace: &str) -> Result<BTreeMap<String, u64>> {
    let mut reasons = BTreeMap::new();
    let mut next = String::new();
    loop {
        let path =
            format!("/apis/peon.dev/v1alpha1/namespaces/{namespace}/peontasks?limit=500&continue={next}");
        let page: Value = serde_json::from_str(&proxy.request("GET", &path, None)?).context("no JSON")?;
        for task in page["items"].as_array().into_iter().flatten() {
            let reason = task["status"]["reason"].as_str().unwrap_or("none").to_owned();
            *reasons.entry(reason).or_default() += 1;
        }
        page["metadata"]["continue"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut next);
        if next.is_empty() {
            return Ok(reasons);
        }
    }
}
