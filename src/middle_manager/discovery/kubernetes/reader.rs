//! Reads announcements of others on their pods.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use crate::apiserver::request::{PROMPT, request_within};
use crate::druid::discovery::pod_announcement::{INDEXER_ANNOTATION, indexer_selector};

/// Reads the announcements of Indexers of a Druid cluster.
pub struct Reader {
    api: Api<Pod>,
    cluster: String,
}

impl Reader {
    pub(super) fn new(client: Client, namespace: &str, cluster: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            cluster: cluster.to_owned(),
        }
    }

    /// The announcement of the Indexer with that `host:port`; `None` if there is none.
    ///
    /// # Access control
    /// pods: list.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn indexer(&self, address: &str) -> Result<Option<Vec<u8>>, String> {
        // Only the Indexer's own pod has its address.
        let params = ListParams::default()
            .labels(&indexer_selector(&self.cluster, address))
            .limit(1);
        let listed = request_within(PROMPT, "list pods", self.api.list_metadata(&params)).await;
        let pods = listed.map_err(|error| format!("the pods that announce {address}: {}", error.why()))?;
        let mut nodes = pods
            .items
            .iter()
            .map(|pod| pod.annotations().get(INDEXER_ANNOTATION));
        Ok(nodes.next().flatten().map(|node| node.clone().into_bytes()))
    }
}
