//! Printing: formats, tables, and a reader that goes away early.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::PeonTask;

/// Format of what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Kind and name, one a line.
    Name,
}

/// Prints text on standard output.
///
/// # Errors
/// A reader that went away is an error too, so that nothing more is done for nobody; [`is_broken_pipe`] tells.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Says something beside the output, on standard error, which nobody need read.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether an error is that of a reader, such as `head`, that has read enough.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(broken))
}

/// A value in a format for programs.
pub(super) fn structured(format: Format, value: &impl Serialize) -> anyhow::Result<String> {
    Ok(match format {
        Format::Json => serde_json::to_string_pretty(value)? + "\n",
        Format::Yaml | Format::Name => {
            let text = serde_yaml::to_string(value)?;
            if text.ends_with('\n') { text } else { text + "\n" }
        }
    })
}

/// PeonTasks in a format: one as itself, several as a list.
pub(super) fn tasks(format: Format, tasks: &[PeonTask]) -> anyhow::Result<String> {
    if format == Format::Name {
        return Ok(tasks.iter().map(|t| reference(&t.name_any()) + "\n").collect());
    }
    match tasks {
        [one] => structured(format, &shown(one)),
        several => list(format, several),
    }
}

/// PeonTasks as a list, however many they are.
pub(super) fn list(format: Format, tasks: &[PeonTask]) -> anyhow::Result<String> {
    let items: Vec<Value> = tasks.iter().map(shown).collect();
    structured(
        format,
        &json!({"apiVersion": "v1", "kind": "List", "items": items}),
    )
}

/// A PeonTask as JSON, without the bookkeeping of field managers, as kubectl shows objects.
pub(super) fn shown(task: &PeonTask) -> Value {
    let mut value = json!(task);
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    value
}

/// Kind and name, as kubectl writes them.
pub(super) fn reference(name: &str) -> String {
    format!("peontask.peon.dev/{name}")
}

/// Columns aligned with at least three spaces between them.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widths = widths(head, rows);
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let all = std::iter::once(&head).chain(rows);
    all.map(|row| line(row, &widths)).collect()
}

/// The widths of a table's columns.
pub(super) fn widths(head: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    widths
}

/// One more line of a table.
pub(super) fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        let pad = width.saturating_sub(cell.chars().count()) + 3;
        line += cell;
        line += &" ".repeat(pad);
    }
    line.trim_end().to_owned() + "\n"
}

/// Text for a terminal without what would move its cursor or colour it: messages come from anywhere.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

/// Emphasis, where the output is a terminal and `NO_COLOR` is not set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    colours: bool,
}

impl Style {
    /// For standard output.
    pub(super) fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Self {
            colours: wanted && !dumb && io::stdout().is_terminal(),
        }
    }

    /// No emphasis.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { colours: false }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A heading.
    pub(super) fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Something that is well.
    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something that is not.
    pub(super) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str) -> PeonTask {
        let task = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask",
            "metadata": {"name": name, "managedFields": [{"manager": "x"}]}, "spec": {"task": {"type": "noop"}},
        });
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn a_table_is_aligned_by_characters_and_has_no_trailing_blanks() {
        let rows = vec![
            vec!["ü".to_owned(), "1".into()],
            vec!["long".into(), String::new()],
        ];
        assert_eq!(table(&["A", "B"], &rows), "A      B\nü      1\nlong\n");
    }

    #[test]
    fn one_task_is_itself_and_several_are_a_list() {
        let one = tasks(Format::Json, &[task("a")]).unwrap();
        let one: Value = serde_json::from_str(&one).unwrap();
        assert_eq!(one["metadata"], json!({"name": "a"}));
        let two = tasks(Format::Yaml, &[task("a"), task("b")]).unwrap();
        assert!(two.contains("kind: List") && two.ends_with('\n'), "{two}");
        assert_eq!(
            tasks(Format::Name, &[task("a"), task("b")]).unwrap(),
            "peontask.peon.dev/a\npeontask.peon.dev/b\n"
        );
        let none: Value = serde_json::from_str(&list(Format::Json, &[]).unwrap()).unwrap();
        assert_eq!(none["items"], json!([]));
    }

    #[test]
    fn a_reader_that_went_away_is_recognised_behind_contexts() {
        let broken = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing");
        assert!(is_broken_pipe(&broken));
        assert!(!is_broken_pipe(&anyhow::anyhow!("else")));
    }

    #[test]
    fn messages_cannot_drive_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\r\nc"), "a[2Jb\nc");
    }
}
