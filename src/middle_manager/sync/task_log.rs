//! The log of a running task, read through the API server for clients that request it from the overlord.
//!
//! The log of a task that has ended is read by the overlord from the archive.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::io::{AsyncBufRead, AsyncBufReadExt};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::apiserver::request::{LOG, request_within};
use crate::logs::format::shared_log::LineCutter;
use crate::middle_manager::registry::history_items::Log;

/// Time limit for reading a log.
const READING: Duration = Duration::from_secs(900);
/// Concurrent readers.
const PLACES: usize = 32;
/// Concurrent readers of the same log: one task takes no more of the places.
const PER_LOG: usize = 8;
/// Most bytes of the end of a log: they are held in memory, since it is not known beforehand where the end begins.
pub const MOST_TAIL: usize = 8 << 20;
/// Bytes of all ends of logs held at the same time. Druid's console requests 50,000.
const TAILS: usize = 24 << 20;
/// Time limit for a client to fetch the end of a log.
const FETCHING: Duration = Duration::from_secs(60);
/// Unit of the budget, and size of the blocks held, in bytes.
const BLOCK: usize = 64 << 10;
/// Approximate bytes per line.
const LINE: usize = 64;

/// Reads logs of running tasks.
#[derive(Clone)]
pub struct TaskLogs {
    pods: Api<Pod>,
    places: Arc<Semaphore>,
    /// Budget for the ends of logs, in blocks.
    tails: Arc<Semaphore>,
    /// Readers by pod.
    readers: Arc<Mutex<HashMap<String, usize>>>,
}

/// A place among all readers, and among those of one log.
struct Place {
    _permit: OwnedSemaphorePermit,
    pod: String,
    readers: Arc<Mutex<HashMap<String, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut readers = self.readers.lock();
        if let Some(count) = readers.get_mut(&self.pod) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.pod);
            }
        }
    }
}

