//! `kubectl peon`: what kubectl alone makes tedious.

mod logs;

use clap::{Parser, Subcommand};

/// Works with PeonTasks.
#[derive(Debug, Parser)]
#[command(name = "kubectl-peon", bin_name = "kubectl peon", version, about)]
pub struct Cli {
    /// Namespace; default: that of the kubeconfig's current context.
    #[arg(short, long, global = true)]
    namespace: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the log of a task.
    Logs(logs::Logs),
}

/// Runs a command.
///
/// # Errors
/// What to tell the user.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let client = kube::Client::try_default().await?;
    match cli.command {
        Command::Logs(logs) => logs.run(client, cli.namespace.as_deref()).await,
    }
}
