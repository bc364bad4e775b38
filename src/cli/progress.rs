//! Progress while a task is followed: on a terminal one line that is rewritten, else one line per change.

use std::io::{self, IsTerminal, Write};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::watch;

use super::connection::Cluster;
use super::duration;
use super::live_report::{self, Report};
use super::output::{note, plain};
use super::tasks::{self, attempt, standing};
use crate::api::{PeonTask, Phase};

/// How a task's progress is shown, on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    mode: Mode,
    /// The task as last seen.
    task: Option<PeonTask>,
    /// The last line that was shown.
    shown: String,
    reports: Option<(String, watch::Receiver<Option<Report>>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// One line, made anew.
    Line,
    /// A line for every change.
    Lines,
}

impl Progress {
    /// For one of `tasks` tasks that are followed at the same time.
    pub(super) fn of(tasks: usize) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|t| t == "dumb");
        let line = tasks == 1 && io::stderr().is_terminal() && !dumb;
        Self {
            mode: if line { Mode::Line } else { Mode::Lines },
            task: None,
            shown: String::new(),
            reports: None,
        }
    }

    /// Shows what became of the task.
    pub(super) fn show(&mut self, cluster: &Cluster, task: &PeonTask) {
        self.listen(cluster, task);
        self.task = Some(task.clone());
        self.draw(Timestamp::now());
    }

    /// Time went by.
    pub(super) fn tick(&mut self) {
        if self.mode == Mode::Line {
            self.draw(Timestamp::now());
        }
    }

    /// Leaves the line for good.
    pub(super) fn end(&mut self) {
        if self.mode == Mode::Line && !self.shown.is_empty() {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K");
        }
        self.shown.clear();
        self.reports = None;
    }

    /// Asks the peon of a running task for its rows, where somebody sees them.
    fn listen(&mut self, cluster: &Cluster, task: &PeonTask) {
        let status = tasks::status(task);
        let running = status.phase == Some(Phase::Running);
        let (Some(peon), Some(id), true) = (
            status.run.as_ref().and_then(live_report::endpoint),
            status.task_id,
            running && self.mode == Mode::Line,
        ) else {
            self.reports = None;
            return;
        };
        if self.reports.as_ref().is_none_or(|(of, _)| *of != peon) {
            let client = cluster.client.clone();
            let reports = live_report::poll(client, &cluster.namespace, &peon, &id);
            self.reports = Some((peon, reports));
        }
    }

    fn draw(&mut self, now: Timestamp) {
        let Some(task) = &self.task else { return };
        match self.mode {
            Mode::Line => {
                let report = self.reports.as_ref().and_then(|(_, r)| r.borrow().clone());
                let width =
                    terminal_size::terminal_size_of(io::stderr()).map_or(80, |(w, _)| usize::from(w.0));
                let line = fit(&line(task, report.as_ref(), now), width.saturating_sub(1));
                let _ = write!(io::stderr().lock(), "\r\x1b[2K{line}");
                let _ = io::stderr().flush();
                self.shown = line;
            }
            // The verdict is printed by whoever waits for it.
            Mode::Lines if tasks::verdict(task).is_some() => {}
            Mode::Lines => {
                let line = change(task);
                if line != self.shown {
                    note(&line);
                    self.shown = line;
                }
            }
        }
    }
}

impl Drop for Progress {
    /// Whoever stops following writes on a line of his own.
    fn drop(&mut self) {
        self.end();
    }
}

/// A task as a line that changes: phase, reason, attempt, time, rows.
fn line(task: &PeonTask, report: Option<&Report>, now: Timestamp) -> String {
    let status = tasks::status(task);
    let mut parts = vec![phase_and_reason(task)];
    if let Some(number) = attempt(&status).filter(|n| *n > 1) {
        parts.push(format!("attempt {number}"));
    }
    parts.push(tasks::duration(&status, now).unwrap_or_else(|| tasks::age(task, now)));
    parts.extend(report.and_then(Report::words));
    let (reason, message) = standing(&status);
    let waits = matches!(
        tasks::phase(task),
        Phase::Pending | Phase::Starting | Phase::Suspended
    );
    let message = if waits && !reason.is_empty() && !message.is_empty() {
        format!(": {message}")
    } else {
        String::new()
    };
    plain(&format!("{}: {}{message}", task.name_any(), parts.join(", "))).replace('\n', " ")
}

