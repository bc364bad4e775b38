//! Peon processes, as the machine sees them: a test that counts objects of the API would believe the operator.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Process ids of the JVMs that run a peon of ours with this address; they are all in our own cluster's namespaces.
#[must_use]
pub fn at(pod_ip: &str) -> Vec<i32> {
    let wanted = format!("-Ddruid.host={pod_ip}\0@/etc/peon/jvm.args");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let id = |name: &str| name.parse::<i32>().ok();
    processes
        .filter_map(|entry| id(&entry.file_name().to_string_lossy()))
        .filter(|id| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&wanted)
        })
        .collect()
}

/// Kills a peon as the machine's out-of-memory killer would.
///
/// # Errors
/// When the process is gone.
pub fn kill_hard(process: i32) -> anyhow::Result<()> {
    Ok(kill(Pid::from_raw(process), Signal::SIGKILL)?)
}
