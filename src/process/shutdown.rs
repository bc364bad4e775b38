//! Clean shutdown: the first signal requests it, the second one ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A request to shut down that any code can wait for.
#[derive(Clone)]
pub(crate) struct Shutdown(CancellationToken);

impl Shutdown {
    /// Listens for SIGTERM and SIGINT. A second signal ends the process at once.
    ///
    /// # Errors
    /// When signals cannot be listened for.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        let token = CancellationToken::new();
        // If this task ends without a signal, the process shuts down as well.
        let mut first = Some(token.clone().drop_guard());
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                let Some(asked) = first.take() else {
                    tracing::warn!("second signal: stopping at once");
                    std::process::exit(130);
                };
                tracing::info!("signal received: shutting down");
                drop(asked);
            }
        });
        Ok(Self(token))
    }

    /// Waits for the request.
    pub(crate) async fn requested(self) {
        self.0.cancelled_owned().await;
    }
}
