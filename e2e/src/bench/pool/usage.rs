//! What pods use of the machine: the cpu by their cgroups, which count what ended, too, and the memory of their JVMs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::assign::cpu::of_process;
use crate::testbed::{
    cluster::{Cluster, Component, pod_processes},
    json::text,
    kubectl::Kubectl,
};

/// The pods of our own cluster, of which the kubelet makes groups by class.
const PODS: &str = "/sys/fs/cgroup/cpuacct/peon-e2e/kubepods";
const CLASSES: [&str; 3] = ["", "burstable", "besteffort"];
/// Nanoseconds in a second.
const NANOS: f64 = 1e9;
/// How often memory is read.
const SAMPLE: Duration = Duration::from_millis(500);
/// Bytes of a page, and of a MiB.
const PAGE: u64 = 4096;
const MEBIBYTE: u64 = 1 << 20;

/// Whose a pod is that is there all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The operator, and the process of the VirtualMiddleManager.
    Operator,
    /// Overlord and ZooKeeper, and what else the cluster has.
    Other,
}

/// The pods that run before a way is set up: none of them runs tasks.
#[derive(Debug, Clone)]
pub(super) struct Others {
    pods: BTreeMap<String, Owner>,
    /// The processes of Kubernetes.
    kubernetes: Vec<i32>,
}

/// Seconds of cpu since the pods started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cpu {
    /// Of what runs tasks: all pods but the [`Others`].
    pub(super) workers: f64,
    pub(super) operator: f64,
    /// Of overlord and ZooKeeper.
    pub(super) others: f64,
    /// Of Kubernetes: API server, etcd, controllers, scheduler, kubelet, containerd.
    pub(super) kubernetes: f64,
}

impl Others {
    pub(super) fn now(kubectl: &Kubectl, cluster: &Cluster) -> Result<Self> {
        let pods = kubectl.get_json(&[
            "pods",
            "--all-namespaces",
            "--field-selector=status.phase=Running",
        ])?;
        let pods = pods["items"].as_array().into_iter().flatten();
        let pods = pods.map(|pod| (text(&pod["metadata"]["uid"]).to_owned(), owner(pod)));
        let components = Component::ALL.into_iter();
        Ok(Self {
            pods: pods.collect(),
            kubernetes: components
                .filter_map(|component| cluster.process_id(component))
                .collect(),
        })
    }

    pub(super) fn cpu(&self) -> Result<Cpu> {
        let (mut operator, mut others) = (0.0, 0.0);
        for (uid, owner) in &self.pods {
            let used = of_pod(uid).with_context(|| format!("no cgroup of the pod {uid}"))?;
            match owner {
                Owner::Operator => operator += used,
                Owner::Other => others += used,
            }
        }
        let all = seconds(Path::new(PODS)).context("no cgroup of all pods")?;
        let kubernetes = self.kubernetes.iter().filter_map(|id| of_process(*id)).sum();
        Ok(Cpu {
            workers: all - operator - others,
            operator,
            others,
            kubernetes,
        })
    }

    /// MiB that the JVMs of all other pods have in memory, together.
    fn memory_of_workers(&self) -> u64 {
        let jvms = pod_processes()
            .into_iter()
            .filter(|process| process.program == "java" && !self.pods.contains_key(&process.pod));
        let pages =
            jvms.filter_map(|jvm| resident(&fs::read_to_string(format!("/proc/{}/statm", jvm.id)).ok()?));
        pages.sum::<u64>() * PAGE / MEBIBYTE
    }
}

impl Cpu {
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            workers: self.workers - before.workers,
            operator: self.operator - before.operator,
            others: self.others - before.others,
            kubernetes: self.kubernetes - before.kubernetes,
        }
    }
}

fn owner(pod: &Value) -> Owner {
    let labels = &pod["metadata"]["labels"];
    let is_operator =
        labels["app.kubernetes.io/name"] == "peon-operator" || labels["peon.dev/serves"].is_string();
    if is_operator {
        Owner::Operator
    } else {
        Owner::Other
    }
}

fn of_pod(uid: &str) -> Option<f64> {
    CLASSES
        .iter()
        .find_map(|class| seconds(&Path::new(PODS).join(class).join(format!("pod{uid}"))))
}

fn seconds(group: &Path) -> Option<f64> {
    let nanos = fs::read_to_string(group.join("cpuacct.usage")).ok()?;
    Some(nanos.trim().parse::<f64>().ok()? / NANOS)
}

/// The second field of `/proc/PID/statm`, in pages.
fn resident(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

/// Reads the memory of the JVMs that run tasks again and again, and keeps the most.
pub(super) struct Memory {
    most: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Memory {
    pub(super) fn watch(others: Others) -> Self {
        let (most, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (kept, ends) = (Arc::clone(&most), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                kept.fetch_max(others.memory_of_workers(), Ordering::Relaxed);
                thread::sleep(SAMPLE);
            }
        });
        Self {
            most,
            is_over,
            thread,
        }
    }

    /// The most that they had together, in MiB.
    pub(super) fn most(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        // It does nothing that could panic; what it kept counts in any case.
        let _ = self.thread.join();
        self.most.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pages_of_a_process() {
        assert_eq!(resident("9000 512 3 4 0 5 0\n"), Some(512));
        assert_eq!(resident(""), None);
    }

    #[test]
    fn operator_and_workers_are_told_from_druid() {
        let of = |labels: Value| owner(&json!({"metadata": {"labels": labels}}));
        assert_eq!(
            of(json!({"app.kubernetes.io/name": "peon-operator"})),
            Owner::Operator
        );
        assert_eq!(of(json!({"peon.dev/serves": "bench"})), Owner::Operator);
        assert_eq!(of(json!({"app": "overlord"})), Owner::Other);
    }
}
