//! The operator's memory for tasks that run and for tasks that have ended, and how soon it works again.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{ground::Ground, operator::Operator, way::Way};
use crate::testbed::{progress::Progress, wait::wait_until};

const LIMIT: Duration = Duration::from_secs(900);
/// Tasks that are run and removed first, so that connections and buffers are those of a busy operator.
const WARM_UP: &str = "50";

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// MiB of an operator that has just started, without tasks.
    pub(super) empty: f64,
    pub(super) bytes_per_live_task: f64,
    /// Of the process that ran them.
    pub(super) bytes_per_finished_task: f64,
    /// Of a process that was started after they had ended.
    pub(super) bytes_per_listed_task: f64,
    /// From the start of a process, with all finished tasks there, until it is ready, and until it has run another one.
    pub(super) ready_seconds: f64,
    pub(super) steady_seconds: f64,
}

pub(super) fn measure(ground: &Ground, way: Way, tasks: usize, progress: &Progress) -> Result<Memory> {
    let namespace = way.namespace();
    let step = progress.step(format!("memory of {tasks} tasks, {}", way.title()));
    let run = |count: &str, prefix: &str, live: bool| {
        let objects = ground.objects(live);
        let mut args = vec!["run", way.name(), &namespace, count, "--prefix", prefix];
        args.extend(["--objects", &objects]);
        if live {
            args.push("--until-running");
        }
        ground.run_tasks(&args)
    };
    let count = tasks.to_string();
    let mut operator = Operator::start(ground, way)?;
    let empty = operator.memory()?.0;
    run(WARM_UP, "warm", false)?;
    ground.clean(way)?;
    let warm = operator.memory()?.0;
    run(&count, "live", true)?;
    let live = operator.memory()?.0;
    ground
        .node
        .end(&namespace, "app.kubernetes.io/managed-by=peon-operator")?;
    let running = [
        "get",
        "peontasks",
        "--field-selector=status.phase=Running",
        "--output=name",
        "--namespace",
        &namespace,
    ];
    wait_until(LIMIT, "all tasks to end", || {
        Ok(ground.kubectl.run(&running)?.trim().is_empty().then_some(()))
    })?;
    let finished = operator.memory()?.0;
    operator.stop()?;
    let began = Instant::now();
    let mut operator = Operator::start(ground, way)?;
    let ready_seconds = began.elapsed().as_secs_f64();
    run("1", "again", false)?;
    let steady_seconds = began.elapsed().as_secs_f64();
    let listed = operator.memory()?.0;
    ground.clean(way)?;
    operator.stop()?;
    #[allow(clippy::cast_precision_loss)] // Some thousands.
    let each = |mebibytes: f64| mebibytes * 1024.0 * 1024.0 / tasks as f64;
    let memory = Memory {
        empty,
        bytes_per_live_task: each(live - warm),
        bytes_per_finished_task: each(finished - warm),
        bytes_per_listed_task: each(listed - empty),
        ready_seconds,
        steady_seconds,
    };
    step.done("measured");
    Ok(memory)
}
