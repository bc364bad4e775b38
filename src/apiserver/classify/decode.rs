//! Decodes objects one by one: an object that cannot be read does not affect others.
//!
//! Kubernetes returns lists of 500 objects in one body, and a parser that fails on one of them fails for all. So any
//! tenant could stop every reader with an object that its API server accepts and our types do not, such as one nested
//! 200 levels deep. Therefore each object is first skipped as text, without recursion, and then decoded on its own. If
//! it cannot be decoded, its metadata and the error remain.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::api::{
    ANNOTATION_CONTAINER, ANNOTATION_ENDPOINT, ANNOTATION_HEAP, ANNOTATION_INDEXER_PORTS, ANNOTATION_SERVING,
    ANNOTATION_SLOTS, ANNOTATIONS_READ, IndexerPool, LABEL_REVISION, LABELS_READ, PeonTask, PeonTaskSpec,
    PeonTaskStatus, PeonTemplate, VirtualMiddleManager,
};

use super::watched_pod::WatchedPod;

/// Objects in one page of a list. An API server accepts objects of about 1.5 MB each: a page of the usual 500 would be
/// 750 MB in one body.
pub const PAGE: u32 = 32;
/// Most bytes of JSON of a PeonTemplate. Each is held in memory as long as it exists.
const LARGEST_TEMPLATE: usize = 256 << 10;
/// Most bytes of all JVM options of a PeonTask together.
const LARGEST_OPTIONS: usize = 256 << 10;
/// Annotation in which kubectl stores the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Most bytes of the value of a label or annotation that is retained: a datasource of 255 characters may have 1020, and
/// an availability group made from one a few more.
const LONGEST_VALUE: usize = 2048;
/// Most bytes of all names in an owner reference. An object's name has at most 253.
const LONGEST_OWNER: usize = 1024;

/// A kind of object that is decoded behind a guard.
pub trait Readable: Resource<DynamicType = ()> + DeserializeOwned {
    /// Most bytes of JSON that are decoded.
    const LARGEST: usize = usize::MAX;

    /// Decodes the object. What is never read need not be decoded: a list of managed fields is longer than the rest.
    ///
    /// # Errors
    /// When the text is no such object.
    fn parse(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    /// Drops unused metadata, which any user who may write the object can make as large as the API server accepts. Of
    /// an object that cannot be read this metadata is retained.
    fn prune(metadata: &mut ObjectMeta) {
        drop_unread(metadata);
    }

    /// Drops unused fields as soon as the object is decoded: no page of whole objects is ever in memory.
    ///
    /// # Errors
    /// What of the object is beyond its bounds, so that it is not kept.
    fn keep(&mut self) -> Result<(), String> {
        Self::prune(self.meta_mut());
        Ok(())
    }
}

fn drop_unread(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.finalizers = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// Retains the object's identity, its times, and these labels and annotations.
fn reduce(metadata: &mut ObjectMeta, labels: &[&str], annotations: &[&str]) {
    let only = |map: Option<BTreeMap<String, String>>, names: &[&str]| {
        let mut map = map?;
        map.retain(|name, value| names.contains(&name.as_str()) && value.len() <= LONGEST_VALUE);
        (!map.is_empty()).then_some(map)
    };
    let whole = std::mem::take(metadata);
    *metadata = ObjectMeta {
        name: whole.name,
        namespace: whole.namespace,
        uid: whole.uid,
        resource_version: whole.resource_version,
        generation: whole.generation,
        creation_timestamp: whole.creation_timestamp,
        deletion_timestamp: whole.deletion_timestamp,
        deletion_grace_period_seconds: whole.deletion_grace_period_seconds,
        labels: only(whole.labels, labels),
        annotations: only(whole.annotations, annotations),
        ..ObjectMeta::default()
    };
}

/// Retains the parts of a PeonTask's metadata that are read.
pub fn reduce_task(metadata: &mut ObjectMeta) {
    reduce(metadata, &LABELS_READ, &ANNOTATIONS_READ);
}

/// Retains the parts of a pod's metadata that are read, including its controlling owner.
pub fn reduce_pod(metadata: &mut ObjectMeta) {
    let owners = metadata.owner_references.take();
    reduce(
        metadata,
        &[LABEL_REVISION],
        &[
            ANNOTATION_CONTAINER,
            ANNOTATION_ENDPOINT,
            ANNOTATION_HEAP,
            ANNOTATION_INDEXER_PORTS,
            ANNOTATION_SERVING,
            ANNOTATION_SLOTS,
        ],
    );
    metadata.owner_references = owners.and_then(controller);
}

fn controller(owners: Vec<OwnerReference>) -> Option<Vec<OwnerReference>> {
    let owner = owners.into_iter().find(|owner| owner.controller == Some(true))?;
    let size = owner.api_version.len() + owner.kind.len() + owner.name.len() + owner.uid.len();
    (size <= LONGEST_OWNER).then(|| vec![owner])
}

#[derive(Deserialize)]
struct TaskParts {
    #[serde(default)]
    metadata: Known,
    spec: PeonTaskSpec,
    status: Option<PeonTaskStatus>,
}

impl Readable for PeonTask {
    fn parse(json: &str) -> serde_json::Result<Self> {
        let parts: TaskParts = serde_json::from_str(json)?;
        Ok(Self {
            metadata: parts.metadata.into(),
            spec: parts.spec,
            status: parts.status,
        })
    }

    fn prune(metadata: &mut ObjectMeta) {
        reduce_task(metadata);
    }

    fn keep(&mut self) -> Result<(), String> {
        Self::prune(&mut self.metadata);
        if let Some(task) = &mut self.spec.task {
            task.drop_beyond();
        }
        // A finished task no longer needs its payload, and there may be very many finished tasks.
        if self.is_final() {
            self.spec.task = None;
            self.spec.task_json = None;
            self.spec.task_from = None;
            self.spec.resources = None;
            self.spec.java_opts = Vec::new();
        }
        let options: usize = self.spec.java_opts.iter().map(String::len).sum();
        if options > LARGEST_OPTIONS {
            return Err(format!(
                "spec.javaOpts has {options} bytes, at most {LARGEST_OPTIONS} are read"
            ));
        }
        Ok(())
    }
}

impl Readable for PeonTemplate {
    const LARGEST: usize = LARGEST_TEMPLATE;

    fn prune(metadata: &mut ObjectMeta) {
        reduce(metadata, &[], &[]);
    }
}

impl Readable for VirtualMiddleManager {
    fn prune(metadata: &mut ObjectMeta) {
        reduce(metadata, &[], &[]);
    }
}

impl Readable for IndexerPool {
    fn prune(metadata: &mut ObjectMeta) {
        reduce(metadata, &[], &[]);
    }
}

impl Readable for Deployment {
    fn prune(metadata: &mut ObjectMeta) {
        reduce_pod(metadata);
    }
}

impl Readable for WatchedPod {
    fn prune(metadata: &mut ObjectMeta) {
        reduce_pod(metadata);
    }
}

/// An object from the API server, or why it cannot be read.
#[derive(Debug, Clone)]
pub struct Guarded<K>(pub Result<K, Unreadable>);

/// An object that cannot be read.
#[derive(Debug, Clone, Default)]
pub struct Unreadable {
    /// The cause. No value of the object is quoted: it may be secret.
    pub error: String,
    /// The metadata that is read; only name, namespace, uid and version if the metadata itself cannot be read.
    pub metadata: ObjectMeta,
    /// Its `status.reason`, if it has one.
    pub reason: Option<String>,
}

impl<K: Readable> Guarded<K> {
    /// Reads one object.
    #[must_use]
    pub fn read(json: &str) -> Self {
        let object = if json.len() > K::LARGEST {
            Err(format!(
                "the object has {} bytes, at most {} are read",
                json.len(),
                K::LARGEST
            ))
        } else {
            K::parse(json)
                .map_err(|e| why(&e))
                .and_then(|mut object| object.keep().map(|()| object))
        };
        Self(object.map_err(|error| {
            let mut unreadable = Unreadable::of(json, error);
            K::prune(&mut unreadable.metadata);
            unreadable
        }))
    }
}

impl<'de, K: Readable> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self::read(raw.get()))
    }
}

