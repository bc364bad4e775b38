//! A PeonTask that is about to be created, with the chunks of its payload (pure).
//!
//! Both `kubectl peon submit` and the virtual MiddleManager create such tasks.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Chunks, Kind, TooLarge};
use crate::api::{PeonTask, PeonTaskSpec, Registration};
use crate::digest::hex;
use crate::druid::payload::LARGEST_INLINE;

/// A PeonTask to create, and the chunks of its payload if the PeonTask itself does not contain it.
#[derive(Debug, Clone, PartialEq)]
pub struct New {
    /// The PeonTask: created first.
    pub task: PeonTask,
    /// The chunks, which it owns: created when it exists.
    pub chunks: Option<(Chunks, Kind)>,
}

impl New {
    /// The chunks as objects of this kind, owned by the created task.
    #[must_use]
    pub fn objects(&self, created: &PeonTask) -> Vec<Value> {
        let chunks = self.chunks.as_ref();
        chunks.map_or_else(Vec::new, |(chunks, kind)| chunks.objects(created, *kind))
    }
}

/// An empty spec, without a task.
#[must_use]
pub fn empty_spec() -> PeonTaskSpec {
    PeonTaskSpec {
        placement: None,
        pool_ref: None,
        task: None,
        task_json: None,
        task_from: None,
        template_ref: None,
        resources: None,
        java_opts: Vec::new(),
        registration: Registration::Managed,
        middle_manager_ref: None,
        suspend: false,
        cancel: false,
        start_deadline_seconds: None,
        active_deadline_seconds: None,
        ttl_seconds_after_finished: None,
        retry: None,
    }
}

/// Stores the text of a payload: in the spec of the PeonTask `name` if it is small, else, or if it is `secret`, in
/// chunks, which the spec then names.
///
/// # Errors
/// When it is larger than any payload may be.
pub fn place(
    spec: &mut PeonTaskSpec,
    name: &str,
    text: String,
    secret: bool,
) -> Result<Option<(Chunks, Kind)>, TooLarge> {
    (spec.task, spec.task_json, spec.task_from) = (None, None, None);
    if !secret && text.len() <= LARGEST_INLINE {
        spec.task_json = Some(text);
        return Ok(None);
    }
    let kind = if secret { Kind::Secret } else { Kind::ConfigMap };
    let chunks = Chunks::split(text.as_bytes())?;
    spec.task_from = Some(chunks.task_from(name, kind));
    Ok(Some((chunks, kind)))
}

/// SHA-256 of a payload that is preserved byte for byte, in hexadecimal; `None` for `spec.task`, which an API server
/// rewrites.
#[must_use]
pub fn payload_hash(spec: &PeonTaskSpec) -> Option<String> {
    let of_text = spec
        .task_json
        .as_ref()
        .map(|text| hex(&Sha256::digest(text.as_bytes())));
    of_text.or_else(|| spec.task_from.as_ref().map(|from| from.sha256.clone()))
}

/// The readable part of a generated name: lower-case letters and digits of `text`, with hyphens for the characters
/// between them; at most `longest` characters, `task` if nothing is left.
#[must_use]
pub fn readable(text: &str, longest: usize) -> String {
    let mut head = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => head.push(c),
            _ if head.ends_with('-') || head.is_empty() => {}
            _ => head.push('-'),
        }
    }
    head.truncate(longest);
    let head = head.trim_end_matches('-');
    if head.is_empty() { "task" } else { head }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_stands_inline_only_where_it_is_small_and_no_secret() {
        let small = "x".repeat(LARGEST_INLINE);
        let mut spec = empty_spec();
        assert_eq!(place(&mut spec, "a", small.clone(), false), Ok(None));
        assert_eq!(spec.task_json.as_deref(), Some(small.as_str()));
        let inline = payload_hash(&spec);
        let (_, kind) = place(&mut spec, "a", small, true).unwrap().unwrap();
        assert_eq!((kind, &spec.task_json), (Kind::Secret, &None));
        assert_eq!(
            payload_hash(&spec),
            inline,
            "wherever it stands, it is the same payload"
        );
        let (_, kind) = place(&mut spec, "a", "x".repeat(LARGEST_INLINE + 1), false)
            .unwrap()
            .unwrap();
        assert_eq!(kind, Kind::ConfigMap);
        assert!(
            spec.task_from
                .is_some_and(|from| from.secrets.is_empty() && from.config_maps.len() == 1)
        );
        assert!(place(&mut empty_spec(), "a", "x".repeat((16 << 20) + 1), true).is_err());
    }
}
