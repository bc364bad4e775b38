//! The operator, the sidecar that keeps a task's log, and the process of a VirtualMiddleManager.

use std::num::NonZero;
use std::thread::available_parallelism;

use clap::Parser;
use peon_operator::app::options::{Other, Program};
use peon_operator::app::{announcing_pod, operator, self_test, uninstall_check, workers};
use peon_operator::logs::sidecar;

/// Most threads, however many cores the node has: the process waits for others nearly all of the time.
const THREADS: usize = 4;

fn main() -> anyhow::Result<()> {
    let program = Program::parse();
    let cores = available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(THREADS))
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(run(program)))
}

async fn run(program: Program) -> anyhow::Result<()> {
    match program.other {
        None => operator::run(program.operator).await,
        Some(Other::LogSidecar(files)) => sidecar::run(&files).await,
        Some(Other::SelfTest(test)) => self_test::run(&test).await,
        Some(Other::UninstallCheck(check)) => uninstall_check::run(&check).await,
        Some(Other::AnnouncingPod(options)) => announcing_pod::run(options).await,
        Some(Other::MiddleManager(options)) => Box::pin(workers::run(options)).await,
    }
}
