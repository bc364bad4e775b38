//! `kubectl peon completion`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::outcome::Outcome;
use super::output;

#[derive(Debug, Args)]
pub(super) struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Prints what completes `kubectl-peon` in a shell.
    pub(super) fn run(&self) -> anyhow::Result<Outcome> {
        output::print(&script(self.shell))?;
        Ok(Outcome::Done)
    }
}

/// The script for a shell.
fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    // The name of the program itself: shells complete `kubectl peon` through kubectl.
    let mut command = Cli::command().bin_name("kubectl-peon");
    clap_complete::generate(shell, &mut command, "kubectl-peon", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// What kubectl asks its plugins for: the words that may follow, by Cobra's protocol.
#[derive(Debug, Args)]
pub(super) struct Complete {
    /// What was typed; the last word is the one to complete.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Complete {
    /// Prints the words.
    pub(super) fn run(&self) -> anyhow::Result<Outcome> {
        // The directive 4: do not offer files.
        let words = candidates(&self.words).into_iter().map(|word| word + "\n");
        output::print(&(words.collect::<String>() + ":4\n"))?;
        Ok(Outcome::Done)
    }
}

/// Commands, then flags.
fn candidates(words: &[String]) -> Vec<String> {
    let root = Cli::command();
    let (last, before) = words
        .split_last()
        .map_or(("", [].as_slice()), |(l, b)| (l.as_str(), b));
    let command = before.iter().find_map(|word| root.find_subcommand(word));
    let at = command.unwrap_or(&root);
    let flags = root
        .get_arguments()
        .filter(|a| a.is_global_set())
        .chain(at.get_arguments());
    let mut all: Vec<String> = if last.starts_with('-') {
        let long = flags.filter(|a| !a.is_hide_set()).filter_map(|a| a.get_long());
        long.map(|l| format!("--{l}")).collect()
    } else if command.is_none() {
        let shown = root.get_subcommands().filter(|c| !c.is_hide_set());
        shown
            .map(|c| {
                format!(
                    "{}\t{}",
                    c.get_name(),
                    c.get_about().map(ToString::to_string).unwrap_or_default()
                )
            })
            .collect()
    } else {
        Vec::new()
    };
    all.retain(|word| word.starts_with(last));
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_has_a_script_that_knows_the_commands() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            assert!(
                script.contains("explain") && script.contains("kubectl-peon"),
                "{shell}"
            );
        }
    }

    #[test]
    fn kubectl_is_told_commands_and_flags() {
        let of = |words: &[&str]| candidates(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let commands = of(&[""]);
        assert!(
            commands.iter().any(|c| c.starts_with("explain\t")),
            "{commands:?}"
        );
        assert!(
            !commands.iter().any(|c| c.starts_with("__complete")),
            "{commands:?}"
        );
        assert_eq!(of(&["can"]).len(), 1);
        assert!(of(&["wait", "--"]).contains(&"--timeout".to_owned()));
        assert_eq!(of(&["wait", "--name"]), ["--namespace"]);
        assert_eq!(of(&["logs", "x"]), Vec::<String>::new());
    }
}
