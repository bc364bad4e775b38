//! Which PeonTask a task of the overlord was submitted for (pure).
//!
//! A submitted task names its PeonTask in its context, under [`KEY`], which the overlord preserves. The overlord parses
//! and rewrites everything else, with Druid's defaults and the entries of `druid.indexer.task.default.context`: so the
//! assigned text is not the text that was sent. The hash of the task that was sent is recorded before the submission.
//! It has to match, and so do the parts that the overlord does not change: type, id, datasource, and every given entry
//! of the context.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::druid::fields::Fields;
use crate::druid::payload::{InvalidPayload, Payload};

/// Entry of the context that names the PeonTask for which a task was submitted.
pub const KEY: &str = "peon.dev/submission";

/// The PeonTask that a task was submitted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// Uid of the VirtualMiddleManager that submitted it.
    pub middle_manager: String,
    /// Name of the PeonTask.
    pub name: String,
    /// Uid of the PeonTask.
    pub uid: String,
    /// Id of the task. Its subtasks inherit the context, and have other ids.
    pub task_id: String,
    /// Hash of the task as it was sent, without this entry: `sha256:` and 64 hexadecimal digits.
    pub task_hash: String,
}

impl Provenance {
    /// Reads the provenance of the task with this id; `None` for a task that was not submitted for a PeonTask, such as
    /// a subtask.
    #[must_use]
    pub fn read(json: &str, id: &str) -> Option<Self> {
        let top = Fields::read(json, |key| key == "context").ok()?;
        let context = top.object("context", |key| key == KEY).ok()?;
        let said: Self = serde_json::from_value(context.value(KEY).ok()??).ok()?;
        (said.task_id == id).then_some(said)
    }
}

/// A task that can be submitted.
#[derive(Clone, PartialEq)]
pub struct Document {
    /// Its id.
    pub task_id: String,
    /// Its type.
    pub task_type: String,
    /// Its hash, as [`Payload`] has it.
    pub hash: String,
    /// The text, with the id.
    json: String,
}

/// Why a task cannot be submitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The operator reports why.
    #[error(transparent)]
    Invalid(#[from] InvalidPayload),
    /// The task already names a PeonTask in its context.
    #[error("the task's context has the entry {KEY}, which is reserved for submitted tasks: remove it")]
    Reserved,
}

impl Document {
    /// Reads a task; one without id gets `default_id`.
    ///
    /// # Errors
    /// When it cannot be submitted.
    pub fn read(json: &str, default_id: &str) -> Result<Self, Unfit> {
        let payload = Payload::parse_chunked(json.as_bytes(), default_id)?;
        let json = match &payload.added {
            None => json.to_owned(),
            Some(a) => [&json[..a.at], &a.text, &json[a.until..]].concat(),
        };
        let context = context(&json);
        if context.is_some_and(mentions) {
            return Err(Unfit::Reserved);
        }
        Ok(Self {
            task_id: payload.id,
            task_type: payload.type_,
            hash: payload.hash,
            json,
        })
    }

    /// The text to send: the task with its provenance, otherwise unchanged to the byte.
    ///
    /// # Errors
    /// When the provenance cannot be written.
    pub fn text(&self, provenance: &Provenance) -> serde_json::Result<String> {
        let entry = format!("{}:{}", Value::from(KEY), serde_json::to_string(provenance)?);
        let json = self.json.as_str();
        let (from, until, text) = match context(json) {
            Some(given) if given.starts_with('{') => {
                let at = offset(json, given) + 1;
                let is_empty = given[1..].trim_start().starts_with('}');
                (at, at, if is_empty { entry } else { format!("{entry},") })
            }
            Some(null) => {
                let at = offset(json, null);
                (at, at + null.len(), format!("{{{entry}}}"))
            }
            None => {
                let at = json.find('{').map_or(0, |brace| brace + 1);
                (at, at, format!("\"context\":{{{entry}}},"))
            }
        };
        Ok([&json[..from], &text, &json[until..]].concat())
    }

    /// Whether the task assigned by the overlord is this one.
    ///
    /// # Errors
    /// Says in which respect it is another one.
    pub fn is_kept_in(&self, assigned: &str) -> Result<(), String> {
        let looked_at: fn(&str) -> bool = |key| matches!(key, "type" | "id" | "dataSource" | "context");
        let unclear = |e: &dyn std::fmt::Display| format!("it cannot be read: {e}");
        let read = |json| Fields::read(json, looked_at).map_err(|e| unclear(&e));
        let (ours, theirs) = (read(self.json.as_str())?, read(assigned)?);
        for key in ["type", "id", "dataSource"] {
            let [ours, theirs] = [&ours, &theirs].map(|fields| fields.value(key));
            let (ours, theirs) = (ours.map_err(|e| unclear(&e))?, theirs.map_err(|e| unclear(&e))?);
            let is_given = ours.as_ref().is_some_and(|value| !value.is_null());
            if is_given && ours != theirs {
                return Err(format!("its {key} differs"));
            }
        }
        let entries = |fields: &Fields<'_>| match fields.text("context") {
            Some(text) if text.starts_with('{') => Fields::read_last(text, |_| true).and_then(|c| c.values()),
            _ => Ok(serde_json::Map::new()),
        };
        let [ours, theirs] = [&ours, &theirs].map(entries);
        let (ours, theirs) = (ours.map_err(|e| unclear(&e))?, theirs.map_err(|e| unclear(&e))?);
        match ours.iter().find(|(key, value)| theirs.get(*key) != Some(*value)) {
            Some((key, _)) => Err(format!("the entry {key} of its context differs")),
            None => Ok(()),
        }
    }
}

/// A task may hold secrets.
impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document")
            .field("task_id", &self.task_id)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

fn context(json: &str) -> Option<&str> {
    Fields::read(json, |key| key == "context").ok()?.text("context")
}

/// Two entries with one name are refused as well: it is undefined which one counts.
fn mentions(context: &str) -> bool {
    context.starts_with('{')
        && Fields::read(context, |key| key == KEY).map_or(true, |fields| fields.text(KEY).is_some())
}

/// The offset of a part of the text in the whole.
fn offset(whole: &str, part: &str) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

#[cfg(test)]
#[path = "provenance_tests.rs"]
mod tests;
