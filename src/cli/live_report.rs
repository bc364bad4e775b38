//! The progress of a running task, as its peon reports it over HTTP.
//!
//! Only the peon knows it. The request goes through the API server's proxy, so that the user need not reach the pod.
//! For tasks without such a report, and users without the right, there are no rows.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Request;
use kube::Client;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::complaint::is_forbidden;
use crate::api::RunStatus;
use crate::task::run::pod::build::PORT;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_secs(5);

/// Rows of one step of an ingestion, such as `buildSegments`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) processed: u64,
    pub(super) unparseable: u64,
    pub(super) thrown_away: u64,
}

/// What a live report says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Druid's `ingestionState`, such as `BUILD_SEGMENTS`.
    pub(super) state: Option<String>,
    /// Rows by step, in Druid's words.
    pub(super) steps: BTreeMap<String, Rows>,
}

/// Reads a live report; `None` where it says nothing of rows.
///
/// `rowStats` holds `totals` and `movingAverages` while a task runs; some tasks give the steps directly.
pub(super) fn read(report: &Value) -> Option<Report> {
    let payload = report.pointer("/ingestionStatsAndErrors/payload")?;
    let stats = payload.get("rowStats")?;
    let totals = stats.get("totals").unwrap_or(stats).as_object()?;
    let rows = |step: &Value| {
        let count = |name: &str| step.get(name).and_then(Value::as_u64).unwrap_or_default();
        step.get("processed").and_then(Value::as_f64)?;
        Some(Rows {
            processed: count("processed"),
            unparseable: count("unparseable") + count("processedWithError"),
            thrown_away: count("thrownAway"),
        })
    };
    let steps = totals
        .iter()
        .filter_map(|(name, step)| Some((name.clone(), rows(step)?)))
        .collect();
    let now = payload.get("ingestionState").and_then(Value::as_str);
    Some(Report {
        state: now.map(str::to_owned),
        steps,
    })
}

