//! The operator, the sidecar that keeps a task's log, and the process of a VirtualMiddleManager.

use clap::Parser;
use peon_operator::app::options::{Other, Program};
use peon_operator::app::{announcing_pod, operator, self_test, uninstall_check, workers};
use peon_operator::logs::sidecar;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program = Program::parse();
    match program.other {
        None => operator::run(program.operator).await,
        Some(Other::LogSidecar(files)) => sidecar::run(&files).await,
        Some(Other::SelfTest(test)) => self_test::run(&test).await,
        Some(Other::UninstallCheck(check)) => uninstall_check::run(&check).await,
        Some(Other::AnnouncingPod(options)) => announcing_pod::run(options).await,
        Some(Other::MiddleManager(options)) => Box::pin(workers::run(options)).await,
    }
}
