//! A Druid task as far as whoever runs it must read it (pure).
//!
//! The payload is opaque: it is handed to the peon byte for byte as it came. Only the fields below are looked at, and
//! a task of 16 MiB is not turned into a tree for it.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::task_id;
use crate::api::names::hex;

/// Largest payload that stands in a PeonTask itself, in bytes of JSON.
pub const LARGEST_INLINE: usize = 100 * 1024;
/// Largest payload at all, in bytes of JSON.
pub const LARGEST: usize = 16 * 1024 * 1024;

/// Task types that never talk to an overlord: `noop` only (its `isReady` takes no lock).
const WITHOUT_OVERLORD: [&str; 1] = ["noop"];
/// Streaming tasks: they commit offsets with their segments, so a second run continues or repeats nothing.
const STREAMING: [&str; 3] = ["index_kafka", "index_kinesis", "index_rabbit"];

/// Why a payload cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayload {
    /// It is no JSON object.
    #[error("the task is no JSON object: {0}")]
    NotJson(String),
    /// There is no usable `type`.
    #[error("the task has no type: give `type` as a string that is not empty")]
    NoType,
    /// The `id` is not a string.
    #[error("the task's id is not a string")]
    IdNotString,
    /// Druid refuses the id.
    #[error("the task's id {id:?} is not legal in Druid: {reason}")]
    IllegalId {
        /// The id, escaped for printing by the message.
        id: String,
        /// Why.
        reason: String,
    },
    /// The context is not an object.
    #[error("the task's context is not an object")]
    ContextNotObject,
    /// The payload is too large.
    #[error("the task has {size} bytes of JSON, at most {largest} are allowed{hint}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The largest size in bytes.
        largest: usize,
        /// What to do.
        hint: &'static str,
    },
    /// The payload cannot be written as JSON.
    #[error("the task cannot be written as JSON: {0}")]
    Unwritable(String),
}

/// A checked payload.
#[derive(Clone, PartialEq)]
pub struct Payload {
    /// The task's id.
    pub id: String,
    /// The task's type.
    pub type_: String,
    /// The datasource, from the top level or from the spec's data schema.
    pub data_source: Option<String>,
    /// The task's context; empty where it has none.
    pub context: Map<String, Value>,
    /// What the peon reads: the task with its id.
    pub json: String,
    /// Where in the original text the id was added, in bytes; `None` where it was there.
    pub id_added: Option<usize>,
    /// Size of the original text in bytes.
    pub original_size: usize,
    /// `sha256:` of [`Self::json`].
    pub hash: String,
    /// Whether it writes nothing twice when it is run again.
    pub safe_to_rerun: bool,
    /// The supervising task and the spec that this is a subtask of.
    pub subtask: Option<Subtask>,
}

/// What a subtask of a parallel task says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subtask {
    /// `supervisorTaskId`.
    pub supervisor: String,
    /// `subtaskSpecId`, which stays the same when the supervisor tries again under another id.
    pub spec: String,
}

