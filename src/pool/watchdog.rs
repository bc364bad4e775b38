//! Reads the logs of shared Indexers for what their garbage collectors say, from the streams that their tasks share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::AsyncReadExt;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::decide::heap::gc_log::{GcLog, Reading};
use super::decide::heap::watchdog::{Heaps, News, news};
use super::decide::indexer::Indexer;
use super::effects::Effects;
use super::pods::IndexerPods;
use crate::api::IndexerPool;
use crate::logs::follower::pod_streams::PodStreams;
use crate::logs::follower::source::Source;
use crate::logs::format::shared_log::TaskLines;

/// Bytes of a stream read at a time.
const CHUNK: usize = 16 * 1024;
/// A longer line says nothing of the garbage collector.
const LONGEST_LINE: usize = 4096;
/// How old the lines are that are read first.
const BEFORE: SignedDuration = SignedDuration::from_secs(120);
/// Delay between attempts to open a stream, doubled up to the second value.
const REOPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));
/// Least time between two passes that lines of one Indexer cause.
const PASSES: Duration = Duration::from_secs(1);
/// While an Indexer is cordoned, a pass follows after this time: that nothing is collected is in no line.
const CORDONED: Duration = Duration::from_secs(5);
/// A share of time for collections from which on every change of it causes a pass.
const NOTEWORTHY: u8 = 5;

/// The readers of this process.
pub(super) struct Watchdogs {
    client: Client,
    streams: PodStreams,
    pods: Arc<IndexerPods>,
    /// By the uid of the pod.
    read: Mutex<HashMap<String, Watched>>,
}

