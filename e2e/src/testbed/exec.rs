//! Running helper programs, with errors that show what they said.

use std::{
    fs::File,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitStatus, Output, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};

use crate::testbed::{interrupt::Helper, wait::saw_answer};

/// Runs a program and returns its standard output; a failure shows its standard error.
///
/// # Errors
/// When it cannot be started, exits with another status than 0, or writes something else than UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    output_with_input(command, "")
}

/// Like [`output`], with `input` on the program's standard input.
///
/// # Errors
/// As [`output`].
pub fn output_with_input(command: &mut Command, input: &str) -> Result<String> {
    let said = printed(command, input);
    saw_answer(line(command), &said);
    said
}

fn printed(command: &mut Command, input: &str) -> Result<String> {
    let done = finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()), input)?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("`{}` failed ({}): {}", line(command), done.status, said.trim());
    }
    String::from_utf8(done.stdout).with_context(|| format!("`{}` did not write UTF-8", line(command)))
}

/// Runs a program, with `input` on its standard input, whose exit code is worth knowing.
///
/// # Errors
/// When it cannot be started.
pub fn ended(command: &mut Command, input: &str) -> Result<Output> {
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()), input)
}

/// Runs a talkative program with everything it says in a log file; a failure shows the end of that.
///
/// # Errors
/// When it cannot be started or exits with another status than 0.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = File::options().create(true).append(true).open(log);
    let file = file.with_context(|| format!("cannot write the log {}", log.display()))?;
    let copy = file.try_clone().context("cannot duplicate a file handle")?;
    let done = finish(command.stdout(file).stderr(copy), "")?;
    if !done.status.success() {
        bail!("`{}` failed ({}); {}", line(command), done.status, tail(log, 15));
    }
    Ok(())
}

/// Runs a program for the user: with our terminal, and ended when we are.
///
/// # Errors
/// When it cannot be started.
pub fn foreground(command: &mut Command) -> Result<ExitStatus> {
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    let _helper = Helper::process(child.id());
    child.wait().with_context(|| format!("lost `{}`", line(command)))
}

/// Whether a program of that name is on the `PATH`.
#[must_use]
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// The last lines of a log and where the whole is, for an error message.
#[must_use]
pub fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    let last = all.get(all.len().saturating_sub(lines)..).unwrap_or_default();
    format!("the log {} ends with:\n  {}", log.display(), last.join("\n  "))
}

/// The command as one line for messages.
#[must_use]
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    if line.chars().count() > 300 {
        line.chars().take(300).chain(" …".chars()).collect()
    } else {
        line
    }
}

fn finish(command: &mut Command, input: &str) -> Result<Output> {
    // Its own process group: an interrupt ends it with everything it started.
    let spawned = command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .process_group(0)
        .spawn();
    let mut child = spawned.with_context(|| format!("cannot start `{}`", line(command)))?;
    let _helper = Helper::group(child.id());
    let stdin = child.stdin.take();
    thread::scope(|scope| {
        if let Some(mut stdin) = stdin {
            // A program that ends without reading all of it says so itself.
            scope.spawn(move || stdin.write_all(input.as_bytes()));
        }
        child
            .wait_with_output()
            .with_context(|| format!("lost `{}`", line(command)))
    })
}
