//! What the last lines of a running task's log say (pure): how old the last one is, and which warnings are among them.

use std::collections::VecDeque;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::cli::duration;
use crate::cli::log_lines::time;

/// Lines of the log that are read.
pub(super) const LINES: u32 = 500;
/// Most bytes of them that are kept.
const MOST_BYTES: usize = 1 << 20;
/// Different warnings that are shown, the newest.
const WARNINGS: usize = 3;
/// Most characters of a line that are shown.
const LONGEST: usize = 300;
const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
/// Words of a line among which its level is.
const LEVEL_WITHIN: usize = 6;

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct LogEnd {
    /// The last line.
    last: Line,
    /// The last different warnings and errors, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Line {
    time: Time,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Warning {
    /// The last of them.
    #[serde(flatten)]
    line: Line,
    /// How often it is among the lines, with other numbers in it.
    times: usize,
    #[serde(skip)]
    shape: String,
}

impl LogEnd {
    /// Reads lines that begin with their times; `None` if there are none.
    pub(super) fn read(log: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(log);
        let mut last: Option<Line> = None;
        let mut warnings = VecDeque::new();
        let mut open: Option<Line> = None;
        for line in text.lines() {
            let Some((time, text)) = line.split_once(' ') else {
                continue;
            };
            let Some(time) = self::time(time.as_bytes()) else {
                continue;
            };
            if text.trim().is_empty() {
                continue;
            }
            let line = |text| Line {
                time: Time(time),
                text,
            };
            match &mut last {
                // A line of a stack trace says less than the line that it belongs to.
                Some(last) if level(text).is_none() && !is_of_the_start(text) => last.time = Time(time),
                last => *last = Some(line(cut(text))),
            }
            if let Some((level, from)) = level(text) {
                note(&mut warnings, open.take());
                open = is_warning(level).then(|| line(cut(from)));
            } else if is_of_the_start(text) {
                note(&mut warnings, open.take());
                note(&mut warnings, Some(line(cut(text))));
            } else if begins_an_exception(text) {
                // Without a layout: the JVM says so itself.
                match &mut open {
                    Some(open) => open.text = with_cause(&open.text, text),
                    None => note(&mut warnings, Some(line(cut(text)))),
                }
            }
        }
        note(&mut warnings, open);
        last.map(|last| Self {
            last,
            warnings: warnings.into(),
        })
    }

    /// In words.
    pub(super) fn text(&self, now: Timestamp) -> String {
        let age = |line: &Line| duration::between(line.time.0, now);
        let last = format!("the last line is {} old: {}", age(&self.last), self.last.text);
        if self.warnings.is_empty() {
            return format!("{last}\nnone of the last {LINES} lines is a warning or an error");
        }
        let mut lines = vec![last, format!("the last warnings and errors among {LINES} lines:")];
        for warning in &self.warnings {
            let times = match warning.times {
                1 => String::new(),
                times => format!(", {times} times"),
            };
            lines.push(format!(
                "  {} ago{times}: {}",
                age(&warning.line),
                warning.line.text
            ));
        }
        lines.join("\n")
    }
}

/// The end of a log that arrives in pieces, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Kept(VecDeque<u8>);

impl Kept {
    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let excess = self.0.len().saturating_sub(MOST_BYTES);
        self.0.drain(..excess);
    }

    /// What was kept.
    pub(super) fn end(self) -> Option<LogEnd> {
        LogEnd::read(&Vec::from(self.0))
    }
}

/// Level of a line, and the line from its level on; of a line in JSON the whole line.
fn level(text: &str) -> Option<(&'static str, &str)> {
    if text.starts_with('{') {
        let is = |level: &&&str| {
            text.contains(&format!("\"level\":\"{level}\""))
                || text.contains(&format!("\"level\" : \"{level}\""))
        };
        return LEVELS.iter().find(is).map(|level| (*level, text));
    }
    for word in text.split(' ').take(LEVEL_WITHIN) {
        let bare = word.trim_matches(['[', ']', ':']);
        if let Some(level) = LEVELS.iter().find(|level| **level == bare) {
            let from = word.as_ptr().addr() - text.as_ptr().addr();
            return Some((level, &text[from..]));
        }
    }
    None
}

fn is_warning(level: &str) -> bool {
    matches!(level, "WARN" | "ERROR" | "FATAL")
}

/// Whether a line tells why Java does not start, or what the peon's script says before it does.
fn is_of_the_start(text: &str) -> bool {
    const BEGINNINGS: [&str; 6] = [
        "Error: ",
        "Error occurred during initialization",
        "Unrecognized ",
        "Conflicting ",
        "Invalid ",
        "peon properties: ",
    ];
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
}

/// Whether a line of a stack trace names an exception.
fn begins_an_exception(text: &str) -> bool {
    let names = |text: &str| {
        let name = text.split([':', ' ']).next().unwrap_or_default();
        name.contains('.') && (name.ends_with("Exception") || name.ends_with("Error"))
    };
    text.starts_with("Exception in thread ")
        || names(text)
        || text.strip_prefix("Caused by: ").is_some_and(names)
}

/// A message with the last of its causes, which says most.
fn with_cause(message: &str, cause: &str) -> String {
    let message = message.split(CAUSE).next().unwrap_or_default();
    cut(&format!(
        "{message}{CAUSE}{}",
        cause.strip_prefix("Caused by: ").unwrap_or(cause)
    ))
}

const CAUSE: &str = " … ";

/// Adds a warning; one of the same shape is counted.
fn note(warnings: &mut VecDeque<Warning>, line: Option<Line>) {
    let Some(line) = line else { return };
    let shape = shape(&line.text);
    let before = warnings.iter().position(|w| w.shape == shape);
    let times = before.and_then(|at| warnings.remove(at)).map_or(0, |w| w.times);
    warnings.push_back(Warning {
        line,
        times: times + 1,
        shape,
    });
    if warnings.len() > WARNINGS {
        warnings.pop_front();
    }
}

/// A line without the numbers in it.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for character in text.chars() {
        match character {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            other => shape.push(other),
        }
    }
    shape
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "log_end_tests.rs"]
mod tests;
