//! Names of the objects that belong to a PeonTask (pure).
//!
//! The Druid task id never becomes part of a name: it may contain any character and be 255 characters long.

use crate::digest::hex;
use sha2::{Digest, Sha256};

/// Longest pod name used. Pod names may have up to 253 characters, but host names are cut at 63.
const LONGEST: usize = 63;

/// Name of the pod and the ConfigMap of attempt `attempt` (from 1) of the PeonTask `task`.
///
/// `<task>-<attempt>`. Where that is longer than 63 characters: the head of the task's name and a hash of the whole
/// name, followed by `-<attempt>`.
#[must_use]
pub fn attempt(task: &str, attempt: u32) -> String {
    let suffix = format!("-{attempt}");
    format!("{}{suffix}", shorten(task, LONGEST - suffix.len()))
}

/// A label value made from an object's name: label values have at most 63 characters, names at most 253.
#[must_use]
pub fn label_value(name: &str) -> String {
    shorten(name, LONGEST)
}

fn shorten(name: &str, longest: usize) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let hash = hex(&Sha256::digest(name.as_bytes()));
    let hash = &hash[..10];
    // Object names are ASCII, so any byte is a character boundary.
    let head = name[..longest - hash.len() - 1].trim_end_matches(['-', '.']);
    format!("{head}-{hash}")
}

/// Whether Kubernetes accepts `name` as a DNS label, the format of container and volume names.
#[must_use]
pub fn is_dns_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.len() <= LONGEST
        && name.bytes().all(inner)
        && !name.is_empty()
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Whether Kubernetes accepts `name` as the name of an object such as a ConfigMap: a DNS subdomain.
#[must_use]
pub fn is_object_name(name: &str) -> bool {
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_part = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && outer(part.bytes().next())
            && outer(part.bytes().next_back())
    };
    name.len() <= 253 && name.split('.').all(is_part)
}

/// Whether Kubernetes accepts `value` as a label value.
#[must_use]
pub fn is_label_value(value: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let ends = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    value.len() <= LONGEST
        && value.bytes().all(inner)
        && ends(value.bytes().next())
        && ends(value.bytes().next_back())
}

/// Whether Kubernetes accepts `key` as the key of a label or annotation: `name` or `domain/name`.
#[must_use]
pub fn is_qualified_name(key: &str) -> bool {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    let is_domain = |d: &str| d.len() <= 253 && d.split('.').all(is_dns_label);
    domain.is_none_or(is_domain) && !name.is_empty() && is_label_value(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stay_readable() {
        assert_eq!(attempt("nightly", 1), "nightly-1");
        assert_eq!(attempt("a.b", 12), "a.b-12");
    }

    #[test]
    fn long_names_are_hashed_and_stay_distinct() {
        let one = "x".repeat(252) + "1";
        let two = "x".repeat(252) + "2";
        let name = attempt(&one, 1);
        assert!(name.len() <= 63, "{name}");
        assert!(name.ends_with("-1"));
        assert_ne!(name, attempt(&two, 1));
    }

    /// A name becomes a part of a path.
    #[test]
    fn names_of_objects_are_told_from_paths() {
        let long = "a".repeat(253);
        for name in ["a", "nightly.payload.0", "a.b-c.1", &long] {
            assert!(is_object_name(name), "{name}");
        }
        let too_long = "a".repeat(254);
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "a?watch=1",
            "a#",
            "A",
            "a%2e",
            "-a",
            "a-",
            "a..b",
            "ü",
            "a b",
            &too_long,
        ] {
            assert!(!is_object_name(name), "{name}");
        }
    }

    #[test]
    fn a_cut_never_ends_in_a_separator() {
        let name = format!("{}.{}", "a".repeat(49), "b".repeat(100));
        assert!(!label_value(&name).contains(".-"), "{}", label_value(&name));
        assert!(label_value(&name).len() <= 63);
    }
}
