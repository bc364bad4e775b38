//! Error messages if the API server refuses a request, or does not answer: what went wrong and what to do.

use anyhow::anyhow;
use kube::core::Status;

use crate::apiserver::error::chain;

/// A request, for its error message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doing<'a> {
    pub(super) verb: &'static str,
    /// Plural, with a subresource behind a slash.
    pub(super) resource: &'static str,
    pub(super) namespace: &'a str,
    /// Empty where the request is about many.
    pub(super) name: &'a str,
}

impl Doing<'_> {
    /// The error of this request, in words.
    pub(super) fn failed(&self, error: kube::Error) -> anyhow::Error {
        match error {
            kube::Error::Api(status) => anyhow!(self.refused(&status)),
            kube::Error::SerdeError(error) => anyhow!(
                "the API server's answer about {} cannot be decoded ({error}): do kubectl peon and the \
                 cluster's CRDs have the same version?",
                self.what()
            ),
            error @ (kube::Error::Auth(_) | kube::Error::InferConfig(_)) => {
                anyhow!("the kubeconfig's credentials cannot be used: {}", chain(&error))
            }
            error => anyhow!(
                "the API server cannot be reached: {}; does the cluster run, and is the context right (--context)?",
                chain(&error)
            ),
        }
    }

    /// Why the API server refused the request, and what to do.
    pub(super) fn refused(&self, status: &Status) -> String {
        let message = status.message.trim();
        match status.code {
            401 => {
                "the API server does not accept your credentials: log in again, or correct the credentials \
                 in the kubeconfig"
                    .into()
            }
            403 if message.contains("exceeded quota") || message.contains("violates PodSecurity") => {
                format!("{} is refused: {message}", self.what())
            }
            403 => format!(
                "you may not {}: ask an administrator for that right (docs/cli.md lists all rights); \
                 {message}",
                self.right()
            ),
            404 => self.not_found(status),
            _ => format!("{} {} failed: {message}", self.verb, self.what()),
        }
    }

    fn not_found(&self, status: &Status) -> String {
        let named = status.details.as_ref().map_or("", |d| d.name.as_str());
        let kind = status.details.as_ref().map_or("", |d| d.kind.as_str());
        if named.is_empty() && self.resource.starts_with("peont") {
            return "the cluster has no PeonTasks: install the operator, whose chart brings the custom resource \
                definitions, or check the context (--context)"
                .into();
        }
        if named.is_empty() && self.resource == "indexerpools" {
            return "the cluster has no IndexerPools: upgrade the operator, whose chart brings the custom resource \
                definitions, or check the context (--context)"
                .into();
        }
        if kind == "namespaces" {
            return format!(
                "there is no namespace {}: create it, or give another with --namespace",
                self.namespace
            );
        }
        if self.resource == "peontasks" && !self.name.is_empty() {
            return format!(
                "there is no PeonTask {} in the namespace {}: `kubectl peon list` shows the existing ones",
                self.name, self.namespace
            );
        }
        if self.resource == "indexerpools" {
            return format!(
                "there is no IndexerPool {} in the namespace {}: `kubectl peon pool` shows the existing ones",
                self.name, self.namespace
            );
        }
        format!("there is no {}: {}", self.what(), status.message.trim())
    }

    /// The right that the request needs, as RBAC names it.
    pub(super) fn right(&self) -> String {
        format!(
            "{} {} in the namespace {}",
            self.verb, self.resource, self.namespace
        )
    }

    fn what(&self) -> String {
        let resource = self.resource.split('/').next().unwrap_or(self.resource);
        if self.name.is_empty() {
            format!("{resource} in the namespace {}", self.namespace)
        } else {
            format!("{resource}/{}", self.name)
        }
    }
}

/// Whether the error says that a right is missing.
pub(super) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Whether the same request can succeed later without anybody's help.
pub(super) fn passes(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code == 410 || status.code >= 500,
        kube::Error::Service(_)
        | kube::Error::HyperError(_)
        | kube::Error::ReadEvents(_)
        | kube::Error::HttpError(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::StatusDetails;

    fn doing() -> Doing<'static> {
        Doing {
            verb: "get",
            resource: "peontasks",
            namespace: "druid",
            name: "nightly",
        }
    }

    fn status(code: u16, reason: &str, message: &str, details: Option<(&str, &str)>) -> Status {
        let details = details.map(|(kind, name)| StatusDetails {
            kind: kind.into(),
            name: name.into(),
            group: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        });
        Status {
            details,
            ..Status::failure(message, reason).with_code(code)
        }
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let said = |status: &Status| doing().refused(status);
        let absent = status(404, "NotFound", "m", Some(("peontasks", "nightly")));
        assert_eq!(
            said(&absent),
            "there is no PeonTask nightly in the namespace druid: `kubectl peon list` shows the existing ones"
        );
        let no_crd = status(404, "NotFound", "404 page not found", None);
        assert!(said(&no_crd).contains("install the operator"));
        let no_namespace = status(404, "NotFound", "m", Some(("namespaces", "druid")));
        assert!(said(&no_namespace).starts_with("there is no namespace druid"));
        let of_pool = |name, details| {
            let doing = Doing {
                resource: "indexerpools",
                name,
                ..doing()
            };
            doing.refused(&status(404, "NotFound", "m", details))
        };
        assert_eq!(
            of_pool("warm", Some(("indexerpools", "warm"))),
            "there is no IndexerPool warm in the namespace druid: `kubectl peon pool` shows the existing ones"
        );
        assert!(of_pool("", None).starts_with("the cluster has no IndexerPools"));
        let forbidden = status(403, "Forbidden", "peontasks is forbidden", None);
        assert!(said(&forbidden).starts_with(
            "you may not get peontasks in the namespace druid: ask an administrator for that right"
        ));
        let quota = status(403, "Forbidden", "exceeded quota: q", None);
        assert_eq!(said(&quota), "peontasks/nightly is refused: exceeded quota: q");
        assert!(said(&status(401, "Unauthorized", "m", None)).contains("log in"));
        assert_eq!(
            said(&status(422, "Invalid", "spec is wrong", None)),
            "get peontasks/nightly failed: spec is wrong"
        );
    }

    #[test]
    fn what_passes_is_tried_again() {
        let api = |code| kube::Error::Api(status(code, "", "", None).boxed());
        assert!(passes(&api(503)) && passes(&api(429)) && passes(&api(410)));
        assert!(!passes(&api(403)) && !passes(&api(404)));
        assert!(is_forbidden(&api(403)) && !is_forbidden(&api(404)));
    }
}
