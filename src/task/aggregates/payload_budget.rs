//! Room in memory for payloads that stand in chunks (pure).

use super::fair_share::Limits;
use crate::api::TaskFrom;

/// In chunks: more of them are not in memory at the same time, and half of them for the tasks of one namespace.
pub const LIMITS: Limits = Limits {
    total: 64,
    namespace: LARGEST,
};
/// For the largest payload there is, whatever the number of its chunks: nothing is read beyond 16 MiB.
const LARGEST: u32 = 32;

/// How much of it a payload takes, by the number of its chunks. A small one that is compressed may be a large one.
#[must_use]
pub fn needed(from: &TaskFrom) -> u32 {
    let chunks = u32::try_from(from.config_maps.len() + from.secrets.len()).unwrap_or(LARGEST);
    if from.gzip {
        LARGEST
    } else {
        chunks.clamp(1, LARGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Chunk;

    #[test]
    fn few_large_payloads_are_read_at_once() {
        let from = |chunks: usize, gzip| TaskFrom {
            sha256: String::new(),
            gzip,
            config_maps: Vec::new(),
            secrets: vec![
                Chunk {
                    name: "a".into(),
                    key: "k".into()
                };
                chunks
            ],
        };
        assert_eq!(needed(&from(1, false)), 1);
        assert_eq!(needed(&from(1, true)), LARGEST);
        // More than a namespace may have would never be had.
        assert_eq!(needed(&from(1000, false)), LIMITS.namespace);
        assert_eq!(needed(&from(64, true)), LIMITS.namespace);
    }
}
