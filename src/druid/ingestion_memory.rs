//! Ingestion memory in bytes: a task's limits in rows are removed, its limit in bytes is derived from the heap (pure).
//!
//! A task holds rows on the heap until there are `maxRowsInMemory` of them or they take `maxBytesInMemory`; then they
//! are persisted, and at the end everything persisted is merged. A number of rows says nothing about memory, so the
//! default of a million (150,000 for streaming tasks) leaves most of a large heap unused and exceeds a small one.
//!
//! The limit in bytes is a sixth of the heap, Druid's own default: while one part is persisted the next one fills up,
//! so rows take a third, and the rest is for parsing, merging and queries. Less would not be safer: a task fails when
//! its metadata of persisted parts exceeds this limit.
//!
//! Settings that shape data are not changed: `maxRowsPerSegment`, `maxTotalRows`, `partitionsSpec`. The text is edited
//! only where necessary and otherwise preserved byte for byte.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::value::RawValue;

/// Types that keep rows on the heap of their own JVM.
const INGESTING: [&str; 7] = [
    "index",
    "single_phase_sub_task",
    "index_sub",
    "partial_index_generate",
    "partial_range_index_generate",
    "index_kafka",
    "index_kinesis",
];

/// Types whose subtasks, in JVMs of their own size, inherit the `tuningConfig`. Without a limit in bytes each JVM takes
/// a sixth of its own heap, which is what is wanted; the supervisor's number would be wrong for it.
const SUPERVISING: [&str; 2] = ["index_parallel", "compact"];

/// The largest `int` of Java: no limit.
const NO_LIMIT: &str = "2147483647";
/// The part of the heap.
const PARTS: u64 = 6;

/// Whether tasks of this type are rewritten.
#[must_use]
pub fn applies_to(type_: &str) -> bool {
    INGESTING.contains(&type_) || SUPERVISING.contains(&type_)
}

/// A change of a task's text. It contains nothing of the task itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Bytes of the text that are replaced; an empty range is where something is added.
    pub range: Range<usize>,
    text: String,
}

impl Edit {
    /// What replaces them, for a JVM with a heap of `heap` bytes.
    #[must_use]
    pub fn text(&self, heap: u64) -> String {
        self.text.replace(BYTES, &(heap / PARTS).max(1).to_string())
    }
}

/// Stands for the limit in bytes, which depends on the heap.
const BYTES: &str = "<bytes>";

/// The task `json` of this type with its memory in bytes, for a JVM with a heap of `heap` bytes; `None` where nothing
/// is to be changed.
///
/// # Errors
/// The text is no JSON object.
pub fn rewrite(json: &str, type_: &str, heap: u64) -> Result<Option<String>, serde_json::Error> {
    let edits = edits(json, type_)?;
    Ok((!edits.is_empty()).then(|| apply(json, &edits, heap)))
}

