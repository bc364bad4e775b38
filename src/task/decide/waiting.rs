//! Why a pod that exists does not run its peon yet (pure).

use crate::api::reason::{Cause, Waiting};
use crate::task::run::pod::evidence::{Container, Evidence};

/// A Warning about the pod from its Events, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodWarning {
    /// The Event's reason.
    pub reason: String,
    /// The Event's message.
    pub message: String,
}

/// Outcome of reading a pod's Events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warnings {
    /// Its Warnings.
    Read(Vec<PodWarning>),
    /// The Events were not read: they cannot be listed again yet, or at all.
    Later,
}

/// What the task waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The pod makes progress, or needs intervention: a reason and the exact cause.
    For {
        /// The reason.
        reason: Waiting,
        /// The cause.
        message: String,
    },
    /// Only a new task can help: a [`Cause`].
    Never {
        /// The cause.
        cause: Cause,
        /// Details in words.
        message: String,
    },
}

/// Determines what the pod waits for. `warnings` are its Events, if they had to be read.
#[must_use]
pub fn analyse(evidence: &Evidence, warnings: &[PodWarning]) -> Wait {
    let wait = |reason, message: &str| Wait::For {
        reason,
        message: message.to_owned(),
    };
    if !evidence.gates.is_empty() && evidence.node.is_none() {
        let message = format!(
            "the pod is not scheduled until its scheduling gates are removed: {}",
            evidence.gates.join(", ")
        );
        return wait(Waiting::SchedulingGated, &message);
    }
    if let Some(message) = evidence
        .unschedulable
        .as_ref()
        .filter(|_| evidence.node.is_none())
    {
        return wait(Waiting::Unschedulable, message);
    }
    let containers = evidence.init.iter().map(|(_, c)| c).chain([&evidence.peon]);
    for container in containers {
        if let Container::Waiting { reason, message } = container
            && let Some(wait) = container_waits(reason, message)
        {
            return wait;
        }
    }
    let mounts = warnings
        .iter()
        .find(|w| matches!(w.reason.as_str(), "FailedMount" | "FailedAttachVolume"));
    if let Some(warning) = mounts {
        return wait(Waiting::ContainerConfig, &warning.message);
    }
    // A container's own errors are in its state, and old Events may describe the past.
    if let Some(warning) = warnings.iter().find(|w| w.reason == "FailedCreatePodSandBox") {
        return wait(Waiting::ContainerStart, &warning.message);
    }
    wait(Waiting::Starting, "the pod was created; its node prepares it")
}

/// Whether the kubelet reports nothing about a container that should have started: its Events say more.
#[must_use]
pub fn is_silent(evidence: &Evidence) -> bool {
    evidence.node.is_some()
        && matches!(
            analyse(evidence, &[]),
            Wait::For {
                reason: Waiting::Starting,
                ..
            }
        )
}

