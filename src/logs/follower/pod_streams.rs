//! Streams of the logs of shared Indexers: all tasks of an Indexer read one.
//!
//! The process that needs a pod's log first opens the stream; the last lines stay in memory ([`RecentLines`]), so that one that
//! comes later begins with the lines that it needs. What a reader gets is what it would get from a stream of its own: if its
//! lines are not there any more, or it reads too slowly, it opens one.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{AsyncBufRead, AsyncReadExt, TryStreamExt, stream};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::decide::recent_lines::{Fed, RecentLines};
use super::source::{Closed, Source};
use crate::metrics::logs::{Counted, LogMetrics};

/// Bytes of a stream read at a time.
const CHUNK: usize = 64 * 1024;
/// A stream without data for this long is requested again: an intermediary may have dropped it.
const SILENCE: Duration = Duration::from_secs(240);
/// A stream without readers is closed after this time, since the next task may come soon.
const UNREAD: Duration = Duration::from_secs(30);
/// How much earlier than is asked for a stream begins: a reader that opens it again asks for lines from a second before.
const EARLIER: SignedDuration = SignedDuration::from_secs(2);
/// For how long a reader that is slow holds up the others; then it reads alone.
const SLOW: Duration = Duration::from_secs(2);

/// A stream that was opened.
pub struct Opened {
    /// Its bytes, as the API server sends them.
    pub bytes: Pin<Box<dyn AsyncBufRead + Send>>,
    /// Whether it is shared: whether lines were skipped has been examined then.
    pub is_shared: bool,
}

/// All shared streams of this process; cheap to clone.
#[derive(Clone, Default)]
pub struct PodStreams {
    all: Arc<Mutex<HashMap<Key, Arc<PodStream>>>>,
    metrics: LogMetrics,
}

/// Namespace, name and uid of the pod, and the container.
type Key = (String, String, String, String);

struct PodStream {
    state: Mutex<State>,
    /// Held while the stream is being opened.
    opening: tokio::sync::Mutex<()>,
    /// Changes when there is something new to read.
    news: watch::Sender<u64>,
    /// Changes when a reader has read something, came or went.
    read: watch::Sender<u64>,
}

struct State {
    lines: RecentLines,
    /// Changes when lines are missing.
    beginning: u64,
    /// Number of the last stream, from 1.
    number: u64,
    /// How the last stream ended; `None` while there is one.
    ended: Option<End>,
    /// The next piece of each reader.
    readers: HashMap<u64, u64>,
    next_reader: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing was opened yet.
    NotBegun,
    /// By itself.
    Eof,
    Broken,
}

/// A reader of a shared stream, until it is dropped.
struct Following {
    of: Arc<PodStream>,
    number: u64,
    beginning: u64,
    news: watch::Receiver<u64>,
    _counted: Counted,
}

impl Opened {
    /// A stream that is not shared.
    pub fn alone(bytes: impl AsyncBufRead + Send + 'static) -> Self {
        Self {
            bytes: Box::pin(bytes),
            is_shared: false,
        }
    }
}

impl std::fmt::Debug for PodStreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} shared streams", self.all.lock().len())
    }
}

impl PodStreams {
    /// None yet; they will be counted in `metrics`.
    #[must_use]
    pub fn new(metrics: LogMetrics) -> Self {
        Self {
            all: Arc::default(),
            metrics,
        }
    }

