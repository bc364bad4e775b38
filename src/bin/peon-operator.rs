//! The operator, and the sidecar that keeps a task's log.

use clap::Parser;
use peon_operator::logs::sidecar;
use peon_operator::run::config::{Other, Program};
use peon_operator::run::process;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program = Program::parse();
    match program.other {
        None => process::run(program.operator).await,
        Some(Other::LogSidecar(files)) => sidecar::run(&files).await,
    }
}
