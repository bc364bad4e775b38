//! Retries for a store that may be down.

use std::time::Duration;

use crate::logs::store::archive::ArchiveError;

/// Delay between attempts to reach a store; doubled each time, up to the second value.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A store that has failed for this long is not tried again: by then the task's status says `GaveUp`.
pub(super) const GIVE_UP: Duration = Duration::from_secs(24 * 60 * 60);

/// Reports that the store fails, or works again.
pub type Tell<'a> = &'a (dyn Fn(Result<(), String>) + Send + Sync);

/// Retries a failed request to a store with increasing delays until it succeeds, for at most a day.
///
/// # Errors
/// The last one, after a day, or when no repetition helps.
pub async fn retry<T, F>(tell: Tell<'_>, action: impl Fn() -> F) -> Result<T, ArchiveError>
where
    F: Future<Output = Result<T, ArchiveError>>,
{
    let (mut delay, most) = RETRY;
    let mut failed = false;
    let began = tokio::time::Instant::now();
    loop {
        match action().await {
            Ok(done) => {
                if failed {
                    tell(Ok(()));
                }
                return Ok(done);
            }
            Err(error) => {
                failed = true;
                tell(Err(error.to_string()));
                tracing::warn!(%error, "the log store failed");
                let given_up = began.elapsed() > GIVE_UP;
                if given_up || matches!(error, ArchiveError::Key(_) | ArchiveError::PartGone(_)) {
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(most);
    }
}
