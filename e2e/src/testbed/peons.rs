//! Peon processes, as the machine sees them: a test that counts objects of the API would believe the operator, and the
//! API server knows nothing of a node that is cut off.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::testbed::{
    cluster::{PodProcess, pod_processes},
    wait::saw,
};

/// The JVM of a peon that runs now, on any node of our own cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peon {
    /// Its process, with node and pod.
    pub process: PodProcess,
    /// The address that it goes by, which is its pod's.
    pub address: String,
}

/// All that run.
#[must_use]
pub fn all() -> Vec<Peon> {
    let peon = |process: PodProcess| {
        let line = fs::read(format!("/proc/{}/cmdline", process.id)).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let (options, _) = line.split_once("\0@/etc/peon/jvm.args")?;
        let (_, address) = options.rsplit_once("-Ddruid.host=")?;
        Some(Peon {
            address: address.to_owned(),
            process,
        })
    };
    let all: Vec<Peon> = pod_processes().into_iter().filter_map(peon).collect();
    saw(format_args!("peons: {all:?}"));
    all
}

/// Those of one node, by its name.
#[must_use]
pub fn on(node: &str) -> Vec<Peon> {
    let mut peons = all();
    peons.retain(|peon| peon.process.node == node);
    peons
}

/// Process ids of those with this address.
#[must_use]
pub fn at(pod_ip: &str) -> Vec<i32> {
    let peons = all().into_iter().filter(|peon| peon.address == pod_ip);
    peons.map(|peon| peon.process.id).collect()
}

/// Process ids of those in this pod, by its unique id.
#[must_use]
pub fn in_pod(uid: &str) -> Vec<i32> {
    let peons = all().into_iter().filter(|peon| peon.process.pod == uid);
    peons.map(|peon| peon.process.id).collect()
}

/// Kills a peon as the machine's out-of-memory killer would.
///
/// # Errors
/// When the process is gone.
pub fn kill_hard(process: i32) -> anyhow::Result<()> {
    Ok(kill(Pid::from_raw(process), Signal::SIGKILL)?)
}
