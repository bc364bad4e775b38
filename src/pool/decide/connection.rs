//! With which settings the Indexers of a pool are called (pure).
//!
//! An Indexer is a worker of Druid, and Druid calls its workers as the user of its escalator, of whom there is one in a
//! Druid cluster. The VirtualMiddleManager names the Secret of that user already, in `authRef`: the operator uses the
//! same one. Another one for the pool would only be a way to send any other Secret of the namespace to a pod.
//! Certificates of Indexers may be of another CA than the overlord's, which may stand behind an ingress: the pool can
//! name one of its own.

use std::collections::BTreeMap;
use std::fmt;

use kube::ResourceExt;

use super::revision::Unusable;
use crate::api::reason::PoolReadiness;
use crate::api::{IndexerPool, VirtualMiddleManager};

/// Key of the certificates in a Secret.
const CA: &str = "ca.crt";
/// Keys of a Secret of type `kubernetes.io/basic-auth`.
const USERNAME: &str = "username";
const PASSWORD: &str = "password";

/// A Secret of the pool's namespace, and who names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Name of the Secret.
    pub secret: String,
    field: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Secret {} ({})", self.secret, self.field)
    }
}

/// What is known of a Secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// There is none of that name.
    Missing,
    /// The operator may not read it.
    Forbidden,
    /// It was not read this time, and why.
    Unread(String),
    /// Its keys.
    Keys(BTreeMap<String, Vec<u8>>),
}

/// Nothing of a Secret is printed.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "Missing",
            Self::Forbidden => "Forbidden",
            Self::Unread(_) => "Unread(..)",
            Self::Keys(_) => "Keys(..)",
        })
    }
}

/// What the requests to the Indexers of a pool need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The user.
    pub credentials: Option<Named>,
    /// The certificates that are trusted; `None` for those of the operator's image.
    pub ca: Option<Named>,
    tls: bool,
    any_hostname: bool,
}

/// The settings of a client.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// Username and password.
    pub credentials: Option<(String, String)>,
    /// Certificates in PEM that are trusted instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Whether an Indexer is called with TLS.
    pub tls: bool,
    /// Whether a certificate may be of another host.
    pub any_hostname: bool,
}

/// Neither user nor password is printed.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("credentials", &self.credentials.is_some())
            .field("ca", &self.ca.is_some())
            .field("tls", &self.tls)
            .field("any_hostname", &self.any_hostname)
            .finish()
    }
}

impl Wanted {
    /// What a pool and its VirtualMiddleManager say. `tls` is whether an Indexer of the pool has a port with TLS; if none
    /// has, no certificates are needed.
    #[must_use]
    pub fn of(pool: &IndexerPool, manager: &VirtualMiddleManager, tls: bool) -> Self {
        let of_manager = |secret: &str, field: &str| Named {
            secret: secret.to_owned(),
            field: format!("{field} of the VirtualMiddleManager {}", manager.name_any()),
        };
        let of_pool = pool.spec.tls.as_ref();
        let own = of_pool.and_then(|tls| tls.ca_ref.as_ref()).map(|ca| Named {
            secret: ca.name.clone(),
            field: "tls.caRef of the pool".to_owned(),
        });
        let of_overlord = || {
            let ca = manager.spec.overlord.ca_ref.as_ref()?;
            Some(of_manager(&ca.name, "overlord.caRef"))
        };
        // Without certificates of one's own, every host that has one of a public CA would be trusted.
        let any_hostname = own.is_some() && of_pool.is_some_and(|tls| !tls.validate_hostnames);
        let auth = manager.spec.auth_ref.as_ref();
        Self {
            credentials: auth.map(|auth| of_manager(&auth.name, "authRef")),
            ca: own.or_else(of_overlord).filter(|_| tls),
            tls,
            any_hostname: any_hostname && tls,
        }
    }

    /// Names of the Secrets, without repetition.
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        let mut names: Vec<&str> = [&self.credentials, &self.ca]
            .into_iter()
            .flatten()
            .map(|named| named.secret.as_str())
            .collect();
        names.dedup();
        names
    }

    /// The settings of the client.
    ///
    /// # Errors
    /// What is wrong with which Secret, and what to do.
    pub fn connection(&self, read: &BTreeMap<String, Content>) -> Result<Connection, Unusable> {
        let credentials = self.credentials.as_ref().map(|named| {
            let [username, password] = [USERNAME, PASSWORD].map(|key| text(named, read, key));
            Ok((username?, password?))
        });
        let ca = self.ca.as_ref().map(|named| value(named, read, CA));
        Ok(Connection {
            credentials: credentials.transpose()?,
            ca: ca.transpose()?.map(<[u8]>::to_vec),
            tls: self.tls,
            any_hostname: self.any_hostname,
        })
    }

    /// The credentials cannot be sent.
    #[must_use]
    pub fn invalid_credentials(&self, why: &str) -> Unusable {
        let named = self.credentials.as_ref().map(ToString::to_string);
        unusable(format!("{} cannot be used: {why}", named.unwrap_or_default()))
    }

    /// The certificates cannot be used.
    #[must_use]
    pub fn invalid_ca(&self, why: &str) -> Unusable {
        unusable(match &self.ca {
            Some(named) => {
                format!("{named} cannot be used: {why}; its key `{CA}` must contain certificates in PEM")
            }
            None => format!(
                "no certificate of an Indexer can be trusted: {why}; name a Secret with that of their CA in tls.caRef"
            ),
        })
    }
}

fn unusable(message: String) -> Unusable {
    Unusable {
        reason: PoolReadiness::InvalidSecret,
        message,
    }
}

fn value<'a>(named: &Named, read: &'a BTreeMap<String, Content>, key: &str) -> Result<&'a [u8], Unusable> {
    let message = match read.get(&named.secret) {
        Some(Content::Keys(keys)) => match keys.get(key) {
            Some(value) => return Ok(value),
            None => format!("{named} has no key `{key}`: add it"),
        },
        None | Some(Content::Missing) => format!("{named} does not exist in this namespace: create it"),
        Some(Content::Forbidden) => {
            format!("the operator may not read {named}: its role needs the verb get on secrets")
        }
        Some(Content::Unread(why)) => format!("{named} could not be read and is tried again: {why}"),
    };
    Err(unusable(message))
}

fn text(named: &Named, read: &BTreeMap<String, Content>, key: &str) -> Result<String, Unusable> {
    let text = std::str::from_utf8(value(named, read, key)?);
    // A Secret made from a file may end with the file's line break.
    text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
        .map_err(|_| unusable(format!("{named} cannot be used: its key `{key}` is not UTF-8")))
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
