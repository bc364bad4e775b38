//! User and password between overlord and workers: HTTP basic authentication, both ways.
//!
//! Druid's escalator sends them with every request, without waiting for a challenge (`druid.escalator.type=basic`).

use std::fmt;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{Engine as _, alphabet};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The challenge in the answer to a refused client.
pub const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"druid\"");

/// Accepts base64 with and without padding, as other servers do.
const READER: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why credentials are invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// The user is empty.
    #[error("`username` is empty: give that of `druid.escalator.internalClientUsername`")]
    NoUser,
    /// The user contains a colon, which would end it in the header.
    #[error("`username` contains a colon, which HTTP basic authentication does not allow")]
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

    /// `user:password`, as the digest scheme of ZooKeeper wants it, too.
    #[must_use]
    pub(crate) fn pair(&self) -> &str {
        &self.pair
    }

    /// The value of `Authorization` for a request, marked as sensitive.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        let text = format!("Basic {}", STANDARD.encode(&self.pair));
        // Base64 contains only characters that are valid in a header.
        let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
        value.set_sensitive(true);
        value
    }

    /// Whether a request has these credentials. Takes the same time wherever they differ, and whatever the length of
    /// the request's credentials: hashes are compared.
    #[must_use]
    pub fn accept(&self, request: &HeaderMap) -> bool {
        let mut values = request.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some(pair) = pair(value) else {
            return false;
        };
        let given: [u8; 32] = Sha256::digest(&pair).into();
        let wanted: [u8; 32] = Sha256::digest(&self.pair).into();
        given.ct_eq(&wanted).into()
    }
}

fn pair(value: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    READER.decode(rest.trim_matches(' ')).ok()
}

/// Neither user nor password is printed: the user may be confidential too.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(header: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(header).unwrap());
        Credentials::new("druid_system", "pass:wörd")
            .unwrap()
            .accept(&headers)
    }

    #[test]
    fn exactly_the_right_pair_is_admitted() {
        let value = Credentials::new("druid_system", "pass:wörd")
            .unwrap()
            .header_value();
        assert!(value.is_sensitive());
        let text = value.to_str().unwrap();
        assert_eq!(text, "Basic ZHJ1aWRfc3lzdGVtOnBhc3M6d8O2cmQ=");
        assert!(admitted(text));
        assert!(admitted("basic ZHJ1aWRfc3lzdGVtOnBhc3M6d8O2cmQ"));
        let pair = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert!(admitted(&pair("druid_system:pass:wörd")));
        for wrong in [
            "druid_system:pass:wörd ",
            "druid_system:pass:wör",
            "druid_system:",
            "druid_system",
            "Druid_system:pass:wörd",
            "other:pass:wörd",
            "",
        ] {
            assert!(!admitted(&pair(wrong)), "{wrong}");
        }
        for wrong in [
            "",
            "Basic",
            "Basic ",
            "Basic *",
            "Bearer ZHJ1aWRfc3lzdGVtOnBhc3M6d8O2cmQ=",
            "ZHJ1aWRfc3lzdGVtOnBhc3M6d8O2cmQ=",
            "Negotiate x",
        ] {
            assert!(!admitted(wrong), "{wrong}");
        }
    }

    #[test]
    fn none_and_two_are_refused() {
        let credentials = Credentials::new("a", "b").unwrap();
        let mut headers = HeaderMap::new();
        assert!(!credentials.accept(&headers));
        headers.append(header::AUTHORIZATION, credentials.header_value());
        assert!(credentials.accept(&headers));
        headers.append(header::AUTHORIZATION, credentials.header_value());
        assert!(!credentials.accept(&headers));
    }

    #[test]
    fn nothing_is_printed() {
        let credentials = Credentials::new("the user", "the password").unwrap();
        assert_eq!(format!("{credentials:?}"), "Credentials(..)");
        assert_eq!(credentials.username(), "the user");
        assert_eq!(format!("{:?}", credentials.header_value()), "Sensitive");
        assert_eq!(
            Credentials::new("a:b", "").unwrap_err(),
            InvalidCredentials::Colon
        );
        assert_eq!(Credentials::new("", "b").unwrap_err(), InvalidCredentials::NoUser);
    }
}
