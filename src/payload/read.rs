//! Reads payloads that are in chunks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use parking_lot::Mutex;

use super::chunks::access::may_be_read;
use super::chunks::{self, Absent, Kind, MOST, Source};
use super::recent::Recent;
use crate::api::{TaskFrom, names};
use crate::apiserver::request::{RequestError, request};

/// Time limit for reading all chunks of a payload.
const READING: Duration = Duration::from_secs(60);
/// More than the number of payloads that are incomplete at a time, unless a user causes it.
const MANY_MISSING: usize = 4096;

/// Reads the chunks of payloads. Clones share what they remember.
#[derive(Clone)]
pub struct PayloadReader {
    client: Client,
    /// The object that was missing when a payload was last read, by namespace and hash.
    missing: Arc<Mutex<HashMap<(String, String), String>>>,
    recent: Arc<Mutex<Recent>>,
}

impl PayloadReader {
    /// Reads through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            missing: Arc::default(),
            recent: Arc::default(),
        }
    }

    /// The task is not read again soon.
    pub fn forget(&self, task_uid: &str) {
        self.recent.lock().forget(task_uid);
    }

    /// For a task that was just created: its first chunk, which is reported as missing without a request, the first time
    /// that this is called for the payload. A client creates the chunks some milliseconds after the task, so a request
    /// now would probably find none.
    #[must_use]
    pub fn first_look(&self, namespace: &str, task_uid: Option<&str>, from: &TaskFrom) -> Option<Absent> {
        if task_uid.is_some_and(|uid| self.recent.lock().get(uid, from).is_some()) {
            return None;
        }
        let first = chunks::sources(from, None).into_iter().next()?;
        let payload = (namespace.to_owned(), from.sha256.clone());
        let mut missing = self.missing.lock();
        if missing.contains_key(&payload) {
            return None;
        }
        note(&mut missing, payload, first.name);
        Some(Absent::Missing(format!("the {} {}", first.kind, first.name)))
    }

    /// The chunks of the payload of the PeonTask with this uid, in order; or why one of them is not available. Each
    /// object is read once, and a payload of at most 1 MiB is kept for a while for its task. If the chunks are too large,
    /// reading stops once that is known; if a chunk was missing before, it is read first. An object that is not for this
    /// task counts as missing.
    ///
    /// # Access control
    /// configmaps: get. secrets: get.
    ///
    /// # Errors
    /// When the API server fails, or needs longer than a minute for all of them.
    pub async fn read(
        &self,
        namespace: &str,
        task_uid: Option<&str>,
        from: &TaskFrom,
    ) -> Result<Result<Vec<Vec<u8>>, Absent>, RequestError> {
        let kept = task_uid.and_then(|uid| self.recent.lock().get(uid, from));
        if let Some(parts) = kept {
            return Ok(Ok(parts));
        }
        let payload = (namespace.to_owned(), from.sha256.clone());
        let first = self.missing.lock().get(&payload).cloned();
        let reading = self.read_sources(namespace, task_uid, from, first.as_deref());
        let read = tokio::time::timeout(READING, reading)
            .await
            .map_err(|_| RequestError::TimedOut("get the chunks of a payload", READING))??;
        let mut missing = self.missing.lock();
        Ok(match read {
            Ok(parts) => {
                missing.remove(&payload);
                if let Some(uid) = task_uid {
                    self.recent.lock().keep(uid, from, &parts);
                }
                Ok(parts)
            }
            Err((absent, name)) => {
                note(&mut missing, payload, &name);
                Err(absent)
            }
        })
    }

    /// With an absent chunk it returns the name of its object.
    async fn read_sources(
        &self,
        namespace: &str,
        task_uid: Option<&str>,
        from: &TaskFrom,
        first: Option<&str>,
    ) -> Result<Result<Vec<Vec<u8>>, (Absent, String)>, RequestError> {
        let mut parts = vec![Vec::new(); from.config_maps.len() + from.secrets.len()];
        let mut size = 0;
        for Source { kind, name, entries } in chunks::sources(from, first) {
            let object = format!("the {kind} {name}");
            let absent = |absent| Ok(Err((absent, name.to_owned())));
            // The name becomes part of a URL path.
            if !names::is_object_name(name) {
                return absent(Absent::Missing(object));
            }
            let mut found = match self.read_source(namespace, task_uid, kind, name).await {
                Ok(Some(found)) => found,
                Ok(None) => return absent(Absent::Missing(object)),
                Err(error) if error.code() == Some(403) => return absent(Absent::Forbidden(object)),
                Err(error) => return Err(error),
            };
            for (at, key) in entries {
                let Some(part) = found.remove(key) else {
                    return absent(Absent::Missing(format!("the key {key} of {object}")));
                };
                size += part.len();
                parts[at] = part;
            }
            if size > MOST {
                break;
            }
        }
        Ok(Ok(parts))
    }

    /// The entries of an object; `None` if there is none with this name that is for this task.
    async fn read_source(
        &self,
        namespace: &str,
        task_uid: Option<&str>,
        kind: Kind,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, RequestError> {
        let client = self.client.clone();
        match kind {
            Kind::ConfigMap => {
                let api = Api::<ConfigMap>::namespaced(client, namespace);
                let found = request("get configmap", api.get_opt(name)).await?;
                let found = found.filter(|object| may_be_read(&object.metadata, task_uid));
                Ok(found.map(|object| {
                    let text = object.data.unwrap_or_default().into_iter();
                    let bytes = object.binary_data.unwrap_or_default().into_iter();
                    let text = text.map(|(key, text)| (key, text.into_bytes()));
                    text.chain(bytes.map(|(key, bytes)| (key, bytes.0))).collect()
                }))
            }
            Kind::Secret => {
                let api = Api::<Secret>::namespaced(client, namespace);
                let found = request("get secret", api.get_opt(name)).await?;
                let found = found.filter(|object| may_be_read(&object.metadata, task_uid));
                Ok(found.map(|object| {
                    let bytes = object.data.unwrap_or_default().into_iter();
                    bytes.map(|(key, bytes)| (key, bytes.0)).collect()
                }))
            }
        }
    }
}

fn note(missing: &mut HashMap<(String, String), String>, payload: (String, String), name: &str) {
    if missing.len() >= MANY_MISSING {
        // Finding out again costs some requests.
        missing.clear();
    }
    missing.insert(payload, name.to_owned());
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
