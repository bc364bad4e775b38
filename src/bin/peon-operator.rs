//! The operator.

use clap::Parser;
use peon_operator::run::{config::Config, process};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    process::run(Config::parse()).await
}
