//! The Druid task that is run, of a given size (pure).

use serde_json::{Value, json};

/// A task without an id. Its JSON has this number of KiB; without a size it is a plain `noop`. It is filled with objects as small
/// and as nested as the columns of an ingestion, because the API server's work depends on that, too.
pub(super) fn task(kibibytes: Option<u8>) -> Value {
    let mut task = json!({"type": "noop"});
    let Some(bytes) = kibibytes.map(|kibibytes| usize::from(kibibytes) * 1024) else {
        return task;
    };
    task["dimensions"] = json!([]);
    task["rest"] = json!("");
    let mut size = task.to_string().len();
    let mut dimensions = Vec::new();
    loop {
        let name = format!("column_{:04}", dimensions.len());
        let dimension = json!({
            "type": "string", "name": name, "multiValueHandling": "SORTED_ARRAY", "createBitmapIndex": true,
        });
        // With a comma, but for the first.
        let more = dimension.to_string().len() + usize::from(!dimensions.is_empty());
        if size + more > bytes {
            break;
        }
        size += more;
        dimensions.push(dimension);
    }
    task["dimensions"] = dimensions.into();
    task["rest"] = "x".repeat(bytes.saturating_sub(size)).into();
    task
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_the_size_that_is_asked_for() {
        assert_eq!(task(None), json!({"type": "noop"}));
        for kibibytes in [1, 2, 16, 64] {
            let size = task(Some(kibibytes)).to_string().len();
            assert_eq!(size, usize::from(kibibytes) * 1024);
        }
        let columns = task(Some(16))["dimensions"].as_array().unwrap().len();
        assert!(columns > 100, "{columns}");
    }
}
