//! The log of a task that runs, read through the API server for whoever asks the overlord for it.
//!
//! Of a task that has ended the overlord reads the log where it was archived.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::io::{AsyncBufRead, AsyncBufReadExt};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::moves::Log;

/// No answer within this time is a failure.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a reader may take for all of it.
const READING: Duration = Duration::from_secs(900);
/// Logs that are read at the same time.
const PLACES: usize = 32;
/// Most bytes of the end of a log: they are held in memory, since nobody knows beforehand where the end begins.
pub const MOST_TAIL: usize = 8 << 20;
/// Bytes of a line, about.
const LINE: usize = 64;

/// Reads logs.
#[derive(Clone)]
pub struct TaskLogs {
    pods: Api<Pod>,
    places: Arc<Semaphore>,
}

impl TaskLogs {
    /// Of pods in this namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            pods: Api::namespaced(client, namespace),
            places: Arc::new(Semaphore::new(PLACES)),
        }
    }

    /// The log from `offset` on: 0 is all of it, a negative one so many bytes of its end, at most [`MOST_TAIL`]. It is
    /// that of the current attempt, as far as the kubelet still has it. `None` for one that is not here.
    ///
    /// The overlord hands on what it gets, whatever its code: so what goes wrong is said in place of the log.
    ///
    /// # Access control
    /// pods/log: get.
    pub async fn read(&self, log: Log, offset: i64) -> Option<Body> {
        let (pod, container) = match log {
            Log::Elsewhere => return None,
            Log::NotBegun => return Some(Body::empty()),
            Log::Pod { pod, container } => (pod, container),
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Some(said(&format!(
                "{PLACES} logs are being read: try again in a moment"
            )));
        };
        let read = if let Ok(offset) = usize::try_from(offset) {
            self.from(&pod, &container, offset, place).await
        } else {
            let many = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
            self.last(&pod, &container, many.min(MOST_TAIL)).await
        };
        Some(read.unwrap_or_else(|why| why.map_or_else(Body::empty, |why| said(&why))))
    }

    /// What comes after so many bytes.
    async fn from(
        &self,
        pod: &str,
        container: &str,
        offset: usize,
        place: OwnedSemaphorePermit,
    ) -> Result<Body, Option<String>> {
        let reader = self.open(pod, container, None).await?;
        let pieces = stream::try_unfold((reader, offset, place), async |(mut reader, mut skip, place)| {
            while let Some(some) = piece(&mut reader).await? {
                if skip < some.len() {
                    return Ok(Some((some.slice(skip..), (reader, 0, place))));
                }
                skip -= some.len();
            }
            Ok::<_, std::io::Error>(None)
        });
        let pieces = pieces.take_until(tokio::time::sleep(READING));
        Ok(Body::from_stream(pieces))
    }

    /// So many bytes of the end. The API server counts lines only: at first as many are asked for as are likely to hold
    /// them, then as many as surely do.
    async fn last(&self, pod: &str, container: &str, many: usize) -> Result<Body, Option<String>> {
        let mut end = Tail::new(many);
        for lines in [many / LINE + 1, many + 1] {
            let mut reader = self.open(pod, container, Some(lines)).await?;
            end = Tail::new(many);
            let read = async {
                while let Some(some) = piece(&mut reader).await? {
                    end.push(&some);
                }
                Ok::<_, std::io::Error>(())
            };
            match tokio::time::timeout(READING, read).await {
                Err(_) => return Err(Some("the log comes too slowly".to_owned())),
                Ok(Err(error)) => return Err(Some(format!("the log broke off: {error}"))),
                Ok(Ok(())) => {}
            }
            if end.is_full() || end.lines < lines {
                break;
            }
        }
        Ok(Body::from(end.into_bytes()))
    }

    /// Opens the log, `None` where the container has none (yet, or any more).
    async fn open(
        &self,
        pod: &str,
        container: &str,
        lines: Option<usize>,
    ) -> Result<impl AsyncBufRead + Unpin + Send + use<>, Option<String>> {
        let params = LogParams {
            container: Some(container.to_owned()),
            tail_lines: lines.and_then(|l| i64::try_from(l).ok()),
            ..LogParams::default()
        };
        let answer = tokio::time::timeout(TIMEOUT, self.pods.log_stream(pod, &params)).await;
        match answer {
            Err(_) => Err(Some(format!("no answer within {TIMEOUT:?}"))),
            Ok(Ok(stream)) => Ok(Box::pin(stream)),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 404) => Err(None),
            Ok(Err(error)) => Err(Some(crate::kube::error::chain(&error))),
        }
    }
}

/// The next bytes; `None` at the end.
async fn piece(reader: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Bytes>> {
    let some = Bytes::copy_from_slice(reader.fill_buf().await?);
    reader.consume_unpin(some.len());
    Ok((!some.is_empty()).then_some(some))
}

/// Words in place of a log.
fn said(why: &str) -> Body {
    Body::from(format!("[peon-operator] the log cannot be read now: {why}\n"))
}

/// The end of what comes in.
#[derive(Debug)]
struct Tail {
    most: usize,
    kept: Vec<u8>,
    lines: usize,
}

impl Tail {
    fn new(most: usize) -> Self {
        Self {
            most,
            kept: Vec::new(),
            lines: 0,
        }
    }

    fn push(&mut self, some: &[u8]) {
        self.lines += memchr::memchr_iter(b'\n', some).count();
        self.kept.extend_from_slice(some);
        // Now and then, so that each byte is moved once.
        if self.kept.len() > self.most * 2 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let excess = self.kept.len().saturating_sub(self.most);
        self.kept.drain(..excess);
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= self.most
    }

    fn into_bytes(mut self) -> Bytes {
        self.cut();
        self.kept.into()
    }
}

#[cfg(test)]
#[path = "task_log_tests.rs"]
mod tests;
