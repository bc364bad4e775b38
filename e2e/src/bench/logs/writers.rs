//! Pods that write a log of known bytes.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::testbed::{fixture::LIMIT, kubectl::Kubectl};

/// Of the pods. Those of a killed run are found there by their label.
pub(super) const NAMESPACE: &str = "default";
const LABEL: &str = "e2e.peon.dev/bench-logs";

/// Lines like those of a peon, with a stack trace now and then: `lines SEED BYTES` writes at least so many bytes.
/// What was written is said in the termination message, from a run of its own.
const LINES: &str = r#"lines() {
    awk -v seed="$1" -v bytes="$2" 'BEGIN {
        for (n = 0; n < bytes; i++) {
            line = sprintf("2026-11-21T%02d:%02d:%02d,%03d INFO [task-runner-0-priority-0] org.apache.druid.segment.realtime.appenderator.BatchAppenderator - Persisted rows[%d] and bytes[%d] of segment[wikipedia_%d_%d] in [%d] ms.", i / 3600000 % 24, i / 60000 % 60, i / 1000 % 60, i % 1000, i * 7919 % 75000, i * 104729 % 9999991, seed, i, i * 31 % 977)
            if (i % 100 == 99)
                for (j = 0; j < 15; j++)
                    line = line sprintf("\n\tat org.apache.druid.indexing.common.task.IndexTask.frame%d(IndexTask.java:%d) ~[druid-indexing-service.jar]", j, i % 1000 + j)
            print line
            n += length(line) + 1
        }
    }'
}
printf '%s %s' "$(all | wc -c)" "$(all | sha256sum | cut -c1-64)" > /dev/termination-log
"#;

/// How a pod writes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// So many bytes, as fast as it can.
    AtOnce(u64),
    /// So many bytes a second, for so many seconds.
    Steady(u64, u32),
}

/// What a container wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// A pod that writes to its log, and then ends.
pub(super) fn pod(name: &str, image: &str, pace: Pace) -> Value {
    let (all, write) = match pace {
        Pace::AtOnce(bytes) => (format!("lines 0 {bytes}"), "all".to_owned()),
        Pace::Steady(bytes, seconds) => {
            let each = |after: &str| {
                format!("i=0; while [ $i -lt {seconds} ]; do lines $i {bytes}{after}; i=$((i + 1)); done")
            };
            (each(""), each("; sleep 1"))
        }
    };
    let script = format!("all() {{ {all}; }}\n{LINES}{write}\n");
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {LABEL: "writer"}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "writer",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script],
            }],
        },
    })
}

/// Removes all of them.
pub(super) fn remove(kubectl: &Kubectl) -> Result<()> {
    kubectl.delete(&["pods", "--selector", LABEL, "--namespace", NAMESPACE])
}

/// Waits for the end of a pod; says what it wrote.
pub(super) fn written(kubectl: &Kubectl, name: &str) -> Result<Written> {
    let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let pod = kubectl.wait_for(&["pod", name, "--namespace", NAMESPACE], LIMIT, ended)?;
    ensure!(
        pod["status"]["phase"] == "Succeeded",
        "{name} failed: {}",
        pod["status"]
    );
    let said = pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
        .as_str()
        .with_context(|| format!("{name} did not say what it wrote"))?;
    let (bytes, sha256) = said.split_once(' ').context(said.to_owned())?;
    Ok(Written {
        bytes: bytes.trim().parse()?,
        sha256: sha256.to_owned(),
    })
}
