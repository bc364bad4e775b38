//! Writes `status.discovery` of IndexerPools.

use std::sync::atomic::{AtomicBool, Ordering};

use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource};
use serde_json::json;

use super::decide::pool_status::{Write, Written};
use crate::api::IndexerPool;
use crate::apiserver::request::{PROMPT, RequestError, request_within};
use crate::middle_manager::FIELD_MANAGER;

/// Writes the status of the pools of a namespace.
pub struct PoolWriter {
    api: Api<PartialObjectMeta<IndexerPool>>,
    /// Whether the log says that the right is missing.
    is_forbidden: AtomicBool,
}

impl PoolWriter {
    /// Writes with this client.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            is_forbidden: AtomicBool::new(false),
        }
    }

    /// Applies a status.
    ///
    /// # Access control
    /// indexerpools/status: patch.
    pub async fn write(&self, write: &Write) -> Written {
        let object = json!({
            "apiVersion": IndexerPool::api_version(&()),
            "kind": IndexerPool::kind(&()),
            // A later pool of the same name is another one's.
            "metadata": {"uid": write.pool.uid},
            "status": {"discovery": write.discovery},
        });
        let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&object));
        let patched = self.api.patch_status(&write.pool.name, &params, &patch);
        let Err(error) = request_within(PROMPT, "patch indexerpool/status", patched).await else {
            self.is_forbidden.store(false, Ordering::Relaxed);
            return Written::Kept;
        };
        self.failed(write, &error)
    }

    fn failed(&self, write: &Write, error: &RequestError) -> Written {
        match error.code() {
            _ if error.is_undecodable() => Written::Kept,
            // The pool is gone, or another one has its name, or there is no such kind.
            Some(404 | 409) => Written::Refused,
            Some(403) => {
                if !self.is_forbidden.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        error = error.why(),
                        "the status of IndexerPools must not be written, so no task is given to their Indexers: the \
                         role of this pod's service account lacks indexerpools/status: patch"
                    );
                }
                Written::Refused
            }
            _ => {
                tracing::warn!(
                    pool = write.pool.name,
                    error = error.why(),
                    "the status of the IndexerPool cannot be written; it is tried again"
                );
                Written::Failed
            }
        }
    }
}

#[cfg(test)]
#[path = "pool_writer_tests.rs"]
mod tests;
