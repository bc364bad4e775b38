//! Meaning of an API server's refusal for the object to be created (pure).

use kube::core::Status;

use crate::quantity;

/// Outcome of creating an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted<K> {
    /// The object was created, as the API server stored it.
    Created(K),
    /// An object of this name exists.
    Exists,
    /// The API server refuses the object.
    Refused(Refusal),
}

/// Outcome of creating an object of which only the uid is needed.
pub type Creation = Posted<String>;

impl<K> Posted<K> {
    /// The same outcome with another view of the created object.
    pub fn map<U>(self, view: impl FnOnce(K) -> U) -> Posted<U> {
        match self {
            Self::Created(object) => Posted::Created(view(object)),
            Self::Exists => Posted::Exists,
            Self::Refused(refusal) => Posted::Refused(refusal),
        }
    }
}

/// How the API server refuses an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// For good: the object is invalid, or Pod Security forbids it.
    ForGood(String),
    /// A quota is exhausted.
    Quota(String),
    /// A `LimitRange` forbids the sizes of the object.
    Limit(String),
    /// For now, as far as can be known.
    ForNow(String),
}

impl Refusal {
    /// The API server's message.
    #[must_use]
    pub fn message(&self) -> &str {
        let (Self::ForGood(message) | Self::Quota(message) | Self::Limit(message) | Self::ForNow(message)) =
            self;
        message
    }

    /// Whether the object asks for more memory than is ever allowed, so that waiting does not help, but less memory
    /// does: a `LimitRange`, the whole of a quota, an admission policy or a webhook that says so.
    #[must_use]
    pub fn is_of_too_much_memory(&self) -> bool {
        let named = |message: &str| message.to_ascii_lowercase().contains("memory");
        match self {
            Self::ForGood(message) | Self::Limit(message) => named(message),
            Self::Quota(message) => exceeds_the_whole(message),
            Self::ForNow(message) => message.contains("denied the request") && named(message),
        }
    }
}

/// Interprets the answer to a create request. `None` for failures that have nothing to do with the object: repeat the
/// request.
///
/// Fatal at once are an object that is invalid (400, 413, 422) and one that Pod Security forbids; every other refusal
/// may end without a change of the task.
#[must_use]
pub fn creation<K>(status: &Status) -> Option<Posted<K>> {
    let message = status.message.trim();
    let refused = |refusal| Some(Posted::Refused(refusal));
    match status.code {
        409 if status.reason == "AlreadyExists" => Some(Posted::Exists),
        400 | 413 | 422 => refused(Refusal::ForGood(message.to_owned())),
        403 if message.contains("violates PodSecurity") => refused(Refusal::ForGood(message.to_owned())),
        403 if message.contains("exceeded quota") || message.contains("failed quota") => {
            refused(Refusal::Quota(without_usage(message)))
        }
        403 if is_limit_range(message) => refused(Refusal::Limit(message.to_owned())),
        403 | 404 | 500 => refused(Refusal::ForNow(message.to_owned())),
        _ => None,
    }
}

/// Whether this is the message of a `LimitRange` (`plugin/pkg/admission/limitranger` of Kubernetes).
fn is_limit_range(message: &str) -> bool {
    ["minimum ", "maximum "]
        .iter()
        .any(|bound| message.contains(bound) && message.contains(" usage per "))
        || message.contains(" max limit to request ratio per ")
}

/// Whether a quota's message, which may name several quotas, has a request for memory above the whole of one.
fn exceeds_the_whole(message: &str) -> bool {
    message.split("exceeded quota: ").skip(1).any(|quota| {
        let part = |name: &str| {
            let (_, part) = quota.split_once(name)?;
            // The parts of a message are separated like the resources in them.
            Some(part.split(": ").next().unwrap_or(part))
        };
        let requested = part(" requested: ").unwrap_or_default();
        let limited = part(" limited: ").unwrap_or_default();
        let amounts = |part: &str| -> Vec<(String, u64)> {
            let pairs = part.split(',').filter_map(|pair| pair.trim().split_once('='));
            let memory = pairs.filter(|(resource, _)| resource.ends_with("memory"));
            memory
                .filter_map(|(resource, amount)| {
                    let amount = amount.trim_end_matches(']');
                    Some((resource.to_owned(), quantity::parse(amount).ok()?))
                })
                .collect()
        };
        let most = amounts(limited);
        amounts(requested).iter().any(|(resource, asked)| {
            most.iter()
                .any(|(limited, most)| limited == resource && asked > most)
        })
    })
}

