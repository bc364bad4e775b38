//! A run in its own pod: what is known of it (data only).

use k8s_openapi::jiff::Timestamp;

use super::evidence::{Container, Evidence, SidecarReport};

/// The run of an attempt in its own pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodRun {
    /// The last state of the pod that was seen.
    pub evidence: Evidence,
    /// Whether the pod no longer exists.
    pub gone: bool,
}

/// The pod whose deletion stops a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopPod {
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub uid: String,
    /// Resource version that was seen alive: a pod that ended meanwhile keeps its verdict and its log.
    pub version: Option<String>,
    /// Seconds of grace, if not those of the pod. Never 0: the API server would forget the pod while its processes may
    /// still run.
    pub grace_seconds: Option<u32>,
}

/// Where the log of a run is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogSource {
    /// Name of the pod, if it is not the attempt's own.
    pub pod: Option<String>,
    /// Uid of the pod, if the pod is there.
    pub pod_uid: Option<String>,
    /// Name of the peon's container, if known.
    pub container: Option<String>,
    /// Whether the peon's container has started.
    pub begun: bool,
    /// When it started, if its log is the run's from the beginning on.
    pub started: Option<Timestamp>,
    /// Whether the whole pod has ended, or is not there.
    pub pod_ended: bool,
    /// What the sidecar that reads the log reported.
    pub sidecar: SidecarReport,
}

impl PodRun {
    /// The run in a pod that was seen and is there.
    #[must_use]
    pub fn seen(evidence: Evidence) -> Self {
        Self {
            evidence,
            gone: false,
        }
    }

    /// Where its log is read. A pod that is gone has none to read; what was read of it is archived.
    #[must_use]
    pub fn log(&self) -> LogSource {
        let evidence = &self.evidence;
        let begun = matches!(
            evidence.peon,
            Container::Running { .. } | Container::Terminated(_)
        );
        let started = match &evidence.peon {
            Container::Running { started } => *started,
            Container::Terminated(terminated) => terminated.started,
            _ => None,
        };
        if self.gone {
            return LogSource {
                begun,
                ..LogSource::of_no_pod()
            };
        }
        LogSource {
            pod: None,
            pod_uid: Some(evidence.pod_uid.clone()).filter(|uid| !uid.is_empty()),
            container: Some(evidence.container.clone()).filter(|c| !c.is_empty()),
            begun,
            started,
            pod_ended: evidence.pod_uid.is_empty() || evidence.pod_ended(),
            sidecar: evidence.sidecar,
        }
    }
}

impl LogSource {
    /// The log of a run whose pod is not there.
    #[must_use]
    pub fn of_no_pod() -> Self {
        Self {
            pod_ended: true,
            ..Self::default()
        }
    }
}

impl Evidence {
    /// The pod whose deletion stops the run.
    #[must_use]
    pub fn stop(&self) -> StopPod {
        StopPod {
            pod: self.pod_name.clone(),
            uid: self.pod_uid.clone(),
            version: self.version.clone(),
            grace_seconds: None,
        }
    }
}