/// What is changed in the task `json` of this type, in the order of the text; nothing overlaps. A `maxBytesInMemory` that
/// is given stays, and where it is negative, which turns that limit off, everything stays.
///
/// # Errors
/// The text is no JSON object.
pub fn edits(json: &str, type_: &str) -> Result<Vec<Edit>, serde_json::Error> {
    if !applies_to(type_) {
        return Ok(Vec::new());
    }
    let bytes = INGESTING.contains(&type_).then_some(BYTES);
    let task = Object::of(json, json)?;
    let spec = match task.members.get("spec") {
        Some(spec) if spec.get().starts_with('{') => Some(Object::of(json, spec.get())?),
        _ => None,
    };
    // Streaming tasks and compactions have it at the top, all others in their spec.
    let holders = [Some(&task), spec.as_ref()];
    let mut given = holders
        .into_iter()
        .flatten()
        .filter_map(|holder| holder.members.get("tuningConfig"))
        .filter(|config| config.get().starts_with('{'));
    let mut edits = match (given.next(), &spec) {
        (Some(config), _) => tune(&Object::of(json, config.get())?, bytes),
        // Druid's own limits, in rows, hold where there is none.
        (None, Some(spec)) if ["index", "index_parallel"].contains(&type_) => {
            let bytes = bytes.map_or_else(String::new, |bytes| format!(r#","maxBytesInMemory":{bytes}"#));
            let config = format!(r#"{{"type":"{type_}","maxRowsInMemory":{NO_LIMIT}{bytes}}}"#);
            spec.set(&[("tuningConfig", config)])
        }
        _ => Vec::new(),
    };
    edits.sort_by_key(|edit| edit.range.start);
    Ok(edits)
}

/// The edits of a `tuningConfig`.
fn tune(config: &Object<'_>, bytes: Option<&str>) -> Vec<Edit> {
    // To Druid 0 is the same as none; it writes that when it serialises a task.
    let given = config
        .members
        .get("maxBytesInMemory")
        .map(|value| value.get().trim_matches('"'))
        .filter(|value| !["null", "0"].contains(value));
    if given.is_some_and(|value| value.starts_with('-')) {
        return Vec::new();
    }
    let mut values = vec![("maxRowsInMemory", NO_LIMIT.to_owned())];
    if let (None, Some(bytes)) = (given, bytes) {
        values.push(("maxBytesInMemory", bytes.to_string()));
    }
    config.set(&values)
}

/// A JSON object within a text.
struct Object<'a> {
    whole: &'a str,
    text: &'a str,
    members: BTreeMap<String, &'a RawValue>,
}

impl<'a> Object<'a> {
    /// The object `text`, which is part of `whole`.
    fn of(whole: &'a str, text: &'a str) -> Result<Self, serde_json::Error> {
        Ok(Self {
            whole,
            text,
            members: serde_json::from_str(text)?,
        })
    }

    /// Where a part of the text stands in the whole.
    fn at(&self, part: &str) -> usize {
        part.as_ptr().addr() - self.whole.as_ptr().addr()
    }

    /// Edits that set these members: a value in place of another one, or new members at the head.
    fn set(&self, values: &[(&str, String)]) -> Vec<Edit> {
        let mut edits = Vec::new();
        let mut added = String::new();
        for (name, value) in values {
            if let Some(old) = self.members.get(*name) {
                let start = self.at(old.get());
                if old.get() != value {
                    edits.push(Edit {
                        range: start..start + old.get().len(),
                        text: value.clone(),
                    });
                }
            } else {
                let comma = if self.members.is_empty() && added.is_empty() {
                    ""
                } else {
                    ","
                };
                added = format!(r#""{name}":{value}{comma}{added}"#);
            }
        }
        if !added.is_empty() {
            let brace = self.text.find('{').unwrap_or_default();
            let inside = self.at(self.text) + brace + 1;
            edits.push(Edit {
                range: inside..inside,
                text: added,
            });
        }
        edits
    }
}

/// Applies edits that do not overlap, in the order of the text.
fn apply(text: &str, edits: &[Edit], heap: u64) -> String {
    let mut edited = text.to_owned();
    for edit in edits.iter().rev() {
        edited.replace_range(edit.range.clone(), &edit.text(heap));
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const HEAP: u64 = 600;

    fn rewritten(json: &str, type_: &str) -> Option<String> {
        rewrite(json, type_, HEAP).unwrap()
    }

    #[test]
    fn only_the_limits_change() {
        let json = r#" { "type":"index", "id" : "ü", "big":12345678901234567890.50,
  "spec":{"ioConfig":{"tuningConfig":{"maxRowsInMemory":1}}, "tuningConfig" : {"type":"index", "maxRowsInMemory" : 5 ,
  "maxBytesInMemory":0,"maxRowsPerSegment":7,"maxTotalRows":8,"partitionsSpec":{"type":"dynamic","maxRowsPerSegment":9}}}} "#;
        let expected = json
            .replace(r#""maxRowsInMemory" : 5"#, r#""maxRowsInMemory" : 2147483647"#)
            .replace(r#""maxBytesInMemory":0"#, r#""maxBytesInMemory":100"#);
        assert_eq!(rewritten(json, "index"), Some(expected));
    }

    #[test]
    fn streaming_tasks_have_their_config_at_the_top_or_in_a_spec() {
        let expected =
            r#"{"tuningConfig":{"maxBytesInMemory":100,"maxRowsInMemory":2147483647,"type":"kafka"}}"#;
        let top = r#"{"tuningConfig":{"type":"kafka"}}"#;
        assert_eq!(rewritten(top, "index_kafka").as_deref(), Some(expected));
        let in_spec = format!(r#"{{"spec":{top}}}"#);
        let expected = format!(r#"{{"spec":{expected}}}"#);
        assert_eq!(rewritten(&in_spec, "index_kinesis"), Some(expected));
    }

    #[test]
    fn a_limit_in_bytes_that_is_given_stays() {
        let config = |config: &str| format!(r#"{{"spec":{{"tuningConfig":{config}}}}}"#);
        let given = config(r#"{"maxBytesInMemory":77}"#);
        let expected = config(r#"{"maxRowsInMemory":2147483647,"maxBytesInMemory":77}"#);
        assert_eq!(rewritten(&given, "index"), Some(expected));
        let off = config(r#"{"maxBytesInMemory":-1,"maxRowsInMemory":10}"#);
        assert_eq!(rewritten(&off, "index"), None, "rows are the only limit then");
        for none in ["null", "0"] {
            let none = config(&format!(r#"{{"maxBytesInMemory":{none}}}"#));
            let expected = config(r#"{"maxRowsInMemory":2147483647,"maxBytesInMemory":100}"#);
            assert_eq!(rewritten(&none, "single_phase_sub_task"), Some(expected));
        }
    }

    #[test]
    fn supervisors_do_not_hand_their_own_heap_down() {
        let parallel = r#"{"spec":{"tuningConfig":{}}}"#;
        let expected = r#"{"spec":{"tuningConfig":{"maxRowsInMemory":2147483647}}}"#;
        assert_eq!(rewritten(parallel, "index_parallel").as_deref(), Some(expected));
        let compact = r#"{"tuningConfig":{"maxRowsInMemory":1000000,"maxBytesInMemory":0}}"#;
        let expected = r#"{"tuningConfig":{"maxRowsInMemory":2147483647,"maxBytesInMemory":0}}"#;
        assert_eq!(rewritten(compact, "compact").as_deref(), Some(expected));
    }

    #[test]
    fn a_config_is_made_where_druid_would_take_its_defaults() {
        let expected = r#"{"spec":{"tuningConfig":{"type":"index","maxRowsInMemory":2147483647,"maxBytesInMemory":100}}}"#;
        for json in [r#"{"spec":{}}"#, r#"{"spec":{"tuningConfig":null}}"#] {
            assert_eq!(rewritten(json, "index").as_deref(), Some(expected), "{json}");
        }
        let expected = r#"{"spec":{"tuningConfig":{"type":"index_parallel","maxRowsInMemory":2147483647},"ioConfig":{}}}"#;
        let parallel = r#"{"spec":{"ioConfig":{}}}"#;
        assert_eq!(rewritten(parallel, "index_parallel").as_deref(), Some(expected));
    }

    #[test]
    fn everything_else_is_left_alone() {
        let json = r#"{"spec":{"tuningConfig":{"maxRowsInMemory":1}},"tuningConfig":{"maxRowsInMemory":1}}"#;
        for type_ in [
            "noop",
            "kill",
            "index_hadoop",
            "query_controller",
            "partial_index_generic_merge",
        ] {
            assert_eq!(rewritten(json, type_), None, "{type_}");
        }
        for odd in [r"{}", r#"{"spec":[]}"#, r#"{"spec":{"tuningConfig":7}}"#] {
            assert_eq!(rewritten(odd, "index_kafka"), None, "{odd}");
        }
        let done = r#"{"tuningConfig":{"maxRowsInMemory":2147483647,"maxBytesInMemory":5}}"#;
        assert_eq!(rewritten(done, "index_kafka"), None);
        assert!(rewrite("[]", "index", HEAP).is_err());
    }

    proptest! {
        #[test]
        fn nothing_else_is_touched(
            rows in proptest::option::of(0_u32..10),
            bytes in proptest::option::of(0_u64..3),
            names in proptest::collection::btree_set("[a-z\"\\\\{}ü]{0,5}", 0..4),
            pretty in any::<bool>(),
        ) {
            let mut config = serde_json::Map::new();
            for name in &names {
                config.insert(name.clone(), json!({"maxRowsInMemory": [name]}));
            }
            if let Some(rows) = rows {
                config.insert("maxRowsInMemory".into(), rows.into());
            }
            if let Some(bytes) = bytes {
                config.insert("maxBytesInMemory".into(), bytes.into());
            }
            let task = json!({"a\"}": "{", "spec": {"tuningConfig": config, "z": [{}]}});
            let text = if pretty { serde_json::to_string_pretty(&task) } else { serde_json::to_string(&task) };
            let new: Value = serde_json::from_str(&rewritten(&text.unwrap(), "index").unwrap()).unwrap();
            let mut expected = task.clone();
            expected["spec"]["tuningConfig"]["maxRowsInMemory"] = json!(i32::MAX);
            let bytes = bytes.filter(|b| *b > 0).unwrap_or(HEAP / 6);
            expected["spec"]["tuningConfig"]["maxBytesInMemory"] = json!(bytes);
            prop_assert_eq!(new, expected);
        }
    }
}