/// Removes the part `used: …` from a quota's message: it changes with every other task, and a status is written only if
/// something about its own task changed.
fn without_usage(message: &str) -> String {
    match (message.find(", used: "), message.find(", limited: ")) {
        (Some(used), Some(limited)) if used < limited => {
            format!("{}{}", &message[..used], &message[limited..])
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(code: u16, reason: &str, message: &str) -> Option<Creation> {
        creation(&Status::failure(message, reason).with_code(code))
    }

    #[test]
    fn each_refusal_has_its_meaning() {
        assert_eq!(read(409, "AlreadyExists", "x"), Some(Creation::Exists));
        // A quota's own conflict: repeat.
        assert_eq!(
            read(409, "Conflict", "Operation cannot be fulfilled on resourcequotas"),
            None
        );
        for code in [400, 413, 422] {
            assert_eq!(
                read(code, "", "m"),
                Some(Creation::Refused(Refusal::ForGood("m".into())))
            );
        }
        let security = "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\"";
        assert_eq!(
            read(403, "Forbidden", security),
            Some(Creation::Refused(Refusal::ForGood(security.into())))
        );
        let account = "pods \"x\" is forbidden: error looking up service account a/b";
        assert_eq!(
            read(403, "Forbidden", account),
            Some(Creation::Refused(Refusal::ForNow(account.into())))
        );
        for code in [401, 429, 503, 504] {
            assert_eq!(read(code, "", "m"), None, "{code}");
        }
    }

    fn is_of_too_much_memory(code: u16, message: &str) -> bool {
        match read(code, "Forbidden", message) {
            Some(Creation::Refused(refusal)) => refusal.is_of_too_much_memory(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_limit_range_is_known_by_its_words() {
        for said in [
            "pods \"x\" is forbidden: maximum memory usage per Container is 600Mi, but limit is 768Mi",
            "pods \"x\" is forbidden: [maximum cpu usage per Pod is 1, but limit is 2, maximum memory usage per Pod is \
             600Mi, but limit is 768Mi]",
            "pods \"x\" is forbidden: memory max limit to request ratio per Container is 1, but provided ratio is 2.0",
        ] {
            let expected = Creation::Refused(Refusal::Limit(said.into()));
            assert_eq!(read(403, "Forbidden", said), Some(expected));
            assert!(is_of_too_much_memory(403, said), "{said}");
        }
        let cpu = "pods \"x\" is forbidden: minimum cpu usage per Container is 2, but request is 1";
        assert_eq!(
            read(403, "Forbidden", cpu),
            Some(Creation::Refused(Refusal::Limit(cpu.into())))
        );
        assert!(!is_of_too_much_memory(403, cpu));
    }

    #[test]
    fn waiting_does_not_help_where_less_memory_would() {
        let quota = |requested: &str, limited: &str| {
            format!(
                "pods \"x\" is forbidden: exceeded quota: q, requested: {requested}, used: limits.memory=1Gi, limited: {limited}"
            )
        };
        let helps = |requested: &str, limited: &str| !is_of_too_much_memory(403, &quota(requested, limited));
        assert!(!helps("limits.memory=3Gi", "limits.memory=2Gi"));
        assert!(!helps("limits.memory=768Mi,pods=1", "limits.memory=600Mi,pods=5"));
        assert!(!helps("requests.memory=3G", "requests.memory=2Gi"));
        // Others have it now.
        assert!(helps("limits.memory=2Gi", "limits.memory=2Gi"));
        assert!(helps("pods=1", "pods=0"));
        assert!(helps(
            "limits.cpu=9,limits.memory=1Gi",
            "limits.cpu=8,limits.memory=2Gi"
        ));
        for (code, said, expected) in [
            (
                403,
                "admission webhook \"w\" denied the request: the memory limit is above 600Mi",
                true,
            ),
            (
                422,
                "ValidatingAdmissionPolicy 'p' denied request: memory above 600Mi",
                true,
            ),
            (
                403,
                "admission webhook \"w\" denied the request: the image is not signed",
                false,
            ),
            (500, "failed calling webhook \"memory\": timeout", false),
            (422, "Pod is invalid: spec.volumes: Required value", false),
        ] {
            assert_eq!(is_of_too_much_memory(code, said), expected, "{said}");
        }
    }

    #[test]
    fn a_quotas_message_does_not_change_with_its_use() {
        let with = |used: &str| {
            format!(
                "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods={used}, limited: pods=5"
            )
        };
        let expected = "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, limited: pods=5";
        for used in ["5", "6"] {
            assert_eq!(
                read(403, "Forbidden", &with(used)),
                Some(Creation::Refused(Refusal::Quota(expected.into())))
            );
        }
    }
}
