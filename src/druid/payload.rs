//! The fields of a Druid task that are needed to run it (pure).
//!
//! The payload is opaque: it is passed to the peon byte for byte. Only the fields below are read, without parsing a
//! task of 16 MiB into a tree.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::fields::{Fields, Unreadable};
use super::rows_in_memory::RowsInMemory;
use super::{ingestion_memory, task_id};
use crate::digest::hex;

/// Largest payload that stands in a PeonTask itself, in bytes of JSON.
pub const LARGEST_INLINE: usize = 100 * 1024;
/// Longest type in characters: statuses are to hold it. Druid's own have about thirty.
pub const LONGEST_TYPE: usize = 255;
/// Largest payload at all, in bytes of JSON.
pub const LARGEST: usize = 16 * 1024 * 1024;

/// Task types that never talk to an overlord: `noop` only (its `isReady` takes no lock).
const WITHOUT_OVERLORD: [&str; 1] = ["noop"];
/// Streaming tasks: they commit offsets with their segments, so a second run continues or repeats nothing.
const STREAMING: [&str; 3] = ["index_kafka", "index_kinesis", "index_rabbit"];

/// Types of supervisors, which are no tasks.
const SUPERVISORS: [&str; 7] = [
    "kafka",
    "kinesis",
    "rabbit",
    "scheduled_batch",
    "autocompact",
    "materialized_view",
    "NoopSupervisorSpec",
];

/// Fields of a task that are looked at.
const LOOKED_AT: [&str; 10] = [
    "type",
    "id",
    "dataSource",
    "context",
    "spec",
    "dataSchema",
    "supervisorTaskId",
    "subtaskSpecId",
    "tuningConfig",
    "resource",
];
/// Entry of the context that says which broadcast datasources the peon loads.
const BROADCAST_MODE: &str = "broadcastDatasourceLoadingMode";

/// Why a payload cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayload {
    /// It is no JSON object.
    #[error("the task is not a JSON object: {0}")]
    NotJson(String),
    /// One of the fields that are looked at cannot be used.
    #[error("the task is ambiguous: {0}")]
    Unclear(Unreadable),
    /// There is no usable `type`.
    #[error("the task has no type: give `type` as a non-empty string")]
    NoType,
    /// The `type` is longer than anything can hold it.
    #[error("the task's type has {0} characters, at most {LONGEST_TYPE} are allowed")]
    TypeTooLong(usize),
    /// It is the spec of a supervisor.
    #[error(
        "{0} is the type of a supervisor, not of a task: post the spec to the overlord (/druid/indexer/v1/supervisor), \
         whose tasks a VirtualMiddleManager then runs as PeonTasks"
    )]
    Supervisor(String),
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

impl From<Unreadable> for InvalidPayload {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::NotObject(why) => Self::NotJson(why),
            other => Self::Unclear(other),
        }
    }
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
    /// The entries of the task's context that are settings: `druid.*`, `tags` and the broadcast mode.
    pub context: Map<String, Value>,
    /// What the peon reads: the task with its id. Empty for a payload in chunks, which the pod puts together itself.
    pub json: String,
    /// Bytes of the task with its id.
    pub size: usize,
    /// How the id was added; `None` where it was there.
    pub added: Option<Added>,
    /// Of a payload in chunks: what changes in the original if its memory is to be limited in bytes.
    pub memory_edits: Vec<ingestion_memory::Edit>,
    /// `sha256:` of the task with its id.
    pub hash: String,
    /// Whether it writes nothing twice when it is run again.
    pub safe_to_rerun: bool,
    /// The supervising task and the spec that this is a subtask of.
    pub subtask: Option<Subtask>,
    /// Whether it leaves the rows to subtasks, or reads none.
    pub delegates: bool,
    /// What it may hold in memory in an Indexer that runs several tasks.
    pub rows: RowsInMemory,
    /// `resource.availabilityGroup`: the replicas of a streaming task share it, and none of them may fail with another.
    pub availability_group: Option<String>,
}

