//! The proof of leadership that every write asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// This process does not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this process is not the leader")]
pub struct NotLeader;

/// Proof of leadership that expires: it lapses by itself when the lease is not renewed in time, whatever the process
/// does meanwhile. Time during which the process was stopped counts; time during which the machine was suspended does
/// not.
#[derive(Debug, Clone, Default)]
pub struct Leadership(Arc<Mutex<Option<Instant>>>);

impl Leadership {
    /// Leads until `deadline`.
    pub fn extend(&self, deadline: Instant) {
        *self.0.lock() = Some(deadline);
    }

    /// Ends leadership.
    pub fn end(&self) {
        *self.0.lock() = None;
    }

    /// Whether this process leads now.
    ///
    /// # Errors
    /// [`NotLeader`] when it does not.
    pub fn check(&self) -> Result<(), NotLeader> {
        self.left().map(drop)
    }

    /// How long this process certainly leads from now on. A request whose effect must not come later than that has this
    /// as its time limit, with a margin for its way.
    ///
    /// # Errors
    /// [`NotLeader`] when it does not lead now.
    pub fn left(&self) -> Result<Duration, NotLeader> {
        let deadline = (*self.0.lock()).ok_or(NotLeader)?;
        let left = deadline.checked_duration_since(Instant::now());
        left.filter(|left| !left.is_zero()).ok_or(NotLeader)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn leadership_lapses_by_itself() {
        let leadership = Leadership::default();
        assert_eq!(leadership.check(), Err(NotLeader));
        leadership.extend(Instant::now() + Duration::from_secs(60));
        assert_eq!(leadership.check(), Ok(()));
        leadership.extend(Instant::now());
        assert_eq!(leadership.check(), Err(NotLeader));
    }
}
