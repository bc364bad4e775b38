//! Reads the log of one attempt to its end and writes it as parts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::AsyncReadExt;
use futures::future::BoxFuture;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::buffer::{Log, Next};
use super::decide::log_mark::LogMark;
use super::pod_streams::{Opened, PodStreams};
use super::source::{Closed, Source};
use super::spool::{Disk, Report, Slice};
use super::store_retry::{RETRY, Tell, retry};
use super::upload::{Upload, answer, last_line};
use crate::logs::fair_share::{Share, Shares};
use crate::logs::format::attempt_parts::{self, End};
use crate::logs::format::parts::{Part, PartName};
use crate::logs::format::state::KeepLog;
use crate::logs::store::archive::ArchiveError;
use crate::logs::store::task_archive::TaskArchive;
use crate::metrics::logs::LogMetrics;

/// Bytes of a stream read at a time.
const CHUNK: usize = 64 * 1024;
/// A part is written at the latest when this many bytes were read.
const LARGE: u64 = 8 << 20;
/// The end of a log gets no part if it is no longer than this: it waits in memory until the log is composed.
const SHORT: u64 = 256 * 1024;
/// A stream without data for this long is requested again: an intermediary may have dropped it.
const SILENCE: Duration = Duration::from_secs(240);
/// Delay between attempts to open a stream; doubled after each attempt without an answer, up to the second value.
const REOPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));
/// A stream that ended at most this long before its container was known to have ended is complete; one that ended
/// earlier was cut and is requested again.
pub(super) const END: Duration = Duration::from_secs(3);
/// A shorter log was not rotated: kubelets rotate at 10 MiB unless configured otherwise, and few are configured for
/// less than this.
const ONE_FILE: u64 = 512 * 1024;
/// A node that has not answered for this long since the container was known to have ended will not answer.
const UNANSWERED: Duration = Duration::from_secs(60);
/// No pod is deleted, recreated under its name, and its container started within this time of having been seen.
const JUST_NOW: Duration = Duration::from_secs(2);
/// Reading a deleted task's log ends when it has found no room for this long: its place and its share are freed for
/// others.
const CROWDED: Duration = Duration::from_secs(10);
/// Text in the log where its end may be missing.
const DELETED: &str =
    "[peon-operator] the end of the log may be missing: the pod was deleted before it was read\n";
const NO_ANSWER: &str = "[peon-operator] the end of the log may be missing: the pod's node does not answer\n";

/// Limits shared by all followers.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How often the bytes read are written to the store.
    pub flush: Duration,
    /// Most bytes of a log; later bytes are omitted, and the log says so.
    pub most: u64,
    /// Where bytes wait for the store.
    pub disk: Disk,
    /// How many parts, logs being composed and reports may be in memory at the same time.
    pub uploads: Shares,
    /// Metrics.
    pub metrics: LogMetrics,
}

/// The task's progress, as the controller sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Goal {
    /// Its attempts.
    pub attempts: BTreeMap<u32, KeepLog>,
    /// When the pod of an attempt was seen, for the attempts whose pod was.
    pub seen: BTreeMap<u32, Instant>,
    /// Whether no attempt follows.
    pub last: bool,
    /// Whether its PeonTask is gone: what exists of the log is archived, and nothing more is waited for.
    pub abandoned: bool,
}

impl Goal {
    /// Whether the container of this attempt has ended.
    #[must_use]
    pub fn ended(&self, attempt: u32) -> bool {
        self.attempts.get(&attempt).is_some_and(|a| a.ended)
    }
}

/// The result of reading an attempt.
#[derive(Debug, Default)]
pub struct Collected {
    /// Its parts in the store, in order.
    pub parts: Vec<PartName>,
    /// Bytes that are not in the store and need no part.
    pub rest: Vec<u8>,
    /// The report, if the log ended with one.
    pub report: Option<Report>,
    /// Number of gaps.
    pub gaps: u32,
    /// Whether the log says that the task published segments.
    pub published: bool,
    /// Whether the log says that memory ran out.
    pub out_of_memory: bool,
    /// The position in the log behind the last byte read.
    pub mark: Option<LogMark>,
}

