//! Printing: formats, tables, and readers that close the pipe early.
//!
//! Ids, names, messages and logs are written by the authors of tasks. Characters that would move a terminal's cursor,
//! change its state or reverse text are never sent to it: each is replaced by its number, in a form that JSON reads as
//! the same character.

use std::borrow::Cow;
use std::fmt::Write as _;
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
    /// Kind and name, one task a line.
    Name,
}

/// Prints text on standard output; on a terminal as [`visible`] text.
///
/// # Errors
/// A reader that went away is an error too, so that nothing more is done for nobody; [`is_broken_pipe`] tells.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = Out::stdout();
    out.write(text.as_bytes())?;
    out.end()
}

/// Prints text with [emphasis](Style) on standard output. What others wrote in it has to be [`visible`] already.
///
/// # Errors
/// As [`print()`].
pub(super) fn print_styled(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Says something beside the output, on standard error, which nobody need read; on a terminal as [`visible`] text.
pub(super) fn note(text: &str) {
    let mut err = io::stderr().lock();
    let text = if err.is_terminal() {
        visible(text)
    } else {
        text.into()
    };
    let _ = writeln!(err, "{text}");
}

/// Text in which each character that a terminal obeys, and does not show, is `\uXXXX`: controls but line breaks and tabs
/// (C0, DEL and C1), and what turns the direction of text.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_obeyed(c) {
            // A String takes everything.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

fn is_obeyed(c: char) -> bool {
    let turns =
        matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() && !matches!(c, '\n' | '\t')
}

/// Standard output for bytes that others wrote, which come in pieces: as they are, or [`visible`] on a terminal, where a
/// byte that is no text is `\xXX`.
pub(super) struct Out {
    terminal: bool,
    /// The beginning of a character whose end has not come.
    begun: Vec<u8>,
}

impl Out {
    /// The one of this process.
    pub(super) fn stdout() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            begun: Vec::new(),
        }
    }

    /// Writes a piece.
    ///
    /// # Errors
    /// As [`print()`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let shown = self.shown(bytes, false);
        let mut out = io::stdout().lock();
        out.write_all(&shown)?;
        out.flush()
    }

    /// Nothing follows.
    ///
    /// # Errors
    /// As [`print()`].
    pub(super) fn end(&mut self) -> io::Result<()> {
        let shown = self.shown(&[], true);
        io::stdout().lock().write_all(&shown)
    }

    fn shown<'a>(&mut self, bytes: &'a [u8], ends: bool) -> Cow<'a, [u8]> {
        if !self.terminal {
            return bytes.into();
        }
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        let mut shown = String::with_capacity(all.len());
        let mut left = all.len();
        for chunk in all.utf8_chunks() {
            shown.push_str(&visible(chunk.valid()));
            left -= chunk.valid().len() + chunk.invalid().len();
            let begins =
                left == 0 && std::str::from_utf8(chunk.invalid()).is_err_and(|e| e.error_len().is_none());
            if begins && !ends {
                self.begun = chunk.invalid().to_vec();
                break;
            }
            for byte in chunk.invalid() {
                let _ = write!(shown, "\\x{byte:02x}");
            }
        }
        shown.into_bytes().into()
    }
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

/// [`visible`] text, wherever it is printed: for tables and lines, which are for people.
pub(super) fn plain(text: &str) -> String {
    visible(text).into_owned()
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
        assert_eq!(plain("a\x1b[2Jb\r\n\tc"), "a\\u001b[2Jb\\u000d\n\tc");
        assert_eq!(plain("\u{9b}31m \u{7f}\0"), "\\u009b31m \\u007f\\u0000");
        for turns in
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}"
                .chars()
        {
            assert_eq!(plain(&turns.to_string()), format!("\\u{:04x}", u32::from(turns)));
        }
        let harmless = "Zürich 東京 🦀 e\u{301} \u{a0}";
        assert!(matches!(visible(harmless), Cow::Borrowed(text) if text == harmless));
    }

    /// Where JSON is shown on a terminal, it has the same meaning.
    #[test]
    fn json_stays_json() {
        let value = json!({"id": "a\u{202e}b\u{9b}c\u{7f}\x1b\n", "plain": "ü"});
        let shown = structured(Format::Json, &value).unwrap();
        let shown = visible(&shown);
        assert!(!shown.contains(is_obeyed));
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    fn out(terminal: bool, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Out {
            terminal,
            begun: Vec::new(),
        };
        let mut all: Vec<u8> = pieces
            .iter()
            .flat_map(|p| out.shown(p, false).into_owned())
            .collect();
        all.extend_from_slice(&out.shown(&[], true));
        all
    }

    #[test]
    fn a_log_is_visible_on_a_terminal_and_raw_elsewhere_however_it_comes() {
        let log = "\x1b]0;title\x07 ü\u{202e}東 \u{9b}2J\n".as_bytes();
        let log = [log, b"\x9b \xff\xe6\x9d"].concat();
        let expected = "\\u001b]0;title\\u0007 ü\\u202e東 \\u009b2J\n\\x9b \\xff\\xe6\\x9d";
        for step in [1, 2, 3, 5, 100] {
            let pieces: Vec<&[u8]> = log.chunks(step).collect();
            assert_eq!(String::from_utf8(out(true, &pieces)).unwrap(), expected, "{step}");
            assert_eq!(out(false, &pieces), log, "{step}");
        }
    }
}
