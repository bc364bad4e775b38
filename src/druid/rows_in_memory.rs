//! How many bytes of rows a task of an Indexer that runs several tasks may hold in memory, as far as can be known before it
//! runs (pure).
//!
//! Druid gives each task of an Indexer the same share of memory for rows that are not persisted, and overrides both
//! `maxRowsInMemory` and `maxBytesInMemory` of the task (`UnifiedIndexerAppenderatorsManager`): they say nothing here. What
//! a task holds is less than its share only where it reads less, or no rows at all.

use serde_json::Value;

use super::fields::{Fields, Unreadable};
use super::human_readable;

/// Larger tasks are not looked at: no Indexer of a pool is given one.
const LARGEST: usize = 1 << 20;
/// Heap of a task that merges what others have written.
const MERGE: u64 = 64 << 20;

/// Types that read no rows.
const NO_ROWS: [&str; 5] = ["noop", "kill", "move", "archive", "restore"];
/// Types that merge segments which other tasks have written.
const MERGING: [&str; 2] = ["partial_index_merge", "partial_index_generic_merge"];
/// Types whose input is one split of that of their supervising task.
const OF_A_SPLIT: [&str; 5] = [
    "single_phase_sub_task",
    "partial_index_generate",
    "partial_range_index_generate",
    "partial_dimension_cardinality",
    "partial_dimension_distribution",
];

/// What a task may hold in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsInMemory {
    /// No rows: those of its subtasks are not its own.
    Nothing,
    /// The most bytes that its input has, according to its spec.
    Input(u64),
    /// What a merge needs.
    Merge,
    /// All that Druid gives it.
    Share,
}

impl RowsInMemory {
    /// What is known of the task `json` of this type, of which `top` has `spec`. `delegates`: it leaves the rows to subtasks.
    #[must_use]
    pub fn of(json: &str, type_: &str, delegates: bool, top: &Fields<'_>) -> Self {
        if delegates || NO_ROWS.contains(&type_) {
            return Self::Nothing;
        }
        if MERGING.contains(&type_) {
            return Self::Merge;
        }
        if json.len() > LARGEST {
            return Self::Share;
        }
        // What cannot be read fails in Druid, if anywhere.
        input(type_, top).ok().flatten().map_or(Self::Share, Self::Input)
    }

    /// The estimate in bytes, in an Indexer that gives each task this share: one part of the rows is persisted while the
    /// next one fills up, so a task holds twice its share.
    #[must_use]
    pub fn bytes(self, share: u64) -> u64 {
        let most = share.saturating_mul(2);
        match self {
            Self::Nothing => 0,
            Self::Input(bytes) => bytes.min(most),
            Self::Merge => MERGE,
            Self::Share => most,
        }
    }
}

/// Bytes of the task's input, where its spec says so.
fn input(type_: &str, top: &Fields<'_>) -> Result<Option<u64>, Unreadable> {
    let spec = top.object("spec", |key| key == "ioConfig" || key == "tuningConfig")?;
    let io_config = spec.object("ioConfig", |key| key == "inputSource")?;
    let source = io_config.object("inputSource", |key| key == "type" || key == "data")?;
    if source.text("type") == Some("\"inline\"") {
        let data = source.text("data").map_or(0, str::len);
        return Ok(u64::try_from(data).ok());
    }
    if !OF_A_SPLIT.contains(&type_) {
        return Ok(None);
    }
    let tuning = spec.object("tuningConfig", |key| key == "splitHintSpec")?;
    let hint = tuning.object("splitHintSpec", |key| key == "type" || key == "maxSplitSize")?;
    if hint.text("type") != Some("\"maxSize\"") {
        return Ok(None);
    }
    Ok(match hint.value("maxSplitSize")? {
        Some(Value::Number(bytes)) => bytes.as_u64(),
        Some(Value::String(text)) => human_readable::bytes(&text),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(task: &Value) -> RowsInMemory {
        let json = task.to_string();
        let top = Fields::read(&json, |key| key == "spec").unwrap();
        RowsInMemory::of(&json, task["type"].as_str().unwrap(), false, &top)
    }

    fn of_split(type_: &str, hint: &Value) -> RowsInMemory {
        of(&json!({"type": type_, "spec": {"tuningConfig": {"splitHintSpec": hint}}}))
    }

    #[test]
    fn a_task_holds_its_share_unless_it_is_known_to_read_less() {
        let inline = json!({"type": "inline", "data": "1234567890"});
        let task = json!({"type": "index", "spec": {"ioConfig": {"inputSource": inline}}});
        assert_eq!(of(&task), RowsInMemory::Input(12), "with the quotation marks");
        let size = json!({"type": "maxSize", "maxSplitSize": "10MiB", "maxNumFiles": 5});
        assert_eq!(
            of_split("single_phase_sub_task", &size),
            RowsInMemory::Input(10 << 20)
        );
        let size = json!({"type": "maxSize", "maxSplitSize": 100});
        assert_eq!(
            of_split("partial_index_generate", &size),
            RowsInMemory::Input(100)
        );
        assert_eq!(
            of_split("index", &size),
            RowsInMemory::Share,
            "it reads all splits"
        );
        for hint in [
            json!({"type": "segments", "maxSplitSize": 100}),
            json!({"type": "maxSize"}),
            json!({"type": "maxSize", "maxSplitSize": "much"}),
            json!(3),
        ] {
            assert_eq!(of_split("single_phase_sub_task", &hint), RowsInMemory::Share);
        }
        assert_eq!(
            of(&json!({"type": "index_kafka", "spec": {}})),
            RowsInMemory::Share
        );
        assert_eq!(of(&json!({"type": "noop"})), RowsInMemory::Nothing);
        assert_eq!(
            of(&json!({"type": "partial_index_generic_merge"})),
            RowsInMemory::Merge
        );
    }

    /// Druid overrides them in an Indexer.
    #[test]
    fn limits_of_the_task_say_nothing() {
        let tuning = json!({"maxBytesInMemory": 1, "maxRowsInMemory": 1});
        let task = json!({"type": "index", "spec": {"tuningConfig": tuning}});
        assert_eq!(of(&task), RowsInMemory::Share);
    }

    #[test]
    fn what_is_ambiguous_or_large_is_taken_for_a_share() {
        let twice = r#"{"type": "index", "spec": {"ioConfig": {}, "ioConfig": {}}}"#;
        let top = Fields::read(twice, |key| key == "spec").unwrap();
        assert_eq!(RowsInMemory::of(twice, "index", false, &top), RowsInMemory::Share);
        let inline = json!({"type": "inline", "data": "x".repeat(LARGEST)});
        let task = json!({"type": "index", "spec": {"ioConfig": {"inputSource": inline}}});
        assert_eq!(of(&task), RowsInMemory::Share);
    }

    #[test]
    fn nothing_holds_more_than_twice_its_share() {
        let all = [
            RowsInMemory::Nothing,
            RowsInMemory::Input(10),
            RowsInMemory::Input(1_000),
            RowsInMemory::Share,
            RowsInMemory::Merge,
        ];
        assert_eq!(all.map(|rows| rows.bytes(100)), [0, 10, 200, 200, MERGE]);
    }
}
