//! User and password between overlord and workers: HTTP basic authentication, both ways; and those of ZooKeeper.
//!
//! Druid's escalator sends them with every request, before it is asked (`druid.escalator.type=basic`).

use std::fmt;

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Why credentials cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// There is no user.
    #[error("`username` is empty: give that of `druid.escalator.internalClientUsername`")]
    NoUser,
    /// A colon ends the user on the wire.
    #[error("`username` contains a colon, which basic authentication cannot carry")]
    Colon,
}

/// A user and its password.
#[derive(Clone)]
pub struct Credentials {
    /// `user:password`.
    pair: String,
    user: usize,
}

impl Credentials {
    /// # Errors
    /// [`InvalidCredentials`] where the user cannot be sent.
    pub fn new(username: &str, password: &str) -> Result<Self, InvalidCredentials> {
        if username.is_empty() {
            return Err(InvalidCredentials::NoUser);
        }
        if username.contains(':') {
            return Err(InvalidCredentials::Colon);
        }
        Ok(Self {
            pair: format!("{username}:{password}"),
            user: username.len(),
        })
    }

    /// The user.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.pair[..self.user]
    }

    /// `user:password`, as ZooKeeper's scheme `digest` wants them.
    #[must_use]
    pub fn pair(&self) -> &str {
        &self.pair
    }

    /// The value of `Authorization` for a request, marked as sensitive.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        let text = format!("Basic {}", STANDARD.encode(&self.pair));
        // Base64 is made of nothing that a header could not hold.
        let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
        value.set_sensitive(true);
        value
    }
}

/// Neither is printed: a user may be half a secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_written_in_both_ways_and_not_shown() {
        let credentials = Credentials::new("Aladdin", "open sesame").unwrap();
        assert_eq!(credentials.pair(), "Aladdin:open sesame");
        assert_eq!(credentials.username(), "Aladdin");
        assert_eq!(credentials.header_value(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let shown = format!("{credentials:?} {:?}", credentials.header_value());
        assert_eq!(shown, "Credentials(..) Sensitive");
        assert_eq!(
            Credentials::new("a:b", "").unwrap_err(),
            InvalidCredentials::Colon
        );
        assert_eq!(Credentials::new("", "b").unwrap_err(), InvalidCredentials::NoUser);
    }
}