struct Watched {
    pool_uid: String,
    log: Arc<Mutex<GcLog>>,
    reader: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Watchdogs {
    /// Nothing is read yet.
    pub(super) fn new(client: Client, streams: PodStreams, pods: Arc<IndexerPods>) -> Self {
        Self {
            client,
            streams,
            pods,
            read: Mutex::default(),
        }
    }

    /// Reads the logs of these Indexers of a pool from now on, and no others of it. Decides which of them get no task for now,
    /// and which are to be replaced. Returns what is new.
    pub(super) fn observe(
        &self,
        pool: &IndexerPool,
        indexers: &mut [Indexer],
        heaps: &mut Heaps,
        now: Timestamp,
    ) -> Vec<News> {
        let pool_uid = pool.uid().unwrap_or_default();
        let namespace = pool.namespace().unwrap_or_default();
        let mut all_news = Vec::new();
        for indexer in indexers.iter_mut() {
            let Some(heap) = indexer.heap.filter(|_| indexer.slots.is_some() && indexer.ready) else {
                continue;
            };
            let uid = indexer.evidence.pod_uid.clone();
            let reading = self.reading(&namespace, &pool_uid, indexer, now);
            let before = heaps.cordon_of(&uid);
            let judged = heaps.judge(&pool.spec, &uid, heap, reading, indexer.load.tasks);
            all_news.extend(news(indexer.name(), before, judged.cordon));
            indexer.judged(judged);
        }
        let is_there = |uid: &str| {
            let mut alive = indexers.iter().filter(|indexer| indexer.evidence.may_live());
            alive.any(|indexer| indexer.evidence.pod_uid == uid)
        };
        heaps.retain(is_there);
        self.read
            .lock()
            .retain(|uid, watched| watched.pool_uid != pool_uid || is_there(uid));
        all_news
    }

    /// The pool is gone.
    pub(super) fn forget(&self, pool_uid: &str) {
        self.read.lock().retain(|_, watched| watched.pool_uid != pool_uid);
    }

    fn reading(&self, namespace: &str, pool_uid: &str, indexer: &Indexer, now: Timestamp) -> Reading {
        let evidence = &indexer.evidence;
        let mut read = self.read.lock();
        if !read.contains_key(&evidence.pod_uid) && evidence.may_live() {
            let container = evidence.container.clone();
            let log: Arc<Mutex<GcLog>> = Arc::default();
            let reader = LogReader {
                source: Source {
                    client: self.client.clone(),
                    namespace: namespace.to_owned(),
                    pod: evidence.pod_name.clone(),
                    pod_uid: evidence.pod_uid.clone(),
                    owner_uid: pool_uid.to_owned(),
                    container,
                    started: None,
                    // None of them is a task's, but the stream is the one that tasks share.
                    lines: Some(TaskLines {
                        task_id: String::new(),
                        pod_uid: evidence.pod_uid.clone(),
                        since: now - BEFORE,
                    }),
                },
                streams: self.streams.clone(),
                pods: self.pods.clone(),
                log: log.clone(),
                said: Reading::default(),
                woken: None,
            };
            let watched = Watched {
                pool_uid: pool_uid.to_owned(),
                log,
                reader: tokio::spawn(reader.run(now - BEFORE)).abort_handle(),
            };
            read.insert(evidence.pod_uid.clone(), watched);
        }
        let log = read.get(&evidence.pod_uid);
        log.map_or_else(Reading::default, |watched| watched.log.lock().reading(now))
    }
}

/// Publishes what changed.
pub(super) async fn publish(news: &[News], pool: &IndexerPool, effects: &Effects) {
    for news in news {
        effects.tell(pool, news.reason, &news.note).await;
    }
}

/// When a pool is considered again, at the latest after `again`.
pub(super) fn look_again(heaps: &Heaps, again: Duration) -> Duration {
    if heaps.any_cordoned() {
        again.min(CORDONED)
    } else {
        again
    }
}

/// Reads the log of one Indexer as long as it is wanted.
struct LogReader {
    source: Source,
    streams: PodStreams,
    pods: Arc<IndexerPods>,
    log: Arc<Mutex<GcLog>>,
    /// What it said when a pass was requested last, and when that was.
    said: Reading,
    woken: Option<Instant>,
}

impl LogReader {
    async fn run(mut self, since: Timestamp) {
        let mut since = since;
        let mut pause = REOPEN.0;
        loop {
            match self.streams.open(&self.source, Some(since), false).await {
                Ok(opened) => {
                    pause = REOPEN.0;
                    self.log.lock().again();
                    if let Some(last) = self.read(opened.bytes).await {
                        since = last - SignedDuration::from_secs(1);
                    }
                }
                Err(closed) => {
                    tracing::debug!(pod = self.source.pod, %closed, "the log of the Indexer cannot be read");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(REOPEN.1);
        }
    }

    /// Reads a stream to its end. Returns when its last line was written.
    async fn read(&mut self, mut stream: impl futures::AsyncRead + Unpin) -> Option<Timestamp> {
        let mut chunk = vec![0; CHUNK];
        let mut carry: Vec<u8> = Vec::new();
        let mut last = None;
        loop {
            let length = match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return last,
                Ok(length) => length,
            };
            let mut is_news = false;
            for piece in chunk[..length].split_inclusive(|b| *b == b'\n') {
                if carry.len() < LONGEST_LINE {
                    carry.extend_from_slice(piece);
                }
                if piece.ends_with(b"\n") {
                    if let Some((written, text)) = line(&carry) {
                        last = Some(written);
                        is_news |= self.log.lock().take(text, written, Timestamp::now());
                    }
                    carry.clear();
                }
            }
            if is_news {
                self.wake();
            }
        }
    }

    /// Requests a pass if something changed that it decides about.
    fn wake(&mut self) {
        let said = self.log.lock().reading(Timestamp::now());
        let is_due = self.woken.is_none_or(|woken| woken.elapsed() >= PASSES);
        let is_news = said.live != self.said.live || said.gc_percent >= NOTEWORTHY;
        if is_due && is_news && said != self.said {
            self.said = said;
            self.woken = Some(Instant::now());
            self.pods.wake_pool_of(&self.source.pod_uid);
        }
    }
}

/// When a line was written, and its text.
fn line(bytes: &[u8]) -> Option<(Timestamp, &str)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (time, text) = text.split_once(' ')?;
    Some((time.parse().ok()?, text))
}
