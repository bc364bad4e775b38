//! Payloads in ConfigMaps or Secrets: splitting them into chunks, and assembling them (pure).
//!
//! A client that submits a task first creates the PeonTask, with the list of chunks and the hash, then the chunks,
//! which the PeonTask owns. So every object has an owner, and an interrupted submission is completed by repeating it.

pub mod access;
pub mod new_task;

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use kube::ResourceExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::names::label_value;
use crate::api::{Chunk, LABEL_MANAGED_BY, LABEL_TASK, LABEL_TASK_UID, OPERATOR, PeonTask, TaskFrom};
use crate::digest::hex;
use crate::druid::payload::LARGEST;

/// Most bytes of one chunk: a Kubernetes object has at most 1 MiB, and a ConfigMap's bytes are sent in base64.
const CHUNK: usize = 700 * 1024;
/// Largest payload that is not compressed.
const PLAIN: usize = CHUNK;
/// Key of the entry in each object.
const KEY: &str = "chunk";

/// Kind of the objects that contain chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ConfigMaps.
    ConfigMap,
    /// Secrets.
    Secret,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        })
    }
}

/// Most bytes of all chunks of a payload: gzip makes random data slightly larger.
pub const MOST: usize = LARGEST + LARGEST / 64;

/// Why a chunk is not available. It may be created later, or rights may be granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// The object or its key does not exist, or the object is not for this task: the difference is not disclosed.
    #[error(
        "{0} of the payload does not exist, or it neither belongs to this PeonTask nor has the label \
         peon.dev/payload: \"true\": create it, label it, or submit the task again"
    )]
    Missing(String),
    /// The operator may not read it.
    #[error("the operator may not read {0} of the payload: its role must allow get")]
    Forbidden(String),
}

/// The size of a payload that exceeds the limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the task has {0} bytes of JSON, at most {LARGEST} are allowed")]
pub struct TooLarge(pub usize);

/// A payload cut into chunks.
#[derive(Clone, PartialEq, Eq)]
pub struct Chunks {
    sha256: String,
    gzip: bool,
    parts: Vec<Vec<u8>>,
}

impl Chunks {
    /// Cuts a payload.
    ///
    /// # Errors
    /// When it is larger than 16 MiB.
    pub fn split(json: &[u8]) -> Result<Self, TooLarge> {
        if json.len() > LARGEST {
            return Err(TooLarge(json.len()));
        }
        let compressed = (json.len() > PLAIN).then(|| gzip(json)).flatten();
        let bytes = compressed.as_deref().unwrap_or(json);
        Ok(Self {
            sha256: hex(&Sha256::digest(json)),
            gzip: compressed.is_some(),
            parts: bytes.chunks(CHUNK).map(<[u8]>::to_vec).collect(),
        })
    }

    /// The `taskFrom` of the PeonTask with this name.
    #[must_use]
    pub fn task_from(&self, task: &str, kind: Kind) -> TaskFrom {
        let chunk = |at| Chunk {
            name: object_name(task, at),
            key: KEY.to_owned(),
        };
        let chunks: Vec<Chunk> = (0..self.parts.len()).map(chunk).collect();
        let (config_maps, secrets) = match kind {
            Kind::ConfigMap => (chunks, Vec::new()),
            Kind::Secret => (Vec::new(), chunks),
        };
        TaskFrom {
            sha256: self.sha256.clone(),
            gzip: self.gzip,
            config_maps,
            secrets,
        }
    }

    /// The objects, owned by the created PeonTask. They are immutable.
    #[must_use]
    pub fn objects(&self, task: &PeonTask, kind: Kind) -> Vec<Value> {
        self.objects_named(&task.name_any(), task, kind)
    }

