//! Runs of a task (pure): where its current attempt runs, what is known of it there, and how it is stopped.
//!
//! Each kind of run answers the same questions in its folder: what was seen of it, whether it is dead ([`death`]), what
//! stops it, and where its log is read.

pub mod death;
pub mod elsewhere;
pub mod pod;
pub mod worker;

use self::pod::run::PodRun;
use self::worker::WorkerRun;

/// Where the current attempt of a task runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Run {
    /// In its own pod.
    Pod(Box<PodRun>),
    /// In an Indexer of a pool.
    Worker(Box<WorkerRun>),
    /// On another worker of its overlord. The overlord stops it, decides how it ended and serves its log.
    Elsewhere,
}
