//! What is printed of a log that arrives in pieces (pure): no report, the task's lines, their times, the last lines.

use std::collections::VecDeque;

use k8s_openapi::jiff::Timestamp;

use crate::logs::format::report;
use crate::logs::format::shared_log::{LineCutter, TaskLines};

/// Longest time at the beginning of a line.
const LONGEST_TIME: usize = 64;

/// Takes the log of a container, and returns what is to be printed.
#[derive(Debug, Default)]
pub(super) struct LogLines {
    /// The task's lines, if the container runs several tasks; else the log may have a report at its end.
    task: Option<LineCutter>,
    report: report::Cutter,
    times: Option<Times>,
    tail: Tail,
}

impl LogLines {
    /// The lines of this task, or of a container with one task.
    pub(super) fn of(task: Option<TaskLines>) -> Self {
        Self {
            task: task.map(LineCutter::new),
            ..Self::default()
        }
    }

    /// Each line of the container begins with its time, and so does what is printed.
    pub(super) fn with_times(self, times: bool) -> Self {
        Self {
            times: times.then(Times::default),
            ..self
        }
    }

    /// Only the last lines, this many.
    pub(super) fn last(self, most: Option<u32>) -> Self {
        Self {
            tail: Tail::of(most),
            ..self
        }
    }

    /// Takes the next bytes, and returns those that are to be printed at once.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut log = Vec::new();
        match self.times.take() {
            None => log = self.cut(bytes),
            Some(mut times) => {
                for piece in bytes.split_inclusive(|b| *b == b'\n') {
                    if let Some(text) = times.take(piece, self.task.is_some()) {
                        let cut = self.cut(&text);
                        times.print(&cut, &mut log);
                    }
                }
                self.times = Some(times);
            }
        }
        self.tail.take(&log).to_vec()
    }

    fn cut(&mut self, bytes: &[u8]) -> Vec<u8> {
        if let Some(task) = &mut self.task {
            return task.take(bytes);
        }
        let mut log = Vec::new();
        self.report.push(bytes, &mut log);
        log
    }

    /// What is to be printed at the end of the log.
    pub(super) fn end(self) -> Vec<u8> {
        let Self {
            task,
            report,
            times,
            mut tail,
        } = self;
        let rest = task.map_or_else(|| report.finish().0, LineCutter::end);
        let log = match times {
            None => rest,
            Some(mut times) => {
                let mut log = Vec::new();
                times.print(&rest, &mut log);
                log
            }
        };
        let mut printed = tail.take(&log).to_vec();
        printed.extend(tail.end().flatten());
        printed
    }
}

/// Takes the times off the lines, and puts them before those that are printed.
#[derive(Debug, Default)]
struct Times {
    /// The beginning of a line whose time is not complete.
    head: Vec<u8>,
    /// The time of the current line was read.
    is_within: bool,
    /// Times of lines that were read and not yet printed, each with its space.
    read: VecDeque<Vec<u8>>,
    /// The last line that was printed has not ended.
    is_open: bool,
}

impl Times {
    /// Takes a line or a part of one, and returns its text. `one` line is decided on at a time: the times of those before
    /// are no longer needed.
    fn take(&mut self, piece: &[u8], one: bool) -> Option<Vec<u8>> {
        let ends = piece.ends_with(b"\n");
        if self.is_within {
            self.is_within = !ends;
            return Some(piece.to_vec());
        }
        self.head.extend_from_slice(piece);
        let space = self.head.iter().position(|b| *b == b' ');
        if space.is_none() && !ends && self.head.len() < LONGEST_TIME {
            return None;
        }
        let line = std::mem::take(&mut self.head);
        let length = space
            .filter(|at| time(&line[..*at]).is_some())
            .map_or(0, |at| at + 1);
        if one {
            self.read.clear();
        }
        self.read.push_back(line[..length].to_vec());
        self.is_within = !ends;
        Some(line[length..].to_vec())
    }

    /// Appends these bytes of the log, with the time before each line.
    fn print(&mut self, log: &[u8], into: &mut Vec<u8>) {
        for line in log.split_inclusive(|b| *b == b'\n') {
            if !self.is_open {
                into.extend(self.read.pop_front().unwrap_or_default());
            }
            into.extend_from_slice(line);
            self.is_open = !line.ends_with(b"\n");
        }
    }
}

/// The time that the kubelet puts before a line.
pub(super) fn time(word: &[u8]) -> Option<Timestamp> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Holds back all but the last lines of a log, if only those are wanted.
#[derive(Debug, Default)]
pub(super) struct Tail {
    most: Option<usize>,
    /// The last lines, the last of which may not have ended.
    lines: VecDeque<Vec<u8>>,
}

impl Tail {
    /// Of this many lines; `None` of all.
    pub(super) fn of(most: Option<u32>) -> Self {
        Self {
            most: most.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            lines: VecDeque::new(),
        }
    }

    /// Takes the next bytes, and returns those that are to be printed at once.
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(most) = self.most else { return bytes };
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            match self.lines.back_mut().filter(|last| !last.ends_with(b"\n")) {
                Some(last) => last.extend_from_slice(line),
                None => self.lines.push_back(line.to_vec()),
            }
            while self.lines.len() > most {
                self.lines.pop_front();
            }
        }
        &[]
    }

    /// The lines that were held back.
    pub(super) fn end(self) -> impl Iterator<Item = Vec<u8>> {
        self.lines.into_iter()
    }
}

#[cfg(test)]
#[path = "log_lines_tests.rs"]
mod tests;