    /// Opens the log of a pod, with all lines since that time, as [`Source::open_it`] does: where it is read for several tasks, a
    /// part of the stream that others read.
    ///
    /// # Access control
    /// pods: get. pods/log: get.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open(
        &self,
        source: &Source,
        since: Option<Timestamp>,
        seen: bool,
    ) -> Result<Opened, Closed> {
        if source.lines.is_none() {
            return Ok(Opened::alone(source.open_it(since, seen).await?));
        }
        let key = (
            source.namespace.clone(),
            source.pod.clone(),
            source.pod_uid.clone(),
            source.container.clone(),
        );
        let of = self.all.lock().entry(key.clone()).or_default().clone();
        let opening = of.opening.lock().await;
        let (begin, from) = {
            let mut state = of.state.lock();
            if state.ended == Some(End::NotBegun) {
                state
                    .lines
                    .begin_anew(since.and_then(|since| since.checked_sub(EARLIER).ok()));
            }
            let from = state.lines.from(since);
            (state.ended.is_some().then(|| state.lines.since()), from)
        };
        if from.is_none() {
            drop(opening);
            return alone(source, since, seen).await;
        }
        if let Some(begin) = begin {
            let stream = match source.open_it(begin, seen).await {
                Ok(stream) => stream,
                Err(closed) => {
                    drop(opening);
                    self.forget_unread(&key, &of, 0);
                    return Err(closed);
                }
            };
            let number = of.begin(begin);
            tokio::spawn(self.clone().run(key, of.clone(), stream, number));
        }
        // Lines may have been dropped while the stream was being opened.
        let reader = of.reader(since, self.metrics.stream_reader());
        drop(opening);
        match reader {
            Some(reader) => Ok(Opened {
                bytes: reader.into_bytes(),
                is_shared: true,
            }),
            None => alone(source, since, seen).await,
        }
    }

    /// Reads a stream until it ends or has no readers. Its lines are kept for a while, for readers that open it again after it
    /// broke.
    async fn run(self, key: Key, of: Arc<PodStream>, stream: impl AsyncBufRead + Unpin, number: u64) {
        let counted = self.metrics.stream();
        let end = of.take(stream, &self).await;
        drop(counted);
        of.state.lock().ended = Some(end);
        of.tell();
        loop {
            tokio::time::sleep(UNREAD).await;
            if of.state.lock().number != number || self.forget_unread(&key, &of, number) {
                return;
            }
        }
    }

    /// Removes the state of a log without readers, if the stream with this number was the last one. Returns whether it did.
    fn forget_unread(&self, key: &Key, of: &Arc<PodStream>, number: u64) -> bool {
        let mut all = self.all.lock();
        let state = of.state.lock();
        let is_unread = state.number == number && state.ended.is_some() && state.readers.is_empty();
        // Whoever is about to open it has got it from the map, where it is besides at the caller.
        let is_unused = is_unread && Arc::strong_count(of) <= 2;
        if is_unused {
            all.remove(key);
        }
        is_unused
    }

    /// Number of streams.
    fn number(&self) -> usize {
        self.all.lock().len()
    }
}

/// A stream that is not shared.
async fn alone(source: &Source, since: Option<Timestamp>, seen: bool) -> Result<Opened, Closed> {
    tracing::debug!(pod = source.pod, "the log is read from a stream of its own");
    Ok(Opened::alone(source.open_it(since, seen).await?))
}

impl Default for PodStream {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                lines: RecentLines::new(None),
                beginning: 0,
                number: 0,
                ended: Some(End::NotBegun),
                readers: HashMap::new(),
                next_reader: 0,
            }),
            opening: tokio::sync::Mutex::default(),
            news: watch::Sender::new(0),
            read: watch::Sender::new(0),
        }
    }
}

impl PodStream {
    /// A stream was opened, with the lines since that time. Returns its number.
    fn begin(&self, since: Option<Timestamp>) -> u64 {
        let mut state = self.state.lock();
        state.ended = None;
        state.number += 1;
        let number = state.number;
        if state.lines.again(Timestamp::now()) == Fed::Missing {
            state.begin_anew(since);
            state.lines.again(Timestamp::now());
        }
        drop(state);
        self.tell();
        number
    }

    fn reader(self: &Arc<Self>, since: Option<Timestamp>, counted: Counted) -> Option<Following> {
        let mut state = self.state.lock();
        let from = state.lines.from(since)?;
        let number = state.next_reader;
        state.next_reader += 1;
        state.readers.insert(number, from);
        let beginning = state.beginning;
        drop(state);
        self.read.send_modify(|n| *n += 1);
        Some(Following {
            of: self.clone(),
            number,
            beginning,
            news: self.news.subscribe(),
            _counted: counted,
        })
    }

