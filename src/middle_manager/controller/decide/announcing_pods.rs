//! The pods that carry the announcements of a `VirtualMiddleManager` with `discovery.kubernetes` (pure).
//!
//! Druid reads an announcement from the labels of a pod, and a pod has room for one worker. So identity *n* is announced on
//! pod *n* of a `StatefulSet`, which has the name of the identity's Service. The pods that serve the identities write there:
//! a `StatefulSet` has one pod of a name at a time, so nothing is announced twice while those are replaced. The container is
//! ready while the identity's port answers, and Druid counts only pods whose containers are ready.

use serde_json::{Value, json};

use super::objects::{HEALTH_PORT, Objects};
use crate::api::names;
use crate::api::virtual_middle_manager::Advertise;

/// Label with the name of the VirtualMiddleManager on its announcing pods. They have no [`LABEL_SERVES`], so that no
/// Service sends the overlord to them.
///
/// [`LABEL_SERVES`]: super::objects::LABEL_SERVES
pub const LABEL_ANNOUNCES: &str = "peon.dev/announces";

/// The pod that carries the announcement of an identity.
#[must_use]
pub fn announcing_pod(manager: &str, ordinal: u16) -> String {
    names::attempt(&format!("{manager}-vmm"), u32::from(ordinal))
}

impl Objects<'_> {
    /// The Role and the `RoleBinding` that let the pod patch the announcing pods and no others; none without
    /// `discovery.kubernetes`.
    #[must_use]
    pub fn announcing_account(&self) -> Vec<Value> {
        if !self.announces_on_pods() {
            return Vec::new();
        }
        let (account, name) = (self.name(), format!("{}-announcer", self.name()));
        let pods: Vec<String> = (0..self.identities()).map(|n| self.service_name(n)).collect();
        vec![
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": self.metadata(&name),
                "rules": [{"apiGroups": [""], "resources": ["pods"], "resourceNames": pods, "verbs": ["patch"]}],
            }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": self.metadata(&name),
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{
                    "kind": "ServiceAccount", "name": account, "namespace": self.namespace(),
                }],
            }),
        ]
    }

    /// The `StatefulSet` of the announcing pods, given the hosts of all identities by ordinal; `None` without
    /// `discovery.kubernetes`.
    ///
    /// Its template has none of Druid's labels: a pod that has them without the annotation makes an overlord lose sight of
    /// all workers.
    #[must_use]
    pub fn announcing_pods(&self, hosts: &[String]) -> Option<Value> {
        if !self.announces_on_pods() {
            return None;
        }
        let name = self.name();
        let selector = json!({LABEL_ANNOUNCES: names::label_value(&self.manager_name())});
        let mut labels = selector.clone();
        labels["app.kubernetes.io/component"] = "announcement".into();
        labels["app.kubernetes.io/part-of"] = crate::api::OPERATOR.into();
        let workers = self.workers(hosts).join(",");
        let probe = |path: &str, period: u32| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": period, "timeoutSeconds": 5});
        let mut set = json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": self.metadata(&name),
            "spec": {
                "replicas": self.identities(),
                // No Service has this name: the pods need no names of their own.
                "serviceName": name,
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": selector},
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": {"kubectl.kubernetes.io/default-container": "announcement"},
                    },
                    "spec": {
                        "automountServiceAccountToken": false,
                        "enableServiceLinks": false,
                        "terminationGracePeriodSeconds": 5,
                        "securityContext": Self::pod_security(),
                        "containers": [{
                            "name": "announcement",
                            "image": self.image(),
                            "args": ["announcing-pod", "--pod=$(POD_NAME)", format!("--workers={workers}")],
                            "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                            "ports": [{"name": "http", "containerPort": HEALTH_PORT}],
                            "livenessProbe": probe("/livez", 10),
                            "readinessProbe": probe("/readyz", 2),
                            "resources": {
                                "requests": {"cpu": "5m", "memory": "16Mi"},
                                "limits": {"memory": "64Mi"},
                            },
                            "securityContext": Self::container_security(),
                        }],
                    },
                },
            },
        });
        self.put_pod_parts(&mut set["spec"]["template"]["spec"]);
        Some(set)
    }

    /// Where the announcing pods reach the workers: at the name of the Service, which is that of the pod, so that the pods
    /// stay as they are when the number of identities changes; where names may be unknown, at the addresses by ordinal.
    fn workers(&self, hosts: &[String]) -> Vec<String> {
        let port = self.port();
        match self.advertise() {
            Advertise::ServiceDns => vec![format!("$(POD_NAME).{}.svc:{port}", self.namespace())],
            Advertise::ClusterIp => hosts
                .iter()
                .map(|host| {
                    if host.contains(':') {
                        format!("[{host}]:{port}")
                    } else {
                        format!("{host}:{port}")
                    }
                })
                .collect(),
        }
    }
}

#[cfg(test)]
#[path = "announcing_pods_tests.rs"]
mod tests;