impl TaskLogs {
    /// A reader for pods in this namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            pods: Api::namespaced(client, namespace),
            places: Arc::new(Semaphore::new(PLACES)),
            tails: Arc::new(Semaphore::new(TAILS / BLOCK)),
            readers: Arc::default(),
        }
    }

    /// The log from `offset` on: 0 for the whole log, negative for the last bytes, at most [`MOST_TAIL`]. It is the log
    /// of the current attempt, as far as the kubelet still has it. `None` for a task that is not here.
    ///
    /// The overlord passes the answer on, whatever its status: so errors are written in place of the log.
    ///
    /// # Access control
    /// pods/log: get.
    pub async fn read(&self, log: Log, offset: i64) -> Option<Body> {
        let (pod, container, lines) = match log {
            Log::Elsewhere => return None,
            Log::NotBegun => return Some(Body::empty()),
            Log::Pod {
                pod,
                container,
                lines,
            } => (pod, container, lines),
        };
        let cutter = lines.map(|lines| LineCutter::new(*lines));
        let Some(place) = self.place(&pod) else {
            return Some(said(&format!(
                "{PLACES} logs are being read, or this log {PER_LOG} times, which is the limit: try again \
                 in a moment"
            )));
        };
        let read = if let Ok(offset) = usize::try_from(offset) {
            self.from((&pod, &container), cutter, offset, place).await
        } else {
            let many = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
            self.last((&pod, &container), cutter, many.min(MOST_TAIL), place)
                .await
        };
        Some(read.unwrap_or_else(|why| why.map_or_else(Body::empty, |why| said(&why))))
    }

    fn place(&self, pod: &str) -> Option<Place> {
        let permit = self.places.clone().try_acquire_owned().ok()?;
        let mut readers = self.readers.lock();
        let count = readers.entry(pod.to_owned()).or_default();
        if *count >= PER_LOG {
            return None;
        }
        *count += 1;
        Some(Place {
            _permit: permit,
            pod: pod.to_owned(),
            readers: self.readers.clone(),
        })
    }

    /// The bytes from `offset` on.
    async fn from(
        &self,
        (pod, container): (&str, &str),
        cutter: Option<LineCutter>,
        offset: usize,
        place: Place,
    ) -> Result<Body, Option<String>> {
        let reader = OwnLines {
            reader: self.open(pod, container, None).await?,
            cutter,
        };
        let pieces = stream::try_unfold((reader, offset, place), async |(mut reader, mut skip, place)| {
            while let Some(some) = reader.piece().await? {
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

    /// The last bytes. The API server counts only lines: the first request asks for as many lines as probably contain
    /// the bytes, the next one for as many as surely do. The bytes count against the budget until the client has
    /// fetched them.
    async fn last(
        &self,
        (pod, container): (&str, &str),
        cutter: Option<LineCutter>,
        many: usize,
        place: Place,
    ) -> Result<Body, Option<String>> {
        let mut end = Tail::new(many);
        let blocks = u32::try_from(end.most_blocks()).unwrap_or(u32::MAX);
        let Ok(room) = self.tails.clone().try_acquire_many_owned(blocks) else {
            return Err(Some(
                "the ends of other logs are being read: try again in a moment, or ask for fewer bytes"
                    .to_owned(),
            ));
        };
        for lines in [many / LINE + 1, many + 1] {
            let mut reader = OwnLines {
                reader: self.open(pod, container, Some(lines)).await?,
                cutter: cutter.clone(),
            };
            end = Tail::new(many);
            let mut all = 0;
            let read = async {
                while let Some(some) = piece(&mut reader.reader).await? {
                    all += memchr::memchr_iter(b'\n', &some).count();
                    end.push(&reader.own(some));
                }
                end.push(&reader.rest());
                Ok::<_, std::io::Error>(())
            };
            match tokio::time::timeout(READING, read).await {
                Err(_) => return Err(Some("the API server sends the log too slowly".to_owned())),
                Ok(Err(error)) => return Err(Some(format!("the log ended with an error: {error}"))),
                Ok(Ok(())) => {}
            }
            if end.is_full() || all < lines {
                break;
            }
        }
        let held = (end.into_blocks(), room, place);
        let pieces = stream::unfold(held, async |(mut blocks, room, place)| {
            let block = blocks.pop_front()?;
            Some((Ok::<_, std::io::Error>(block), (blocks, room, place)))
        });
        Ok(Body::from_stream(pieces.take_until(tokio::time::sleep(FETCHING))))
    }

    /// Opens the log; `None` if the container has none (yet, or any more).
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
        match request_within(LOG, "get pods/log", self.pods.log_stream(pod, &params)).await {
            Ok(stream) => Ok(Box::pin(stream)),
            Err(error) if matches!(error.code(), Some(400 | 404)) => Err(None),
            Err(error) => Err(Some(error.why())),
        }
    }
}

/// A log, or the lines of it that are one task's.
struct OwnLines<R> {
    reader: R,
    cutter: Option<LineCutter>,
}

impl<R: AsyncBufRead + Unpin> OwnLines<R> {
    /// The next bytes; `None` at the end.
    async fn piece(&mut self) -> std::io::Result<Option<Bytes>> {
        if let Some(some) = piece(&mut self.reader).await? {
            return Ok(Some(self.own(some)));
        }
        Ok(Some(self.rest()).filter(|rest| !rest.is_empty()))
    }

    fn own(&mut self, some: Bytes) -> Bytes {
        match &mut self.cutter {
            None => some,
            Some(cutter) => cutter.take(&some).into(),
        }
    }

    /// What is left at the end of the log.
    fn rest(&mut self) -> Bytes {
        let rest = self.cutter.take().map(LineCutter::end);
        rest.unwrap_or_default().into()
    }
}

/// The next bytes; `None` at the end.
async fn piece(reader: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Bytes>> {
    let some = Bytes::copy_from_slice(reader.fill_buf().await?);
    reader.consume_unpin(some.len());
    Ok((!some.is_empty()).then_some(some))
}

/// A message in place of a log.
fn said(why: &str) -> Body {
    Body::from(format!("[peon-operator] the log cannot be read now: {why}\n"))
}

/// The end of a stream, in blocks: never more of them than [`Tail::most_blocks`].
#[derive(Debug)]
struct Tail {
    most: usize,
    blocks: VecDeque<Vec<u8>>,
    bytes: usize,
    lines: usize,
}

impl Tail {
    fn new(most: usize) -> Self {
        Self {
            most,
            blocks: VecDeque::new(),
            bytes: 0,
            lines: 0,
        }
    }

    /// Most blocks held: the full ones, of which the first is needed in part, and the last.
    fn most_blocks(&self) -> usize {
        self.most.div_ceil(BLOCK) + 1
    }

    fn push(&mut self, mut some: &[u8]) {
        self.lines += memchr::memchr_iter(b'\n', some).count();
        while !some.is_empty() {
            if self.blocks.back().is_none_or(|last| last.len() >= BLOCK) {
                // Short ends use small blocks.
                self.blocks
                    .push_back(Vec::with_capacity(BLOCK.min(self.most.max(1))));
            }
            let Some(last) = self.blocks.back_mut() else {
                return;
            };
            let (now, later) = some.split_at(some.len().min(BLOCK - last.len()));
            last.extend_from_slice(now);
            self.bytes += now.len();
            some = later;
            self.cut();
        }
    }

    /// Drops blocks that are no longer needed.
    fn cut(&mut self) {
        while let Some(first) = self.blocks.front().map(Vec::len)
            && self.bytes - first >= self.most
        {
            self.blocks.pop_front();
            self.bytes -= first;
        }
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.most
    }

    /// The end, in order.
    fn into_blocks(mut self) -> VecDeque<Bytes> {
        let excess = self.bytes.saturating_sub(self.most);
        if let Some(first) = self.blocks.front_mut() {
            first.drain(..excess);
        }
        self.blocks.into_iter().map(Bytes::from).collect()
    }
}

#[cfg(test)]
#[path = "task_log_tests.rs"]
mod tests;
