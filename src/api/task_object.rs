//! The Druid task given as an object in a PeonTask (`spec.task`), stored as text (pure).
//!
//! A tree of values takes up to twenty times the memory of its text, and is dropped and copied by recursion. So the
//! text from an API server is measured first, without recursion, and parsed only if it is small and flat enough.

use std::sync::Arc;

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::druid::payload::LARGEST_INLINE;

/// Most levels of objects and arrays in `spec.task`, including the task itself. Druid's own tasks have about ten
/// levels. Deeper tasks can be given in `taskJson` or `taskFrom`, which are text.
pub const DEEPEST: usize = 64;

/// The Druid task of a PeonTask.
#[derive(Clone, PartialEq)]
pub struct TaskObject {
    /// JSON with sorted keys and no spaces; unchanged if it exceeds the limits.
    text: Arc<str>,
    beyond: Option<Beyond>,
}

/// Why a task is not parsed. The message contains nothing of the task, which may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Beyond {
    /// The task is too large.
    #[error(
        "the task has {0} bytes of JSON, at most {LARGEST_INLINE} are allowed: use taskFrom, as `kubectl peon submit` does"
    )]
    Size(usize),
    /// The task is nested too deeply.
    #[error("the task is nested {0} levels deep, at most {DEEPEST} are allowed: use taskJson or taskFrom")]
    Depth(usize),
    /// The task is JSON that cannot be represented, such as a number out of range.
    #[error("the task cannot be read: use taskJson or taskFrom")]
    Unreadable,
}

impl TaskObject {
    /// The task as JSON text.
    ///
    /// # Errors
    /// Why it is not run.
    pub fn text(&self) -> Result<&str, &Beyond> {
        match &self.beyond {
            None => Ok(&self.text),
            Some(beyond) => Err(beyond),
        }
    }

    /// The text as it was given, whatever its size and depth; empty if it was [dropped](Self::drop_beyond).
    #[must_use]
    pub fn given(&self) -> &str {
        &self.text
    }

    /// Drops the text of a task that cannot be run.
    pub fn drop_beyond(&mut self) {
        if self.beyond.is_some() {
            self.text = Arc::from("");
        }
    }

    fn read(raw: &str) -> Self {
        let (size, depth) = measure(raw);
        let beyond = |beyond| Self {
            text: Arc::from(raw),
            beyond: Some(beyond),
        };
        if size > LARGEST_INLINE {
            return beyond(Beyond::Size(size));
        }
        if depth > DEEPEST {
            return beyond(Beyond::Depth(depth));
        }
        let written = serde_json::from_str::<Map<String, Value>>(raw).and_then(|m| serde_json::to_string(&m));
        match written {
            Ok(text) => Self {
                text: text.into(),
                beyond: None,
            },
            Err(_) => beyond(Beyond::Unreadable),
        }
    }
}

/// Prints no content: it may contain secrets.
impl std::fmt::Debug for TaskObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskObject")
            .field("bytes", &self.text.len())
            .field("beyond", &self.beyond)
            .finish_non_exhaustive()
    }
}

impl From<Map<String, Value>> for TaskObject {
    fn from(task: Map<String, Value>) -> Self {
        Self::read(&Value::Object(task).to_string())
    }
}

impl<'de> Deserialize<'de> for TaskObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text is scanned, not parsed: depth and size cost no more than a copy.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get().trim();
        if !text.starts_with('{') {
            return Err(D::Error::invalid_type(
                Unexpected::Other("something else"),
                &"an object",
            ));
        }
        Ok(Self::read(text))
    }
}

/// A task that cannot be parsed, or was dropped, is serialized as an object without fields.
impl Serialize for TaskObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // serde_json's recursion limit is 128 levels.
        let task: Map<String, Value> = serde_json::from_str(&self.text).unwrap_or_default();
        task.serialize(serializer)
    }
}

/// Approximate size of a JSON text in compact form, in bytes, and its number of levels of objects and arrays. An API
/// server writes `<`, `>` and `&` as six characters each: they count as one.
///
/// Iterative, in one pass over the text.
#[must_use]
pub fn measure(json: &str) -> (usize, usize) {
    let (mut size, mut depth, mut deepest) = (0, 0_usize, 0);
    let mut bytes = json.bytes();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                size += match bytes.next() {
                    Some(b'u') => {
                        let digits = bytes.by_ref().take(4);
                        let unit = digits.fold(0, |unit, digit| unit * 16 + hex(digit));
                        written(unit)
                    }
                    Some(b'/') => 1,
                    _ => 2,
                };
                continue;
            }
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => continue,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        size += 1;
    }
    (size, deepest)
}

