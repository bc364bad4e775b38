//! What is asked of those who keep logs, and what they say (data only).

/// Asks for the log of one attempt. Asking twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each says something else of the attempt.
pub struct KeepLog {
    /// Number of the attempt.
    pub attempt: u32,
    /// Name of its pod.
    pub pod: String,
    /// Uid of that pod, as far as it is known.
    pub pod_uid: String,
    /// Whether the pod was seen just now.
    pub seen: bool,
    /// The peon's container.
    pub container: String,
    /// Whether a sidecar reads it, and parts are all that is expected of it.
    pub sidecar: bool,
    /// Whether the container has ended; of a pod with a sidecar, whether both have.
    pub ended: bool,
    /// Whether the sidecar said that all of it is kept.
    pub complete: bool,
    /// Whether no attempt follows: the log can be put together.
    pub last: bool,
}

/// What was asked, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Whether the log was asked for as a whole.
    pub last: bool,
    /// How it stands.
    pub state: LogState,
}

/// How it stands with a task's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LogState {
    /// As many logs are read as may be at a time.
    #[default]
    Queued,
    /// It is being read, and what was read is being written.
    Collecting,
    /// The store refuses, or does not answer.
    Failing {
        /// What to do about it.
        message: String,
    },
    /// It is in the store, as a whole.
    Archived {
        /// Where.
        url: String,
        /// How many times something is missing.
        gaps: u32,
        /// Why it is not where an overlord reads it, where somebody else has the keys of its id.
        conflict: Option<String>,
    },
    /// The peon wrote nothing.
    Nothing,
}