    /// The same objects, named as [`task_from`](Self::task_from) names them for `prefix`, whatever the name of the
    /// PeonTask is.
    #[must_use]
    pub fn objects_named(&self, prefix: &str, task: &PeonTask, kind: Kind) -> Vec<Value> {
        let (name, uid) = (task.name_any(), task.uid().unwrap_or_default());
        let object = |(at, part): (usize, &Vec<u8>)| {
            let bytes = k8s_openapi::ByteString(part.clone());
            let field = match kind {
                Kind::ConfigMap => "binaryData",
                Kind::Secret => "data",
            };
            json!({
                "apiVersion": "v1",
                "kind": kind.to_string(),
                "metadata": {
                    "name": object_name(prefix, at),
                    "namespace": task.namespace(),
                    "labels": {
                        LABEL_MANAGED_BY: OPERATOR, LABEL_TASK: label_value(&name), LABEL_TASK_UID: uid,
                    },
                    "ownerReferences": [{
                        "apiVersion": "peon.dev/v1alpha1", "kind": "PeonTask", "name": name, "uid": uid,
                        "controller": true,
                    }],
                },
                field: {KEY: bytes},
                "immutable": true,
            })
        };
        self.parts.iter().enumerate().map(object).collect()
    }
}

/// Chunks may hold secrets.
impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} chunks of {}", self.parts.len(), self.sha256)
    }
}

/// `<task>.payload.<at>`; task names may be long. No attempt of any task has such a name: those end with a hyphen and a
/// number.
fn object_name(task: &str, at: usize) -> String {
    format!("{}.payload.{at}", label_value(task))
}

/// `None` if memory is short, which is no reason to fail: the payload is stored uncompressed.
fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// An object that contains chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source<'a> {
    /// Kind of the object.
    pub kind: Kind,
    /// Name of the object.
    pub name: &'a str,
    /// Its entries that are chunks: the position of each in the payload, and its key.
    pub entries: Vec<(usize, &'a str)>,
}

/// The objects that contain the chunks of a payload, each once, in the order of the payload; `first`, if it is among
/// them, comes before the others.
#[must_use]
pub fn sources<'a>(from: &'a TaskFrom, first: Option<&str>) -> Vec<Source<'a>> {
    let mut sources: Vec<Source<'a>> = Vec::new();
    for (at, (kind, chunk)) in listed(from).enumerate() {
        let entry = (at, chunk.key.as_str());
        match sources
            .iter_mut()
            .find(|s| s.kind == kind && s.name == chunk.name)
        {
            Some(source) => source.entries.push(entry),
            None => sources.push(Source {
                kind,
                name: &chunk.name,
                entries: vec![entry],
            }),
        }
    }
    sources.sort_by_key(|s| first != Some(s.name));
    sources
}

/// Checks the list of chunks, before any of them is read.
///
/// # Errors
/// What is wrong with it: nothing but another PeonTask can help.
pub fn check(from: &TaskFrom) -> Result<(), String> {
    for (kind, Chunk { name, key }) in listed(from) {
        let again = |(k, c): &(Kind, &Chunk)| *k == kind && c.name == *name && c.key == *key;
        if listed(from).filter(again).count() > 1 {
            return Err(format!(
                "taskFrom names the key {key} of the {kind} {name} more than once: name each chunk once"
            ));
        }
    }
    Ok(())
}

fn listed(from: &TaskFrom) -> impl Iterator<Item = (Kind, &Chunk)> {
    let config_maps = from.config_maps.iter().map(|c| (Kind::ConfigMap, c));
    config_maps.chain(from.secrets.iter().map(|c| (Kind::Secret, c)))
}

