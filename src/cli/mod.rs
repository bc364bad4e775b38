//! `kubectl peon`: commands for tasks that are tedious with kubectl alone.

mod advice;
mod archive;
mod complaint;
mod completion;
mod connection;
mod duration;
mod explain;
mod follow;
mod history;
mod list;
mod live_report;
mod log_lines;
mod logs;
mod outcome;
mod output;
mod pod_log;
mod pool;
mod progress;
mod spec_patch;
mod submit;
mod tasks;
mod tunnel;
mod wait;

use std::ffi::OsString;
use std::path::Path;

use clap::{Parser, Subcommand};

pub use self::outcome::{ERROR, Outcome};
use spec_patch::SpecPatch;

/// Work with PeonTasks: Apache Druid ingestion tasks that run as Kubernetes pods.
#[derive(Debug, Parser)]
#[command(name = "kubectl-peon", bin_name = "kubectl peon", version, after_help = outcome::HELP)]
pub struct Cli {
    #[command(flatten)]
    flags: connection::Flags,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Submit(Box<submit::Submit>),
    /// List tasks.
    List(list::List),
    /// Print the log of a task, from its pod or from the archive.
    Logs(logs::Logs),
    /// List finished tasks, including those that were deleted long ago.
    History(history::History),
    #[command(visible_alias = "why")]
    Explain(explain::Explain),
    Pool(pool::Pool),
    /// Wait for tasks to complete, to finish or to run.
    Wait(wait::Wait),
    /// Cancel tasks, which cannot be undone: their peons are asked to stop, then killed.
    Cancel(spec_patch::Change),
    /// Suspend tasks: a running one is stopped only if it may be run again.
    Suspend(spec_patch::Change),
    /// Resume suspended tasks.
    Resume(spec_patch::Change),
    /// Print a completion script of `kubectl-peon` for a shell.
    Completion(completion::Completion),
    #[command(name = "__complete", hide = true)]
    Complete(completion::Complete),
}

/// The name under which kubectl asks for words that complete a command line of `kubectl peon`.
const COMPLETES: &str = "kubectl_complete-peon";

impl Cli {
    /// Reads a command line, the first word of which is the program's path. A link of the name `kubectl_complete-peon`
    /// makes the program answer kubectl's questions for completions.
    #[must_use]
    pub fn of(mut line: Vec<OsString>) -> Self {
        let name = line.first().and_then(|program| Path::new(program).file_stem());
        if name.is_some_and(|name| name == COMPLETES) {
            line.insert(1, "__complete".into());
        }
        Self::parse_from(line)
    }
}

/// Runs a command.
///
/// # Errors
/// What to tell the user.
pub async fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let flags = &cli.flags;
    let done = match &cli.command {
        Command::Submit(submit) => Box::pin(submit.run(flags)).await,
        Command::Explain(explain) => Box::pin(explain.run(flags)).await,
        Command::Pool(pool) => Box::pin(pool.run(flags)).await,
        Command::List(list) => Box::pin(list.run(&flags.connect().await?)).await,
        Command::Logs(logs) => Box::pin(logs.run(flags)).await,
        Command::History(history) => Box::pin(history.run(flags)).await,
        Command::Wait(wait) => Box::pin(wait.run(&flags.connect().await?)).await,
        Command::Cancel(change) => change.run(&flags.connect().await?, SpecPatch::Cancel).await,
        Command::Suspend(change) => change.run(&flags.connect().await?, SpecPatch::Suspend).await,
        Command::Resume(change) => change.run(&flags.connect().await?, SpecPatch::Resume).await,
        Command::Completion(completion) => completion.run(),
        Command::Complete(complete) => complete.run(),
    };
    match done {
        Err(error) if output::is_broken_pipe(&error) => Ok(Outcome::Done),
        done => done,
    }
}

/// Prints the error of a command on standard error.
pub fn complain(error: &anyhow::Error) {
    // Servers have their say in it.
    output::note(&format!("error: {error:#}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn global_flags_may_stand_anywhere() {
        for line in [
            ["kubectl-peon", "--namespace", "druid", "list"],
            ["kubectl-peon", "list", "--namespace", "druid"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.flags.namespace(), Some("druid"));
        }
    }

    #[test]
    fn a_command_that_users_type_by_habit_is_known() {
        let cli =
            Cli::try_parse_from(["kubectl-peon", "why", "a", "--as", "jane", "--as-group", "ops"]).unwrap();
        assert!(matches!(cli.command, Command::Explain(_)));
    }

    #[test]
    fn a_link_answers_kubectls_questions() {
        let of = |line: &[&str]| Cli::of(line.iter().map(OsString::from).collect()).command;
        let asked = of(&["/usr/local/bin/kubectl_complete-peon", "logs", "--na"]);
        assert!(matches!(asked, Command::Complete(_)));
        assert!(matches!(
            of(&["/usr/local/bin/kubectl-peon", "logs", "a"]),
            Command::Logs(_)
        ));
    }

    /// `docs/cli.md` has every command.
    #[test]
    fn every_command_is_documented() {
        let documentation = include_str!("../../docs/cli.md");
        let command = <Cli as clap::CommandFactory>::command();
        for command in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            let name = command.get_name();
            assert!(documentation.contains(&format!("kubectl peon {name}")), "{name}");
        }
    }
}
