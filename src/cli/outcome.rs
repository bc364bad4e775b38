//! Exit codes of commands, for scripts.

/// How a command ended that did what it was asked. Together with failures these are the exit codes, which are
/// documented in `docs/cli.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All is well.
    Done,
    /// A wait took longer than `--timeout`.
    TimedOut,
    /// A task failed, or would be refused.
    TaskFailed,
    /// Ctrl-C.
    Interrupted,
}

/// What `--help` says of exit codes.
pub(super) const HELP: &str = "\
Exit codes:
  0    success
  1    an error; its message has the cause and what to do
  2    wrong usage
  3    a task failed, or (explain -f, pool size) would not be accepted
  4    --timeout passed
  130  interrupted; the tasks keep running";

/// Exit code of a command that could not do what it was asked.
pub const ERROR: u8 = 1;

impl Outcome {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::TaskFailed => 3,
            Self::TimedOut => 4,
            Self::Interrupted => 130,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_documentation_name_every_code() {
        let documentation = include_str!("../../docs/cli.md");
        let all = [
            Outcome::Done,
            Outcome::TaskFailed,
            Outcome::TimedOut,
            Outcome::Interrupted,
        ];
        for code in all.map(Outcome::code).into_iter().chain([ERROR, 2]) {
            assert!(HELP.contains(&format!("\n  {code} ")), "{code}");
            assert!(documentation.contains(&format!("\n| {code} |")), "{code}");
        }
    }

    #[test]
    fn of_several_tasks_the_worst_counts() {
        let worst = [Outcome::TimedOut, Outcome::Done, Outcome::TaskFailed];
        assert_eq!(worst.into_iter().max(), Some(Outcome::TaskFailed));
    }
}