/// Reads one attempt.
pub struct Collector<'a> {
    /// Where the log is read.
    pub source: Source,
    /// The streams that tasks of one pod share.
    pub streams: &'a PodStreams,
    /// Where the log is written.
    pub archive: &'a TaskArchive,
    /// Number of the attempt.
    pub attempt: u32,
    /// See [`Limits`].
    pub limits: &'a Limits,
    /// The task's progress.
    pub goal: watch::Receiver<Goal>,
    /// Callback for the state of the store.
    pub tell: Tell<'a>,
    /// Called when the log says that the task published segments.
    pub published: &'a (dyn Fn() + Send + Sync),
}

/// How reading a stream ended.
enum Ended {
    /// The stream ended by itself.
    End,
    /// The stream broke.
    Broken,
    /// The attempt has ended, though its container goes on, and its last line was read, or does not come.
    LastLine,
    /// The store has answered: an earlier process read a part of the log. The log is read again from the end of that
    /// part.
    Before(Vec<Part>),
}

impl Collector<'_> {
    /// Reads it to its end.
    ///
    /// # Errors
    /// When the spool cannot be used.
    pub async fn run(&self) -> std::io::Result<Collected> {
        let disk = &self.limits.disk;
        let known = self.archive.parts().await;
        let mut log = match known.map(|all| attempt_parts::chain(&all, self.attempt)) {
            Ok(known) => Log::behind(known, disk, &self.source).await?,
            Err(error) => {
                (self.tell)(Err(error.to_string()));
                Log {
                    sure: false,
                    ..Log::behind(Vec::new(), disk, &self.source).await?
                }
            }
        };
        let mut seen = self.seen();
        let mut unanswered = None;
        let mut pause = REOPEN.0;
        // Whether the log came to its end and is requested once more.
        let mut confirming = false;
        let mut upload = Upload::default();
        let missing = loop {
            let ended_before = self.ended();
            let seen = std::mem::take(&mut seen);
            let eof = match self.streams.open(&self.source, log.reader.since(), seen).await {
                Ok(stream) => {
                    unanswered = None;
                    pause = REOPEN.0;
                    log.reader.again();
                    match self.stream(stream, &mut log, &mut upload).await? {
                        Ended::End => true,
                        Ended::Broken => false,
                        Ended::LastLine => {
                            let is_whole = self.ended() || log.reader.last_line() == Some(true);
                            break (!is_whole).then_some(DELETED);
                        }
                        Ended::Before(known) => {
                            self.limits.metrics.taken(log.spool.pending());
                            let came = log.came;
                            log = Log::behind(known, disk, &self.source).await?;
                            log.came = log.came.max(came);
                            continue;
                        }
                    }
                }
                // The end was read, and the pod that could tell more is gone.
                Err(Closed::Gone) if confirming => break None,
                // A container that never ran has no log.
                Err(Closed::Gone) => break log.reader.mark().is_some().then_some(DELETED),
                Err(Closed::NotStarted) if ended_before => break None,
                Err(Closed::NotStarted) => {
                    pause = REOPEN.0;
                    false
                }
                Err(Closed::Failed(why)) => {
                    tracing::debug!(
                        pod = self.source.pod,
                        why,
                        "the log of the pod cannot be read; it is tried again"
                    );
                    if ended_before {
                        let since = *unanswered.get_or_insert_with(Instant::now);
                        if since.elapsed() > UNANSWERED {
                            break Some(NO_ANSWER);
                        }
                    }
                    false
                }
            };
            if eof && (ended_before || self.ends_now().await) {
                if confirming {
                    // The container and its log were removed in between.
                    log.reader.ignore_complaints();
                    break None;
                }
                if log.came < ONE_FILE || log.reader.complaint().is_some() {
                    break None;
                }
                // A kubelet that is at the end of a rotated file when the container has ended does not say that another
                // file follows.
                confirming = true;
                continue;
            }
            if self.goal.borrow().abandoned {
                break Some(DELETED);
            }
            upload.meanwhile(&mut log, tokio::time::sleep(pause)).await?;
            pause = (pause * 2).min(REOPEN.1);
        };
        if let Some(part) = upload.0 {
            log.done(part.await).await?;
        }
        if !log.sure {
            let known = self.known_parts().await;
            if !known.is_empty() {
                // The log may still be there to be read from their end on.
                self.limits.metrics.taken(log.spool.pending());
                drop(log);
                return Box::pin(self.run()).await;
            }
        }
        self.finish(log, missing).await
    }

    /// Whether the pod was seen just now.
    fn seen(&self) -> bool {
        let goal = self.goal.borrow();
        let seen = goal.seen.get(&self.attempt);
        seen.is_some_and(|seen| seen.elapsed() < JUST_NOW)
    }

    fn ended(&self) -> bool {
        self.goal.borrow().ended(self.attempt)
    }

    async fn known_parts(&self) -> Vec<Part> {
        let parts = self.retry(|| self.archive.parts()).await;
        parts
            .map(|all| attempt_parts::chain(&all, self.attempt))
            .unwrap_or_default()
    }

    /// Whether the container's end is seen soon after that of its stream.
    async fn ends_now(&self) -> bool {
        let (attempt, mut goal) = (self.attempt, self.goal.clone());
        let ended = goal.wait_for(|goal| goal.ended(attempt));
        matches!(tokio::time::timeout(END, ended).await, Ok(Ok(_)))
    }

    /// Reads a stream and returns how it ended. A part that is being written then continues: a store that is down does
    /// not block reading.
    async fn stream<'s>(
        &'s self,
        stream: Opened,
        log: &mut Log,
        upload: &mut Upload<'s>,
    ) -> std::io::Result<Ended> {
        let mut chunk = vec![0; CHUNK];
        let opened = Instant::now();
        if stream.is_shared {
            log.reader.examined();
        } else {
            log.reader.opened(Timestamp::now());
        }
        let mut stream = stream.bytes;
        let mut heard = opened;
        let mut due = false;
        let mut asked: Option<BoxFuture<'_, Vec<Part>>> = None;
        // Waits for room on disk to read into, and for a place to upload from. Both keep their position in their
        // queues.
        let mut room: Option<BoxFuture<'_, Share>> = None;
        let mut full_since = None;
        let mut place: Option<BoxFuture<'_, Share>> = None;
        // Since when it is known that the attempt has ended, if its container goes on.
        let mut over = None;
        loop {
            if log.reader.published() {
                (self.published)();
            }
            if !log.sure && asked.is_none() {
                asked = Some(Box::pin(self.known_parts()));
            }
            if let Some(last_line) = self.last_line() {
                log.reader.expect(&last_line);
            }
            let full = !log.spool.try_grow();
            if full {
                full_since.get_or_insert_with(Instant::now);
            } else {
                full_since = None;
            }
            if full && log.spool.pending() == 0 {
                // The store would accept nothing that makes room here.
                log.let_go(self.limits).await?;
            }
            if full && room.is_none() && !log.spool.is_full() {
                room = Some(Box::pin(log.spool.room()));
            }
            let pending = log.spool.pending();
            let is_time = pending > 0 && (due || full || pending >= LARGE);
            if is_time && log.sure && upload.0.is_none() && place.is_none() {
                place = Some(Box::pin(self.limits.uploads.acquire(&self.source.namespace, 1)));
            }
            tokio::select! {
                read = stream.read(&mut chunk), if !full => match read {
                    Ok(0) => return Ok(Ended::End),
                    Ok(length) => {
                        heard = Instant::now();
                        let arrival = heard.duration_since(opened);
                        log.reader.arrived(SignedDuration::try_from(arrival).unwrap_or_default());
                        log.take(&chunk[..length], self.limits).await?;
                        if log.reader.jumped() {
                            tracing::debug!(pod = self.source.pod, "the log's stream may have skipped \
                                lines; it is opened again");
                            return Ok(Ended::Broken);
                        }
                    }
                    Err(error) => {
                        tracing::debug!(pod = self.source.pod, %error, "the log's stream broke; it is \
                            opened again");
                        return Ok(Ended::Broken);
                    }
                },
                known = answer(&mut asked) => {
                    log.sure = true;
                    if !known.is_empty() {
                        return Ok(Ended::Before(known));
                    }
                }
                more = answer(&mut room) => log.spool.grow(more),
                place = answer(&mut place) => {
                    due = false;
                    log.flushed = Instant::now();
                    if let Some(slice) = log.spool.next().await? {
                        upload.0 = Some(Box::pin(self.put(slice, log.next(), place)));
                    }
                }
                part = upload.next() => log.done(part).await?,
                () = tokio::time::sleep_until((log.flushed + self.limits.flush).into()), if !due => due = true,
                () = tokio::time::sleep_until((heard + SILENCE).into()), if !full => return Ok(Ended::Broken),
                () = self.crowded_out(full_since) => return Ok(Ended::Broken),
                () = self.is_over(), if over.is_none() && log.reader.last_line().is_some() => {
                    over = Some(Instant::now());
                }
                () = last_line(over, log.reader.last_line()) => return Ok(Ended::LastLine),
            }
        }
    }

    fn last_line(&self) -> Option<String> {
        self.goal.borrow().attempts.get(&self.attempt)?.last_line.clone()
    }

    /// Waits until the attempt has ended, or its task is gone.
    async fn is_over(&self) {
        let (attempt, mut goal) = (self.attempt, self.goal.clone());
        if goal
            .wait_for(|goal| goal.ended(attempt) || goal.abandoned)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the task is deleted and its log has found no room for long (`CROWDED`).
    async fn crowded_out(&self, full_since: Option<Instant>) {
        let Some(since) = full_since else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until((since + CROWDED).into()).await;
        if self.goal.clone().wait_for(|goal| goal.abandoned).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn finish(&self, mut log: Log, missing: Option<&str>) -> std::io::Result<Collected> {
        let mut report = log.end(self.limits).await?;
        while log.spool.pending() > SHORT {
            let place = self.limits.uploads.acquire(&self.source.namespace, 1).await;
            let Some(slice) = log.spool.next().await? else {
                break;
            };
            let part = self.put(slice, log.next(), place).await;
            log.done(part).await?;
        }
        let mut rest = Vec::new();
        while let Some(slice) = log.spool.next().await? {
            rest.extend_from_slice(&slice.bytes);
            log.spool.release(slice.bytes.len() as u64).await?;
            self.limits.metrics.taken(slice.bytes.len() as u64);
        }
        if log.excess > 0 {
            let text = format!(
                "\n[peon-operator] the log is longer than {} bytes: {} bytes are left out here\n",
                self.limits.most, log.excess
            );
            rest.extend_from_slice(text.as_bytes());
        }
        if self.source.lines.is_some() {
            let text = format!(
                "[peon-operator] what threads wrote that tasks have in common is in the log of the Indexer's pod, {}\n",
                self.source.pod
            );
            if !rest.is_empty() && !rest.ends_with(b"\n") {
                rest.push(b'\n');
            }
            rest.extend_from_slice(text.as_bytes());
        }
        let mut gaps = log.gaps + log.reader.gaps();
        let said = log
            .reader
            .complaint()
            .map(|c| format!("[peon-operator] the kubelet says: {c}\n"));
        for text in said.as_deref().into_iter().chain(missing) {
            if !rest.is_empty() && !rest.ends_with(b"\n") {
                rest.push(b'\n');
            }
            rest.extend_from_slice(text.as_bytes());
            gaps += 1;
        }
        if let Some(report) = &mut report {
            log.spool.end_with(report);
        }
        Ok(Collected {
            published: log.reader.published(),
            out_of_memory: log.reader.out_of_memory(),
            mark: log.reader.mark().cloned(),
            parts: log.parts,
            rest,
            report,
            gaps,
        })
    }

    /// Writes a part, however long it takes; for a deleted task, until the store has failed for a day.
    async fn put(&self, slice: Slice, next: Next, _place: Share) -> (u64, PartName) {
        let (length, began) = (slice.bytes.len() as u64, Instant::now());
        let end = End {
            mark: slice.mark,
            gaps: next.gaps,
            published: next.published,
        };
        let cursor = attempt_parts::cursor(next.before.as_ref(), &end);
        let bytes = Bytes::from(slice.bytes);
        loop {
            // A mark contains only characters allowed in a cursor: this does not fail.
            if let Ok(name) = PartName::new(self.attempt, next.sequence, &cursor) {
                let put = self.retry(|| self.archive.put_part(&name, bytes.clone())).await;
                if put.is_ok() || self.goal.borrow().abandoned {
                    self.limits.metrics.archived(length, began.elapsed());
                    self.limits.metrics.taken(length);
                    return (length, name);
                }
            }
            tokio::time::sleep(RETRY.1).await;
        }
    }

    /// Repeats until it succeeds, also for a deleted task: only this process has the bytes read of its log.
    async fn retry<T, F>(&self, action: impl Fn() -> F) -> Result<T, ArchiveError>
    where
        F: Future<Output = Result<T, ArchiveError>>,
    {
        retry(self.tell, action).await
    }
}