/// The id, put into a task that had none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// So many bytes of the original stand before it.
    pub at: usize,
    /// What stands after it begins at this byte of the original.
    pub until: usize,
    /// What stands between.
    pub text: String,
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
        Self::parse_json(json, default_id, LARGEST_INLINE, hint, true)
    }

    /// Checks a task that stands in chunks.
    ///
    /// # Errors
    /// [`InvalidPayload`] says what to change.
    pub fn parse_chunked(json: &[u8], default_id: &str) -> Result<Self, InvalidPayload> {
        let json = std::str::from_utf8(json).map_err(|e| InvalidPayload::NotJson(e.to_string()))?;
        Self::parse_json(json, default_id, LARGEST, "", false)
    }

    fn parse_json(
        json: &str,
        default_id: &str,
        largest: usize,
        hint: &'static str,
        keep: bool,
    ) -> Result<Self, InvalidPayload> {
        let fits = |size| {
            if size > largest {
                return Err(InvalidPayload::TooLarge { size, largest, hint });
            }
            Ok(())
        };
        fits(json.len())?;
        let top = Fields::read(json, |key| LOOKED_AT.contains(&key))?;
        let type_ = match top.value("type")? {
            Some(Value::String(type_)) if !type_.is_empty() => type_,
            _ => return Err(InvalidPayload::NoType),
        };
        let characters = type_.chars().count();
        if characters > LONGEST_TYPE {
            return Err(InvalidPayload::TypeTooLong(characters));
        }
        if SUPERVISORS.contains(&type_.as_str()) {
            return Err(InvalidPayload::Supervisor(type_));
        }
        let (id, added) = match top.value("id")? {
            None => (default_id.to_owned(), Some(Added::first(json, default_id))),
            Some(Value::Null) => {
                let null = top.text("id").unwrap_or_default();
                (
                    default_id.to_owned(),
                    Some(Added::in_place_of(json, null, default_id)),
                )
            }
            Some(Value::String(id)) => (id, None),
            Some(_) => return Err(InvalidPayload::IdNotString),
        };
        task_id::check(&id).map_err(|reason| InvalidPayload::IllegalId {
            id: id.clone(),
            reason,
        })?;
        let pieces = match &added {
            None => [json, "", ""],
            Some(a) => [&json[..a.at], &a.text, &json[a.until..]],
        };
        let size = pieces.iter().map(|p| p.len()).sum();
        fits(size)?;
        let context = match top.text("context") {
            None | Some("null") => Map::new(),
            Some(text) if text.starts_with('{') => Fields::read_last(text, is_setting)?.values()?,
            Some(_) => return Err(InvalidPayload::ContextNotObject),
        };
        let subtask = subtask(&top, &id)?;
        let memory_edits = if keep {
            Vec::new()
        } else {
            ingestion_memory::edits(json, &type_).map_err(|e| InvalidPayload::NotJson(e.to_string()))?
        };
        let delegates = delegates(&type_, &top)?;
        let mut hash = Sha256::new();
        for piece in pieces {
            hash.update(piece.as_bytes());
        }
        Ok(Self {
            data_source: data_source(&top)?,
            safe_to_rerun: subtask.is_none() && writes_nothing_twice(&type_, &top)?,
            subtask,
            rows: RowsInMemory::of(json, &type_, delegates, &top),
            delegates,
            availability_group: availability_group(&top)?,
            hash: format!("sha256:{}", hex(&hash.finalize())),
            json: if keep { pieces.concat() } else { String::new() },
            size,
            memory_edits,
            added,
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

    /// Stands for the availability group, which may be of any length.
    #[must_use]
    pub fn group_key(&self) -> Option<String> {
        let group = self.availability_group.as_ref()?;
        Some(hex(&Sha256::digest(group.as_bytes()))[..32].to_owned())
    }

    /// Whether it is a task of a streaming supervisor.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        is_streaming(&self.type_)
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
        match self.context.get(BROADCAST_MODE) {
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

impl Added {
    /// The original with the id.
    #[must_use]
    pub fn to(&self, original: &[u8]) -> Vec<u8> {
        let (before, after) = (original.get(..self.at), original.get(self.until..));
        [
            before.unwrap_or_default(),
            self.text.as_bytes(),
            after.unwrap_or_default(),
        ]
        .concat()
    }

    /// The id before everything else in the object.
    fn first(json: &str, id: &str) -> Self {
        let at = json.find('{').map_or(0, |brace| brace + 1);
        let text = format!("\"id\":{},", Value::from(id));
        Self { at, until: at, text }
    }

    /// The id where a null, which is a part of the text, stands.
    fn in_place_of(json: &str, null: &str, id: &str) -> Self {
        let at = null.as_ptr() as usize - json.as_ptr() as usize;
        let text = Value::from(id).to_string();
        Self {
            at,
            until: at + null.len(),
            text,
        }
    }
}

/// Entries of the context that mean something to the operator.
fn is_setting(key: &str) -> bool {
    key.starts_with("druid.") || key == "tags" || key == BROADCAST_MODE
}

/// Druid serialises the datasource at the top; users often give it only inside the data schema, which stands in
/// the spec of batch tasks and at the top of streaming tasks.
fn data_source(top: &Fields<'_>) -> Result<Option<String>, Unreadable> {
    let spec = top.object("spec", |key| key == "dataSchema")?;
    let name: fn(&str) -> bool = |key| key == "dataSource";
    let places = [
        top.value("dataSource")?,
        spec.object("dataSchema", name)?.value("dataSource")?,
        top.object("dataSchema", name)?.value("dataSource")?,
    ];
    let usable = |found: Value| match found {
        Value::String(s) if !s.is_empty() && s.chars().count() <= 255 => Some(s),
        _ => None,
    };
    Ok(places.into_iter().flatten().find_map(usable))
}

/// A parallel task names itself as its supervisor; its subtasks name it.
fn subtask(top: &Fields<'_>, id: &str) -> Result<Option<Subtask>, Unreadable> {
    let text = |key| {
        Ok(match top.value(key)? {
            Some(Value::String(text)) => Some(text),
            _ => None,
        })
    };
    let spec = text("subtaskSpecId")?;
    let supervisor = text("supervisorTaskId")?.filter(|s| s != id);
    Ok(supervisor.map(|supervisor| Subtask {
        supervisor,
        // Druid's older subtasks have none: each stands for itself.
        spec: spec.unwrap_or_else(|| id.to_owned()),
    }))
}

/// `kill` reads no rows. A parallel task leaves them to its subtasks if it may run several at the same time
/// (`ParallelIndexSupervisorTask.isParallelMode`; of an input that cannot be split it reads them itself all the same).
fn delegates(type_: &str, top: &Fields<'_>) -> Result<bool, Unreadable> {
    const SUBTASKS: &str = "maxNumConcurrentSubTasks";
    let tuning: fn(&str) -> bool = |key| key == "tuningConfig";
    let most: fn(&str) -> bool = |key| key == SUBTASKS;
    let given = match type_ {
        "kill" => return Ok(true),
        "index_parallel" => top
            .object("spec", tuning)?
            .object("tuningConfig", most)?
            .value(SUBTASKS)?,
        "compact" => top.object("tuningConfig", most)?.value(SUBTASKS)?,
        _ => None,
    };
    // Jackson takes a text for a number.
    let number = given.and_then(|given| match given {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    });
    Ok(number.is_some_and(|number: i64| number > 1))
}

fn availability_group(top: &Fields<'_>) -> Result<Option<String>, Unreadable> {
    let group: fn(&str) -> bool = |key| key == "availabilityGroup";
    Ok(match top.object("resource", group)?.value("availabilityGroup")? {
        Some(Value::String(group)) if !group.is_empty() => Some(group),
        _ => None,
    })
}

/// `index` replaces what it writes in one transaction unless it appends; `kill` and `noop` write nothing.
fn writes_nothing_twice(type_: &str, top: &Fields<'_>) -> Result<bool, Unreadable> {
    match type_ {
        "noop" | "kill" => Ok(true),
        "index" => {
            let spec = top.object("spec", |key| key == "ioConfig")?;
            let io_config = spec.object("ioConfig", |key| key == "appendToExisting")?;
            // Druid takes numbers and texts for booleans, too.
            let appends = io_config.value("appendToExisting")?;
            Ok(matches!(appends, None | Some(Value::Null | Value::Bool(false))))
        }
        other => Ok(is_streaming(other)),
    }
}

/// Whether tasks of this type read a stream. They publish offsets together with segments, in the same transaction, and
/// segments of a second run have files of their own.
#[must_use]
pub fn is_streaming(type_: &str) -> bool {
    STREAMING.contains(&type_) || type_.starts_with("index_realtime")
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
