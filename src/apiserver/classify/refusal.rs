//! Meaning of an API server's refusal for the object to be created (pure).

use kube::core::Status;

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
    /// For now, as far as can be known.
    ForNow(String),
}

impl Refusal {
    /// The API server's message.
    #[must_use]
    pub fn message(&self) -> &str {
        let (Self::ForGood(message) | Self::Quota(message) | Self::ForNow(message)) = self;
        message
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
        403 | 404 | 500 => refused(Refusal::ForNow(message.to_owned())),
        _ => None,
    }
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
