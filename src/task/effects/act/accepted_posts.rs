//! Which tasks were posted a moment ago.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// For so long a POST that the Indexer accepted is not repeated: it has not announced the task yet.
const FRESH: Duration = Duration::from_secs(5);

/// The POSTs that were accepted, by uid of the task; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct AcceptedPosts(Arc<Mutex<HashMap<String, Post>>>);

#[derive(Debug, Clone)]
struct Post {
    pod_uid: String,
    at: Instant,
    /// Whether the pod was asked for its cpu since.
    resized: bool,
}

impl AcceptedPosts {
    /// The Indexer in this pod has accepted the task.
    pub(super) fn note(&self, task_uid: &str, pod_uid: &str, now: Instant) {
        let mut posts = self.0.lock();
        posts.retain(|_, post| now.saturating_duration_since(post.at) < FRESH);
        let pod_uid = pod_uid.to_owned();
        let post = Post {
            pod_uid,
            at: now,
            resized: false,
        };
        posts.insert(task_uid.to_owned(), post);
    }

    /// The pod of the Indexer was asked for its cpu.
    pub(super) fn resized(&self, task_uid: &str) {
        if let Some(post) = self.0.lock().get_mut(task_uid) {
            post.resized = true;
        }
    }

    /// Whether the Indexer in this pod has accepted the task a moment ago; if so, whether the pod was resized since.
    pub(super) fn recent(&self, task_uid: &str, pod_uid: &str, now: Instant) -> Option<bool> {
        let posts = self.0.lock();
        let post = posts.get(task_uid).filter(|post| post.pod_uid == pod_uid)?;
        (now.saturating_duration_since(post.at) < FRESH).then_some(post.resized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_is_remembered_for_a_moment_and_for_its_pod() {
        let (posts, now) = (AcceptedPosts::default(), Instant::now());
        posts.note("t", "pod", now);
        assert_eq!(posts.recent("t", "pod", now), Some(false));
        assert_eq!(posts.recent("t", "other", now), None);
        assert_eq!(posts.recent("other", "pod", now), None);
        posts.resized("t");
        assert_eq!(posts.recent("t", "pod", now), Some(true));
        assert_eq!(posts.recent("t", "pod", now + FRESH), None);
        posts.note("u", "pod", now + FRESH);
        assert_eq!(posts.0.lock().len(), 1, "what is old is dropped");
    }
}
