//! One measurement of one way.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{ground::Ground, operator::Operator, pool::Pool, way::Way};
use crate::testbed::{audit, cluster::Component, exec};

/// Those whose requests are counted, by a part of their user agents.
const AGENTS: [(&str, &str); 3] = [
    ("bench-tasks/", "client"),
    ("peon-operator/", "operator"),
    ("job-controller", "Job controller"),
];

/// How many tasks, and how soon.
pub(super) struct Load {
    pub(super) tasks: usize,
    /// A second; all at once if it is absent.
    pub(super) rate: Option<f64>,
    pub(super) prefix: String,
}

/// Milliseconds of cpu of a task, less what the processes use while idle.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cpu {
    pub(super) apiserver: f64,
    pub(super) etcd: f64,
    pub(super) controllers: f64,
    /// None in the other ways.
    pub(super) operator: Option<f64>,
}

/// Requests of a task by who sends them, and verb and resource.
pub(super) type Requests = BTreeMap<(&'static str, String), f64>;

/// What was measured.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    tasks: f64,
    seconds: f64,
    pub(super) cpu: Cpu,
    pub(super) requests: Requests,
    /// Kilobytes that etcd received for a task.
    pub(super) etcd_kilobytes: f64,
    /// Most MiB of the operator.
    pub(super) peak: Option<f64>,
    /// Milliseconds from the creation of each task until its pod was seen, it was seen running, its verdict was seen.
    pub(super) latencies: [Vec<f64>; 3],
}

impl Measured {
    /// Tasks a second, from the first creation until the last verdict.
    pub(super) fn rate(&self) -> f64 {
        self.tasks / self.seconds
    }

