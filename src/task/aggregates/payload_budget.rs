//! Memory budget for payloads in chunks (pure).

use super::fair_share::Limits;
use crate::api::TaskFrom;

/// In chunks: the most in memory at the same time, and half of it for the tasks of one namespace.
pub const LIMITS: Limits = Limits {
    total: 64,
    namespace: LARGEST,
};
/// Chunks of the largest payload, whatever their number: at most 16 MiB are read.
const LARGEST: u32 = 32;

/// How many chunks of the budget a payload needs, by the number of its chunks. A small compressed payload may be a
/// large one.
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
