//! Processes in pods, as the machine sees them: what the API says about a node that is cut off is only what it last
//! heard.

use std::fs;

use super::{
    layout::{CGROUP, NODE, SECOND_NODE},
    processes,
};

/// A process in a container of our own cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodProcess {
    /// As the machine numbers it.
    pub id: i32,
    /// The file that it runs, without its folder.
    pub program: String,
    /// The node that it runs on.
    pub node: &'static str,
    /// The pod that it belongs to, by its unique id.
    pub pod: String,
}

/// All processes in pods that run now, on any node, whatever the API server knows.
#[must_use]
pub fn pod_processes() -> Vec<PodProcess> {
    processes::all()
        .filter_map(|id| {
            let groups = fs::read_to_string(format!("/proc/{id}/cgroup")).ok()?;
            let (node, pod) = groups.lines().find_map(owner)?;
            Some(PodProcess {
                id,
                // None when it has just ended, or is a zombie.
                program: processes::program(id)?,
                node,
                pod,
            })
        })
        .collect()
}

/// Node and pod of a line such as `4:memory:/peon-e2e/node-2/kubepods/burstable/podUID/CONTAINER`.
fn owner(line: &str) -> Option<(&'static str, String)> {
    let (_, below) = line.split_once(&format!("/{CGROUP}/"))?;
    let second = below
        .strip_prefix(SECOND_NODE)
        .and_then(|rest| rest.strip_prefix('/'));
    let (node, below) = second.map_or((NODE, below), |below| (SECOND_NODE, below));
    let pod = below
        .strip_prefix("kubepods/")?
        .split('/')
        .find_map(|part| part.strip_prefix("pod"))?;
    Some((node, pod.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_tells_node_and_pod() {
        let of = |line| owner(line).map(|(node, pod)| (node, pod.as_str().to_owned()));
        assert_eq!(
            of("4:memory:/peon-e2e/kubepods/podab-1/c0"),
            Some((NODE, "ab-1".to_owned()))
        );
        let second = "4:memory:/peon-e2e/node-2/kubepods/besteffort/podab-1/c0";
        assert_eq!(of(second), Some((SECOND_NODE, "ab-1".to_owned())));
        assert_eq!(of("4:memory:/peon-e2e/node-2"), None);
        assert_eq!(of("0::/"), None);
    }
}