/// A task as a line of its own, which says nothing that changes all the time.
fn change(task: &PeonTask) -> String {
    let status = tasks::status(task);
    let (_, message) = standing(&status);
    let number = attempt(&status)
        .filter(|n| *n > 1)
        .map_or_else(String::new, |n| format!(", attempt {n}"));
    let message = match tasks::phase(task) {
        Phase::Running | Phase::Succeeded | Phase::Failed => String::new(),
        _ if message.is_empty() => String::new(),
        _ => format!(": {message}"),
    };
    plain(&format!(
        "{}: {}{number}{message}",
        task.name_any(),
        phase_and_reason(task)
    ))
    .replace('\n', " ")
}

fn phase_and_reason(task: &PeonTask) -> String {
    let phase = tasks::phase(task).as_str();
    let (reason, _) = standing(&tasks::status(task));
    if reason.is_empty() || reason == phase {
        phase.to_owned()
    } else {
        format!("{phase} ({reason})")
    }
}

/// How a finished task ended, in one line.
pub(super) fn ending(task: &PeonTask) -> Option<String> {
    let status = tasks::status(task);
    let name = super::output::reference(&task.name_any());
    let took = match (&status.start_time, &status.completion_time) {
        (Some(start), Some(end)) => format!(" after {}", duration::between(start.0, end.0)),
        _ => String::new(),
    };
    let number = attempt(&status)
        .filter(|n| *n > 1)
        .map_or_else(String::new, |n| format!(" in attempt {n}"));
    Some(match tasks::verdict(task)? {
        Phase::Succeeded => format!("{name} succeeded{number}{took}"),
        _ => format!("{name} failed{number}{took}: {}", plain(&tasks::why(&status))),
    })
}

/// The first `width` characters of a line.
fn fit(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tasks::tests::{at, condition, task};
    use serde_json::json;

    #[test]
    fn a_line_has_phase_reason_attempt_time_and_rows() {
        let running = task(
            "nightly",
            json!({}),
            json!({
                "phase": "Running", "reason": "Running", "attempt": 2, "startTime": "2026-11-21T08:00:10Z",
                "conditions": [condition("Ready", "True", "Running", "the peon runs")],
            }),
        );
        let report = live_report::read(
            &json!({"ingestionStatsAndErrors": {"payload": {"rowStats": {"totals":
            {"buildSegments": {"processed": 1200}}}}}}),
        );
        assert_eq!(
            line(&running, report.as_ref(), at(40)),
            "nightly: Running, attempt 2, 30s, 1,200 rows"
        );
        assert_eq!(change(&running), "nightly: Running, attempt 2");
    }

    #[test]
    fn a_waiting_task_says_for_what() {
        let waiting = task(
            "nightly",
            json!({}),
            json!({
                "phase": "Pending", "reason": "QuotaExceeded",
                "conditions": [condition("Ready", "False", "QuotaExceeded", "exceeded quota:\nnone")],
            }),
        );
        assert_eq!(
            line(&waiting, None, at(40)),
            "nightly: Pending (QuotaExceeded), 40s: exceeded quota: none"
        );
        assert_eq!(
            change(&waiting),
            "nightly: Pending (QuotaExceeded): exceeded quota: none"
        );
        assert_eq!(change(&task("new", json!({}), json!({}))), "new: Pending");
    }

    #[test]
    fn an_ending_has_the_cause_and_the_time_that_it_took() {
        let ended = |phase: &str, condition| {
            task(
                "nightly",
                json!({}),
                json!({
                    "phase": phase, "attempt": 1, "startTime": "2026-11-21T08:00:10Z",
                    "completionTime": "2026-11-21T08:00:22Z", "conditions": [condition],
                }),
            )
        };
        let good = ended(
            "Succeeded",
            condition("Complete", "True", "Succeeded", "Druid reported SUCCESS"),
        );
        assert_eq!(
            ending(&good).unwrap(),
            "peontask.peon.dev/nightly succeeded after 12s"
        );
        let bad = ended("Failed", condition("Failed", "True", "OOMKilled", "m"));
        assert_eq!(
            ending(&bad).unwrap(),
            "peontask.peon.dev/nightly failed after 12s: OOMKilled: m"
        );
        assert_eq!(ending(&task("x", json!({}), json!({}))), None);
    }

    #[test]
    fn a_line_fits_the_terminal() {
        assert_eq!(fit("abcdef", 6), "abcdef");
        assert_eq!(fit("äbcdefg", 6), "äbcde…");
    }
}
