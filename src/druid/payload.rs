//! A Druid task as far as whoever runs it must read it (pure).
//!
//! The payload is opaque: it is handed to the peon as it came. Only the fields below are looked at.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::task_id;
use crate::api::names::hex;

/// Largest payload that stands in a PeonTask itself, in bytes of JSON.
pub const LARGEST_INLINE: usize = 100 * 1024;

/// Task types that never talk to an overlord: `noop` only (its `isReady` takes no lock).
const WITHOUT_OVERLORD: [&str; 1] = ["noop"];

/// Why a payload cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayload {
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
    /// The payload is too large to stand in a PeonTask.
    #[error("the task has {size} bytes of JSON, at most {LARGEST_INLINE} are allowed")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// The payload cannot be written as JSON.
    #[error("the task cannot be written as JSON: {0}")]
    Unwritable(String),
}

/// A checked payload.
#[derive(Debug, Clone, PartialEq)]
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
    /// `sha256:` of [`Self::json`].
    pub hash: String,
    /// P
    pub safe_to_rerun: bool,
}

impl Payload {
    /// Checks the task `task`; one without id gets `default_id`, which is the only thing ever added.
    ///
    /// # Errors
    /// [`InvalidPayload`] says what to change.
    pub fn parse(task: &Map<String, Value>, default_id: &str) -> Result<Self, InvalidPayload> {
        let type_ = match task.get("type") {
            Some(Value::String(type_)) if !type_.is_empty() => type_.clone(),
            _ => return Err(InvalidPayload::NoType),
        };
        let id = match task.get("id") {
            None | Some(Value::Null) => default_id.to_owned(),
            Some(Value::String(id)) => id.clone(),
            Some(_) => return Err(InvalidPayload::IdNotString),
        };
        task_id::check(&id).map_err(|reason| InvalidPayload::IllegalId {
            id: id.clone(),
            reason,
        })?;
        let context = match task.get("context") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(context)) => context.clone(),
            Some(_) => return Err(InvalidPayload::ContextNotObject),
        };
        let mut whole = task.clone();
        whole.insert("id".into(), Value::String(id.clone()));
        let json = serde_json::to_string(&whole).map_err(|e| InvalidPayload::Unwritable(e.to_string()))?;
        if json.len() > LARGEST_INLINE {
            return Err(InvalidPayload::TooLarge { size: json.len() });
        }
        let hash = format!("sha256:{}", hex(&Sha256::digest(json.as_bytes())));
        Ok(Self {
            safe_to_rerun: matches!(type_.as_str(), "noop" | "kill"),
            data_source: data_source(task),
            id,
            type_,
            context,
            json,
            hash,
        })
    }

    /// P
    #[must_use]
    pub fn subtask_key(&self) -> Option<String> {
        None
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

/// Druid serialises the datasource at the top; users often give it only inside the data schema, which stands in
/// the spec of batch tasks and at the top of streaming tasks.
fn data_source(task: &Map<String, Value>) -> Option<String> {
    let paths: [&[&str]; 3] = [
        &["dataSource"],
        &["spec", "dataSchema", "dataSource"],
        &["dataSchema", "dataSource"],
    ];
    let top = Value::Object(task.clone());
    paths.iter().find_map(|path| {
        let found = path.iter().try_fold(&top, |at, key| at.get(key))?;
        found
            .as_str()
            .filter(|s| !s.is_empty() && s.chars().count() <= 255)
            .map(str::to_owned)
    })
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
        let large = json!({"type": "noop", "x": "y".repeat(LARGEST_INLINE)});
        assert!(matches!(parse(large), Err(InvalidPayload::TooLarge { .. })));
    }

    #[test]
    fn the_hash_does_not_depend_on_the_order_of_keys() {
        let one = parse(json!({"type": "noop", "a": 1, "b": 2})).unwrap();
        let two = parse(json!({"b": 2, "type": "noop", "a": 1})).unwrap();
        assert_eq!(one.hash, two.hash);
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
