//! Background tasks of a process, in one set: an unexpected end is noticed.
//!
//! An async task that panics is silent, and its work is not done any more. So each is spawned here, under a name, and
//! the process ends with an error as soon as one of them ends: Kubernetes restarts it.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

use crate::apiserver::error::panicked;

/// Async tasks that should run as long as the process. Dropping it ends them.
#[derive(Debug, Default)]
pub struct Background {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// One of the tasks ended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a background task ended, so the process exits: {name}: {how}")]
pub struct Ended {
    name: &'static str,
    how: String,
}

impl Background {
    /// Spawns `task`; `name` describes it.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Waits until one of the tasks ends, which none should. Cancel-safe.
    pub async fn ended(&mut self) -> Ended {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, how) = match ended {
            Ok((id, ())) => (id, "it returned".to_owned()),
            Err(error) => {
                let id = error.id();
                let how = match error.try_into_panic() {
                    Ok(panic) => format!("it panicked: {}", panicked(&*panic)),
                    Err(error) => error.to_string(),
                };
                (id, how)
            }
        };
        let name = self.names.remove(&id).unwrap_or("(unknown)");
        Ended { name, how }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[allow(clippy::panic)]
    async fn a_panic_and_an_end_are_noticed_and_named() {
        let mut background = Background::default();
        background.spawn("the one that goes on", std::future::pending());
        let idle = tokio::time::timeout(std::time::Duration::ZERO, background.ended()).await;
        assert!(idle.is_err(), "nothing ended");
        background.spawn("the watches", async { panic!("no such {}", "thing") });
        let ended = background.ended().await.to_string();
        let expected =
            "a background task ended, so the process exits: the watches: it panicked: no such thing";
        assert_eq!(ended, expected);
        background.spawn("the probes", async {});
        assert!(
            background
                .ended()
                .await
                .to_string()
                .ends_with("the probes: it returned")
        );
    }

    #[tokio::test]
    async fn nothing_never_ends() {
        let mut background = Background::default();
        let ended = tokio::time::timeout(std::time::Duration::ZERO, background.ended()).await;
        assert!(ended.is_err());
    }
}
