//! The configuration of a `VirtualMiddleManager`'s pod, from its object and the mounted Secrets.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::ServerConfig;

use super::listener;
use crate::api::virtual_middle_manager::{SecretRef, ZooKeeper};
use crate::api::{VirtualMiddleManager, VirtualMiddleManagerSpec};
use crate::druid::discovery::{BasePath, Worker};
use crate::druid_http::credentials::Credentials;
use crate::middle_manager::assign::decide::assignment::Maker;
use crate::middle_manager::controller::decide::announcing_pods::announcing_pod;
use crate::middle_manager::controller::decide::objects::{
    AUTH_DIR, OVERLORD_CA_DIR, PLAIN_PORT, SUBMISSIONS_DIR, TLS_DIR, TLS_PORT, ZOOKEEPER_DIR,
};
use crate::middle_manager::discovery::zookeeper;
use crate::middle_manager::overlord;

/// Credentials in a folder where a Secret of type `kubernetes.io/basic-auth` is mounted.
fn credentials(folder: &str) -> anyhow::Result<Credentials> {
    let [username, password] = ["username", "password"].map(|key| {
        let file = Path::new(folder).join(key);
        std::fs::read_to_string(&file).with_context(|| {
            format!(
                "{} cannot be read: the Secret must have the keys username and password",
                file.display()
            )
        })
    });
    // A Secret made from a file may end with the file's line break.
    let (username, password) = (username?, password?);
    Credentials::new(
        username.trim_end_matches(['\r', '\n']),
        password.trim_end_matches(['\r', '\n']),
    )
    .with_context(|| format!("the credentials in {folder} cannot be used"))
}

/// The credentials between overlord and workers, in both directions.
///
/// # Errors
/// When the Secret is not as it should be.
pub fn auth(spec: &VirtualMiddleManagerSpec) -> anyhow::Result<Option<Credentials>> {
    spec.auth_ref.as_ref().map(|_| credentials(AUTH_DIR)).transpose()
}

/// The certificate of the workers.
///
/// # Errors
/// When the Secret is not as it should be.
pub fn tls(spec: &VirtualMiddleManagerSpec) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    let folder = Path::new(TLS_DIR);
    let read = |_: &_| listener::tls_from_files(&folder.join("tls.crt"), &folder.join("tls.key"));
    spec.tls_ref.as_ref().map(read).transpose().context("spec.tlsRef")
}

/// Connection settings of the overlord.
///
/// # Errors
/// When a Secret is not as it should be.
pub fn overlord(spec: &VirtualMiddleManagerSpec) -> anyhow::Result<overlord::Settings> {
    let file = Path::new(OVERLORD_CA_DIR).join("ca.crt");
    let read = |_: &_| std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()));
    Ok(overlord::Settings {
        url: spec.overlord.url.clone(),
        ca: spec.overlord.ca_ref.as_ref().map(read).transpose()?,
        credentials: auth(spec)?,
        observer: None,
    })
}

/// The Secret of the user who submits users' tasks, if it is mounted.
#[must_use]
pub fn submitter_secret(spec: &VirtualMiddleManagerSpec) -> Option<&SecretRef> {
    let submissions = spec.submissions.as_ref().filter(|s| s.enabled);
    submissions.and_then(|s| s.auth_ref.as_ref())
}

/// Connection settings of the same overlord for the user who submits users' tasks; without a Secret, no credentials are
/// sent. The user of `authRef` asks which overlord leads, since the submitting user may lack that right.
///
/// # Errors
/// When a Secret is not as it should be.
pub fn submitter(spec: &VirtualMiddleManagerSpec) -> anyhow::Result<overlord::Settings> {
    let secret = submitter_secret(spec);
    Ok(overlord::Settings {
        credentials: secret.map(|_| credentials(SUBMISSIONS_DIR)).transpose()?,
        observer: auth(spec)?,
        ..overlord(spec)?
    })
}

/// Where the workers are announced.
#[derive(Debug, Clone)]
pub enum DiscoverySettings {
    /// In ZooKeeper, with these connection settings.
    ZooKeeper(zookeeper::Settings),
    /// On pods, to the Druid cluster of this `clusterIdentifier`.
    Kubernetes(String),
}