    /// A round that took this time, for tests.
    #[cfg(test)]
    pub(super) fn example(
        tasks: f64,
        seconds: f64,
        requests: impl IntoIterator<Item = ((&'static str, String), f64)>,
    ) -> Self {
        Self {
            tasks,
            seconds,
            cpu: Cpu {
                apiserver: 4.0,
                operator: Some(2.0),
                ..Cpu::default()
            },
            requests: requests.into_iter().collect(),
            etcd_kilobytes: 1.0,
            peak: Some(8.0),
            latencies: [vec![], vec![2.0], vec![3.0]],
        }
    }

    /// Requests of a task by one that sends them, of these kinds.
    pub(super) fn count(&self, who: &str, is: impl Fn(&str) -> bool) -> f64 {
        let of = self
            .requests
            .iter()
            .filter(|((by, what), _)| *by == who && is(what));
        of.map(|(_, count)| count).sum()
    }
}

/// Runs tasks in one way, and removes them.
pub(super) fn measure(ground: &Ground, way: Way, load: &Load) -> Result<Measured> {
    let mut operator = way
        .is_operator()
        .then(|| Operator::start(ground, way))
        .transpose()?;
    let pool = (way == Way::Pool).then(|| Pool::start(ground)).transpose()?;
    let measured = burst(ground, way, load, operator.as_ref(), pool.as_ref());
    if measured.is_ok() {
        ground.clean(way)?;
    }
    if let Some(operator) = &mut operator {
        operator.stop()?;
    }
    measured
}

fn burst(
    ground: &Ground,
    way: Way,
    load: &Load,
    operator: Option<&Operator>,
    pool: Option<&Pool>,
) -> Result<Measured> {
    let mut processes = Vec::new();
    for component in [
        Component::ApiServer,
        Component::Etcd,
        Component::ControllerManager,
    ] {
        let process = ground.cluster.process_id(component);
        processes.push(process.context(component.program())?.to_string());
    }
    processes.extend(operator.map(|operator| operator.id().to_string()));
    let (tasks, namespace, objects) = (load.tasks.to_string(), way.namespace(), ground.objects(false));
    let rate = load.rate.map(|rate| rate.to_string());
    let mut args = vec!["run", way.name(), &namespace, &tasks, "--prefix", &load.prefix];
    args.extend(["--objects", &objects]);
    for process in &processes {
        args.extend(["--process", process]);
    }
    if let Some(rate) = &rate {
        args.extend(["--rate", rate]);
    }
    if way == Way::CrdOnly && ground.size.is_inline() {
        args.push("--inline");
    }
    let (position, received) = (audit::end(ground.cluster)?, etcd_received(ground)?);
    let said = match pool {
        Some(pool) => pool.run_tasks(ground, &args)?,
        None => ground.run_tasks(&args)?,
    };
    let received = etcd_received(ground)? - received;
    #[allow(clippy::cast_precision_loss)] // Some thousands.
    let tasks = load.tasks as f64;
    Ok(Measured {
        tasks,
        seconds: said["run"]["seconds"].as_f64().context("no seconds")?,
        cpu: cpu(&said, tasks)?,
        requests: requests(ground, position, &namespace, tasks)?,
        etcd_kilobytes: received / tasks / 1000.0,
        peak: operator.map(Operator::memory).transpose()?.map(|m| m.1),
        latencies: [0, 1, 2].map(|at| latencies(&said["tasks"], at)),
    })
}

/// Of the processes in the order in which they were given.
fn cpu(said: &Value, tasks: f64) -> Result<Cpu> {
    let used = |phase: &str, process: usize| -> Option<f64> {
        let cpu = &said[phase]["cpu"][process];
        Some(cpu["user"].as_f64()? + cpu["system"].as_f64()?)
    };
    let seconds = |phase: &str| said[phase]["seconds"].as_f64().context("no seconds");
    let (idle, run) = (seconds("idle")?, seconds("run")?);
    let of = |process: usize| -> Option<f64> {
        let while_idle = used("idle", process)? / idle * run;
        Some((used("run", process)? - while_idle) * 1000.0 / tasks)
    };
    Ok(Cpu {
        apiserver: of(0).context("no cpu of the API server")?,
        etcd: of(1).context("no cpu of etcd")?,
        controllers: of(2).context("no cpu of the controller manager")?,
        operator: of(3),
    })
}

fn latencies(tasks: &Value, at: usize) -> Vec<f64> {
    let of = tasks.as_array().into_iter().flatten();
    of.filter_map(|task| task[at].as_f64()).collect()
}

fn requests(ground: &Ground, position: u64, namespace: &str, tasks: f64) -> Result<Requests> {
    let agents = AGENTS.map(|(agent, _)| agent);
    let mut counts = Requests::new();
    for request in audit::of_agents_from(ground.cluster, position, &agents)? {
        if request.namespace != namespace || request.verb == "watch" {
            continue;
        }
        let who = AGENTS.iter().find(|(agent, _)| request.agent.contains(agent));
        let (_, who) = who.context("another agent")?;
        let what = format!("{} {}", request.verb, request.resource);
        *counts.entry((*who, what)).or_default() += 1.0 / tasks;
    }
    Ok(counts)
}

/// Bytes that etcd has received from its clients since its start. It listens inside the cluster only.
fn etcd_received(ground: &Ground) -> Result<f64> {
    const METRIC: &str = "etcd_network_client_grpc_received_bytes_total ";
    let script =
        "exec 3<>/dev/tcp/127.0.0.1/2379 && printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3";
    let mut bash = ground.cluster.enter("bash")?;
    let metrics = exec::output(bash.args(["-c", script]))?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(METRIC));
    Ok(value.context("etcd has no such metric")?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cpu_of_a_task_is_without_that_of_an_idle_process() {
        let cpu = |user: f64| json!([{"user": user, "system": 0.0}, {"user": 0.0, "system": 0.0}, {"user": 0.0, "system": 0.0}]);
        let said = json!({
            "idle": {"seconds": 2.0, "cpu": cpu(0.2)}, "run": {"seconds": 10.0, "cpu": cpu(3.0)},
        });
        let cpu = super::cpu(&said, 100.0).unwrap();
        assert!((cpu.apiserver - 20.0).abs() < 1e-9, "{cpu:?}");
        assert!(cpu.operator.is_none());
    }

    #[test]
    fn what_was_never_seen_has_no_latency() {
        let tasks = json!([[1.0, null, 3.0], [2.0, 5.0, 7.0]]);
        assert_eq!(latencies(&tasks, 1), [5.0]);
        assert_eq!(latencies(&tasks, 2), [3.0, 7.0]);
    }
}
