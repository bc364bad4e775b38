//! The cluster objects of a `VirtualMiddleManager` (pure): a Service for each identity, and one Deployment whose pod
//! serves all identities.
//!
//! A Deployment instead of a `StatefulSet`: the pod of a dead node must not keep its successor from starting. Two pods
//! at the same time, as when one replaces the other, do no harm.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::virtual_middle_manager::{Advertise, SecretRef};
use crate::api::{GROUP, OPERATOR, VirtualMiddleManager, names};
use crate::digest::hex;
use crate::middle_manager::registry::drain;

/// Label with the name of the VirtualMiddleManager on the pods that serve it. It differs from the label of its
/// PeonTasks' pods: a Service must not send the overlord to a peon.
pub const LABEL_SERVES: &str = "peon.dev/serves";
/// Annotation of the pod: the pod is replaced when it changes.
const ANNOTATION_CONFIGURATION: &str = "peon.dev/configuration";
/// Port of every identity's Service, the default port of a MiddleManager.
pub const PLAIN_PORT: u16 = 8091;
/// The same port with TLS.
pub const TLS_PORT: u16 = 8291;
/// Port of the pod for identity 0; the ports of the others follow.
pub const FIRST_POD_PORT: u16 = 8100;
/// Port of the pod's probes and metrics.
pub const HEALTH_PORT: u16 = 8080;
/// Seconds after which the pod of a node that does not answer is replaced.
const TOLERATED_SECONDS: u32 = 30;

/// Where the username and password of `spec.authRef` are mounted in the pod.
pub const AUTH_DIR: &str = "/etc/peon-operator/auth";
/// Where the certificate and key of `spec.tlsRef` are mounted.
pub const TLS_DIR: &str = "/etc/peon-operator/tls";
/// Where the `ca.crt` of `spec.overlord.caRef` is mounted.
pub const OVERLORD_CA_DIR: &str = "/etc/peon-operator/overlord-ca";
/// Where the username and password of `spec.discovery.zookeeper.authRef` are mounted.
pub const ZOOKEEPER_DIR: &str = "/etc/peon-operator/zookeeper";
/// Where the username and password of `spec.submissions.authRef` are mounted.
pub const SUBMISSIONS_DIR: &str = "/etc/peon-operator/submissions";

/// The operator's settings for these objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Surroundings {
    /// Image of this program.
    pub image: String,
    /// Kind and name of the role that the pods get, as created by the chart.
    pub role: Role,
    /// Additional fields of the pods' spec.
    pub pod: PodParts,
}

/// Fields of a pod's spec that depend on the cluster, such as `imagePullSecrets` and `nodeSelector`. They replace the
/// operator's fields; `tolerations` are added to the operator's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodParts(serde_json::Map<String, Value>);

impl std::str::FromStr for PodParts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: serde_json::Map<String, Value> = serde_json::from_str(text)
            .map_err(|e| format!("give a JSON object with fields of a pod's spec: {e}"))?;
        let ours = [
            "containers",
            "volumes",
            "serviceAccountName",
            "terminationGracePeriodSeconds",
        ];
        match ours.iter().find(|field| parts.contains_key(**field)) {
            Some(field) => Err(format!("{field} is set by the operator: remove it")),
            None => Ok(Self(parts)),
        }
    }
}

impl PodParts {
    fn put_into(&self, spec: &mut Value) {
        for (field, value) in &self.0 {
            match (field.as_str(), spec["tolerations"].as_array_mut()) {
                ("tolerations", Some(own)) => own.extend(value.as_array().cloned().unwrap_or_default()),
                _ => spec[field.as_str()] = value.clone(),
            }
        }
    }
}

/// A role that is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// Name of the role.
    pub name: String,
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((kind @ ("Role" | "ClusterRole"), name)) if !name.is_empty() => Ok(Self {
                kind: kind.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err("give Role/NAME or ClusterRole/NAME".to_owned()),
        }
    }
}

/// Why the first label that cannot be put on PeonTasks is invalid.
#[must_use]
pub fn invalid_label(labels: &BTreeMap<String, String>) -> Option<String> {
    let reserved = |key: &str| key.starts_with("peon.dev/") || key == crate::api::LABEL_MANAGED_BY;
    let wrong = |(key, value): &(&String, &String)| {
        !names::is_qualified_name(key) || !names::is_label_value(value) || reserved(key)
    };
    let (key, value) = labels.iter().find(wrong)?;
    Some(format!(
        "taskLabels: {key}={value} cannot be a label of PeonTasks: it is not a valid label, or the \
         operator sets it"
    ))
}

/// The objects of one VirtualMiddleManager.
#[derive(Debug, Clone, Copy)]
pub struct Objects<'a> {
    manager: &'a VirtualMiddleManager,
    surroundings: &'a Surroundings,
}

