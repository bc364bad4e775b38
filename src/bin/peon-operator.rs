//! The operator, the sidecar that keeps a task's log, and the process of a VirtualMiddleManager.

use clap::Parser;
use peon_operator::logs::sidecar;
use peon_operator::middle_manager;
use peon_operator::run::config::{Other, Program};
use peon_operator::run::process;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program = Program::parse();
    match program.other {
        None => process::run(program.operator).await,
        Some(Other::LogSidecar(files)) => sidecar::run(&files).await,
        Some(Other::MiddleManager(options)) => Box::pin(middle_manager::process::run(options)).await,
    }
}