fn hex(digit: u8) -> u32 {
    char::from(digit).to_digit(16).unwrap_or_default()
}

/// Bytes that an escaped UTF-16 unit takes when it is serialized again.
fn written(unit: u32) -> usize {
    match unit {
        0x08 | 0x09 | 0x0a | 0x0c | 0x0d | 0x22 | 0x5c => 2,
        // Other control characters stay escaped.
        unit if unit < 0x20 => 6,
        unit if unit < 0x80 => 1,
        unit if unit < 0x800 => 2,
        // A surrogate: half of a character of four bytes.
        0xd800..=0xdfff => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> String {
        format!(
            r#"{{"type":"noop","x":{}{}}}"#,
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        )
    }

    fn read(text: &str) -> TaskObject {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_legal_is_kept_as_sorted_json() {
        let task = read(r#" { "type" : "noop", "b": [1, 2.50, 1e3], "a": "\u003c\u00e9\/" } "#);
        assert_eq!(task.text(), Ok(r#"{"a":"<é/","b":[1,2.5,1000.0],"type":"noop"}"#));
        assert_eq!(serde_json::to_string(&task).unwrap(), task.given());
        assert!(task.text().is_ok() && read(&nested(DEEPEST)).text().is_ok());
        assert!(serde_json::from_str::<TaskObject>("[1]").is_err());
    }

    /// A thread with little stack: one level of recursion for each level of the text would end it.
    #[test]
    fn depth_costs_no_stack() {
        let work = || {
            for levels in [DEEPEST + 1, 200, 100_000] {
                let mut task = read(&nested(levels));
                let large = levels > LARGEST_INLINE / 2;
                assert_eq!(matches!(task.text(), Err(Beyond::Depth(_))), !large);
                assert_eq!(matches!(task.text(), Err(Beyond::Size(_))), large);
                assert_eq!(task.clone(), task);
                let written = serde_json::to_string(&task).unwrap();
                assert!(written == "{}" || levels < 128 && written == task.given());
                task.drop_beyond();
                assert_eq!(task.given(), "");
                assert_eq!(serde_json::to_string(&task).unwrap(), "{}");
            }
        };
        let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(work);
        thread.unwrap().join().unwrap();
    }

    #[test]
    fn size_counts_what_druid_reads_and_not_how_an_api_server_escapes_it() {
        let filled = |length: usize, with: &str| {
            let empty = r#"{"type":"noop","x":""}"#.len();
            format!(r#"{{"type":"noop","x":"{}"}}"#, with.repeat(length - empty))
        };
        assert!(read(&filled(LARGEST_INLINE, "x")).text().is_ok());
        assert!(read(&filled(LARGEST_INLINE, r"\u003c")).text().is_ok());
        let one_more = read(&filled(LARGEST_INLINE + 1, "x"));
        assert_eq!(one_more.text(), Err(&Beyond::Size(LARGEST_INLINE + 1)));
        let message = one_more.text().unwrap_err().to_string();
        assert!(
            message.contains("102401 bytes") && message.contains("taskFrom"),
            "{message}"
        );
        assert_eq!(
            one_more.given().len(),
            LARGEST_INLINE + 1,
            "whoever submits it may put it elsewhere"
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[<>&\u{7}\n\"\\\\😀]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    /// As Go writes JSON, which every API server does.
    fn as_go(value: &Value) -> String {
        let text = serde_json::to_string_pretty(value).unwrap();
        text.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
    }

    proptest! {
        #[test]
        fn it_measures_what_is_written(value in any_json()) {
            prop_assert_eq!(measure(&as_go(&value)).0, value.to_string().len());
            let task = json!({"type": "noop", "x": value});
            let Value::Object(map) = task.clone() else { unreachable!() };
            let read = read(&as_go(&task));
            let expected = task.to_string();
            prop_assert_eq!(read.text(), Ok(expected.as_str()));
            prop_assert_eq!(TaskObject::from(map), read);
        }
    }
}
