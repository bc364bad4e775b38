//! The operator's own writes that its cache has not received yet.

use std::collections::HashMap;

use parking_lot::Mutex;

/// More writes than are ever under way at once.
const MANY: usize = 16_384;

/// Resource versions of own status writes, by object uid, until the watch delivers them.
///
/// A pass over an object whose cached copy is older than the operator's last write would decide on outdated state, and
/// its write would be refused as a conflict: a wasted request. Resource versions are compared as numbers, which
/// Kubernetes has documented since 1.35 and always supported; a version that is not a number is never waited for.
#[derive(Debug, Default)]
pub struct Written {
    versions: Mutex<HashMap<String, u64>>,
}

impl Written {
    /// Records a write.
    pub fn record(&self, uid: &str, resource_version: Option<&str>) {
        if let Some(version) = resource_version.and_then(|v| v.parse().ok()) {
            let mut versions = self.versions.lock();
            if versions.len() >= MANY {
                // Left by objects that were deleted before their last write was received. Removing a live one costs at
                // most one refused write.
                versions.clear();
            }
            versions.insert(uid.to_owned(), version);
        }
    }

    /// Whether the last write is newer than the copy with this version. Removes the write otherwise.
    pub fn is_ahead_of(&self, uid: &str, resource_version: Option<&str>) -> bool {
        let mut versions = self.versions.lock();
        let Some(written) = versions.get(uid) else {
            return false;
        };
        let ahead = resource_version
            .and_then(|v| v.parse::<u64>().ok())
            .is_some_and(|seen| seen < *written);
        if !ahead {
            versions.remove(uid);
        }
        ahead
    }

    /// Removes the object, whose copy was fetched anew or which is gone.
    pub fn clear(&self, uid: &str) {
        self.versions.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_own_write_and_no_longer() {
        let written = Written::default();
        assert!(!written.is_ahead_of("a", Some("1")));
        written.record("a", Some("10"));
        assert!(written.is_ahead_of("a", Some("9")));
        assert!(!written.is_ahead_of("a", Some("10")));
        assert!(!written.is_ahead_of("a", Some("9")), "seen once, it is forgotten");
        written.record("a", Some("opaque"));
        assert!(!written.is_ahead_of("a", Some("9")));
    }
}