/// A payload may hold secrets: what it says of itself is enough.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload")
            .field("id", &self.id)
            .field("type", &self.type_)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl Payload {
    /// Checks the task `task`; one without id gets `default_id`, which is the only thing ever added.
    ///
    /// # Errors
    /// [`InvalidPayload`] says what to change.
    pub fn parse(task: &Map<String, Value>, default_id: &str) -> Result<Self, InvalidPayload> {
        let json = serde_json::to_string(task).map_err(|e| InvalidPayload::Unwritable(e.to_string()))?;
        Self::parse_inline(&json, default_id)
    }

    /// Checks a task that stands as text in its PeonTask.
    ///
    /// # Errors
    /// [`InvalidPayload`] says what to change.
    pub fn parse_inline(json: &str, default_id: &str) -> Result<Self, InvalidPayload> {
        let hint = ": use taskFrom, as `kubectl peon submit` does";
        Self::parse_json(json, default_id, LARGEST_INLINE, hint)
    }

    /// Checks a task that stands in chunks.
    ///
    /// # Errors
    /// [`InvalidPayload`] says what to change.
    pub fn parse_chunked(json: &[u8], default_id: &str) -> Result<Self, InvalidPayload> {
        let json = std::str::from_utf8(json).map_err(|e| InvalidPayload::NotJson(e.to_string()))?;
        Self::parse_json(json, default_id, LARGEST, "")
    }

    fn parse_json(
        json: &str,
        default_id: &str,
        largest: usize,
        hint: &'static str,
    ) -> Result<Self, InvalidPayload> {
        let size = json.len();
        let too_large = |size| InvalidPayload::TooLarge { size, largest, hint };
        if size > largest {
            return Err(too_large(size));
        }
        // As Druid's own parser does, the last of several entries of one name counts.
        let top: BTreeMap<String, &RawValue> =
            serde_json::from_str(json).map_err(|e| InvalidPayload::NotJson(e.to_string()))?;
        let type_ = match value(&top, "type") {
            Some(Value::String(type_)) if !type_.is_empty() => type_,
            _ => return Err(InvalidPayload::NoType),
        };
        let (id, whole, id_added) = match value(&top, "id") {
            None => {
                let brace = json.find('{').map_or(0, |at| at + 1);
                (
                    default_id.to_owned(),
                    with_id(json, brace, default_id),
                    Some(brace),
                )
            }
            // Put together in the pod, where nothing is replaced.
            Some(Value::Null) if largest == LARGEST => return Err(InvalidPayload::IdNotString),
            Some(Value::Null) => {
                let null = top.get("id").map_or("", |raw| raw.get());
                (default_id.to_owned(), in_place_of(json, null, default_id), None)
            }
            Some(Value::String(id)) => (id, json.to_owned(), None),
            Some(_) => return Err(InvalidPayload::IdNotString),
        };
        task_id::check(&id).map_err(|reason| InvalidPayload::IllegalId {
            id: id.clone(),
            reason,
        })?;
        if whole.len() > largest {
            return Err(too_large(whole.len()));
        }
        let context = match value(&top, "context") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(context)) => context,
            Some(_) => return Err(InvalidPayload::ContextNotObject),
        };
        let subtask = subtask(&top, &id);
        Ok(Self {
            data_source: data_source(&top),
            safe_to_rerun: subtask.is_none() && writes_nothing_twice(&type_, &top),
            subtask,
            hash: format!("sha256:{}", hex(&Sha256::digest(whole.as_bytes()))),
            json: whole,
            id_added,
            original_size: json.len(),
            id,
            type_,
            context,
        })
    }

    /// Stands for the supervisor and the spec of a subtask: its later siblings have the same.
    #[must_use]
    pub fn subtask_key(&self) -> Option<String> {
        let subtask = self.subtask.as_ref()?;
        let both = format!("{}\0{}", subtask.supervisor, subtask.spec);
        Some(hex(&Sha256::digest(both.as_bytes()))[..32].to_owned())
    }

    /// Whether the peon of this task needs an overlord that knows the task.
    #[must_use]
    pub fn needs_overlord(&self) -> bool {
        !WITHOUT_OVERLORD.contains(&self.type_.as_str())
    }

    /// The value of `--loadBroadcastDatasourceMode`: Druid 33's tasks default to `ALL`, `kill` to `NONE`, and the
    /// context's `broadcastDatasourceLoadingMode` overrides it (`BroadcastDatasourceLoadingSpec`).
    ///
    /// # Errors
    /// Names the legal values when the context holds another one.
    pub fn broadcast_mode(&self) -> Result<&'static str, String> {
        let default = if self.type_ == "kill" { "NONE" } else { "ALL" };
        match self.context.get("broadcastDatasourceLoadingMode") {
            None | Some(Value::Null) => Ok(default),
            Some(Value::String(mode)) if mode == "ALL" => Ok("ALL"),
            Some(Value::String(mode)) if mode == "NONE" => Ok("NONE"),
            Some(Value::String(mode)) if mode == "ONLY_REQUIRED" => Ok("ONLY_REQUIRED"),
            Some(other) => Err(format!(
                "the context's broadcastDatasourceLoadingMode is {other}, it must be ALL, NONE or ONLY_REQUIRED"
            )),
        }
    }
}

type Top<'a> = BTreeMap<String, &'a RawValue>;

fn value(top: &Top<'_>, key: &str) -> Option<Value> {
    serde_json::from_str(top.get(key)?.get()).ok()
}

/// The object below a key, as far as it is one.
fn inner<'a>(top: &Top<'a>, key: &str) -> Option<Top<'a>> {
    serde_json::from_str(top.get(key)?.get()).ok()
}

/// The text with this id before everything else in its object.
fn with_id(json: &str, brace: usize, id: &str) -> String {
    let id = Value::from(id);
    format!("{}\"id\":{id},{}", &json[..brace], &json[brace..])
}