impl Report {
    /// In a few words: `12,345 rows, 2 not parsed`.
    pub(super) fn words(&self) -> Option<String> {
        let step = ["buildSegments", "determinePartitions"];
        let rows = step
            .into_iter()
            .find_map(|s| self.steps.get(s).filter(|r| **r != Rows::default()));
        let rows = rows.or_else(|| self.steps.values().next())?;
        let mut words = format!("{} rows", grouped(rows.processed));
        for (count, what) in [
            (rows.unparseable, "not parsed"),
            (rows.thrown_away, "thrown away"),
        ] {
            if count > 0 {
                words.extend([", ", &grouped(count), " ", what]);
            }
        }
        Some(words)
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The path of a peon's live report behind the API server. Without `full` there are only the rows of the step that is
/// under way, and none while the task waits for its segments.
fn path(namespace: &str, endpoint: &str, task_id: &str) -> String {
    let id: String = task_id
        .bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect();
    format!(
        "/api/v1/namespaces/{namespace}/pods/{endpoint}/proxy/druid/worker/v1/chat/{id}/liveReports?full=true"
    )
}

/// The peon of a running task, as the API server's proxy names it: the pod and the port, with `https:` before it where it
/// has only a port for TLS; `None` without a pod.
pub(super) fn endpoint(run: &RunStatus) -> Option<String> {
    let pod = run.pod.as_ref()?;
    Some(match (run.port, run.tls_port) {
        (None, Some(port)) => format!("https:{pod}:{port}"),
        (Some(port), _) => format!("{pod}:{port}"),
        (None, None) => format!("{pod}:{PORT}"),
    })
}

/// Asks a peon at an [`endpoint`] repeatedly, until it has no listener.
///
/// # Access control
/// pods/proxy: get; without it there is no report.
pub(super) fn poll(
    client: Client,
    namespace: &str,
    endpoint: &str,
    task_id: &str,
) -> watch::Receiver<Option<Report>> {
    let (sender, receiver) = watch::channel(None);
    let path = path(namespace, endpoint, task_id);
    tokio::spawn(async move {
        while !sender.is_closed() {
            let Ok(request) = Request::get(&path).body(Vec::new()) else {
                return;
            };
            match client.request_text(request).await {
                Ok(text) => {
                    let report = serde_json::from_str(&text).ok().and_then(|v| read(&v));
                    if report.is_some() {
                        sender.send_replace(report);
                    }
                }
                Err(error) if is_forbidden(&error) => return,
                // Its server is not up yet, or has gone; or the task has no reports.
                Err(_) => {}
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = sender.closed() => return,
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(row_stats: &Value) -> Value {
        json!({"ingestionStatsAndErrors": {"type": "ingestionStatsAndErrors", "taskId": "x", "payload": {
            "ingestionState": "BUILD_SEGMENTS", "unparseableEvents": {}, "rowStats": row_stats, "errorMsg": null,
        }}})
    }

    #[test]
    fn rows_are_read_while_a_task_runs_and_at_its_end() {
        let step = json!({"processed": 1_234_567, "processedBytes": 156, "processedWithError": 1, "thrownAway": 3, "unparseable": 1});
        let running = report(
            &json!({"movingAverages": {"buildSegments": {"1m": {"processed": 1.5}}},
            "totals": {"determinePartitions": {"processed": 0}, "buildSegments": step}}),
        );
        let read_running = read(&running).unwrap();
        assert_eq!(
            read_running.words().as_deref(),
            Some("1,234,567 rows, 2 not parsed, 3 thrown away")
        );
        assert_eq!(read_running.state.as_deref(), Some("BUILD_SEGMENTS"));
        let ended = report(&json!({"buildSegments": {"processed": 3}}));
        assert_eq!(read(&ended).unwrap().words().as_deref(), Some("3 rows"));
    }

    #[test]
    fn a_report_without_rows_says_nothing() {
        // As an overlord got it from a peon that waited for its segments.
        let waiting = report(&json!({"movingAverages": {}, "totals": {}}));
        assert_eq!(read(&waiting).unwrap().words(), None);
        assert_eq!(read(&json!({"multiStageQuery": {}})), None);
        assert_eq!(read(&json!([])), None);
    }

    #[test]
    fn the_step_in_which_rows_are_counted_is_shown() {
        let partitions = report(
            &json!({"totals": {"determinePartitions": {"processed": 5}, "buildSegments": {"processed": 0}}}),
        );
        assert_eq!(read(&partitions).unwrap().words().as_deref(), Some("5 rows"));
    }

    #[test]
    fn a_peon_is_asked_at_the_port_that_the_status_has() {
        for (run, expected) in [
            (json!({"kind": "Pod", "pod": "a-1"}), Some("a-1:8100")),
            (
                json!({"kind": "Worker", "pod": "warm-a", "host": "h", "port": 8091}),
                Some("warm-a:8091"),
            ),
            (
                json!({"kind": "Worker", "pod": "warm-a", "host": "h", "port": 8091, "tlsPort": 8291}),
                Some("warm-a:8091"),
            ),
            (
                json!({"kind": "Worker", "pod": "warm-a", "host": "h", "tlsPort": 8291}),
                Some("https:warm-a:8291"),
            ),
            (json!({"kind": "Elsewhere"}), None),
        ] {
            let run: RunStatus = serde_json::from_value(run).unwrap();
            assert_eq!(endpoint(&run).as_deref(), expected, "{run:?}");
        }
    }

    #[test]
    fn any_id_fits_the_path() {
        assert_eq!(
            path("druid", "a-1:8100", "index_x_2026-11-21T01:52:40.016Z"),
            "/api/v1/namespaces/druid/pods/a-1:8100/proxy/druid/worker/v1/chat/index_x_2026-11-21T01%3A52%3A40.016Z/liveReports?full=true"
        );
        assert!(path("d", "p:1", "ü ?%").contains("/%C3%BC%20%3F%25/"));
        assert!(http::Uri::try_from(path("d", "p:1", "ü ?%\"{}")).is_ok());
    }
}
