//! What a stream of a log waits for beside the next bytes: the store's answers, a part that is written, the last line.

use std::time::Instant;

use futures::future::BoxFuture;

use super::buffer::Log;
use super::collect::END;
use crate::logs::format::parts::PartName;

/// Waits until nothing more is expected of a log whose attempt is over since then, though its container goes on.
pub(super) async fn last_line(over: Option<Instant>, read: Option<bool>) {
    match (over, read) {
        (Some(_), Some(true)) => {}
        (Some(since), Some(false)) => tokio::time::sleep_until((since + END).into()).await,
        _ => std::future::pending().await,
    }
}

/// The store's answer, if it was asked; never resolves otherwise.
pub(super) async fn answer<T>(asked: &mut Option<BoxFuture<'_, T>>) -> T {
    let Some(answer) = asked.as_mut() else {
        return std::future::pending().await;
    };
    let answer = answer.await;
    *asked = None;
    answer
}

/// A part that is being written, if any.
#[derive(Default)]
pub(super) struct Upload<'a>(pub(super) Option<BoxFuture<'a, (u64, PartName)>>);

impl Upload<'_> {
    /// The end of the upload; never resolves if none is under way.
    pub(super) async fn next(&mut self) -> (u64, PartName) {
        answer(&mut self.0).await
    }

    /// Continues the upload while `other` runs.
    pub(super) async fn meanwhile(
        &mut self,
        log: &mut Log,
        other: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                () = &mut other => return Ok(()),
                part = self.next() => log.done(part).await?,
            }
        }
    }
}