/// The text with this id where a null, which is a part of it, stands.
fn in_place_of(json: &str, null: &str, id: &str) -> String {
    let id = Value::from(id);
    let at = null.as_ptr() as usize - json.as_ptr() as usize;
    format!("{}{id}{}", &json[..at], &json[at + null.len()..])
}

/// Druid serialises the datasource at the top; users often give it only inside the data schema, which stands in
/// the spec of batch tasks and at the top of streaming tasks.
fn data_source(top: &Top<'_>) -> Option<String> {
    let at_top = value(top, "dataSource");
    let in_spec = || value(&inner(&inner(top, "spec")?, "dataSchema")?, "dataSource");
    let in_schema = || value(&inner(top, "dataSchema")?, "dataSource");
    let usable = |found: Value| match found {
        Value::String(s) if !s.is_empty() && s.chars().count() <= 255 => Some(s),
        _ => None,
    };
    at_top
        .and_then(usable)
        .or_else(|| in_spec().and_then(usable))
        .or_else(|| in_schema().and_then(usable))
}

/// A parallel task names itself as its supervisor; its subtasks name it.
fn subtask(top: &Top<'_>, id: &str) -> Option<Subtask> {
    let text = |key| match value(top, key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let supervisor = text("supervisorTaskId").filter(|s| s != id)?;
    Some(Subtask {
        supervisor,
        // Druid's older subtasks have none: each stands for itself.
        spec: text("subtaskSpecId").unwrap_or_else(|| id.to_owned()),
    })
}

/// `index` replaces what it writes in one transaction unless it appends; `kill` and `noop` write nothing.
fn writes_nothing_twice(type_: &str, top: &Top<'_>) -> bool {
    let appends = || {
        let io_config = inner(top, "spec").and_then(|spec| inner(&spec, "ioConfig"))?;
        value(&io_config, "appendToExisting")
    };
    match type_ {
        "noop" | "kill" => true,
        "index" => !matches!(appends(), Some(Value::Bool(true) | Value::String(_))),
        other => STREAMING.contains(&other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    fn parse(value: Value) -> Result<Payload, InvalidPayload> {
        Payload::parse(&object(value), "my-name")
    }

    #[test]
    fn the_id_is_the_only_thing_added() {
        let payload = parse(json!({"type": "noop", "runTime": 9_007_199_254_740_993_i64})).unwrap();
        assert_eq!(payload.id, "my-name");
        let written: Value = serde_json::from_str(&payload.json).unwrap();
        assert_eq!(
            written,
            json!({"type": "noop", "id": "my-name", "runTime": 9_007_199_254_740_993_i64})
        );
    }

    #[test]
    fn finds_the_datasource_wherever_druid_keeps_it() {
        let batch = json!({"type": "index_parallel", "spec": {"dataSchema": {"dataSource": "w"}}});
        assert_eq!(parse(batch).unwrap().data_source.as_deref(), Some("w"));
        let streaming = json!({"type": "index_kafka", "dataSchema": {"dataSource": "k"}});
        assert_eq!(parse(streaming).unwrap().data_source.as_deref(), Some("k"));
        assert_eq!(parse(json!({"type": "noop"})).unwrap().data_source, None);
    }

    #[test]
    fn each_kind_of_bad_payload_is_named() {
        assert_eq!(parse(json!({})), Err(InvalidPayload::NoType));
        assert_eq!(parse(json!({"type": ""})), Err(InvalidPayload::NoType));
        assert_eq!(
            parse(json!({"type": "noop", "id": 7})),
            Err(InvalidPayload::IdNotString)
        );
        assert_eq!(
            parse(json!({"type": "noop", "context": []})),
            Err(InvalidPayload::ContextNotObject)
        );
        assert!(matches!(
            parse(json!({"type": "noop", "id": "a/b"})),
            Err(InvalidPayload::IllegalId { .. })
        ));
        assert!(matches!(
            Payload::parse_inline("[]", "n"),
            Err(InvalidPayload::NotJson(_))
        ));
        let large = json!({"type": "noop", "x": "y".repeat(LARGEST_INLINE)});
        assert!(matches!(parse(large), Err(InvalidPayload::TooLarge { .. })));
    }

    #[test]
    fn the_hash_does_not_depend_on_the_order_of_keys() {
        let one = parse(json!({"type": "noop", "a": 1, "b": 2})).unwrap();
        let two = parse(json!({"b": 2, "type": "noop", "a": 1})).unwrap();
        assert_eq!(one.hash, two.hash);
    }

    /// Numbers, order, white space and escapes are whoever wrote the task's.
    #[test]
    fn text_is_kept_to_the_byte() {
        let json = "  {\"n\" : 123456789012345678901234567890.10, \"type\":\"noop\",\n\"e\":\"\\u00fc\", \"id\":\"x\" } ";
        assert_eq!(Payload::parse_inline(json, "n").unwrap().json, json);
        let without = " {\"type\": \"noop\", \"n\": 1e400}";
        let payload = Payload::parse_inline(without, "n\"").unwrap();
        assert_eq!(
            payload.json,
            " {\"id\":\"n\\\"\",\"type\": \"noop\", \"n\": 1e400}"
        );
        let null = "{\"type\": \"noop\", \"id\" : null , \"n\": null}";
        let payload = Payload::parse_inline(null, "x").unwrap();
        assert_eq!(payload.json, "{\"type\": \"noop\", \"id\" : \"x\" , \"n\": null}");
        assert_eq!(payload.id, "x");
    }

    #[test]
    fn what_is_no_json_object_says_where() {
        for json in [
            "",
            "null",
            "[1]",
            "{\"type\": \"noop\"} x",
            "{\"type\": \"noop\"",
            "\u{feff}{\"type\": \"noop\"}",
        ] {
            let error = Payload::parse_inline(json, "n").unwrap_err();
            assert!(matches!(error, InvalidPayload::NotJson(_)), "{json}: {error}");
        }
        let bytes = Payload::parse_chunked(b"{\"type\": \"\xff\"}", "n").unwrap_err();
        assert!(matches!(bytes, InvalidPayload::NotJson(_)), "{bytes}");
        let deep = format!(
            "{{\"type\": \"noop\", \"x\": {}{}}}",
            "[".repeat(50_000),
            "]".repeat(50_000)
        );
        assert!(
            Payload::parse_chunked(deep.as_bytes(), "n").is_ok(),
            "Druid's own limits are Druid's"
        );
    }

    #[test]
    fn what_may_be_run_again() {
        let safe = |task: Value| parse(task).unwrap().safe_to_rerun;
        assert!(
            safe(json!({"type": "noop"}))
                && safe(json!({"type": "kill"}))
                && safe(json!({"type": "index_kafka"}))
        );
        assert!(safe(
            json!({"type": "index", "spec": {"ioConfig": {"type": "index"}}})
        ));
        assert!(safe(
            json!({"type": "index", "spec": {"ioConfig": {"appendToExisting": false}}})
        ));
        assert!(!safe(
            json!({"type": "index", "spec": {"ioConfig": {"appendToExisting": true}}})
        ));
        assert!(!safe(json!({"type": "index_parallel"})) && !safe(json!({"type": "compact"})));
    }

    #[test]
    fn a_subtask_is_told_from_its_supervisor() {
        let one = parse(
            json!({"type": "single_phase_sub_task", "id": "a", "supervisorTaskId": "s", "subtaskSpecId": "s_0"}),
        );
        let again = parse(
            json!({"type": "single_phase_sub_task", "id": "b", "supervisorTaskId": "s", "subtaskSpecId": "s_0"}),
        );
        let other = parse(
            json!({"type": "single_phase_sub_task", "id": "c", "supervisorTaskId": "s", "subtaskSpecId": "s_1"}),
        );
        let (one, again, other) = (one.unwrap(), again.unwrap(), other.unwrap());
        assert!(!one.safe_to_rerun);
        assert_eq!(one.subtask_key(), again.subtask_key());
        assert_ne!(one.subtask_key(), other.subtask_key());
        let itself = parse(json!({"type": "noop", "id": "s", "supervisorTaskId": "s"})).unwrap();
        assert_eq!((itself.subtask_key(), itself.safe_to_rerun), (None, true));
    }

    #[test]
    fn a_payload_is_not_printed() {
        let payload = parse(json!({"type": "noop", "context": {"password": "marked"}})).unwrap();
        assert!(!format!("{payload:?}").contains("marked"));
    }

    #[test]
    fn the_broadcast_mode_is_one_of_three() {
        let mode = |context: Value| {
            parse(json!({"type": "kill", "context": context}))
                .unwrap()
                .broadcast_mode()
        };
        assert_eq!(mode(json!({})), Ok("NONE"));
        assert_eq!(
            mode(json!({"broadcastDatasourceLoadingMode": "ONLY_REQUIRED"})),
            Ok("ONLY_REQUIRED")
        );
        assert!(mode(json!({"broadcastDatasourceLoadingMode": "$(id)"})).is_err());
    }
}