fn container_waits(reason: &str, message: &str) -> Option<Wait> {
    let wait = |reason, message: String| Some(Wait::For { reason, message });
    match reason {
        "InvalidImageName" => Some(Wait::Never {
            cause: Cause::ImagePull,
            message: format!("the image's name is not valid: {message}"),
        }),
        // The kubelet alternates between the two, and its back-off message quotes the other: one reason, one message.
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "ImageInspectError" => {
            let detail = message
                .split_once("ErrImagePull: ")
                .map_or(message, |(_, detail)| detail);
            wait(
                Waiting::ImagePull,
                format!("the image cannot be pulled: {}", detail.trim()),
            )
        }
        "CreateContainerConfigError" => wait(Waiting::ContainerConfig, message.to_owned()),
        "CreateContainerError" | "RunContainerError" | "CrashLoopBackOff" | "PostStartHookError" => {
            wait(Waiting::ContainerStart, format!("{reason}: {message}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting_peon(reason: &str, message: &str) -> Evidence {
        let peon = Container::Waiting {
            reason: reason.into(),
            message: message.into(),
        };
        Evidence {
            node: Some("n".into()),
            peon,
            ..Evidence::default()
        }
    }

    fn reason(wait: &Wait) -> Waiting {
        match wait {
            Wait::For { reason, .. } => *reason,
            Wait::Never { cause, .. } => panic!("{cause}"),
        }
    }

    #[test]
    fn a_pull_error_does_not_flicker_with_the_kubelets_back_off() {
        let first = analyse(&waiting_peon("ErrImagePull", "pull access denied"), &[]);
        let second = "Back-off pulling image \"x\": ErrImagePull: pull access denied";
        assert_eq!(analyse(&waiting_peon("ImagePullBackOff", second), &[]), first);
        assert_eq!(reason(&first), Waiting::ImagePull);
    }

    #[test]
    fn every_state_of_the_kubelet_has_its_reason() {
        for (state, expected) in [
            ("ContainerCreating", Waiting::Starting),
            ("CreateContainerConfigError", Waiting::ContainerConfig),
            ("CreateContainerError", Waiting::ContainerStart),
            ("RunContainerError", Waiting::ContainerStart),
            ("ErrImageNeverPull", Waiting::ImagePull),
        ] {
            assert_eq!(
                reason(&analyse(&waiting_peon(state, "m"), &[])),
                expected,
                "{state}"
            );
        }
        assert!(matches!(
            analyse(&waiting_peon("InvalidImageName", "m"), &[]),
            Wait::Never { .. }
        ));
    }

    #[test]
    fn events_speak_only_where_the_kubelet_is_silent() {
        let mount = PodWarning {
            reason: "FailedMount".into(),
            message: "configmap \"x\" not found".into(),
        };
        let silent = waiting_peon("ContainerCreating", "");
        assert!(is_silent(&silent));
        let expected = Wait::For {
            reason: Waiting::ContainerConfig,
            message: mount.message.clone(),
        };
        assert_eq!(analyse(&silent, std::slice::from_ref(&mount)), expected);
        let pull = waiting_peon("ErrImagePull", "m");
        assert!(!is_silent(&pull));
        assert_eq!(reason(&analyse(&pull, &[mount])), Waiting::ImagePull);
    }

    #[test]
    fn a_pod_that_has_a_node_is_not_unschedulable_any_more() {
        let silent = waiting_peon("ContainerCreating", "");
        let warning = |reason: &str| PodWarning {
            reason: reason.into(),
            message: "m".into(),
        };
        let scheduling = warning("FailedScheduling");
        assert_eq!(
            reason(&analyse(&silent, std::slice::from_ref(&scheduling))),
            Waiting::Starting
        );
        let both = [scheduling, warning("FailedCreatePodSandBox")];
        assert_eq!(reason(&analyse(&silent, &both)), Waiting::ContainerStart);
    }

    #[test]
    fn an_unschedulable_pod_says_the_schedulers_words() {
        let evidence = Evidence {
            unschedulable: Some("0/3 nodes".into()),
            ..Evidence::default()
        };
        let expected = Wait::For {
            reason: Waiting::Unschedulable,
            message: "0/3 nodes".into(),
        };
        assert_eq!(analyse(&evidence, &[]), expected);
        assert!(!is_silent(&evidence));
    }

    #[test]
    fn a_gated_pod_names_its_gates() {
        let gated = Evidence {
            gates: vec!["kueue.x-k8s.io/admission".into(), "b".into()],
            unschedulable: Some(
                "SchedulingGated: Scheduling is blocked due to non-empty scheduling gates".into(),
            ),
            ..Evidence::default()
        };
        let expected = Wait::For {
            reason: Waiting::SchedulingGated,
            message:
                "the pod is not scheduled until its scheduling gates are removed: kueue.x-k8s.io/admission, b"
                    .into(),
        };
        assert_eq!(analyse(&gated, &[]), expected);
    }

    #[test]
    fn an_init_container_waits_for_the_peon_too() {
        let init = Container::Waiting {
            reason: "ErrImagePull".into(),
            message: "x".into(),
        };
        let evidence = Evidence {
            init: Some(("i".into(), init)),
            ..waiting_peon("PodInitializing", "")
        };
        assert_eq!(reason(&analyse(&evidence, &[])), Waiting::ImagePull);
    }
}
