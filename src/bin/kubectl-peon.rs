//! `kubectl peon`.

use std::process::ExitCode;

use peon_operator::cli;

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(cli::run(cli::Cli::of(std::env::args_os().collect()))).await {
        Ok(outcome) => outcome.code().into(),
        Err(error) => {
            cli::complain(&error);
            cli::ERROR.into()
        }
    }
}
