//! How long a peon needs to stop (pure).
//!
//! On SIGTERM Druid 33 (`SingleTaskBackgroundRunner.stop`) asks the task to stop, which ingestion tasks do at once and
//! `noop` does not. Then it waits up to 300 seconds for the task to end and clean up and, for a task that can be
//! restored, another `druid.indexer.task.gracefulShutdownTimeout`, in which the task publishes or saves its data. Then
//! the HTTP server finishes its requests (`druid.server.http.gracefulShutdownTimeout`, none by default), and the JVM
//! ends.

use k8s_openapi::jiff::{Span, SpanRelativeTo};

use crate::task::accept::settings::{InvalidSetting, Settings};

/// Seconds for a task to stop. Kubernetes' own default: a stopped ingestion takes only a few seconds, and a task that
/// ignores the request should not delay a node's drain for longer.
const TASK: u32 = 30;
/// Seconds for the rest: closing connections and metrics, withdrawing announcements, writing the status and the last
/// log lines. A peon was seen to take up to six on one busy core.
const REST: u32 = 15;

const TASK_TIMEOUT: &str = "druid.indexer.task.gracefulShutdownTimeout";
const HTTP_TIMEOUT: &str = "druid.server.http.gracefulShutdownTimeout";

/// The pod's grace period in seconds, if the template sets none.
///
/// # Errors
/// A period that cannot be read.
pub fn seconds(settings: &Settings) -> Result<u32, InvalidSetting> {
    let task = period(settings, TASK_TIMEOUT)?.unwrap_or(TASK);
    let http = period(settings, HTTP_TIMEOUT)?.unwrap_or(0);
    Ok(task
        .saturating_add(http)
        .saturating_add(REST)
        .min(i32::MAX.unsigned_abs()))
}

/// A property with an ISO-8601 period, in seconds, rounded up.
fn period(settings: &Settings, name: &str) -> Result<Option<u32>, InvalidSetting> {
    let Some((text, source)) = settings.property_with_source(name) else {
        return Ok(None);
    };
    let days_are_24_hours = SpanRelativeTo::days_are_24_hours();
    let seconds = text
        .trim()
        .parse::<Span>()
        .and_then(|span| span.to_duration(days_are_24_hours))
        .ok()
        .and_then(|duration| u32::try_from(duration.as_millis()).ok());
    match seconds {
        Some(milliseconds) if text.trim_start().starts_with(['P', 'p']) => {
            Ok(Some(milliseconds.div_ceil(1000)))
        }
        _ => Err(InvalidSetting {
            source,
            message: format!("{name} is {text:?}, it must be a period such as PT5M"),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use super::*;
    use crate::api::MemoryLadder;
    use crate::druid::properties::RuntimeProperties;
    use crate::task::accept::settings::{Levels, Source};
    use crate::task::fixtures::{payload, task, template};
    use serde_json::{Value, json};

    fn grace(properties: Value) -> Result<u32, InvalidSetting> {
        let druid = json!({"type": "noop"});
        Settings::resolve(&Levels {
            task: &task(json!({ "task": druid })).spec,
            payload: Some(&payload(druid)),
            template: &template(json!({ "properties": properties })).spec,
            operator: &RuntimeProperties::default(),
            memory_step: 0,
            ladder: &MemoryLadder::default(),
        })
        .and_then(|settings| seconds(&settings))
    }

    #[test]
    fn druids_own_timeouts_are_granted() {
        assert_eq!(grace(json!({})), Ok(45));
        assert_eq!(grace(json!({ TASK_TIMEOUT: "PT5M" })), Ok(315));
        assert_eq!(
            grace(json!({ TASK_TIMEOUT: "P1DT0.5S", HTTP_TIMEOUT: "PT10S" })),
            Ok(86_400 + 1 + 10 + 15)
        );
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for bad in ["300", "5 minutes", "", "-PT5M", "P1Y", "PT9999999H"] {
            let refused = grace(json!({ TASK_TIMEOUT: bad })).unwrap_err();
            assert_eq!(refused.source, Source::Template, "{bad}");
            assert!(refused.message.contains(TASK_TIMEOUT), "{}", refused.message);
        }
    }
}