/// Assembles the chunks in the order of the task.
///
/// # Errors
/// What is wrong with them: nothing but another PeonTask can help.
pub fn assemble(from: &TaskFrom, parts: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    let too_large = || format!("the chunks hold more than {LARGEST} bytes of JSON");
    if parts.iter().map(Vec::len).sum::<usize>() > MOST {
        return Err(too_large());
    }
    let bytes = parts.concat();
    let json = if from.gzip {
        let mut json = Vec::new();
        // A small file may decompress to any size.
        let most = LARGEST as u64 + 1;
        MultiGzDecoder::new(&bytes[..])
            .take(most)
            .read_to_end(&mut json)
            .map_err(|e| format!("the chunks are not valid gzip: {e}"))?;
        json
    } else {
        bytes
    };
    if json.len() > LARGEST {
        return Err(too_large());
    }
    let found = hex(&Sha256::digest(&json));
    if found != from.sha256 {
        if !from.secrets.is_empty() {
            // Users who may create tasks need not be allowed to read Secrets, and a short payload can be guessed from
            // its hash.
            return Err(format!(
                "the payload's SHA-256 is not that of taskFrom, {}",
                from.sha256
            ));
        }
        return Err(format!(
            "the payload's SHA-256 is {found}, that of taskFrom is {}",
            from.sha256
        ));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::task::fixtures::noop;

    fn parts_of(objects: &[Value], field: &str) -> Vec<Vec<u8>> {
        let part = |object: &Value| {
            let bytes: k8s_openapi::ByteString = serde_json::from_value(object[field][KEY].clone()).unwrap();
            bytes.0
        };
        objects.iter().map(part).collect()
    }

    /// Bytes that no compression makes smaller.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u8::try_from(state % 94 + 32).unwrap()
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn sixteen_mebibytes_that_nothing_compresses_fit() {
        let json = noise(LARGEST);
        let chunks = Chunks::split(&json).unwrap();
        let from = chunks.task_from("t", Kind::Secret);
        assert!(
            from.gzip && from.config_maps.is_empty() && from.secrets.len() <= 64,
            "{}",
            from.secrets.len()
        );
        let objects = chunks.objects(&noop(), Kind::Secret);
        for object in &objects {
            assert!(object.to_string().len() < 1024 * 1024);
        }
        assert_eq!(assemble(&from, &parts_of(&objects, "data")).unwrap(), json);
        assert_eq!(Chunks::split(&noise(LARGEST + 1)), Err(TooLarge(LARGEST + 1)));
    }

    #[test]
    fn the_chunks_belong_to_their_task() {
        let objects = Chunks::split(b"{}").unwrap().objects(&noop(), Kind::ConfigMap);
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0]["metadata"]["name"], "nightly.payload.0");
        assert_eq!(objects[0]["metadata"]["ownerReferences"][0]["uid"], "task-uid");
        assert_eq!(objects[0]["immutable"], true);
        assert_eq!(parts_of(&objects, "binaryData"), [b"{}".to_vec()]);
    }

    #[test]
    fn what_cannot_be_put_together_is_named() {
        let chunks = Chunks::split(&noise(PLAIN + 1)).unwrap();
        let from = chunks.task_from("t", Kind::ConfigMap);
        let error = assemble(&from, &[b"no gzip".to_vec()]).unwrap_err();
        assert!(error.contains("not valid gzip"), "{error}");
        let other = Chunks::split(b"{}").unwrap();
        let error = assemble(&other.task_from("t", Kind::ConfigMap), &[b"{ }".to_vec()]).unwrap_err();
        assert!(error.contains(&hex(&Sha256::digest(b"{ }"))), "{error}");
        let secret = other.task_from("t", Kind::Secret);
        let error = assemble(&secret, &[b"{ }".to_vec()]).unwrap_err();
        assert!(error.contains("SHA-256 is not that of taskFrom"), "{error}");
        assert!(!error.contains(&hex(&Sha256::digest(b"{ }"))), "{error}");
        let many = vec![vec![b' '; 1024 * 1024]; 17];
        let error = assemble(&from, &many).unwrap_err();
        assert!(error.contains("more than 16777216 bytes"), "{error}");
        let bomb = gzip(&vec![b' '; LARGEST * 4]).unwrap();
        let error = assemble(&from, &[bomb]).unwrap_err();
        assert!(error.contains("more than 16777216 bytes"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_was_cut_is_put_together(length in 0..3 * CHUNK, byte in any::<u8>()) {
            let mut json = noise(length);
            json.push(byte);
            let chunks = Chunks::split(&json).unwrap();
            let objects = chunks.objects(&noop(), Kind::ConfigMap);
            let from = chunks.task_from("nightly", Kind::ConfigMap);
            prop_assert_eq!(assemble(&from, &parts_of(&objects, "binaryData")).unwrap(), json);
        }
    }
}
