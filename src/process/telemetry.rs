//! The log of the process.

use std::io::IsTerminal;

use anyhow::Context;
use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, fmt};

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines of text.
    Text,
    /// One JSON object per line.
    Json,
}

/// What a process logs, and how.
#[derive(Debug, Clone, Args)]
pub struct LogOptions {
    /// Format of the log.
    #[arg(long = "log-format", env = "PEON_LOG_FORMAT", default_value = "text")]
    pub format: LogFormat,

    /// What to log, as a tracing filter such as `info,peon_operator=debug`.
    #[arg(
        long = "log",
        env = "PEON_LOG",
        default_value = "info,kube_runtime=warn",
        value_name = "FILTER"
    )]
    pub filter: String,
}

/// Libraries that log answers of the API server, including bodies with other users' tasks: `kube_client` logs whole
/// bodies that it cannot decode, from `warn` on; `kube_runtime` logs excerpts from parser errors, from `debug` on.
const QUIET: [(&str, &str); 2] = [
    ("kube_client", "kube_client=error"),
    ("kube_runtime", "kube_runtime=warn"),
];

/// Starts logging to standard error.
///
/// # Errors
/// When the filter cannot be read, or logging was started before.
pub(crate) fn start(options: &LogOptions) -> anyhow::Result<()> {
    let given = &options.filter;
    let filter = filter(given)
        .with_context(|| format!("--log {given} is not a filter such as info,peon_operator=debug"))?;
    let colours = std::io::stderr().is_terminal();
    let log = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    match options.format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    }
    .map_err(|e| anyhow::anyhow!("logging cannot be started: {e}"))
}

/// The given filter, extended so that libraries that log bodies are silent unless it names them.
///
/// # Errors
/// When it cannot be read.
pub fn filter(given: &str) -> anyhow::Result<EnvFilter> {
    let mut filter = EnvFilter::try_new(given)?;
    for (library, directive) in QUIET {
        let is_named = given
            .split(',')
            .any(|directive| directive.trim().starts_with(library));
        if !is_named {
            filter = filter.add_directive(directive.parse()?);
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_logged_for_nobody_who_does_not_ask_for_them_by_name() {
        let shown = |given: &str| filter(given).unwrap().to_string();
        for given in [
            "info",
            "",
            "trace",
            "debug,peon_operator=trace",
            "info,kube_runtime=warn",
        ] {
            assert!(
                shown(given).contains("kube_client=error"),
                "{given}: {}",
                shown(given)
            );
            assert!(
                shown(given).contains("kube_runtime=warn"),
                "{given}: {}",
                shown(given)
            );
        }
        let asked = shown("info,kube_client::client=debug");
        assert!(!asked.contains("kube_client=error"), "{asked}");
        assert!(filter("a=b=c").is_err());
    }
}
