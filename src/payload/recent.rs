//! The payloads that were read last, for tasks that are read again soon: a pass decides with what the payload says, and a
//! later one posts it to an Indexer.

use std::collections::HashMap;

use crate::api::TaskFrom;

/// Most bytes of all payloads that are kept.
const MOST: usize = 8 << 20;
/// Most bytes of one of them: an Indexer takes no larger task.
const LARGEST: usize = 1 << 20;

/// Chunks of payloads, by the uid of the PeonTask whose they are. At most [`MOST`] bytes are kept.
#[derive(Debug, Default)]
pub(super) struct Recent {
    by_task: HashMap<String, (TaskFrom, Vec<Vec<u8>>)>,
    bytes: usize,
}

impl Recent {
    /// Keeps the chunks of a payload. If there is no room for them, those of all others are dropped: reading one again
    /// costs a request.
    pub(super) fn keep(&mut self, task_uid: &str, from: &TaskFrom, parts: &[Vec<u8>]) {
        let size = bytes(parts);
        self.forget(task_uid);
        if size > LARGEST {
            return;
        }
        if self.bytes + size > MOST {
            *self = Self::default();
        }
        self.bytes += size;
        let kept = (from.clone(), parts.to_vec());
        self.by_task.insert(task_uid.to_owned(), kept);
    }

    /// The chunks that were kept, if they are those of `from`.
    pub(super) fn get(&self, task_uid: &str, from: &TaskFrom) -> Option<Vec<Vec<u8>>> {
        let (kept, parts) = self.by_task.get(task_uid)?;
        (kept == from).then(|| parts.clone())
    }

    /// They are not needed any more.
    pub(super) fn forget(&mut self, task_uid: &str) {
        if let Some((_, parts)) = self.by_task.remove(task_uid) {
            self.bytes -= bytes(&parts);
        }
    }
}

fn bytes(parts: &[Vec<u8>]) -> usize {
    parts.iter().map(Vec::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(sha256: &str) -> TaskFrom {
        TaskFrom {
            sha256: sha256.to_owned(),
            gzip: false,
            config_maps: Vec::new(),
            secrets: Vec::new(),
        }
    }

    #[test]
    fn only_the_same_payload_of_the_same_task_is_kept() {
        let mut recent = Recent::default();
        recent.keep("a", &from("1"), &[b"{}".to_vec()]);
        assert_eq!(recent.get("a", &from("1")), Some(vec![b"{}".to_vec()]));
        assert_eq!(recent.get("b", &from("1")), None);
        assert_eq!(recent.get("a", &from("2")), None);
        recent.forget("a");
        assert_eq!((recent.get("a", &from("1")), recent.bytes), (None, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut recent = Recent::default();
        let chunk = vec![0; LARGEST / 2];
        for n in 0..100 {
            recent.keep(&n.to_string(), &from("1"), &[chunk.clone(), chunk.clone()]);
            assert!(
                recent.bytes <= MOST && recent.bytes >= LARGEST,
                "{}",
                recent.bytes
            );
        }
        recent.keep("large", &from("1"), &[chunk.clone(), chunk, vec![0]]);
        assert_eq!(recent.get("large", &from("1")), None);
        // The same task twice counts once.
        let before = recent.bytes;
        recent.keep("99", &from("1"), &[vec![0; LARGEST]]);
        assert_eq!(recent.bytes, before);
    }
}