    async fn take(&self, mut stream: impl AsyncBufRead + Unpin, all: &PodStreams) -> End {
        let mut chunk = vec![0; CHUNK];
        let opened = Instant::now();
        let mut heard = opened;
        let mut unread = std::pin::pin!(self.unread());
        loop {
            tokio::select! {
                read = stream.read(&mut chunk) => match read {
                    Ok(0) => {
                        self.state.lock().lines.end();
                        return End::Eof;
                    }
                    Ok(length) => {
                        heard = Instant::now();
                        let at = SignedDuration::try_from(heard.duration_since(opened)).unwrap_or_default();
                        if !self.feed(&chunk[..length], at) {
                            return End::Broken;
                        }
                        self.tell();
                        self.make_room(all.number()).await;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the stream of an Indexer's log broke");
                        return End::Broken;
                    }
                },
                () = tokio::time::sleep_until((heard + SILENCE).into()) => return End::Broken,
                () = &mut unread => return End::Eof,
            }
        }
    }

    /// Whether the stream may be read on.
    fn feed(&self, bytes: &[u8], at: SignedDuration) -> bool {
        let mut state = self.state.lock();
        match state.lines.feed(bytes, at) {
            Fed::Following => true,
            Fed::Skipped => false,
            Fed::Missing => {
                // The next stream begins with lines that were not read here.
                let since = state.lines.since();
                state.begin_anew(since);
                false
            }
        }
    }

    fn tell(&self) {
        self.news.send_modify(|n| *n += 1);
    }

    /// Drops the oldest lines. Waits a moment for readers that need them.
    async fn make_room(&self, logs: usize) {
        let mut read = self.read.subscribe();
        let until = tokio::time::Instant::now() + SLOW;
        loop {
            let needed = {
                let mut state = self.state.lock();
                let is_late = tokio::time::Instant::now() >= until;
                while state.lines.is_full(logs) && (is_late || !state.is_needed(state.lines.first())) {
                    state.lines.drop_first();
                }
                state.lines.is_full(logs)
            };
            if !needed {
                return;
            }
            let _ = tokio::time::timeout_at(until, read.changed()).await;
        }
    }

    /// Waits until nobody has read the stream for a while.
    async fn unread(&self) {
        let mut read = self.read.subscribe();
        loop {
            if self.state.lock().readers.is_empty() {
                if tokio::time::timeout(UNREAD, read.changed()).await.is_err() {
                    return;
                }
            } else if read.changed().await.is_err() {
                return;
            }
        }
    }
}

impl State {
    fn begin_anew(&mut self, since: Option<Timestamp>) {
        self.lines.begin_anew(since);
        self.beginning += 1;
    }

    /// Whether a reader has still to read this piece.
    fn is_needed(&self, piece: u64) -> bool {
        self.readers.values().any(|next| *next == piece)
    }
}

impl Following {
    fn into_bytes(self) -> Pin<Box<dyn AsyncBufRead + Send>> {
        let pieces = stream::try_unfold(self, |mut reader| async move {
            Ok::<_, io::Error>(reader.next().await?.map(|piece| (piece, reader)))
        });
        Box::pin(Box::pin(pieces).into_async_read())
    }

    /// The next piece; `None` at the end of the stream.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            self.news.borrow_and_update();
            {
                let mut state = self.of.state.lock();
                let next = state.readers.get(&self.number).copied().unwrap_or_default();
                if state.beginning != self.beginning || next < state.lines.first() {
                    return Err(io::Error::other(
                        "the lines that follow are not in memory any more",
                    ));
                }
                if let Some(piece) = state.lines.piece(next) {
                    state.readers.insert(self.number, next + 1);
                    drop(state);
                    self.of.read.send_modify(|n| *n += 1);
                    return Ok(Some(piece));
                }
                match state.ended {
                    None => {}
                    Some(End::Eof) => return Ok(None),
                    Some(End::Broken | End::NotBegun) => return Err(io::Error::other("the stream broke")),
                }
            }
            if self.news.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.of.state.lock().readers.remove(&self.number);
        self.of.read.send_modify(|n| *n += 1);
    }
}

#[cfg(test)]
#[path = "pod_streams_tests.rs"]
mod tests;