impl<K: Readable> Resource for Guarded<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|u| &u.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|u| &mut u.metadata, K::meta_mut)
    }
}

impl Unreadable {
    fn of(json: &str, error: String) -> Self {
        let metadata = match serde_json::from_str::<Whole>(json) {
            Ok(whole) => whole.metadata.into(),
            Err(_) => serde_json::from_str::<Named>(json)
                .unwrap_or_default()
                .metadata
                .into(),
        };
        let status = serde_json::from_str::<WithReason>(json).ok();
        Self {
            error,
            metadata,
            reason: status
                .and_then(|object| object.status)
                .and_then(|status| status.reason),
        }
    }
}

/// An object of which only the metadata is read. Nothing else is parsed: unknown fields are skipped without recursion,
/// and so are `managedFields`, which are as deep as the object.
#[derive(Deserialize)]
struct Whole {
    metadata: Known,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    metadata: Identity,
}

#[derive(Deserialize)]
struct WithReason {
    status: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Known {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Identity {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl From<Known> for ObjectMeta {
    fn from(known: Known) -> Self {
        Self {
            name: known.name,
            namespace: known.namespace,
            uid: known.uid,
            resource_version: known.resource_version,
            generation: known.generation,
            creation_timestamp: known.creation_timestamp,
            deletion_timestamp: known.deletion_timestamp,
            deletion_grace_period_seconds: known.deletion_grace_period_seconds,
            labels: known.labels,
            annotations: known.annotations,
            owner_references: known.owner_references,
            ..Self::default()
        }
    }
}

impl From<Identity> for ObjectMeta {
    fn from(known: Identity) -> Self {
        Self {
            name: known.name,
            namespace: known.namespace,
            uid: known.uid,
            resource_version: known.resource_version,
            ..Self::default()
        }
    }
}

/// A parser's error message, without the value that it quotes.
#[must_use]
pub fn why(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = match error.line() {
        0 => String::new(),
        line => format!(" at line {line} column {}", error.column()),
    };
    let said = text.strip_suffix(&place).unwrap_or(&text);
    if !error.is_data() {
        // Syntax, depth, premature end: nothing is quoted.
        return text;
    }
    let quotes_nothing = [
        "missing field `",
        "duplicate field `",
        "data did not match any variant of untagged enum ",
    ];
    if quotes_nothing.iter().any(|start| said.starts_with(start)) {
        return text;
    }
    let kind = [
        "invalid type",
        "invalid value",
        "invalid length",
        "unknown variant",
        "unknown field",
    ]
    .into_iter()
    .find(|kind| said.starts_with(kind));
    match (kind, said.rfind(", expected ")) {
        (Some(kind), Some(at)) => format!("{kind}{}{place}", &said[at..]),
        (Some(kind), None) => format!("{kind}{place}"),
        (None, _) => format!("a value has a wrong type or format{place}"),
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod kept_tests;
#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