/// Where the workers are announced.
///
/// # Errors
/// When the spec names no discovery, which its validation rules refuse, or a Secret is not as it should be.
pub fn discovery(spec: &VirtualMiddleManagerSpec) -> anyhow::Result<DiscoverySettings> {
    if let Some(given) = &spec.discovery.zookeeper {
        return Ok(DiscoverySettings::ZooKeeper(zookeeper(given)?));
    }
    let given = spec.discovery.kubernetes.as_ref();
    let given = given.context("spec.discovery has neither zookeeper nor kubernetes: set one of them")?;
    Ok(DiscoverySettings::Kubernetes(given.cluster_identifier.clone()))
}

fn zookeeper(given: &ZooKeeper) -> anyhow::Result<zookeeper::Settings> {
    Ok(zookeeper::Settings {
        hosts: given.hosts.clone(),
        base_path: given.base_path.clone(),
        session_timeout: Duration::from_secs(given.session_timeout_seconds.into()),
        credentials: given
            .auth_ref
            .as_ref()
            .map(|_| credentials(ZOOKEEPER_DIR))
            .transpose()?,
    })
}

/// Whether all values read from mounted Secrets are valid.
///
/// # Errors
/// The first that cannot.
pub fn check(spec: &VirtualMiddleManagerSpec) -> anyhow::Result<()> {
    tls(spec)?;
    overlord::Overlord::new(&overlord(spec)?)?;
    overlord::Overlord::new(&submitter(spec)?)?;
    discovery(spec)?;
    Ok(())
}

/// The worker that an overlord sees at this host.
#[must_use]
pub fn worker(spec: &VirtualMiddleManagerSpec, host: &str) -> Worker {
    let tls = spec.tls_ref.is_some();
    Worker {
        host: host.to_owned(),
        port: if tls { TLS_PORT } else { PLAIN_PORT },
        tls,
        ip: host.to_owned(),
        capacity: spec.capacity,
        category: spec.category.clone(),
        version: spec.version.clone(),
    }
}

/// Where the identity with this ordinal and this `host:port` is announced: the pod, or the path in ZooKeeper.
#[must_use]
pub fn announced_at(
    spec: &VirtualMiddleManagerSpec,
    name: &str,
    ordinal: u16,
    address: &str,
) -> Option<String> {
    let Some(zookeeper) = &spec.discovery.zookeeper else {
        return Some(announcing_pod(name, ordinal));
    };
    let base = BasePath::new(&zookeeper.base_path).ok()?;
    Some(format!("{}/{address}", base.workers()))
}

/// Common fields of its PeonTasks.
#[must_use]
pub fn maker(manager: &VirtualMiddleManager, namespace: &str) -> Maker {
    Maker {
        middle_manager: manager.metadata.name.clone().unwrap_or_default(),
        uid: manager.metadata.uid.clone().unwrap_or_default(),
        namespace: namespace.to_owned(),
        labels: manager.spec.task_labels.clone(),
        payload: manager.spec.payload,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(discovery: &Value) -> VirtualMiddleManagerSpec {
        let spec = json!({"discovery": discovery, "overlord": {"url": "http://o:8090"}});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_worker_is_announced_at_a_path_or_on_a_pod() {
        let zookeeper = json!({"zookeeper": {"hosts": "z:2181", "basePath": "druid"}});
        let kubernetes = json!({"kubernetes": {"clusterIdentifier": "analytics"}});
        for (discovery, expected) in [
            (zookeeper, "/druid/internal-discovery/MIDDLE_MANAGER/a:8091"),
            (kubernetes, "ingestion-vmm-1"),
        ] {
            let at = announced_at(&spec(&discovery), "ingestion", 1, "a:8091");
            assert_eq!(at.as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_spec_says_where_its_workers_are_announced() {
        let of = |given: &Value| discovery(&spec(given));
        let kubernetes = of(&json!({"kubernetes": {"clusterIdentifier": "analytics"}})).unwrap();
        assert!(matches!(kubernetes, DiscoverySettings::Kubernetes(cluster) if cluster == "analytics"));
        let zookeeper = of(&json!({"zookeeper": {"hosts": "z:2181"}})).unwrap();
        assert!(matches!(zookeeper, DiscoverySettings::ZooKeeper(settings) if settings.hosts == "z:2181"));
        // Refused by the API server, but an object may be older than the rule.
        let error = of(&json!({})).unwrap_err().to_string();
        assert!(error.contains("neither zookeeper nor kubernetes"), "{error}");
    }
}
