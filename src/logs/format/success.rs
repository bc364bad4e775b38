//! Which earlier success is that of the same task (pure).

use sha2::{Digest, Sha256};

use crate::digest::hex;

/// Characters of a name, 160 bits.
const LENGTH: usize = 40;

/// Names a success in the store: of a PeonTask of this name, with this Druid id and this hash of its payload.
#[must_use]
pub fn key(name: &str, task_id: &str, task_hash: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [name, task_id, task_hash] {
        // With their lengths, no two lists of parts are the same bytes.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut key = hex(&hasher.finalize());
    // It is part of a key where names of Kubernetes may stand.
    key.truncate(LENGTH);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_and_parts_do_not_run_together() {
        let all = [
            key("a", "b", "c"),
            key("x", "b", "c"),
            key("a", "x", "c"),
            key("a", "b", "x"),
            key("ab", "", "c"),
            key("a", "bc", ""),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert!(all[0].len() == LENGTH && all[0] == key("a", "b", "c"));
    }
}