impl<'a> Objects<'a> {
    /// The objects of this VirtualMiddleManager.
    #[must_use]
    pub fn of(manager: &'a VirtualMiddleManager, surroundings: &'a Surroundings) -> Self {
        Self {
            manager,
            surroundings,
        }
    }

    /// How many identities are served.
    #[must_use]
    pub fn identities(&self) -> u16 {
        drain::served(self.manager)
    }

    /// Name of the Service of an identity, from which its host is made.
    #[must_use]
    pub fn service_name(&self, ordinal: u16) -> String {
        names::attempt(&self.name(), u32::from(ordinal))
    }

    /// Whether the identities are announced on pods.
    pub(super) fn announces_on_pods(&self) -> bool {
        self.manager.spec.discovery.kubernetes.is_some()
    }

    pub(super) fn manager_name(&self) -> String {
        self.manager.name_any()
    }

    pub(super) fn namespace(&self) -> String {
        self.manager.namespace().unwrap_or_default()
    }

    pub(super) fn advertise(&self) -> Advertise {
        self.manager.spec.advertise
    }

    pub(super) fn image(&self) -> &str {
        &self.surroundings.image
    }

    /// The security context of a pod.
    pub(super) fn pod_security() -> Value {
        json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    }

    /// The security context of a container.
    pub(super) fn container_security() -> Value {
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        })
    }

    /// Puts the cluster's fields into the spec of a pod.
    pub(super) fn put_pod_parts(&self, spec: &mut Value) {
        self.surroundings.pod.put_into(spec);
    }

    /// Name of all other objects. It is not just the name of the `VirtualMiddleManager`: if that is `druid`, a service
    /// account with this name may exist, and `zookeeper-0` may be the Service of something else.
    pub(super) fn name(&self) -> String {
        format!("{}-vmm", self.manager.name_any())
    }

    /// Port announced to the overlord.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self.manager.spec.tls_ref {
            None => PLAIN_PORT,
            Some(_) => TLS_PORT,
        }
    }

    /// The Services, by ordinal.
    #[must_use]
    pub fn services(&self) -> Vec<Value> {
        let service = |ordinal: u16| {
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": self.metadata(&self.service_name(ordinal)),
                "spec": {
                    "type": "ClusterIP",
                    "selector": self.selector(),
                    "ports": [{
                        "name": "worker",
                        "port": self.port(),
                        "targetPort": FIRST_POD_PORT + ordinal,
                        "protocol": "TCP",
                    }],
                },
            })
        };
        (0..self.identities()).map(service).collect()
    }

    /// The host of an identity, given its Service from the API server; `None` while that has no address.
    #[must_use]
    pub fn host(&self, ordinal: u16, service: &Value) -> Option<String> {
        match self.manager.spec.advertise {
            Advertise::ServiceDns => {
                let namespace = self.manager.namespace().unwrap_or_default();
                Some(format!("{}.{namespace}.svc", self.service_name(ordinal)))
            }
            Advertise::ClusterIp => {
                let address = service["spec"]["clusterIP"].as_str()?;
                (!address.is_empty() && address != "None").then(|| address.to_owned())
            }
        }
    }

    /// The pod's service account and its role binding.
    #[must_use]
    pub fn account(&self) -> Vec<Value> {
        let name = self.name();
        let role = &self.surroundings.role;
        // The role of a binding cannot be changed, and another release or scope of the chart has another role.
        let of_role = Sha256::digest(format!("{}/{}", role.kind, role.name));
        let binding = format!("{name}-{}", &hex(&of_role)[..8]);
        vec![
            json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": self.metadata(&name),
            }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": self.metadata(&binding),
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role.kind, "name": role.name},
                "subjects": [{
                    "kind": "ServiceAccount", "name": name, "namespace": self.manager.namespace(),
                }],
            }),
        ]
    }

    /// The Deployment, whose pod gets the hosts of all identities by ordinal.
    #[must_use]
    pub fn deployment(&self, hosts: &[String]) -> Value {
        let name = self.name();
        let secrets = self.secrets();
        let volume = |(volume, _, secret): &(&str, &str, &SecretRef)| json!({"name": volume, "secret": {"secretName": secret.name, "defaultMode": 0o440}});
        let mount = |(volume, path, _): &(&str, &str, &SecretRef)| json!({"name": volume, "mountPath": path, "readOnly": true});
        let ports = (0..self.identities()).map(
            |ordinal| json!({"name": format!("worker-{ordinal}"), "containerPort": FIRST_POD_PORT + ordinal}),
        );
        let health = json!({"name": "http", "containerPort": HEALTH_PORT});
        let probe = |path: &str, period: u32| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": period, "timeoutSeconds": 5});
        let toleration = |key: &str| {
            json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_SECONDS,
            })
        };
        let mut deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(&name),
            "spec": {
                "replicas": 1,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "selector": {"matchLabels": self.selector()},
                "template": {
                    "metadata": {
                        "labels": self.labels(),
                        "annotations": {
                            "kubectl.kubernetes.io/default-container": "middle-manager",
                            ANNOTATION_CONFIGURATION: self.configuration(),
                        },
                    },
                    "spec": {
                        "serviceAccountName": name,
                        "enableServiceLinks": false,
                        "terminationGracePeriodSeconds": 30,
                        "securityContext": Self::pod_security(),
                        "tolerations": [
                            toleration("node.kubernetes.io/not-ready"),
                            toleration("node.kubernetes.io/unreachable"),
                        ],
                        "containers": [{
                            "name": "middle-manager",
                            "image": self.surroundings.image,
                            "args": [
                                "middle-manager",
                                format!("--name={}", self.manager.name_any()),
                                format!("--namespace={}", self.manager.namespace().unwrap_or_default()),
                                format!("--hosts={}", hosts.join(",")),
                                format!("--body-limit={}", self.manager.spec.max_task_bytes),
                            ],
                            "ports": ports.chain([health]).collect::<Vec<_>>(),
                            "livenessProbe": probe("/livez", 10),
                            "readinessProbe": probe("/readyz", 2),
                            "resources": {
                                "requests": {"cpu": "50m", "memory": "64Mi"},
                                "limits": {"memory": self.memory()},
                            },
                            "securityContext": Self::container_security(),
                            "volumeMounts": secrets.iter().map(mount).collect::<Vec<_>>(),
                        }],
                        "volumes": secrets.iter().map(volume).collect::<Vec<_>>(),
                    },
                },
            },
        });
        self.put_pod_parts(&mut deployment["spec"]["template"]["spec"]);
        deployment
    }

    /// A hash of what the process reads at its start. Fields that it follows (`capacity`, `category`, `version`, and
    /// `submissions`, whose Secret is a separate volume) and those passed as arguments are left out.
    fn configuration(&self) -> String {
        let spec = &self.manager.spec;
        let read = json!([
            spec.discovery,
            spec.overlord,
            spec.payload,
            spec.auth_ref,
            spec.tls_ref,
            spec.task_labels,
        ]);
        hex(&Sha256::digest(read.to_string()))
    }

    /// Memory for all assignments that are read at the same time
    /// ([`BodyBudget`](crate::middle_manager::http::body_budget::BodyBudget)), as received and as JSON, twice over,
    /// beside everything else: above all, the ends of logs.
    fn memory(&self) -> String {
        let mebibytes = self.manager.spec.max_task_bytes.div_ceil(1 << 20);
        format!("{}Mi", 192 + (11 * mebibytes).div_ceil(2))
    }

    /// Volume, folder and name of each Secret that the pod reads.
    fn secrets(&self) -> Vec<(&'static str, &'static str, &'a SecretRef)> {
        let spec = &self.manager.spec;
        let submissions = spec.submissions.as_ref().filter(|s| s.enabled);
        let zookeeper = spec.discovery.zookeeper.as_ref();
        let all = [
            ("auth", AUTH_DIR, spec.auth_ref.as_ref()),
            ("tls", TLS_DIR, spec.tls_ref.as_ref()),
            ("overlord-ca", OVERLORD_CA_DIR, spec.overlord.ca_ref.as_ref()),
            (
                "zookeeper",
                ZOOKEEPER_DIR,
                zookeeper.and_then(|z| z.auth_ref.as_ref()),
            ),
            (
                "submissions",
                SUBMISSIONS_DIR,
                submissions.and_then(|s| s.auth_ref.as_ref()),
            ),
        ];
        all.into_iter()
            .filter_map(|(volume, path, secret)| Some((volume, path, secret?)))
            .collect()
    }

    fn selector(&self) -> BTreeMap<String, String> {
        let name = names::label_value(&self.manager.name_any());
        [(LABEL_SERVES.to_owned(), name)].into()
    }

    /// With `managed-by` the operator's watch would take the pod for a peon.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert(
            "app.kubernetes.io/component".to_owned(),
            "middle-manager".to_owned(),
        );
        labels.insert("app.kubernetes.io/part-of".to_owned(), OPERATOR.to_owned());
        labels
    }

    pub(super) fn metadata(&self, name: &str) -> Value {
        let owner = OwnerReference {
            api_version: format!("{GROUP}/v1alpha1"),
            kind: VirtualMiddleManager::kind(&()).into_owned(),
            name: self.manager.name_any(),
            uid: self.manager.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        };
        json!({
            "name": name,
            "namespace": self.manager.namespace(),
            "labels": self.labels(),
            "ownerReferences": [owner],
        })
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
