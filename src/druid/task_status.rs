//! Druid's `TaskStatus`, as left by the peon (pure).
//!
//! The peon writes it to `status.json`, which is a link to the container's termination log. The kubelet keeps the last
//! 4,096 bytes of that file, and a pod's status keeps the first 12,288 divided by the number of its containers, so the
//! object may be cut at either end; and the container runtime may write text before it.

use serde_json::Value;

/// What a termination message says about the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The task with our id succeeded.
    Success,
    /// The task with our id failed.
    Failed {
        /// Druid's error message, possibly cut; absent where the task gave none.
        error_msg: Option<String>,
    },
    /// There is a status, but of another task.
    OtherTask {
        /// The id it carries.
        id: String,
    },
    /// No status can be recovered.
    None,
}

/// Reads a termination message. Only a status that carries `task_id` counts; where the head of the object was
/// cut off, what is left of the id must be a tail of ours. Anything else is [`Report::None`], never a success.
#[must_use]
pub fn read(message: &str, task_id: &str) -> Report {
    // The last object is the peon's: it is written at the very end.
    let starts: Vec<usize> = message.match_indices("{\"id\":").map(|(at, _)| at).collect();
    for start in starts.into_iter().rev() {
        let text = &message[start..];
        let mut objects = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let report = match objects.next() {
            Some(Ok(object)) => whole(&object, task_id),
            _ => cut_tail(text, task_id),
        };
        if report != Report::None {
            return report;
        }
    }
    cut_head(message, task_id)
}

fn whole(object: &Value, task_id: &str) -> Report {
    let (Some(id), Some(status)) = (
        object.get("id").and_then(Value::as_str),
        object.get("status").and_then(Value::as_str),
    ) else {
        return Report::None;
    };
    let error_msg = object.get("errorMsg").and_then(Value::as_str).map(str::to_owned);
    judge(id, id == task_id, status, error_msg)
}

/// The object's end is missing: id and status stand at its beginning.
fn cut_tail(text: &str, task_id: &str) -> Report {
    let Some((id, rest)) = text.strip_prefix("{\"id\":").and_then(string) else {
        return Report::None;
    };
    let Some((status, rest)) = rest.strip_prefix(",\"status\":").and_then(string) else {
        return Report::None;
    };
    judge(&id, id == task_id, &status, error_msg_in(rest))
}

/// The object's beginning is missing. An unescaped `"status":"…","duration":` cannot stand inside a JSON string,
/// so it is the status' own field; before it stands the rest of the id.
fn cut_head(message: &str, task_id: &str) -> Report {
    const FIELD: &str = "\",\"status\":";
    let Some(at) = message.rfind(FIELD) else {
        return Report::None;
    };
    let Some((status, rest)) = message.get(at + FIELD.len()..).and_then(string) else {
        return Report::None;
    };
    if !rest.starts_with(",\"duration\":") {
        return Report::None;
    }
    // The id stands in JSON's escapes; compare it escaped, since the cut may have hit an escape.
    let Ok(escaped) = serde_json::to_string(task_id) else {
        return Report::None;
    };
    let ours = &escaped[1..escaped.len() - 1];
    let left = &message[..at];
    if left.is_empty() || !ours.ends_with(left) {
        return Report::None;
    }
    judge(task_id, true, &status, error_msg_in(rest))
}

fn judge(id: &str, ours: bool, status: &str, error_msg: Option<String>) -> Report {
    match status {
        "SUCCESS" | "FAILED" if !ours => Report::OtherTask { id: id.to_owned() },
        "SUCCESS" => Report::Success,
        "FAILED" => Report::Failed {
            error_msg: error_msg.filter(|m| !m.is_empty()),
        },
        _ => Report::None,
    }
}

/// Reads a JSON string at the start of `text`: its value and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    match strings.next() {
        Some(Ok(value)) => Some((value, &text[strings.byte_offset()..])),
        _ => None,
    }
}

