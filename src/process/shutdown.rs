//! Clean shutdown: the first signal asks, the second one insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A request to shut down that everybody can wait for.
#[derive(Clone)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens for SIGTERM and SIGINT. A second signal ends the process at once.
    ///
    /// # Errors
    /// When signals cannot be listened for.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            for again in [false, true] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if again {
                    tracing::warn!("second signal: stopping at once");
                    std::process::exit(130);
                }
                tracing::info!("signal received: shutting down");
                let _ = sender.send(true);
            }
        });
        Ok(Self(receiver))
    }

    /// Waits for the request.
    pub(crate) async fn requested(mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            tracing::error!("signals are not listened for any more: shutting down");
        }
    }
}
