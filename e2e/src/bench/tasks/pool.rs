//! A pool of shared Indexers, with a VirtualMiddleManager whose workers do not run: the bench assigns the tasks in their place.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    ground::{Ground, run_tasks_as},
    way::Way,
};
use crate::bench::optimised;
use crate::testbed::{background::Background, json::list, wait::wait_until};

const POOL: &str = "shared";
const MANAGER: &str = "workers";
/// The service account of the workers, and what the name of the binding of its role begins with.
const ACCOUNT: &str = "workers-vmm";
/// What the operator needs to look after pools. No scheduler heeds the pods of the workers, so they stay Pending.
pub(super) const OPERATOR: [&str; 6] = [
    "--image",
    "no-image:none",
    "--middle-manager-role",
    "ClusterRole/operator-middle-manager",
    "--middle-manager-pod",
    r#"{"schedulerName": "none"}"#,
];
const LIMIT: Duration = Duration::from_secs(120);

/// How large the pool is, and what its tasks are like.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Size {
    /// Indexers of the pool.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=200))]
    indexers: u32,
    /// Tasks that an Indexer runs at the same time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    slots: u32,
    /// Tasks that are assigned and have not ended, at most. Default: as many as the pool has slots.
    #[arg(long, value_name = "TASKS", value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: Option<u32>,
    /// Milliseconds that a task runs in its Indexer. With 0 its end is announced together with its begin.
    #[arg(long, default_value_t = 0)]
    task_millis: u32,
    /// Payloads of assigned tasks, and of the floor without pods, are in the PeonTasks, as with `payload: Inline`, and not in
    /// Secrets.
    #[arg(long)]
    inline: bool,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            indexers: 2,
            slots: 4,
            in_flight: None,
            task_millis: 0,
            inline: false,
        }
    }
}

impl Size {
    /// For programs, with the names of the values.
    pub(super) fn values(&self) -> [(&'static str, u32); 4] {
        [
            ("pool_indexers", self.indexers),
            ("pool_slots", self.slots),
            ("pool_in_flight", self.in_flight()),
            ("pool_task_ms", self.task_millis),
        ]
    }

    /// For people.
    pub(super) fn title(&self) -> String {
        format!(
            "{} Indexers with {} slots, {} tasks at a time, which run for {} ms, payloads in {}",
            self.indexers,
            self.slots,
            self.in_flight(),
            self.task_millis,
            if self.inline { "PeonTasks" } else { "Secrets" }
        )
    }

    /// Whether payloads are in the PeonTasks.
    pub(super) fn is_inline(&self) -> bool {
        self.inline
    }

    /// Tasks that are assigned at the same time.
    fn in_flight(&self) -> u32 {
        self.in_flight.unwrap_or(self.indexers * self.slots)
    }

    fn pool(&self) -> Value {
        // No memory is used; it is as much as slots are sized for.
        let memory = format!("{}Gi", self.slots.max(2));
        json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "IndexerPool",
            "metadata": {"name": POOL, "namespace": Way::Pool.namespace()},
            "spec": {
                "mode": "Shared", "replicas": self.indexers, "slots": {"heavy": self.slots, "light": 1},
                "middleManagerRef": {"name": MANAGER}, "overflow": {"to": "Wait"},
                "resources": {"limits": {"memory": memory, "cpu": "2"}, "requests": {"cpu": "100m"}},
            },
        })
    }
}

/// A pool whose Indexers are ready. They are gone with this value; the objects are not.
pub(super) struct Pool {
    _indexers: Background,
    /// With the rights of the workers.
    kubeconfig: PathBuf,
}

impl Pool {
    /// Makes the pool, with an operator that runs already, and waits until a task has ended in it.
    pub(super) fn start(ground: &Ground) -> Result<Self> {
        let (namespace, kubectl) = (Way::Pool.namespace(), &ground.kubectl);
        let kubeconfig = ground.folder.join("workers");
        kubectl.apply(&middle_manager(&namespace, ground.size.inline).to_string())?;
        // The operator makes both, and the binding has a name with a hash.
        wait_until(LIMIT, "the rights of the workers", || {
            let made = ["serviceaccount,rolebinding", "--namespace", &namespace];
            let made = list(&kubectl.get_json(&made)?["items"]);
            let is_there = |kind: &str| {
                let mut of_kind = made.iter().filter(|object| object["kind"] == kind);
                of_kind.any(|object| {
                    let name = object["metadata"]["name"].as_str();
                    name.is_some_and(|name| name.starts_with(ACCOUNT))
                })
            };
            Ok((is_there("ServiceAccount") && is_there("RoleBinding")).then_some(()))
        })?;
        ground.act_as(ACCOUNT, &namespace, &kubeconfig)?;
        kubectl.apply(&ground.size.pool().to_string())?;
        let mut command = Command::new(optimised("model_indexers")?);
        command
            .env("KUBECONFIG", &kubeconfig)
            .args([&namespace, POOL, "--task-millis"])
            .arg(ground.size.task_millis.to_string());
        let log = ground.folder.join("indexers.log");
        let indexers = Background::start(&mut command, &log)?;
        let args = ["indexerpool", POOL, "--namespace", &namespace];
        let is_warm = |pool: &Value| pool["status"]["readyReplicas"] == json!(ground.size.indexers);
        let warm = kubectl.wait_for(&args, LIMIT, is_warm);
        warm.with_context(|| indexers.tail())?;
        let pool = Self {
            _indexers: indexers,
            kubeconfig,
        };
        // After a change of the leading operator tasks wait for a while.
        let objects = ground.objects(false);
        let first = ["run", Way::Pool.name(), &namespace, "1", "--prefix", "first"];
        pool.run_tasks(ground, &[&first[..], &["--objects", &objects]].concat())?;
        Ok(pool)
    }

    /// Runs tasks with the rights of the workers, as many at a time as an overlord would assign.
    pub(super) fn run_tasks(&self, ground: &Ground, args: &[&str]) -> Result<Value> {
        let in_flight = ground.size.in_flight().to_string();
        let mut args = [args, &["--middle-manager", MANAGER, "--in-flight", &in_flight]].concat();
        if ground.size.inline {
            args.push("--inline");
        }
        run_tasks_as(&self.kubeconfig, &args)
    }
}

/// Its overlord and ZooKeeper do not exist.
fn middle_manager(namespace: &str, inline: bool) -> Value {
    json!({
        "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager",
        "metadata": {"name": MANAGER, "namespace": namespace},
        "spec": {
            "discovery": {"zookeeper": {"hosts": "zookeeper:2181"}}, "overlord": {"url": "http://overlord:8090"},
            "allowAnonymous": true, "payload": if inline { "Inline" } else { "Secret" },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_tasks_are_assigned_as_there_are_slots() {
        let mut size = Size {
            indexers: 3,
            slots: 8,
            ..Size::default()
        };
        assert_eq!(size.in_flight(), 24);
        let spec = &size.pool()["spec"];
        assert_eq!(
            (&spec["replicas"], &spec["slots"]["heavy"]),
            (&json!(3), &json!(8))
        );
        assert_eq!(spec["resources"]["limits"]["memory"], "8Gi");
        size.in_flight = Some(48);
        assert_eq!(size.in_flight(), 48);
    }
}