/// The error message in the fields after the status, whole or as far as it goes.
fn error_msg_in(rest: &str) -> Option<String> {
    const FIELD: &str = "\"errorMsg\":";
    let text = &rest[rest.find(FIELD)? + FIELD.len()..];
    if let Some((whole, _)) = string(text) {
        return Some(whole);
    }
    let open = text.strip_prefix('"')?;
    // Cut inside the string: drop up to one broken escape (`\uXXXX` is the longest) and close it.
    (0..=6).find_map(|drop| {
        let end = open.len().checked_sub(drop)?;
        let head = open.get(..end)?;
        string(&format!("\"{head}\""))
            .filter(|(_, left)| left.is_empty())
            .map(|(value, _)| value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "index_parallel_ds_ip_khnbbomi_2026-11-21T01:51:02.369Z";

    fn status(id: &str, status: &str, error: Option<&str>) -> String {
        let id = serde_json::to_string(id).unwrap();
        let error = error.map_or("null".into(), |e| serde_json::to_string(e).unwrap());
        format!(
            "{{\"id\":{id},\"status\":\"{status}\",\"duration\":3617,\"errorMsg\":{error},\
             \"location\":{{\"host\":null,\"port\":-1,\"tlsPort\":-1}}}}"
        )
    }

    #[test]
    fn reads_what_a_real_peon_wrote() {
        assert_eq!(read(&status(ID, "SUCCESS", None), ID), Report::Success);
        let failed = Report::Failed {
            error_msg: Some("no \"locks\"".into()),
        };
        assert_eq!(read(&status(ID, "FAILED", Some("no \"locks\"")), ID), failed);
    }

    #[test]
    fn finds_the_object_behind_any_prefix() {
        let text = format!("error: {{\"id\": broken {}", status(ID, "SUCCESS", None));
        assert_eq!(read(&text, ID), Report::Success);
    }

    #[test]
    fn another_task_is_no_verdict_of_ours() {
        assert_eq!(
            read(&status("other", "SUCCESS", None), ID),
            Report::OtherTask { id: "other".into() }
        );
    }

    #[test]
    fn running_and_nonsense_are_no_verdict() {
        for text in [
            "",
            "{}",
            "Killed",
            &status(ID, "RUNNING", None),
            "{\"id\":7,\"status\":\"SUCCESS\"}",
        ] {
            assert_eq!(read(text, ID), Report::None, "{text}");
        }
    }

    #[test]
    fn an_error_message_that_quotes_a_status_does_not_fool_it() {
        let quoted = status(ID, "SUCCESS", None);
        let whole = status(ID, "FAILED", Some(&quoted));
        for cut in 0..=whole.len() {
            assert_ne!(read(&whole[cut..], ID), Report::Success, "head cut at {cut}");
            assert_ne!(read(&whole[..cut], ID), Report::Success, "tail cut at {cut}");
        }
    }

    #[test]
    fn a_cut_head_keeps_the_verdict_while_some_of_the_id_is_left() {
        let whole = status(ID, "SUCCESS", None);
        let last = "{\"id\":\"".len() + ID.len() - 1;
        assert_eq!(read(&whole[last..], ID), Report::Success);
        assert_eq!(read(&whole[last + 1..], ID), Report::None);
        assert_eq!(read(&whole[last..], "other"), Report::None);
    }

    proptest! {
        #[test]
        fn a_cut_tail_keeps_the_verdict_from_the_status_on(id in "[a-zü\\\\\": .]{1,40}", error in "[a-z\"\\\\\n{}ü]{0,200}") {
            let whole = status(&id, "FAILED", Some(&error));
            let after = whole.find(",\"duration\"").unwrap();
            for cut in (after..=whole.len()).filter(|at| whole.is_char_boundary(*at)) {
                match read(&whole[..cut], &id) {
                    Report::Failed { error_msg } => {
                        prop_assert!(error.starts_with(error_msg.as_deref().unwrap_or_default()));
                    }
                    other => prop_assert!(false, "{other:?} at {cut} of {whole}"),
                }
            }
        }

        #[test]
        fn never_panics_and_never_invents_a_success(text in "(?s).{0,300}") {
            prop_assume!(!text.contains("SUCCESS"));
            prop_assert_ne!(read(&text, ID), Report::Success);
        }
    }
}
