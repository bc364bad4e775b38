//! The cpu that programs used, in user and kernel.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};

use crate::testbed::cluster::{Cluster, Component, pod_processes};

/// Ticks of `/proc/PID/stat` in a second, which are the same on all machines.
const TICKS: f64 = 100.0;

/// Seconds of cpu by program.
#[derive(Debug, Clone, Default)]
pub(super) struct Cpu(BTreeMap<&'static str, f64>);

impl Cpu {
    /// Since each of them started.
    pub(super) fn now(cluster: &Cluster) -> Result<Self> {
        let mut used = BTreeMap::new();
        let of_control_plane = [
            (Component::ApiServer, "apiserver"),
            (Component::Etcd, "etcd"),
            (Component::ControllerManager, "controllers"),
        ];
        for (component, name) in of_control_plane {
            let id = cluster.process_id(component).context(component.program())?;
            used.insert(name, of_process(id).with_context(|| format!("no cpu of {name}"))?);
        }
        for process in pod_processes()
            .into_iter()
            .filter(|p| p.program == "peon-operator")
        {
            let arguments = fs::read(format!("/proc/{}/cmdline", process.id)).unwrap_or_default();
            let is_worker = arguments.split(|byte| *byte == 0).any(|a| a == b"middle-manager");
            let name = if is_worker { "workers" } else { "operator" };
            *used.entry(name).or_default() += of_process(process.id).unwrap_or_default();
        }
        Ok(Self(used))
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        let used = self.0.iter();
        let used = used.map(|(name, used)| (*name, used - before.0.get(name).copied().unwrap_or_default()));
        Self(used.collect())
    }

    pub(super) fn and(mut self, other: &Self) -> Self {
        for (name, used) in &other.0 {
            *self.0.entry(name).or_default() += used;
        }
        self
    }

    /// Mean milliseconds for each of `assignments` assignments.
    pub(super) fn line(&self, assignments: f64) -> String {
        let parts = self.0.iter();
        let parts = parts.map(|(name, used)| format!("{name} {:.1}", used * 1000.0 / assignments));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// Seconds that a process used since its start.
pub(in crate::bench) fn of_process(id: i32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    seconds(&stat)
}

/// The fields `utime` and `stime`. The name before them may hold anything, in parentheses.
fn seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_kernel_of_a_process() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 8 9 20 0 1 0 12 13 14";
        assert_eq!(seconds(stat), Some(1.75));
        assert_eq!(seconds("7 (a)"), None);
    }
}
